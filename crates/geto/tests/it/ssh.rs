//! One task over real SSH servers.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use geto::{ErrorKind, Host, Outcome, Script, Task, TransportKind};
use geto_testkit::{Dropbear, Machine, Server, Sshd, login_shells};

use crate::support::{Place, below, runtime};

/// The host that `server` is, reached as its own `ssh_config` says.
pub(crate) fn host(server: &Server) -> Host {
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config().to_path_buf());
    host
}

/// What is left of tasks, once the host has had the time to remove them: geto does not wait for
/// the answer of a host that takes longer than a few milliseconds.
pub(crate) fn tasks_left(server: &Server) -> Vec<PathBuf> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let tasks = below(&server.inside("~/.cache/geto"), "tasks");
        if tasks.is_empty() || Instant::now() > deadline {
            return tasks;
        }
        std::thread::yield_now();
    }
}

/// Runs a task that shows everything at once, by both ways to an SSH server.
fn runs(server: &Server, data: &Path) {
    for transport in [TransportKind::Native, TransportKind::Ssh] {
        let mut host = host(server);
        host.transport = transport;
        runs_by(server, data, host);
    }
}

fn runs_by(server: &Server, data: &Path, host: Host) {
    let place = Place::of(host);
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
    assert_eq!(results.warnings, [""; 0]);
    assert_eq!(tasks_left(server), Vec::<PathBuf>::new());
}

pub(crate) fn data(dir: &Path) -> PathBuf {
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
        let machine = Machine::new().login_shell("/bin/bash").startup_file(format!("{reads}\n"));
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
        assert_eq!(tasks_left(&server), Vec::<PathBuf>::new());
    }
}

/// A disk that runs full while the task runs, or when it ends: nobody can tell what is missing, so
/// that is a failure whatever the script says, and the host keeps what there is.
#[test]
fn a_full_disk_is_a_failure() {
    let fill = "head -c 3000000 /dev/zero >big";
    for (line, code) in [(fill, 1), (&*format!("{fill}; exit 0"), 0)] {
        let server = Sshd::builder().machine(Machine::new().tmpfs("~/.cache", 1 << 20)).start();
        let place = Place::of(host(&server));
        let task = Task::new(Script::from_commands("fill", [line]));
        let error = runtime()
            .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap_err() });
        assert_eq!(error.kind(), ErrorKind::Results);
        let said = error.to_string();
        assert_eq!(said, "the disk was full when the task ended on host `server`");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("~/.cache/geto"), "{cause}");
        let hint = error.hint().unwrap();
        assert!(hint.starts_with(&format!("the script exited with code {code}; ")), "{hint}");
        let task = &below(&server.inside("~/.cache/geto"), "tasks")[0];
        assert!(fs_err::metadata(task.join("dir/big")).unwrap().len() > 900_000);
        let here = place.dir.path().join("results").join(error.task().unwrap().to_string());
        let outcome = fs_err::read_to_string(here.join("outcome.json")).unwrap();
        assert!(outcome.contains(&format!("\"code\": {code}")), "{outcome}");
        assert!(!here.join("files").exists());
    }
}

#[test]
fn a_binary_on_a_path_mounted_noexec_is_refused_and_a_script_runs() {
    let server = Sshd::builder().machine(Machine::new().noexec("~/.cache")).start();
    let dir = tempfile::tempdir().unwrap();
    runs(&server, &data(dir.path()));
    let place = Place::of(host(&server));
    let binary = fs_err::read("/bin/true").unwrap();
    let task = Task::new(Script::from_text("true", binary));
    let run = |server: &Server| {
        runtime().block_on(async { place.fleet().run_on_host(&task, server.name()).await })
    };
    let error = run(&server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotStarted);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("noexec"), "{cause}");
}

#[test]
fn a_binary_is_a_script_too() {
    let server = Sshd::builder().start();
    let place = Place::of(host(&server));
    let task = Task::new(Script::from_text("echo", fs_err::read("/bin/echo").unwrap())).arg("hi");
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.stdout().unwrap(), b"hi\n");
}

#[test]
fn a_script_of_a_file_is_read_when_it_runs() {
    let server = Sshd::builder().start();
    let place = Place::of(host(&server));
    let path = place.dir.path().join("job.v2.sh");
    let task = Task::new(Script::from_path(&path));
    let run =
        || runtime().block_on(async { place.fleet().run_on_host(&task, server.name()).await });
    let error = run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
    fs_err::write(
        &path,
        "#!/bin/sh -e\necho \"$GETO_SCRIPT $-\"; cat 2>/dev/stderr; false; echo no\n",
    )
    .unwrap();
    let results = run().unwrap();
    assert_eq!(results.outcome, Outcome::Exited { code: 1 });
    assert!(results.stdout().unwrap().starts_with(b"job.v2 e"), "{results:?}");
}

/// A shell that runs nothing has started nothing, which is safe to try again, and it says why.
#[test]
fn a_login_shell_that_runs_nothing_starts_nothing() {
    let says = "#!/bin/sh\necho 'no shell for you'\nexit 1\n";
    let dir = tempfile::tempdir().unwrap();
    let shell = dir.path().join("nologin");
    fs_err::write(&shell, says).unwrap();
    for path in [dir.path(), &shell] {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let server = Sshd::builder().machine(Machine::new().login_shell(&shell)).start();
    for transport in [TransportKind::Native, TransportKind::Ssh] {
        let mut host = host(&server);
        host.transport = transport;
        let place = Place::of(host);
        let task = Task::new(Script::from_commands("t", [":"]));
        let error = runtime()
            .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap_err() });
        assert_eq!(error.kind(), ErrorKind::NotStarted, "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("no shell for you"), "{cause}");
        assert!(error.hint().is_some());
    }
}

/// Nobody could answer a question there.
#[test]
fn a_task_that_asks_finds_neither_input_nor_terminal() {
    let server = Sshd::builder().start();
    let place = Place::of(host(&server));
    let line = "read answer || echo end; (: </dev/tty) 2>/dev/null || echo none";
    let task = Task::new(Script::from_commands("ask", [line]));
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.stdout().unwrap(), b"end\nnone\n");
}

#[test]
fn the_same_over_a_child_ssh() {
    let server = Sshd::builder().start();
    let mut host = host(&server);
    host.transport = TransportKind::Ssh;
    let place = Place::of(host);
    let line = "head -c 1000000 /dev/zero >big; printf '\\0'; printf e >&2; exit 255";
    let task = Task::new(Script::from_commands("all", [line]));
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.outcome, Outcome::Exited { code: 255 });
    assert_eq!(results.stdout().unwrap(), b"\0");
    assert_eq!(results.stderr().unwrap(), b"e");
    assert_eq!(
        fs_err::metadata(results.files.unwrap().directory.join("big")).unwrap().len(),
        1_000_000
    );
}

/// What a session was told to remove and did not, since it was ended over it, say.
#[test]
fn the_next_session_removes_what_an_earlier_one_left() {
    let server = Sshd::builder().machine(Machine::new().user("tester")).start();
    let place = Place::of(host(&server));
    let task = Task::new(Script::from_commands("t", [":"]));
    let run = || {
        runtime().block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() })
    };
    assert_eq!(run().warnings, [""; 0]);
    // The host may do so after geto has ended.
    assert_eq!(tasks_left(&server), Vec::<PathBuf>::new());
    let [gone] = &below(&server.inside("~/.cache/geto"), "gone")[..] else { panic!() };
    let left =
        gone.parent().unwrap().parent().unwrap().join("tasks").join(gone.file_name().unwrap());
    fs_err::create_dir_all(left.join("dir/sub")).unwrap();
    let owner = fs_err::metadata(left.parent().unwrap()).unwrap().uid();
    for path in [left.clone(), left.join("dir"), left.join("dir/sub")] {
        std::os::unix::fs::chown(path, Some(owner), None).unwrap();
    }
    assert_eq!(run().warnings, [""; 0]);
    assert!(!left.exists());
    // What belongs to another user stays, and that is said.
    fs_err::create_dir_all(left.join("dir/sub")).unwrap();
    let mut warned = Vec::new();
    runtime().block_on(async {
        let fleet = place.fleet();
        let run = fleet.run_on_host(&task, server.name()).follow(|event| {
            if let geto::Event::Warning(text) = event {
                warned.push(text);
            }
        });
        run.await.unwrap();
    });
    assert!(warned.len() == 1 && warned[0].contains("of an earlier task"), "{warned:?}");
}

/// A host whose clock is decades off, and that speaks another language: times are measured by a clock
/// that nobody sets, and the task finds the locale as it was.
#[test]
fn neither_a_wrong_clock_nor_a_locale_matters() {
    let dir = tempfile::tempdir().unwrap();
    let date = dir.path().join("date");
    fs_err::write(&date, "#!/bin/sh\necho 86400\n").unwrap();
    geto_testkit::set_mode(&date, 0o755);
    let server = Sshd::builder()
        .set_env("PATH", &format!("{}:/usr/bin:/bin", dir.path().display()))
        .set_env("LC_ALL", "de_DE.UTF-8")
        .start();
    let place = Place::of(host(&server));
    let task = Task::new(Script::from_commands("t", ["date; echo $LC_ALL; sleep 0.3; echo x >f"]));
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.stdout().unwrap(), b"86400\nde_DE.UTF-8\n");
    assert!(results.run_time >= Duration::from_millis(250), "{results:?}");
    assert!(results.run_time < Duration::from_secs(3600), "{results:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.abs_diff(results.started) < Duration::from_secs(3600), "{results:?}");
    assert_eq!(results.files.unwrap().count, 1);
}
