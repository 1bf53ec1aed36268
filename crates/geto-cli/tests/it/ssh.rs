//! `geto run` on a real host.

use geto_testkit::{Dropbear, Machine, Server, Sshd};

use crate::support::{World, entries, names};

const GETO: &str = env!("CARGO_BIN_EXE_geto");

/// Waits until the host has removed all tasks.
fn wait_until_tasks_are_gone(server: &Server) {
    let machines = entries(&server.inside("~/.cache/geto"));
    while machines.iter().any(|machine| !entries(&machine.join("tasks")).is_empty()) {
        std::thread::yield_now();
    }
}

fn main_job(server: &Server) {
    let world = World::new();
    world.env.use_servers(&[server]);
    world.env.file("data/input", "in\n");
    world.env.file(
        "job.sh",
        "cat DEPS/data/input - ; echo \"$1/$2 on $GETO_HOST\"; echo e >&2; echo r >result; exit 5",
    );
    world.env.file("stdin", "typed\n");
    let args =
        ["run", "-H", "server1", "-d", "data/", "-t", "5m", "--stdin=stdin", "job.sh", "a", "b"];
    let ran = world.geto(&args);
    assert_eq!(ran.text(), "in\ntyped\na/b on server1\n", "{ran:?}");
    assert_eq!(ran.stderr, "e\ngeto: 1 file, 2 bytes in `$XDG_STATE_HOME/geto/<id>/files`\n");
    assert_eq!(ran.code(), 5);
    assert_eq!(
        names(&world.result()),
        ["files", "files/result", "outcome.json", "stderr", "stdout"]
    );
    wait_until_tasks_are_gone(server);
}

#[test]
fn the_main_job_runs_on_openssh_and_dropbear() {
    main_job(&Sshd::builder().name("server1").start());
    main_job(&Dropbear::builder().name("server1").start());
}

#[test]
fn a_noisy_fish_is_as_good_as_any_shell() {
    let machine =
        Machine::new().login_shell("/usr/bin/fish").startup_file("echo noise; echo noise >&2\n");
    main_job(&Sshd::builder().name("server1").machine(machine).start());
}

#[test]
fn a_script_of_ten_megabytes_runs() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    world.env.use_servers(&[&server]);
    let mut script = b"tail -c 8 \"$0\"; exit\n".to_vec();
    script.resize(10 << 20, b'#');
    script.extend_from_slice(b"\0\xffthe end");
    world.env.file("big", script);
    let ran = world.geto(&["run", "-q", "big"]);
    assert_eq!(
        ran.stdout,
        b"the end\0"[..7].iter().copied().fold(vec![0xff], |mut all, byte| {
            all.push(byte);
            all
        }),
        "{ran:?}"
    );
}

#[test]
fn a_password_of_geto_ini_serves_output_and_files() {
    let server = Sshd::builder().name("server1").password("s3cret pw").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    let ini = format!("{ini}[server1]\npassword=s3cret pw\nenv.FROM_INI=x y\nsetup=cd DEPS\n");
    world.env.write_geto_ini(&ini);
    world.env.file("data", "in");
    let ran =
        world.geto(&["run", "-q", "-d", "data", "-c", "cat data; echo $FROM_INI; echo r >../r"]);
    assert_eq!(ran.text(), "inx y\n", "{ran:?}");
    assert_eq!(fs_err::read(world.result().join("files/r")).unwrap(), b"r\n");
    let ran = world.geto(&["run", "-v", "-c", ":"]);
    assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
}

#[test]
fn a_host_that_can_not_be_reached_is_named_with_the_reason() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    world.env.use_servers(&[&server]);
    drop(server);
    let ran = world.geto(&["run", "-c", ":"]);
    assert_eq!(ran.code(), 125);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: failed to connect to `<address>` on host `server1`
      caused by: <address>: Connection refused (os error 111)
    ");
    assert!(world.results().is_empty());
}

#[test]
fn a_setup_that_fails_starts_nothing() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    for setup in [". /nonexistent/activate", "if", "exit 9", "false"] {
        world.env.write_geto_ini(&format!("{ini}[server1]\nsetup={setup}\n"));
        let ran = world.geto(&["run", "-c", "echo ran; echo x >f"]);
        assert_eq!((ran.code(), ran.text().as_str()), (125, ""), "{setup}: {ran:?}");
        let error = "geto: error: `setup` failed, and the script was not started on host `server1`";
        assert!(ran.stderr.contains(error), "{setup}: {ran:?}");
        assert!(world.results().is_empty(), "{setup}");
    }
}

#[test]
fn an_ssh_config_that_ssh_refuses_is_named() {
    let world = World::new();
    let config = world.env.file("config", "BogusOption yes\n");
    world.env.write_geto_ini(&format!(
        "[geto]\nssh_config_path={}\n[hosts]\nother=10.0.0.1\n",
        config.display()
    ));
    let ran = world.geto(&["run", "-H", "srv", "-c", ":"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("Bad configuration option: bogusoption"), "{ran:?}");
    assert!(!ran.stderr.contains("\\x0"), "{ran:?}");
}

/// Where the world has its ssh_config.
fn ssh_config(ini: &str) -> &str {
    ini.lines().find_map(|line| line.strip_prefix("ssh_config_path=")).unwrap()
}

#[test]
fn variables_of_ssh_config_reach_the_task_but_for_the_locale() {
    for (transport, client) in [("native", "geto_"), ("ssh", "OpenSSH_")] {
        let server = Sshd::builder().name("server1").config("AcceptEnv *\nLogLevel DEBUG1").start();
        let world = World::new();
        let ini = world.env.use_servers(&[&server]);
        let lines = "  SendEnv LANG LC_* PROJECT\n  SetEnv SITE=lab LC_TIME=C\n";
        let config = fs_err::read_to_string(ssh_config(&ini)).unwrap();
        fs_err::write(ssh_config(&ini), format!("{config}{lines}")).unwrap();
        world.env.write_geto_ini(&format!("{ini}[server1]\ntransport={transport}\n"));
        let line = "echo \"$PROJECT $SITE $LC_TIME ${LANG-none} ${LC_NAME-none}\"";
        let mut command = world.command(&["run", "-q", "-c", line]);
        // `LANG` is always set there.
        let ran = world.env.run(command.env("PROJECT", "p q").env("LC_NAME", "C"));
        assert_eq!(ran.text(), "p q lab C none none\n", "{transport}: {ran:?}");
        server.wait_for_log(&format!("remote software version {client}"));
    }
}

/// Debian asks for Kerberos and sends the locale for everybody, and RHEL has rules for keys: that
/// costs nobody a process for each connection. Without `ssh_config_path` both files count.
#[test]
fn a_child_is_started_for_what_a_user_asks_for_and_not_the_machine() {
    let system = "SendEnv LANG LC_*\nGSSAPIAuthentication yes\nRequiredRSASize 2048\n";
    for (line, client) in [
        ("", "geto_"),
        ("GSSAPIAuthentication no", "geto_"),
        ("GSSAPIAuthentication yes", "OpenSSH_"),
        ("RequiredRSASize 2048", "OpenSSH_"),
        ("PubkeyAcceptedAlgorithms ssh-ed25519", "OpenSSH_"),
        ("RequiredRSASize 2048\n# caf\u{e9}, in Latin-1", "OpenSSH_"),
    ] {
        let server = Sshd::builder().name("server1").config("LogLevel DEBUG1").start();
        let world = World::new();
        let system = world.env.file("system", system);
        let section = server.ssh_config_section(server.address());
        let own = world.env.home().join(".ssh/config");
        fs_err::create_dir(own.parent().unwrap()).unwrap();
        let text = format!("{section}  {line}\n");
        let latin: Vec<u8> = text.chars().map(|char| u8::try_from(char).unwrap()).collect();
        fs_err::write(own, latin).unwrap();
        let lock = world.env.tmp().join("geto_lock").display().to_string();
        let ini = format!("[geto]\nremote_lock_path={lock}\n[hosts]\nserver1=server1\n");
        world.env.write_geto_ini(&ini);
        // `ssh` takes the home of the database of users.
        let uid = rustix::process::getuid().as_raw();
        let home = world.env.home().display().to_string();
        let passwd = world.env.file("passwd", format!("me:x:{uid}:{uid}::{home}:/bin/sh\n"));
        let mut command = world.env.command("/usr/bin/unshare");
        let mounts = "mount --bind \"$0\" /etc/passwd && mount --bind \"$1\" /etc/ssh/ssh_config \
                      && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", mounts]).arg(passwd).arg(system);
        let ran = world.env.run(command.args([GETO, "run", "-q", "-c", "echo in"]));
        assert_eq!(ran.text(), "in\n", "{line}: {ran:?}");
        server.wait_for_log(&format!("remote software version {client}"));
    }
}

#[test]
fn an_ssh_config_that_forks_is_read() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    let config = fs_err::read_to_string(ssh_config(&ini)).unwrap();
    fs_err::write(ssh_config(&ini), format!("{config}  ForkAfterAuthentication yes\n")).unwrap();
    for transport in ["native", "ssh"] {
        world.env.write_geto_ini(&format!("{ini}[server1]\ntransport={transport}\n"));
        let ran = world.geto(&["run", "-q", "-c", "echo in"]);
        assert_eq!(ran.text(), "in\n", "{transport}: {ran:?}");
    }
}
