//! One task over real SSH servers.

use std::path::Path;

use geto::{ErrorKind, Host, Outcome, Script, Task};
use geto_testkit::{Dropbear, Machine, Server, Sshd, login_shells};

use crate::support::{Place, runtime};

/// The host that `server` is, reached as its own `ssh_config` says.
fn host(server: &Server) -> Host {
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config().to_path_buf());
    host
}

fn tasks_left(server: &Server) -> Vec<std::path::PathBuf> {
    let cache = server.inside("~/.cache/geto");
    let Ok(machines) = fs_err::read_dir(&cache) else { return Vec::new() };
    let tasks = machines
        .flat_map(|machine| fs_err::read_dir(machine.unwrap().path().join("tasks")).unwrap());
    tasks.map(|task| task.unwrap().path()).collect()
}

/// Runs a task that shows everything at once.
fn runs(server: &Server, data: &Path) {
    let place = Place::of(host(server));
    let script = Script::from_commands(
        "all",
        [
            "cat DEPS/data/f; printf 'e\\0' >&2; mkdir out; echo \"$1\" >out/arg; echo $GETO_HOST >h; exit 3",
        ],
    );
    let task = Task::new(script).dependency(data).arg("a b\n'");
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.outcome, Outcome::Exited { code: 3 });
    assert_eq!(results.stdout().unwrap(), b"\0\xff\n");
    assert_eq!(results.stderr().unwrap(), b"e\0");
    let files = results.files.unwrap();
    assert_eq!(fs_err::read(files.directory.join("out/arg")).unwrap(), b"a b\n'\n");
    assert_eq!(
        fs_err::read(files.directory.join("h")).unwrap(),
        format!("{}\n", server.name()).as_bytes()
    );
    assert_eq!(tasks_left(server), Vec::<std::path::PathBuf>::new());
}

fn data(dir: &Path) -> std::path::PathBuf {
    let data = dir.join("data");
    fs_err::create_dir_all(&data).unwrap();
    fs_err::write(data.join("f"), b"\0\xff\n").unwrap();
    data
}

#[test]
fn runs_on_openssh() {
    let dir = tempfile::tempdir().unwrap();
    runs(&Sshd::builder().start(), &data(dir.path()));
}

#[test]
fn runs_on_dropbear() {
    let dir = tempfile::tempdir().unwrap();
    runs(&Dropbear::builder().start(), &data(dir.path()));
}

#[test]
fn runs_under_every_login_shell_with_noisy_start_up_files() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    for shell in login_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new()
            .login_shell(&shell.path)
            .startup_file("echo noise\necho more noise >&2\n")
            .home_file(".ssh/rc", "echo from rc\necho from rc >&2\n");
        runs(&Sshd::builder().machine(machine).start(), &data);
    }
}

#[test]
fn runs_when_start_up_files_read_their_input() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    for reads in [
        "read answer",
        "read a; read b; read c",
        "head -c 3000 >/dev/null",
        "dd bs=1M count=1 >/dev/null 2>&1",
    ] {
        eprintln!("{reads}");
        let machine = Machine::new().login_shell("/bin/bash").startup_file(&format!("{reads}\n"));
        runs(&Sshd::builder().machine(machine).start(), &data);
    }
}

#[test]
fn runs_without_tools_and_without_proc() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let without = Machine::new().without_tools(&["timeout", "setsid", "flock"]);
    runs(&Sshd::builder().machine(without).start(), &data);
    runs(&Sshd::builder().machine(Machine::new().no_proc()).start(), &data);
}

#[test]
fn a_work_path_that_cannot_be_used_is_a_clear_error() {
    let cases = [
        (Machine::new().read_only("~/.cache"), "Read-only file system"),
        (Machine::new().tmpfs("~/.cache", 8192), "No space left on device"),
    ];
    for (machine, reason) in cases {
        let server = Sshd::builder().machine(machine).start();
        let place = Place::of(host(&server));
        let task = Task::new(Script::from_text("big", vec![b'#'; 100_000]));
        let error = runtime()
            .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap_err() });
        assert_eq!(error.kind(), ErrorKind::NotStarted);
        assert_eq!(error.host(), Some(server.name()));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(reason) && cause.contains(".cache/geto"), "{cause}");
        assert_eq!(tasks_left(&server), Vec::<std::path::PathBuf>::new());
    }
}
