//! Tasks that live on hosts: listed, followed, fetched, ended and removed, from whatever origin.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use geto::{
    Bring, Event, Fleet, Host, HostTask, Outcome, OutputFrom, Removal, Script, Task, TaskId,
    TaskState,
};
use geto_testkit::{Machine, Server, Sshd, system_shells};

use crate::support::{Place, below, kind, pid_file, runtime};

/// A server whose /bin/sh is `shell`, and two origins that know it.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) place: Place,
    pub(crate) one: Fleet,
    pub(crate) other: Fleet,
    pub(crate) gate: PathBuf,
}

impl World {
    pub(crate) fn of(server: Server) -> Self {
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config());
        let place = Place::of(host);
        let gate = place.dir.path().join("gate");
        let other = Fleet::new([place.host.clone()], place.dir.path().join("other"));
        Self { one: place.fleet(), other, gate, server, place }
    }

    /// A task that writes, waits for the gate, and writes more.
    pub(crate) fn task(&self) -> Task {
        let lines = [
            "seq 5; echo early >&2; echo half >file".to_owned(),
            format!("until [ -e '{}' ]; do sleep 0.02; done", self.gate.display()),
            "echo late; echo whole >file; exit 4".to_owned(),
        ];
        Task::new(Script::from_commands("my job", lines))
    }

    pub(crate) fn open_gate(&self) {
        fs_err::write(&self.gate, "").unwrap();
    }

    pub(crate) fn host(&self) -> Host {
        self.place.host.clone()
    }

    pub(crate) async fn start(&self, task: &Task) -> TaskId {
        let detached = self.one.run_on(task, self.host()).detach().await.unwrap();
        // What it writes first is written.
        loop {
            let out = self.directories()[0].join("err");
            if fs_err::read(out).unwrap() == b"early\n" {
                return detached.id;
            }
        }
    }

    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        below(&self.server.inside("~/.cache/geto"), "tasks")
    }

    pub(crate) async fn tasks(&self) -> Vec<HostTask> {
        self.other.tasks(&self.host()).await.unwrap()
    }

    async fn the_task(&self) -> HostTask {
        let [task] = &self.tasks().await[..] else { panic!() };
        task.clone()
    }
}

pub(crate) fn under_each_system_shell(test: impl AsyncFn(World)) {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new().system_shell(&shell.path);
        let world = World::of(Sshd::builder().machine(machine).start());
        runtime().block_on(test(world));
    }
}

#[test]
fn a_task_that_was_left_is_found_followed_and_fetched_from_anywhere() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        let task = world.the_task().await;
        assert_eq!((task.id, &*task.script, task.state), (id, "my job", TaskState::Running));
        assert_eq!((&*task.slots, &task.outcome), ("1", &None));
        assert!(task.origin.contains('@') && task.cpu_time.is_some(), "{task:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(now.abs_diff(task.started.unwrap()) < Duration::from_secs(60), "{task:?}");
        // What there is so far.
        let so_far = world.other.attach(world.host(), id).so_far().await.unwrap();
        assert_eq!(so_far.outcome, Outcome::Running);
        assert_eq!(so_far.stdout().unwrap(), b"1\n2\n3\n4\n5\n");
        let files = so_far.files.unwrap();
        assert_eq!(fs_err::read(files.directory.join("file")).unwrap(), b"half\n");
        // To its end, as if it had been run from there.
        let mut shown = Vec::new();
        let attach = world.other.attach(world.host(), id).stdout(OutputFrom::Now);
        let attach = attach.follow(|event| match event {
            Event::Started { .. } => world.open_gate(),
            Event::Stdout(bytes) => shown.extend_from_slice(&bytes),
            _ => {}
        });
        let results = attach.await.unwrap();
        assert_eq!(results.outcome, Outcome::Exited { code: 4 });
        assert_eq!((&*results.script, results.id), ("my job", id));
        assert_eq!(shown, b"late\n");
        assert_eq!(results.stdout().unwrap(), b"1\n2\n3\n4\n5\nlate\n");
        let file = results.files.unwrap().directory.join("file");
        assert_eq!(fs_err::read(file).unwrap(), b"whole\n");
        // It is still there, and can be fetched again, by others too, until it is removed.
        let task = world.the_task().await;
        assert_eq!((task.state, task.outcome), (TaskState::Ended, Some(results.outcome)));
        for fleet in [&world.one, &world.other] {
            let fetched = fleet.attach(world.host(), id).bring(Bring::Nothing).await.unwrap();
            assert_eq!(fetched.stderr().unwrap(), b"early\n");
            assert_eq!(fetched.files, None);
        }
        world.other.remove(&world.host(), id).await.unwrap();
        assert_eq!(world.tasks().await, []);
        let error = world.one.attach(world.host(), id).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the task was removed there on host `{}`", world.server.name())
        );
    });
}

#[test]
fn output_is_shown_from_where_it_is_wanted() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        let seen = async |stdout, stderr, follow: bool| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut attach = world.other.attach(world.host(), id).stdout(stdout).stderr(stderr);
            if !follow {
                attach = attach.so_far();
            }
            let attach = attach.follow(|event| match event {
                Event::Stdout(bytes) => out.extend_from_slice(&bytes),
                Event::Stderr(bytes) => err.extend_from_slice(&bytes),
                Event::Started { .. } if follow => world.open_gate(),
                _ => {}
            });
            let outcome = attach.watch().await.unwrap();
            (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), outcome)
        };
        let text = |out: &str, err: &str, outcome| (out.to_owned(), err.to_owned(), outcome);
        let all = seen(OutputFrom::Beginning, OutputFrom::Nowhere, false).await;
        assert_eq!(all, text("1\n2\n3\n4\n5\n", "", None));
        let last = seen(OutputFrom::Tail(2), OutputFrom::Tail(9), false).await;
        assert_eq!(last, text("4\n5\n", "early\n", None));
        let end = Some(Outcome::Exited { code: 4 });
        let late = seen(OutputFrom::Tail(1), OutputFrom::Now, true).await;
        assert_eq!(late, text("5\nlate\n", "", end));
        assert!(!world.place.dir.path().join("other").join(id.to_string()).exists());
    });
}

#[test]
fn a_task_is_ended_from_anywhere_and_its_results_stay() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        let error = world.other.remove(&world.host(), id).await.unwrap_err();
        assert!(format!("{error:?}").contains("still runs"), "{error:?}");
        let attach = world.other.attach(world.host(), id).stdout(OutputFrom::Nowhere);
        attach.canceller().cancel();
        assert_eq!(attach.watch().await.unwrap(), Some(Outcome::Cancelled));
        let task = world.the_task().await;
        assert_eq!((task.state, task.outcome), (TaskState::Ended, Some(Outcome::Cancelled)));
        let results = world.one.attach(world.host(), id).keep(false).await.unwrap();
        assert_eq!(results.stdout().unwrap(), b"1\n2\n3\n4\n5\n");
        // Nobody waits long for the answer of a host that seems to be far.
        while !world.tasks().await.is_empty() {}
    });
}

/// Kills the processes that files of a task name.
fn kill(directory: &Path, files: &[&str]) {
    for file in files {
        let path = if *file == "pid" { pid_file(directory) } else { directory.join(file) };
        let text = fs_err::read_to_string(path).unwrap();
        let word = text.split_whitespace().last().unwrap_or_default();
        let word = if *file == "pid" { text.split_whitespace().next().unwrap() } else { word };
        let pid = word.split(':').next().unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // It may be gone with another one.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[test]
fn a_task_without_its_supervisor_is_ended_by_whoever_comes_next() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        kill(&world.directories()[0], &["supervisor"]);
        let task = world.the_task().await;
        let lost = Outcome::Lost { reason: "its supervisor was killed".to_owned() };
        assert_eq!((task.state, &task.outcome), (TaskState::Ended, &Some(lost.clone())));
        let begun = Instant::now();
        while world
            .server
            .processes()
            .iter()
            .any(|process| process.arguments().contains(&"0.02".to_owned()))
        {
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
        let results = world.one.attach(world.host(), id).keep(false).await.unwrap();
        assert_eq!(
            (&results.outcome, results.stdout().unwrap()),
            (&lost, b"1\n2\n3\n4\n5\n".to_vec())
        );
    });
}

#[test]
fn a_task_of_before_a_reboot_is_lost_and_its_results_stay() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        let directory = world.directories().remove(0);
        kill(&directory, &["claim", "supervisor", "pid"]);
        // Numbers of another start, which other processes have by now.
        let own = format!("{}:1", std::process::id());
        fs_err::write(directory.join("supervisor"), format!("0000-1111:1 {own}\n")).unwrap();
        fs_err::write(pid_file(&directory), format!("{} 1\n", std::process::id())).unwrap();
        let task = world.the_task().await;
        let lost = Outcome::Lost { reason: "the host was restarted".to_owned() };
        assert_eq!((task.state, &task.outcome), (TaskState::Ended, &Some(lost.clone())));
        let results = world.one.attach(world.host(), id).keep(false).await.unwrap();
        assert_eq!(
            (results.outcome.clone(), results.stdout().unwrap()),
            (lost, b"1\n2\n3\n4\n5\n".to_vec())
        );
    });
}

/// Whoever comes to end a task late, by a number that another process has by now, ends nobody.
#[test]
fn a_task_that_has_ended_is_not_ended_again() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        world.open_gate();
        let results = world.other.attach(world.host(), id).await.unwrap();
        let directory = world.directories().remove(0);
        let mut other = std::process::Command::new("sleep");
        let mut other = std::os::unix::process::CommandExt::process_group(&mut other, 0)
            .arg("1000")
            .spawn()
            .unwrap();
        fs_err::write(pid_file(&directory), format!("{} 1\n", other.id())).unwrap();
        let attach = world.other.attach(world.host(), id);
        attach.canceller().cancel();
        assert_eq!(attach.watch().await.unwrap(), Some(results.outcome));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    });
}

/// On a home that several machines share, or in another container, nobody is judged by what runs here.
#[test]
fn tasks_of_other_containers_are_left_alone() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        let file = world.directories()[0].join("supervisor");
        let text = fs_err::read_to_string(&file).unwrap();
        let (place, rest) = text.split_once(' ').unwrap();
        let boot = place.split_once(':').unwrap().0;
        fs_err::write(&file, format!("{boot}:123456789 4194303:1\n")).unwrap();
        assert_eq!(world.the_task().await.state, TaskState::Running);
        // Whether it lives can't be told: whoever knows better may say so.
        let error = world.other.remove(&world.host(), id).await.unwrap_err();
        assert!(error.hint().unwrap().contains(&format!("geto rm --force {id}")), "{error:?}");
        fs_err::write(&file, format!("{place} {rest}")).unwrap();
        let removed = world.other.remove_all(&world.host(), &[id], Removal::Unseen).await;
        assert!(format!("{removed:?}").contains("still runs"), "{removed:?}");
        world.open_gate();
        let results = world.one.attach(world.host(), id).await.unwrap();
        assert_eq!(results.outcome, Outcome::Exited { code: 4 });
        let lost = world.start(&world.task()).await;
        let directory =
            world.directories().into_iter().find(|path| path.ends_with(lost.to_string()));
        let file = directory.unwrap().join("supervisor");
        fs_err::write(&file, format!("{boot}:123456789 4194303:1\n")).unwrap();
        let removed = world.other.remove_all(&world.host(), &[id, lost], Removal::Unseen).await;
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
        assert_eq!(world.tasks().await, []);
    });
}

#[test]
fn a_task_that_waits_is_listed_and_can_be_cancelled() {
    let world = World::of(Sshd::builder().start());
    runtime().block_on(async {
        let mut host = world.host();
        host.slots = Some(1);
        let first = world.one.run_on(&world.task(), host.clone()).detach().await.unwrap();
        let (waits, mut waiting) = tokio::sync::mpsc::unbounded_channel();
        let task = Task::new(Script::from_commands("second", ["echo never"]));
        let run = world.one.run_on(&task, host).follow(move |event| {
            if kind(&event) == "other" && matches!(event, Event::Waiting { .. }) {
                waits.send(()).unwrap();
            }
        });
        let id = run.id();
        let second = async { run.await };
        let kill = async {
            waiting.recv().await.unwrap();
            let tasks = world.tasks().await;
            let task = tasks.iter().find(|task| task.id == id).unwrap();
            assert_eq!((&*task.script, task.state), ("second", TaskState::Waiting));
            let attach = world.other.attach(world.host(), id);
            attach.canceller().cancel();
            attach.watch().await
        };
        let (second, killed) = tokio::join!(second, kill);
        assert_eq!(second.unwrap().outcome, Outcome::Cancelled);
        // Unless the first of the two has removed it already.
        match killed {
            Ok(outcome) => assert_eq!(outcome, Some(Outcome::Cancelled)),
            Err(error) => assert_eq!(error.kind(), geto::ErrorKind::Cancelled),
        }
        world.open_gate();
        let results = world.one.attach(world.host(), first.id).keep(false).await.unwrap();
        assert_eq!(results.outcome, Outcome::Exited { code: 4 });
        assert_eq!(world.tasks().await, []);
    });
}
