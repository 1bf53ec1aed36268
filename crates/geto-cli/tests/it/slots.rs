//! Several hosts, limits, and what happens when all is taken.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Child;

use geto_testkit::{Machine, Server, Sshd, set_mode};
use rustix::process::Signal;

use crate::durable::signal;
use crate::support::World;

/// Runs one that says where it is and goes on when `gate` is there; returns when it has said so.
pub(crate) fn hold(world: &World, args: &[&str]) -> (Child, String) {
    let gate = world.env.cwd().join("gate").display().to_string();
    let script = "echo $GETO_HOST; until [ -e $GATE ]; do sleep 0.02; done";
    let gate = format!("GATE={gate}");
    let args = [&["run", "-n", "render", "-e", &gate], args, &["-c", script]].concat();
    let mut child = world.start(&args);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().to_owned())
}

pub(crate) fn end(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

pub(crate) fn open_gate(world: &World) {
    world.env.file("gate", "");
}

/// Two hosts with one slot each. They are one machine, so each has a lock path of its own.
pub(crate) fn two_hosts(world: &World) -> [Server; 2] {
    let servers = ["h1", "h2"].map(|name| {
        let tmp = Machine::new().tmpfs("/var/tmp", 1 << 20);
        Sshd::builder().name(name).machine(tmp).start()
    });
    let ini = world.env.use_servers(&[&servers[0], &servers[1]]);
    let ini: String = ini
        .lines()
        .filter(|line| !line.starts_with("remote_lock_path"))
        .map(|line| format!("{line}\n"))
        .collect();
    world.env.write_geto_ini(&format!("{ini}[h1]\nslots=1\n[h2]\nslots=1\n"));
    servers
}

#[test]
fn a_task_goes_where_fewest_of_its_name_run() {
    let world = World::new();
    let _servers = two_hosts(&world);
    let (first, one) = hold(&world, &[]);
    let (second, other) = hold(&world, &[]);
    let mut hosts = [one.as_str(), other.as_str()];
    hosts.sort_unstable();
    assert_eq!(hosts, ["h1", "h2"]);
    let ran = world.geto(&["run", "--when-full", "fail", "-c", ":"]);
    assert_eq!(ran.code(), 75);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: none of 2 hosts has room for the task
      caused by: 1 of 1 slots taken on host `h1`; 1 of 1 slots taken on host `h2`
    ");
    let ran =
        world.geto(&["run", "-H", "h1", "-n", "render", "-m1", "--wait-timeout", "1", "-c", ":"]);
    assert_eq!(ran.code(), 75);
    assert!(
        ran.stderr.contains("geto: waiting: 1 `render` tasks already running on host `h1`\n"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("geto: error: 1 `render` tasks already running on host `h1`\n"),
        "{ran:?}"
    );
    assert_eq!(
        world.geto(&["run", "--no-slot", "-H", "h1", "-c", "echo ${GETO_SLOT-none}"]).text(),
        "none\n"
    );
    let waits = world.start(&["run", "-v", "-c", "echo $GETO_HOST"]);
    open_gate(&world);
    for child in [first, second, waits] {
        let (code, said) = end(child);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn a_task_that_waits_on_several_hosts_goes_where_a_slot_comes_free() {
    let world = World::new();
    let _servers = two_hosts(&world);
    let (first, _) = hold(&world, &["-H", "h1"]);
    let (mut second, _) = hold(&world, &["-H", "h2"]);
    let mut waits = world.start(&["run", "-c", "echo $GETO_HOST"]);
    let mut said = BufReader::new(waits.stderr.take().unwrap()).lines();
    for _ in 0..2 {
        let line = said.next().unwrap().unwrap();
        assert!(line.contains("waiting: 1 of 1 slots taken on host `h"), "{line}");
    }
    second.kill().unwrap();
    second.wait().unwrap();
    // The task goes on there until it is ended; its slot is its own until then.
    let gate = world.env.cwd().join("gate");
    fs_err::write(&gate, "").unwrap();
    let (code, _) = end(first);
    assert_eq!(code, Some(0));
    let line = said.next().unwrap().unwrap();
    assert!(line.starts_with("geto: `h") && line.ends_with("of 2"), "{line}");
    assert_eq!(waits.wait().unwrap().code(), Some(0));
}

#[test]
fn a_task_that_waits_gives_up_its_place_when_it_is_left() {
    let world = World::new();
    let _servers = two_hosts(&world);
    let (held, _) = hold(&world, &["-H", "h1"]);
    let mut waits = world.start(&["run", "-H", "h1", "-c", "echo x"]);
    let mut said = BufReader::new(waits.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("waiting: "));
    signal(&waits, Signal::TERM);
    let line = said.next().unwrap().unwrap();
    assert!(line.ends_with("gives up its place in the queue on host `h1`: it was not started"));
    assert_eq!(waits.wait().unwrap().code(), Some(143));
    open_gate(&world);
    assert_eq!(end(held).0, Some(0));
    // Nobody stands in front of the next one.
    assert_eq!(world.geto(&["run", "-H", "h1", "-c", "echo next"]).text(), "next\n");
}

#[test]
fn hosts_are_picked_in_the_order_that_is_asked_for() {
    let world = World::new();
    let _servers = two_hosts(&world);
    for _ in 0..3 {
        let ran = world.geto(&["run", "--pick", "first", "-H", "h2,h1", "-c", "echo $GETO_HOST"]);
        assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("h2\n", "geto: `h2` of 2\n"));
    }
    let ran = world.geto(&["run", "--pick", "random", "-x", "h1", "-c", "echo $GETO_HOST"]);
    assert_eq!(ran.text(), "h2\n");
    let (held, _) = hold(&world, &["-H", "h1"]);
    let ran = world.geto(&["run", "--pick", "first", "-c", "echo $GETO_HOST"]);
    assert_eq!(ran.text(), "h2\n");
    open_gate(&world);
    end(held);
}

#[test]
fn a_dead_host_is_left_out_and_none_at_all_is_an_error() {
    let world = World::new();
    let [up, down] = two_hosts(&world);
    drop(down);
    let ran = world.geto(&["run", "-c", "echo $GETO_HOST"]);
    assert_eq!((ran.code(), ran.text().as_str()), (0, "h1\n"), "{ran:?}");
    assert!(ran.stderr.contains("warning: host `h2` is left out: failed to connect to"), "{ran:?}");
    drop(up);
    let ran = world.geto(&["run", "-c", ":"]);
    assert_eq!(ran.code(), 125);
    assert!(
        ran.stderr.contains("error: none of 2 hosts can take the task\n  caused by: `h1`: "),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("; `h2`: "), "{ran:?}");
}

#[test]
fn a_limit_needs_a_name() {
    let world = World::new();
    let ran = world.geto(&["run", "-m", "2", "-c", ":"]);
    assert_eq!(ran.code(), 2);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: a limit counts tasks of a name, and this one has none
      hint: give it one with `-n NAME`
    ");
    assert_eq!(world.geto(&["run", "-m", "0", "-n", "x", "-c", ":"]).code(), 2);
}

#[test]
fn gpus_are_those_that_nvidia_smi_tells_of() {
    let world = World::new();
    let tools = world.env.cwd().join("tools");
    let smi = "#!/bin/sh\n[ \"$*\" = -L ] && for i in 0 1 2 3; do echo \"GPU $i: Fake (UUID: GPU-$i)\"; done\n";
    set_mode(&world.env.file("tools/nvidia-smi", smi), 0o755);
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let server = Sshd::builder().name("gpu").set_env("PATH", &path).start();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&format!("{ini}[gpu]\nslots=8\n"));
    let witness = world.env.cwd().join("witness");
    fs_err::create_dir(&witness).unwrap();
    let script = "IFS=,; set -- $CUDA_VISIBLE_DEVICES; for g; do mkdir $W/$g || exit 9; done; \
                  sleep 0.1; for g; do rmdir $W/$g; done; echo $#";
    let variable = format!("W={}", witness.display());
    let children: Vec<_> = (0..8)
        .map(|number| {
            let wanted = if number % 2 == 0 { "1" } else { "2" };
            let args = ["run", "-q", "--gpus", wanted, "-e", &variable, "-c", script];
            (wanted, world.start(&args))
        })
        .collect();
    for (wanted, child) in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stdout, format!("{wanted}\n").as_bytes());
    }
    let ran = world.geto(&["run", "--gpus", "5", "-c", ":"]);
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("caused by: it takes 5 GPUs, and there are 4"), "{ran:?}");
}

/// Sets fs.protected_regular as a booted Debian has it, and back.
struct ProtectedRegular(String);

const PROTECTED_REGULAR: &str = "/proc/sys/fs/protected_regular";

impl ProtectedRegular {
    fn set() -> Self {
        let before = fs_err::read_to_string(PROTECTED_REGULAR).unwrap();
        fs_err::write(PROTECTED_REGULAR, "2").unwrap();
        Self(before)
    }
}

impl Drop for ProtectedRegular {
    fn drop(&mut self) {
        drop(fs_err::write(PROTECTED_REGULAR, &self.0));
    }
}

#[test]
fn limits_hold_over_users_and_processes() {
    let _protected = ProtectedRegular::set();
    press(&[]);
    press(&["flock"]);
}

/// Ten processes of two users press 200 tasks with three limits onto one host. The tasks
/// themselves tell what they see.
fn press(missing: &[&str]) {
    const LIMITS: [(&str, usize); 3] = [("one", 1), ("three", 3), ("ten", 10)];
    let world = World::new();
    let machine = || match missing {
        [] => Machine::new(),
        missing => Machine::new().without_tools(missing),
    };
    let servers = [
        Sshd::builder().name("root").machine(machine()).start(),
        Sshd::builder().name("alice").machine(machine().user("alice")).start(),
    ];
    let ini = world.env.use_servers(&[&servers[0], &servers[1]]);
    world.env.write_geto_ini(&format!("{ini}[root]\nslots=12\n[alice]\nslots=12\n"));
    let witness = world.env.cwd().join("witness");
    fs_err::create_dir(&witness).unwrap();
    set_mode(&witness, 0o1777);
    // Those of three hold on until they are three, so that limits are known to be reached.
    let script = "mkdir $W/slot.$GETO_SLOT $W/$GETO_SCRIPT.$GETO_TASK_ID || echo bad
        while set -- $W/$GETO_SCRIPT.* && [ $N = 3 ] && ! [ -d $W/full-3 ]; do
          [ $# -lt $N ] || mkdir -p $W/full-3; sleep 0.02
        done
        [ $# -le $N ] || echo $# is bad; sleep 0.05
        rmdir $W/slot.$GETO_SLOT $W/$GETO_SCRIPT.$GETO_TASK_ID || echo bad";
    std::thread::scope(|scope| {
        for process in 0..10 {
            let (world, witness) = (&world, &witness);
            scope.spawn(move || {
                for round in 0..20 {
                    let (name, limit) = LIMITS[(process + round) % LIMITS.len()];
                    let limit = limit.to_string();
                    let (w, n) = (format!("W={}", witness.display()), format!("N={limit}"));
                    let host = if process % 2 == 0 { "root" } else { "alice" };
                    let ran = world.geto(&[
                        "run", "-q", "-H", host, "-n", name, "-m", &limit, "-e", &w, "-e", &n,
                        "-c", script,
                    ]);
                    assert_eq!((ran.code(), ran.text().as_str()), (0, ""), "{ran:?}");
                }
            });
        }
    });
    assert!(witness.join("full-3").exists());
    let tickets = left(&world.env.tmp().join("geto_lock"));
    assert!(tickets.is_empty(), "{tickets:?}");
}

/// The tickets that are left below a lock path.
fn left(lock: &Path) -> Vec<String> {
    let names = crate::support::names(lock);
    names.into_iter().filter(|name| name.contains("/t.") || name.contains("/own.")).collect()
}
