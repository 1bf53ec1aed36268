//! Hosts that end the processes of a session with it.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use geto::{Event, Fleet, Host, Outcome, Script, Task, TaskState};
use geto_testkit::{Machine, Server, Sshd, set_mode};

use crate::support::{Place, runtime};
use crate::world::tasks;

const KILLS: &str = "[Login]\nKillUserProcesses=yes\n";

/// A server whose sessions are logind's, and what `busctl` was asked there.
struct World {
    server: Server,
    place: Place,
    asked: PathBuf,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        set_mode(&dir, 0o777);
        let asked = dir.join("asked");
        fs_err::write(
            dir.join("busctl"),
            format!("#!/bin/sh\necho \"$*\" >>{}\n", asked.display()),
        )
        .unwrap();
        set_mode(&dir.join("busctl"), 0o755);
        let machine = Machine::new()
            .user("tester")
            .tmpfs("/etc/systemd", 1 << 20)
            .tmpfs("/var/lib/systemd", 1 << 20);
        let server = Sshd::builder()
            .machine(machine)
            .set_env("XDG_SESSION_ID", "c1")
            .set_env("XDG_RUNTIME_DIR", &dir.display().to_string())
            .set_env("PATH", &format!("{}:/usr/bin:/bin", dir.display()))
            .start();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config());
        Self { server, place: Place::of(host), asked }
    }

    fn set_logind(&self, text: &str) {
        fs_err::write(self.server.inside("/etc/systemd/logind.conf"), text).unwrap();
    }

    /// Lets the user's manager stay.
    fn linger(&self) -> UnixListener {
        let linger = self.server.inside("/var/lib/systemd/linger");
        fs_err::create_dir(&linger).unwrap();
        fs_err::write(linger.join("tester"), "").unwrap();
        for path in [linger.join("tester"), linger] {
            set_mode(&path, 0o755);
        }
        UnixListener::bind(self.asked.with_file_name("bus")).unwrap()
    }

    /// Starts a task and leaves it; returns what was warned of.
    fn leave(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let task = Task::new(Script::from_commands("t", ["echo up; sleep 1000"]));
        runtime().block_on(async {
            let fleet = self.fleet();
            let run = fleet.run_on_host(&task, self.server.name()).follow(|event| {
                if let Event::Warning(text) = event {
                    warnings.push(text);
                }
            });
            run.detach().await.unwrap()
        });
        warnings
    }

    fn fleet(&self) -> Fleet {
        self.place.fleet()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(fs_err::remove_dir_all(self.asked.parent().unwrap()));
    }
}

/// What is left there may end with its session: that is said, and is the reason when it has happened.
#[test]
fn a_task_that_logind_may_end_is_warned_of_and_its_loss_has_that_reason() {
    let world = World::new();
    assert_eq!(world.leave(), [""; 0]);
    world.server.kill_processes();
    world.set_logind(KILLS);
    let warnings = world.leave();
    assert!(
        warnings.len() == 1 && warnings[0].contains("`loginctl enable-linger`"),
        "{warnings:?}"
    );
    world.server.kill_processes();
    runtime().block_on(async {
        let found = world.fleet().tasks(&world.place.host).await.unwrap();
        assert_eq!(found.len(), 2);
        for task in found {
            assert_eq!(task.state, TaskState::Ended);
            let Some(Outcome::Lost { reason }) = task.outcome else { panic!("{:?}", task.outcome) };
            assert!(reason.contains("KillUserProcesses"), "{reason}");
        }
    });
    assert!(!world.asked.exists());
}

/// A manager that stays is asked to take the task's supervisor, once.
#[test]
fn a_supervisor_gets_a_scope_of_its_own_where_a_manager_stays() {
    let world = World::new();
    let _bus = world.linger();
    // Where nobody ends what a session leaves, nobody is asked.
    world.leave();
    assert!(!world.asked.exists());
    world.server.kill_processes();
    world.set_logind(KILLS);
    // Who could not be taken is warned of.
    assert_eq!(world.leave().len(), 1);
    let asked = fs_err::read_to_string(&world.asked).unwrap();
    let asked_for = |task: &PathBuf| asked.contains(&*task.file_name().unwrap().to_string_lossy());
    let directory = tasks(&world.server).into_iter().find(asked_for).unwrap();
    let supervisor = fs_err::read_to_string(directory.join("supervisor")).unwrap();
    let pid = supervisor.split_whitespace().last().unwrap().split(':').next().unwrap();
    let id = directory.file_name().unwrap().to_str().unwrap();
    let wanted =
        format!("StartTransientUnit ssa(sv)a(sa(sv)) geto-{id}.scope fail 1 PIDs au 1 {pid} 0\n");
    assert!(asked.ends_with(&wanted) && asked.lines().count() == 1, "{asked}");
    world.server.kill_processes();
}
