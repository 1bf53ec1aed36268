//! Slots of those that die, and of hosts that share a home.

use geto_testkit::{Machine, Sshd};

use crate::slots::{end, hold, open_gate};
use crate::support::{World, entries};

/// Another task of the same name, when there is room at once.
const ANOTHER: [&str; 9] =
    ["run", "-n", "render", "-m", "1", "--when-full", "fail", "-c", "echo $GETO_SLOT"];

#[test]
fn a_killed_sshd_frees_no_slot_and_killed_processes_do() {
    for missing in [&[][..], &["flock"]] {
        let world = World::new();
        let machine = Machine::new().without_tools(missing);
        let server = Sshd::builder().name("h1").machine(machine).start();
        world.env.use_servers(&[&server]);
        let (holder, _) = hold(&world, &["-m", "1"]);
        server.kill_sessions();
        // Supervisor and task go on.
        let ran = world.geto(&ANOTHER);
        assert_eq!(ran.code(), 75, "{missing:?} {ran:?}");
        let full = "geto: error: 1 `render` tasks already running on host `h1`\n";
        assert!(ran.stderr.starts_with(full), "{ran:?}");
        server.kill_processes();
        let ran = world.geto(&ANOTHER);
        assert_eq!((ran.code(), ran.text().as_str()), (0, "1\n"), "{missing:?} {ran:?}");
        end(holder);
        // One that waits for a slot leaves no place behind either.
        let (holder, _) = hold(&world, &["-m", "1"]);
        server.kill_processes();
        let ran = world.geto(&ANOTHER);
        assert_eq!((ran.code(), ran.text().as_str()), (0, "1\n"), "{missing:?} {ran:?}");
        end(holder);
    }
}

#[test]
fn hosts_that_share_a_home_count_for_themselves() {
    let world = World::new();
    let server =
        |name: &str| Sshd::builder().name(name).machine(Machine::new().named(name)).start();
    let servers = [server("alpha"), server("beta")];
    let ini = world.env.use_servers(&[&servers[0], &servers[1]]);
    let work = world.env.tmp().join("work");
    let shared = format!("[geto]\nremote_work_path={}\n", work.display());
    let ini = ini.replace("[geto]\n", &shared);
    world.env.write_geto_ini(&format!("{ini}[alpha]\nslots=1\n[beta]\nslots=1\n"));
    let (holder, _) = hold(&world, &["-H", "alpha"]);
    let args = |host| ["run", "-q", "-H", host, "--when-full", "fail", "-c", "uname -n; echo x >f"];
    let ran = world.geto(&args("beta"));
    assert_eq!((ran.code(), ran.text().as_str()), (0, "beta\n"), "{ran:?}");
    assert_eq!(world.geto(&args("alpha")).code(), 75);
    let users = entries(&work);
    let names = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let machines = entries(&users[0]);
    assert_eq!(machines.iter().map(|path| names(path)).collect::<Vec<_>>(), ["alpha", "beta"]);
    assert_eq!(entries(&machines[0].join("tasks")).len(), 1, "the one that runs");
    assert_eq!(entries(&machines[1].join("tasks")).len(), 0);
    open_gate(&world);
    assert_eq!(end(holder).0, Some(0));
    let ran = world.geto(&args("alpha"));
    assert_eq!((ran.code(), ran.text().as_str()), (0, "alpha\n"), "{ran:?}");
}
