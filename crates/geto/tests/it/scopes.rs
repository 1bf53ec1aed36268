//! Hosts that end the processes of a session with it.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use geto::{Event, Fault, FaultKind, Fleet, Host, Outcome, Script, Task, TaskState};
use geto_testkit::{ControlGroups, Machine, Server, Sshd, set_mode, system_shells};

use crate::support::{Place, runtime};
use crate::world::tasks;

/// How long processes may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says of logind what is in the file `logind`, and that nobody answers where there is none; does for
/// scopes what systemd would in the control group that the file `groups` names.
const BUSCTL: &str = r#"#!/bin/sh
case $* in
  *get-property*)
    cat DIR/logind
    exit
    ;;
esac
echo "$*" >>DIR/asked
groups=$(cat DIR/groups) || exit 0
name=$9
mkdir "$groups/$name"
shift 14
while [ $# -gt 1 ]; do
  echo "$1" >"$groups/$name/cgroup.procs"
  shift
done
"#;
/// Says what is in the file `mode`, when it is not to wait for ever for a systemd that hangs.
const SYSTEMCTL: &str = "#!/bin/sh\n[ \"$SYSTEMD_BUS_TIMEOUT\" != 5 ] || cat DIR/mode\n";

const KILLS: &str = "[Login]\nKillUserProcesses=yes\n";

/// As systemd names them for the first two connections of a socket.
const UNITS: [&str; 2] =
    ["sshd@0-127.0.0.1:22-127.0.0.1:5000.service", "sshd@1-127.0.0.1:22-127.0.0.1:5001.service"];

/// A server whose host has a `busctl` and a `systemctl` of the test's own, and what was asked of the
/// former.
struct World {
    server: Server,
    place: Place,
    asked: PathBuf,
}

impl World {
    /// Its sessions are logind's.
    fn new() -> Self {
        let machine = Machine::new()
            .user("tester")
            .tmpfs("/etc/systemd", 1 << 20)
            .tmpfs("/var/lib/systemd", 1 << 20);
        Self::of(Sshd::builder().machine(machine).set_env("XDG_SESSION_ID", "c1"))
    }

    fn of(sshd: Sshd) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        set_mode(&dir, 0o777);
        for (name, text) in [("busctl", BUSCTL), ("systemctl", SYSTEMCTL)] {
            let file = dir.join(name);
            fs_err::write(&file, text.replace("DIR", &dir.display().to_string())).unwrap();
            set_mode(&file, 0o755);
        }
        let server = sshd
            .set_env("XDG_RUNTIME_DIR", &dir.display().to_string())
            .set_env("PATH", &format!("{}:/usr/bin:/bin", dir.display()))
            .start();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config());
        Self { server, place: Place::of(host), asked: dir.join("asked") }
    }

    /// What one of the programs finds in a file of that name.
    fn let_say(&self, name: &str, text: &str) {
        let file = self.asked.with_file_name(name);
        fs_err::write(&file, text).unwrap();
        set_mode(&file, 0o644);
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

/// It may have been started with another configuration, or built so; and it spares some.
#[test]
fn what_logind_says_counts_more_than_its_configuration() {
    let world = World::new();
    for (says, configured, is_fragile) in [
        ("b false\nas 0\nas 0\n", KILLS, false),
        ("b true\nas 0\nas 0\n", "", true),
        ("b true\nas 1 \"tester\"\nas 0\n", "", false),
        ("b true\nas 0\nas 1 \"athos\"\n", "", false),
        ("b false\nas 0\nas 2 \"athos\" \"tester\"\n", "", true),
        ("b true\nas 1 \"athos\"\nas 0\n", "", true),
    ] {
        world.let_say("logind", says);
        world.set_logind(configured);
        assert_eq!(world.leave().len(), usize::from(is_fragile), "{says}");
        world.server.kill_processes();
    }
    // Of users the check asks the configuration, which tells whom it names.
    for (says, configured, is_told) in
        [("b true\n", "", true), ("b false\n", KILLS, false), ("", KILLS, true)]
    {
        world.let_say("logind", says);
        world.set_logind(configured);
        let checkup =
            runtime().block_on(async { world.fleet().check(&world.place.host).await.unwrap() });
        let is_it = checkup.faults.iter().any(|fault| fault.kind == FaultKind::Logind);
        assert_eq!(is_it, is_told, "{says} {configured}");
    }
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

/// A server that seems to have been started by a socket, for each connection anew: its control group is
/// that of a unit for the connection.
fn in_unit(machine: Machine, groups: &ControlGroups) -> World {
    let world = World::of(Sshd::builder().machine(machine));
    groups.put(world.server.pid(), UNITS[0]);
    world
}

/// What systemd does when the first connection has ended; further ones get units of their own.
fn end_unit(world: &World, groups: &ControlGroups) {
    groups.put(world.server.pid(), UNITS[1]);
    groups.kill(UNITS[0]);
}

/// A unit that is there for a connection ends with it all that it has left.
#[test]
fn a_task_in_the_unit_of_its_connection_is_warned_of_and_its_loss_has_that_reason() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let groups = ControlGroups::new();
        let machine = Machine::new().user("tester").system_shell(&shell.path);
        let world = in_unit(machine, &groups);
        // In such units whose `KillMode` is another one nothing is ended.
        world.let_say("mode", "KillMode=process\n");
        assert_eq!(world.leave(), [""; 0]);
        world.server.kill_processes();
        world.let_say("mode", "KillMode=control-group\n");
        let warnings = world.leave();
        assert!(
            warnings.len() == 1
                && warnings[0].contains(UNITS[0])
                && warnings[0].contains("`KillMode=process`"),
            "{warnings:?}"
        );
        end_unit(&world, &groups);
        runtime().block_on(async {
            let found = world.fleet().tasks(&world.place.host).await.unwrap();
            assert_eq!(found.len(), 2);
            for task in found {
                assert_eq!(task.state, TaskState::Ended);
                let Some(Outcome::Lost { reason }) = task.outcome else { panic!("{:?}", task.id) };
                assert!(reason.contains("sshd@.service"), "{reason}");
            }
            let checkup = world.fleet().check(&world.place.host).await.unwrap();
            let of_unit = |fault: &&Fault| fault.kind == FaultKind::ConnectionUnit;
            let fault = checkup.faults.iter().find(of_unit).unwrap();
            assert!(fault.message.contains("`sshd@.service`"), "{fault:?}");
            assert!(fault.hint.contains("`loginctl enable-linger tester`"), "{fault:?}");
        });
        assert!(!world.asked.exists());
    }
}

/// By the user's manager, or by that of the system where the user is root.
#[test]
fn a_task_with_a_scope_of_its_own_outlives_the_unit_of_its_connection() {
    for user in ["tester", "root"] {
        let groups = ControlGroups::new();
        let mut machine = Machine::new().tmpfs("/var/lib/systemd", 1 << 20);
        if user != "root" {
            machine = machine.user(user);
        }
        let world = in_unit(machine, &groups);
        world.let_say("groups", &groups.path().display().to_string());
        let _bus = (user != "root").then(|| world.linger());
        assert_eq!(world.leave(), [""; 0]);
        let asked = fs_err::read_to_string(&world.asked).unwrap();
        let manager = if user == "root" { "--system " } else { "--user " };
        assert!(asked.starts_with(manager), "{asked}");
        end_unit(&world, &groups);
        runtime().block_on(async {
            let fleet = world.fleet();
            let found = fleet.tasks(&world.place.host).await.unwrap();
            assert_eq!(found[0].state, TaskState::Running, "{found:?}");
            let attach = fleet.attach(world.place.host.clone(), found[0].id).keep(false);
            attach.canceller().cancel();
            assert_eq!(attach.await.unwrap().outcome, Outcome::Cancelled);
            let checkup = fleet.check(&world.place.host).await.unwrap();
            assert!(
                !checkup.faults.iter().any(|fault| fault.kind == FaultKind::ConnectionUnit),
                "{:?}",
                checkup.faults
            );
        });
        let begun = Instant::now();
        while !world.server.processes().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", world.server.processes());
        }
    }
}
