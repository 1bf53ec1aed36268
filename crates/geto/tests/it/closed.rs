//! Directories that a task has closed to its own user, which is not root.

use geto::{Bring, ErrorKind, Host, Results, Script, Task};
use geto_testkit::{Machine, Server, Sshd, system_shells};

use crate::ssh::tasks_left;
use crate::support::{Place, runtime};

fn run(server: &Server, line: &str, bring: Bring) -> Result<Results, geto::Error> {
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config().to_path_buf());
    let place = Place::of(host);
    let mut task = Task::new(Script::from_commands("closed", [line]));
    task.bring = bring;
    let run = async { place.fleet().run_on_host(&task, server.name()).await };
    runtime().block_on(run).inspect(|results| {
        // Read before its place is gone.
        if let Some(files) = &results.files {
            for name in ["b", "out/b"] {
                let path = files.directory.join(name);
                assert!(!path.exists() || fs_err::read(path).unwrap() == b"precious\n");
            }
        }
    })
}

fn globs(glob: &str) -> Bring {
    Bring::Globs(vec![glob.to_owned()])
}

#[test]
fn what_a_task_has_closed_comes_home_all_the_same() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new().user("tester").system_shell(&shell.path);
        let server = Sshd::builder().machine(machine).start();
        for mode in ["0", "100", "300"] {
            for size in [9, 600_000] {
                let line = format!("echo precious >b; head -c {size} /dev/zero >c; chmod {mode} .");
                let files = run(&server, &line, Bring::All).unwrap().files;
                assert_eq!(files.map(|files| files.count), Some(2), "{mode}");
            }
            let line = format!("mkdir out; echo precious >out/b; chmod {mode} out .");
            let results = run(&server, &line, globs("out/*")).unwrap();
            assert_eq!(results.files.map(|files| files.count), Some(1), "{mode}");
            assert_eq!(results.warnings, [""; 0]);
        }
        assert_eq!(tasks_left(&server), Vec::<std::path::PathBuf>::new());
    }
}

/// Only the top of all files is opened: below it, modes come home as they are, or nothing does.
#[test]
fn what_can_not_be_opened_is_a_failure_and_stays_on_the_host() {
    let server = Sshd::builder().machine(Machine::new().user("tester")).start();
    let line = "mkdir out; echo precious >out/b; chmod 300 out";
    let error = run(&server, line, Bring::All).unwrap_err();
    assert_eq!((error.kind(), error.exit_code().0), (ErrorKind::Results, 123), "{error:?}");
    assert_eq!(tasks_left_now(&server), 1);
}

fn tasks_left_now(server: &Server) -> usize {
    crate::support::below(&server.inside("~/.cache/geto"), "tasks").len()
}
