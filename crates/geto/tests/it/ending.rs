//! Whatever ends a task ends all its processes.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geto::transport::{LocalTransport, Transport};
use geto::{ErrorKind, Event, Host, Outcome, Script, Task};
use geto_testkit::{Cut, Machine, Proxy, Sshd};

use crate::support::{Place, kind, runtime, under_each_shell};

/// Each kind of process that gets away from a process group, as a line of a script that puts its
/// process id into `$P/<kind>`.
const ESCAPEES: [(&str, &str); 9] = [
    ("background", "sh -c 'echo $$ >$P/background; exec sleep 1000' &"),
    ("deaf", "sh -c 'trap \"\" TERM HUP INT; echo $$ >$P/deaf; while :; do sleep 1000; done' &"),
    ("session", "setsid sh -c 'echo $$ >$P/session; exec sleep 1000' &"),
    (
        "no-environment",
        "env -i P=$P setsid sh -c 'echo $$ >$P/no-environment; exec env -i sleep 1000' &",
    ),
    (
        "elsewhere",
        "(cd /; setsid sh -c 'echo $$ >$P/elsewhere; exec sleep 1000' </dev/null >/dev/null 2>&1) &",
    ),
    (
        "holds-output",
        "(cd /; env -i P=$P setsid sh -c 'echo $$ >$P/holds-output; exec env -i sleep 1000') &",
    ),
    (
        "overwritten",
        "setsid perl -e 'open F, \">$ENV{P}/overwritten\"; print F $$; close F; $0 = \"x\" x 9000; sleep 1000' &",
    ),
    (
        "not-dumpable",
        "setsid perl -e 'syscall(157, 4, 0, 0, 0, 0); open F, \">$ENV{P}/not-dumpable\"; print F $$; close F; sleep 1000' &",
    ),
    ("daemon", "sh -c '(setsid sh -c \"echo \\$\\$ >$P/daemon; exec sleep 1000\" &) & exit'"),
];

/// A script that starts each of them, waits until all are there, and goes on with `then`.
fn escapees(pids: &Path, then: &str) -> Task {
    let lines = ESCAPEES.iter().map(|(_, line)| line.to_string());
    let wait =
        ESCAPEES.iter().map(|(name, _)| format!("until [ -s $P/{name} ]; do sleep 0.01; done"));
    let lines = lines.chain(wait).chain([then.to_owned()]);
    Task::new(Script::from_commands("escape", lines)).env("P", pids.display().to_string())
}

/// Names those whose processes are alive.
fn alive(pids: &Path) -> Vec<&'static str> {
    ESCAPEES.iter().map(|(name, _)| *name).filter(|name| is_alive(&pids.join(name))).collect()
}

/// Whether the process lives whose number is in `file`.
fn is_alive(file: &Path) -> bool {
    let pid = fs_err::read_to_string(file).unwrap();
    let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn local() -> Arc<dyn Transport> {
    Arc::new(LocalTransport::new())
}

#[test]
fn a_normal_exit_ends_what_was_left_behind() {
    under_each_shell(|transport, shell| async move {
        let place = Place::new();
        let results = place.run(&escapees(place.dir.path(), "echo done"), &transport).await;
        assert_eq!(results.outcome, Outcome::Exited { code: 0 });
        assert_eq!(results.stdout().unwrap(), b"done\n");
        assert_eq!(alive(place.dir.path()), [""; 0], "{}", shell.name);
        assert_eq!(results.warnings, [""; 0]);
    });
}

/// It began before the task's own session.
#[test]
fn a_normal_exit_ends_what_setup_left_behind() {
    under_each_shell(|transport, shell| async move {
        let pids = tempfile::tempdir().unwrap();
        let mut host = Host::local();
        let pid = pids.path().join("pid");
        host.setup = Some(format!("sleep 1000 & echo $! >'{}'", pid.display()));
        let task = Task::new(Script::from_commands("job", [":"]));
        let results = Place::of(host).run(&task, &transport).await;
        assert_eq!(results.outcome, Outcome::Exited { code: 0 });
        assert!(!is_alive(&pid), "{}", shell.name);
    });
}

/// On a busy host a look at all processes takes long, and the time until KILL must not grow with it.
#[test]
fn a_process_that_is_known_is_waited_for_without_a_look_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let looks = dir.path().join("looks");
    let program = dir.path().join("ls");
    let text = format!(
        "#!/bin/sh\ncase $* in */proc*) echo >>'{}' ;; esac\nexec /bin/ls \"$@\"\n",
        looks.display()
    );
    fs_err::write(&program, text).unwrap();
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let server = Sshd::builder().set_env("PATH", &path).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config());
    let place = Place::of(host);
    // It is deaf before the script ends.
    let deaf = "trap '' TERM; (while :; do sleep 1000; done) & exit";
    let task = Task::new(Script::from_commands("deaf", [deaf]));
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.warnings, [""; 0]);
    let looks = fs_err::read_to_string(looks).unwrap().lines().count();
    assert!(looks < 15, "{looks} looks");
}

#[test]
fn a_timeout_ends_every_kind_of_process() {
    let place = Place::new();
    let task = escapees(place.dir.path(), "sleep 1000").timeout(Duration::from_secs(3));
    let results = runtime().block_on(place.run(&task, &local()));
    assert_eq!(results.outcome, Outcome::TimedOut);
    assert_eq!(alive(place.dir.path()), [""; 0]);
}

#[test]
fn a_cancel_ends_every_kind_of_process() {
    let place = Place::new();
    let fleet = place.fleet();
    let task = escapees(place.dir.path(), "echo up; sleep 1000");
    let run = fleet.run_on_host(&task, "local");
    let canceller = run.canceller();
    let results = runtime().block_on(async {
        run.follow(move |event| {
            if kind(&event) == "stdout" {
                canceller.cancel();
            }
        })
        .await
        .unwrap()
    });
    assert_eq!(results.outcome, Outcome::Cancelled);
    assert_eq!(alive(place.dir.path()), [""; 0]);
}

/// Its own directory with output and outcome is gone: there is nothing to wait for.
#[test]
fn a_task_that_removes_its_own_directory_is_lost_and_ended() {
    under_each_shell(|transport, shell| async move {
        for (then, survives) in [("exit 0", false), ("sleep 1000", true)] {
            let place = Place::new();
            let pid = place.dir.path().join("pid");
            let lines = [
                format!("echo $$ >{}", pid.display()),
                "rm -rf \"${PWD%/*}\"".to_owned(),
                then.to_owned(),
            ];
            let task = Task::new(Script::from_commands("remover", lines));
            let error = place.try_run(&task, &transport).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Lost, "{}: {error}", shell.name);
            if survives {
                let pid = fs_err::read_to_string(pid).unwrap();
                let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.trim()));
                assert!(
                    !stat.is_ok_and(|stat| !stat.contains(") Z ")),
                    "{}: it runs on",
                    shell.name
                );
            }
        }
    });
}

/// What has become another user's, by sudo or the like, can't be ended, and is named.
#[test]
fn a_process_of_another_user_is_named() {
    let server = Sshd::builder().machine(Machine::new().user("tester")).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config());
    let place = Place::of(host);
    // A program that becomes another user for the tester, and for nobody else.
    let group = fs_err::metadata(server.home()).unwrap().gid();
    let become_other = place.dir.path().join("become");
    fs_err::copy("/usr/bin/setpriv", &become_other).unwrap();
    std::os::unix::fs::chown(&become_other, Some(0), Some(group)).unwrap();
    let mode = |path, mode| {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(become_other.as_path(), 0o4750);
    mode(place.dir.path(), 0o755);
    let line = format!(
        "cd /; '{}' --reuid 59991 --clear-groups sleep 1000 & \
         until grep -q '^Uid:.59991' /proc/$!/status; do sleep 0.01; done; echo $!",
        become_other.display()
    );
    let task = Task::new(Script::from_commands("t", [line]));
    let fleet = place.fleet();
    let run = fleet.run_on_host(&task, server.name()).keep(true);
    let results = runtime().block_on(run.into_future()).unwrap();
    assert_eq!(results.outcome, Outcome::Exited { code: 0 });
    let pid = String::from_utf8(results.stdout().unwrap()).unwrap();
    let [warning] = &results.warnings[..] else { panic!("{results:?}") };
    let named = "processes of the task could not be ended: ";
    assert!(warning.starts_with(named) && warning.contains(pid.trim()), "{warning}");
    let outcome = fs_err::read_to_string(results.directory.join("outcome.json")).unwrap();
    assert!(outcome.contains(named), "{outcome}");
    // Whoever only waits for the end, or brings it about, hears of it, too.
    let mut told = Vec::new();
    let attach = fleet.attach(place.host.clone(), results.id).follow(|event| {
        if let Event::Warning(text) = event {
            told.push(text);
        }
    });
    assert_eq!(runtime().block_on(attach.watch()).unwrap(), Some(results.outcome));
    assert_eq!(told, results.warnings);
    server.kill_processes();
}

#[test]
fn processes_are_left_alone_when_asked_for() {
    let place = Place::new();
    let pid = place.dir.path().join("background");
    let mut task = Task::new(Script::from_commands(
        "leave",
        [
            "sh -c 'echo $$ >$P/background; exec sleep 1000' &",
            "until [ -s $P/background ]; do sleep 0.01; done",
        ],
    ))
    .env("P", place.dir.path().display().to_string());
    task.leave = true;
    runtime().block_on(place.run(&task, &local()));
    let pid: i32 = fs_err::read_to_string(pid).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_script_that_signals_its_group_ends_only_itself() {
    let place = Place::new();
    let task = Task::new(Script::from_commands("group", ["echo up; kill -KILL 0; sleep 1000"]));
    let results = runtime().block_on(place.run(&task, &local()));
    assert_eq!(results.outcome, Outcome::Signalled { signal: 9 });
    assert_eq!(results.stdout().unwrap(), b"up\n");
}

#[test]
fn the_tree_is_ended_on_a_host_without_proc_and_setsid() {
    for machine in [Machine::new().no_proc(), Machine::new().without_tools(&["setsid"])] {
        let server = Sshd::builder().machine(machine).start();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config());
        let place = Place::of(host);
        let task = Task::new(Script::from_commands(
            "tree",
            ["sleep 1000 & sleep 1000 & (sleep 1000); wait"],
        ))
        .timeout(Duration::from_secs(1));
        let results = runtime()
            .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
        assert_eq!(results.outcome, Outcome::TimedOut);
        // The session's own last wait is over within its longest tick.
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.processes().iter().any(|process| process.name == "sleep") {
            assert!(Instant::now() < deadline, "{:?}", server.processes());
            std::thread::yield_now();
        }
    }
}

/// The link breaks when the task is up; the host ends it all the same.
#[test]
fn a_timeout_holds_without_a_link() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address()).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
    let place = Place::of(host);
    let fleet = place.fleet();
    let task = Task::new(Script::from_commands("t", ["echo up; sleep 1000"]))
        .timeout(Duration::from_secs(2));
    let run = fleet.run_on_host(&task, server.name()).reconnect(Duration::ZERO);
    let run = run.follow(|event| {
        if kind(&event) == "stdout" {
            proxy.cut(Cut::Reset);
        }
    });
    let error = runtime().block_on(run.into_future()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(error.task().is_some() && error.hint().is_some(), "{error:?}");
    let outcome = wait_for_outcome(&server.inside("~/.cache/geto"));
    assert!(outcome.contains("why=timed-out"), "{outcome}");
}

#[test]
fn dropping_the_future_leaves_the_task_on_its_host() {
    let place = Place::new();
    let fleet = place.fleet();
    let task = Task::new(Script::from_commands(
        "t",
        ["echo up; sleep 0.5; echo down; echo x >file; exit 4"],
    ));
    runtime().block_on(async {
        let (up, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let run = fleet.run_on_host(&task, "local").follow(move |event| {
            if let Event::Stdout(_) = event {
                up.send(()).unwrap();
            }
        });
        tokio::select! {
            _ = run.into_future() => panic!("it was to be dropped"),
            _ = seen.recv() => {}
        }
    });
    let outcome = wait_for_outcome(&place.dir.path().join("work"));
    assert!(outcome.contains("status=4"), "{outcome}");
    let [directory] = &place.tasks()[..] else { panic!("{:?}", place.tasks()) };
    assert_eq!(fs_err::read(directory.join("out")).unwrap(), b"up\ndown\n");
    assert_eq!(fs_err::read(directory.join("dir/file")).unwrap(), b"x\n");
}

/// Waits until the only task below `work` has written its outcome.
fn wait_for_outcome(work: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        for path in walk(work) {
            if path.file_name().is_some_and(|name| name == "outcome") {
                let text = fs_err::read_to_string(path).unwrap_or_default();
                if text.contains("status=") {
                    return text;
                }
            }
        }
        assert!(Instant::now() < deadline, "no outcome below {}", work.display());
        std::thread::yield_now();
    }
}

fn walk(path: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    entries.flatten().flat_map(|entry| walk(&entry.path())).collect()
}
