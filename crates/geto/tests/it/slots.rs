//! Limits are kept on the host, whoever comes and however they go.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use geto::transport::Transport;
use geto::{Error, ErrorKind, Event, Patience, Results, Script, Task};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use crate::support::{Place, runtime, under_each_shell};

/// How the mutex is made.
const KINDS: [&str; 2] = ["flock", "links"];
const AT_ONCE: Patience = Patience::AtMost(Duration::ZERO);

/// Where tickets lie.
struct Lock(PathBuf);

impl Lock {
    /// Makes the lock path of a place, with its mutex made in this way.
    fn of(place: &Place, kind: &str) -> Self {
        let id = fs_err::read_to_string("/etc/machine-id").unwrap_or_default();
        let machine = match id.trim() {
            "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            id => id.to_owned(),
        };
        let lock = PathBuf::from(&place.host.remote_lock_path);
        let own = lock.join(machine);
        for path in [&lock, &own] {
            fs_err::create_dir(path).unwrap();
            chmod(path, 0o1777);
        }
        fs_err::write(own.join("kind"), format!("{kind}\n")).unwrap();
        Self(own)
    }

    fn tickets(&self) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let is_ticket = |path: &PathBuf| {
            path.file_name().unwrap().to_str().is_some_and(|name| name.starts_with("t."))
        };
        let mut tickets: Vec<_> = entries.filter(is_ticket).collect();
        tickets.sort();
        tickets
    }
}

fn chmod(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A task that says who it is and goes on when `gate` is there.
/// It can only be killed: whoever finds it without its supervisor has ten seconds of trouble with it.
fn gated(place: &Place, name: &str) -> Task {
    let lines =
        ["trap '' TERM", "echo $PPID $$ $GETO_SLOT", "until [ -e $GATE ]; do sleep 0.01; done"];
    let gate = place.dir.path().join("gate").display().to_string();
    Task::new(Script::from_commands(name, lines).max_concurrent(1)).env("GATE", gate)
}

/// A task that runs beside the test.
struct Running {
    ended: tokio::task::JoinHandle<Result<Results, Error>>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Running {
    fn start(place: &Place, task: Task, transport: &Arc<dyn Transport>) -> Self {
        let (fleet, transport) = (place.fleet(), Arc::clone(transport));
        let host = place.host.clone();
        let (told, events) = mpsc::unbounded_channel();
        let ended = tokio::spawn(async move {
            let follow = move |event| drop(told.send(event));
            fleet.run_on(&task, host).over(transport).follow(follow).await
        });
        Self { ended, events }
    }

    /// Waits for the first line of its output: the ids of supervisor and task, and its slot.
    async fn line(&mut self) -> (i32, i32, String) {
        let mut text = Vec::new();
        while !text.ends_with(b"\n") {
            if let Event::Stdout(bytes) = self.events.recv().await.expect("it runs") {
                text.extend_from_slice(&bytes);
            }
        }
        let text = String::from_utf8(text).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        let [supervisor, task, slot] = words[..] else { panic!("{text}") };
        (supervisor.parse().unwrap(), task.parse().unwrap(), slot.to_owned())
    }

    async fn wait_for(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.events.recv().await.expect("it runs");
            if is_it(&event) {
                return event;
            }
        }
    }
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

async fn at_once(place: &Place, task: &Task, way: &Arc<dyn Transport>) -> Result<Results, Error> {
    let fleet = place.fleet();
    fleet.run_on(task, place.host.clone()).over(Arc::clone(way)).patience(AT_ONCE).await
}

/// Runs the task as soon as what was killed is gone.
async fn soon(place: &Place, task: &Task, way: &Arc<dyn Transport>) -> Results {
    loop {
        match at_once(place, task, way).await {
            Ok(results) => return results,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "{error:?}"),
        }
    }
}

#[test]
fn who_is_full_says_so_and_who_waits_comes_next() {
    under_each_shell(async |way, shell| {
        for kind in KINDS {
            let mut place = Place::new();
            place.host.slots = Some(4);
            let lock = Lock::of(&place, kind);
            let task = gated(&place, "render");
            let mut first = Running::start(&place, task.clone(), &way);
            assert_eq!(first.line().await.2, "1", "{} {kind}", shell.name);
            let error = at_once(&place, &task, &way).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{} {error:?}", shell.name);
            let full = "1 `render` tasks already running on host `local`";
            assert_eq!(error.to_string(), full, "{}", shell.name);
            // Another name has nothing to do with it.
            let other = Task::new(Script::from_commands("other", ["echo $GETO_SLOT"]));
            let results = at_once(&place, &other, &way).await.unwrap();
            assert_eq!(results.stdout().unwrap(), b"2\n", "{}", shell.name);
            let mut second = Running::start(&place, task, &way);
            second.wait_for(|event| matches!(event, Event::Waiting { .. })).await;
            fs_err::write(place.dir.path().join("gate"), "").unwrap();
            assert!(first.ended.await.unwrap().unwrap().outcome.success(), "{}", shell.name);
            assert!(second.ended.await.unwrap().unwrap().outcome.success(), "{}", shell.name);
            assert_eq!(lock.tickets(), Vec::<PathBuf>::new(), "{} {kind}", shell.name);
            assert_eq!(place.tasks(), Vec::<PathBuf>::new(), "{} {kind}", shell.name);
        }
    });
}

#[test]
fn who_stops_waiting_is_not_started() {
    under_each_shell(async |way, shell| {
        let mut place = Place::new();
        place.host.slots = Some(4);
        let lock = Lock::of(&place, "flock");
        let mut first = Running::start(&place, gated(&place, "render"), &way);
        first.line().await;
        let fleet = place.fleet();
        let task = gated(&place, "render").env("GATE", "/dev/null");
        let (told, mut events) = mpsc::unbounded_channel();
        let run = fleet.run_on(&task, place.host.clone()).over(Arc::clone(&way));
        let canceller = run.canceller();
        let run = run.follow(move |event| drop(told.send(event)));
        let cancel = async {
            while !matches!(events.recv().await, Some(Event::Waiting { .. })) {}
            canceller.cancel();
            while let Some(event) = events.recv().await {
                assert!(!matches!(event, Event::Started { .. }), "{}", shell.name);
            }
        };
        let (results, ()) = tokio::join!(run, cancel);
        assert_eq!(results.unwrap().outcome, geto::Outcome::Cancelled, "{}", shell.name);
        assert_eq!(lock.tickets().len(), 1, "{}", shell.name);
        // One whose origin is gone withdraws by itself.
        let mut gone = Running::start(&place, task, &way);
        gone.wait_for(|event| matches!(event, Event::Waiting { .. })).await;
        gone.ended.abort();
        while lock.tickets().len() > 1 {
            tokio::task::yield_now().await;
        }
        fs_err::write(place.dir.path().join("gate"), "").unwrap();
        first.ended.await.unwrap().unwrap();
    });
}

#[test]
fn a_slot_lives_as_long_as_supervisor_or_task() {
    under_each_shell(async |way, shell| {
        for kind in KINDS {
            let mut place = Place::new();
            place.host.slots = Some(4);
            let lock = Lock::of(&place, kind);
            let task = gated(&place, "render");
            let mut running = Running::start(&place, task.clone(), &way);
            let (supervisor, pid, _) = running.line().await;
            kill(supervisor);
            let error = at_once(&place, &task, &way).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{} {kind} {error:?}", shell.name);
            kill(pid);
            fs_err::write(place.dir.path().join("gate"), "").unwrap();
            let results = soon(&place, &task, &way).await;
            assert!(results.outcome.success(), "{} {kind}", shell.name);
            assert_eq!(lock.tickets(), Vec::<PathBuf>::new(), "{} {kind}", shell.name);
        }
    });
}

#[test]
fn a_holder_that_nobody_can_see_keeps_its_slot_by_its_lock() {
    under_each_shell(async |way, shell| {
        let mut place = Place::new();
        place.host.slots = Some(4);
        let lock = Lock::of(&place, "flock");
        let task = gated(&place, "render");
        let mut running = Running::start(&place, task.clone(), &way);
        let (supervisor, pid, _) = running.line().await;
        // As in another process id namespace, or with /proc mounted hidepid.
        let ticket = &lock.tickets()[0];
        let text = fs_err::read_to_string(ticket).unwrap();
        let unseen: String = text
            .lines()
            .filter(|line| !line.starts_with("holders"))
            .map(|line| match line.split_once(" - ") {
                Some((head, _)) if line.split(' ').count() > 6 => format!("{head} - 4194303:1\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        fs_err::write(ticket, unseen).unwrap();
        kill(supervisor);
        let error = at_once(&place, &task, &way).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{} {error:?}", shell.name);
        kill(pid);
        fs_err::write(place.dir.path().join("gate"), "").unwrap();
        assert!(soon(&place, &task, &way).await.outcome.success(), "{}", shell.name);
    });
}

#[test]
fn tickets_of_the_dead_are_nothing() {
    under_each_shell(async |way, shell| {
        for kind in KINDS {
            let mut place = Place::new();
            place.host.slots = Some(1);
            let lock = Lock::of(&place, kind);
            let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            let space = match kind {
                "links" => fs_err::read_link("/proc/self/ns/pid").unwrap().display().to_string(),
                _ => "-".to_owned(),
            };
            let own = fs_err::read_to_string("/proc/self/stat").unwrap();
            let began = own.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
            let own = format!("{}:{began}", std::process::id());
            let write = |name: &str, boot: &str, process: &str| {
                let text = format!("1 0 0 0 {boot} {space} {process}\nold\nheld 1 -\n");
                fs_err::write(lock.0.join(name), text).unwrap();
            };
            // Before a reboot; a process that is gone; one that has its number by chance; garbage.
            write("t.00000001", "0b5c", &own);
            write("t.00000002", boot.trim(), "4194303:1");
            write("t.00000003", boot.trim(), &format!("{}:1", std::process::id()));
            fs_err::write(lock.0.join("t.00000004"), b"\xff\0 x y\n$(touch /tmp/x)\n").unwrap();
            fs_err::write(lock.0.join("t.00000005"), "").unwrap();
            symlink("/dev/zero", lock.0.join("t.00000006")).unwrap();
            let task = Task::new(Script::from_commands("t", ["echo $GETO_SLOT"]));
            let results = at_once(&place, &task, &way).await.unwrap();
            assert_eq!(results.stdout().unwrap(), b"1\n", "{} {kind}", shell.name);
            assert_eq!(lock.tickets(), Vec::<PathBuf>::new(), "swept: {} {kind}", shell.name);
            // A holder that lives counts.
            write("t.00000001", boot.trim(), &own);
            let error = at_once(&place, &task, &way).await.unwrap_err();
            assert_eq!(error.to_string(), "1 of 1 slots taken on host `local`", "{}", shell.name);
        }
    });
}

#[test]
fn a_lock_path_that_is_not_safe_to_share_is_refused() {
    under_each_shell(async |way, shell| {
        let task = Task::new(Script::from_commands("t", ["true"]));
        let refused = async |prepare: &dyn Fn(&Path), reason: &str| {
            let place = Place::new();
            prepare(Path::new(&place.host.remote_lock_path));
            let error = at_once(&place, &task, &way).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotStarted, "{}", shell.name);
            assert_eq!(error.to_string(), "failed to count tasks on host `local`");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains(reason), "{}: {cause}", shell.name);
            assert_eq!(place.tasks(), Vec::<PathBuf>::new(), "{}", shell.name);
        };
        let link = |lock: &Path| symlink(lock.parent().unwrap(), lock).unwrap();
        refused(&link, "is a symbolic link").await;
        let open = |lock: &Path| {
            fs_err::create_dir(lock).unwrap();
            chmod(lock, 0o777);
        };
        refused(&open, "not safe to share").await;
        let parent = |lock: &Path| chmod(lock.parent().unwrap(), 0o777);
        refused(&parent, "its parent is neither sticky nor closed").await;
        let file = |lock: &Path| fs_err::write(lock, "").unwrap();
        refused(&file, "").await;
    });
}

#[test]
fn a_task_has_its_gpus_to_itself() {
    under_each_shell(async |way, shell| {
        let mut place = Place::new();
        place.host.slots = Some(8);
        place.host.gpus = Some(4);
        let witness = place.dir.path().join("witness");
        fs_err::create_dir(&witness).unwrap();
        let lines = [
            "IFS=,; for g in $CUDA_VISIBLE_DEVICES; do mkdir $W/$g || exit 9; done",
            "echo $CUDA_VISIBLE_DEVICES $ROCR_VISIBLE_DEVICES $HIP_VISIBLE_DEVICES",
            "sleep 0.02; for g in $CUDA_VISIBLE_DEVICES; do rmdir $W/$g; done",
        ];
        let tasks: Vec<_> = (0..6)
            .map(|number| {
                let task = Task::new(Script::from_commands("gpu", lines)).gpus(1 + number % 2);
                Running::start(&place, task.env("W", witness.display().to_string()), &way)
            })
            .collect();
        for task in tasks {
            let results = task.ended.await.unwrap().unwrap();
            let said = String::from_utf8(results.stdout().unwrap()).unwrap();
            assert!(results.outcome.success(), "{}: {said}", shell.name);
        }
        let task = Task::new(Script::from_commands("gpu", lines)).gpus(5);
        let error = at_once(&place, &task, &way).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it takes 5 GPUs, and there are 4", "{}", shell.name);
    });
}

#[test]
fn a_task_of_several_slots_is_not_overtaken() {
    runtime().block_on(async {
        let mut place = Place::new();
        place.host.slots = Some(2);
        let way: Arc<dyn Transport> = Arc::new(geto::transport::LocalTransport::new());
        let mut first = Running::start(&place, gated(&place, "one"), &way);
        assert_eq!(first.line().await.2, "1");
        let both = Task::new(Script::from_commands("both", ["echo $GETO_SLOT $GETO_CPUS"]));
        let mut both = Running::start(&place, both.slots(2), &way);
        both.wait_for(|event| matches!(event, Event::Waiting { .. })).await;
        // One slot is free, but somebody came first.
        let task = Task::new(Script::from_commands("late", ["true"]));
        let error = at_once(&place, &task, &way).await.unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 slots taken on host `local`");
        fs_err::write(place.dir.path().join("gate"), "").unwrap();
        assert!(both.ended.await.unwrap().unwrap().outcome.success());
        assert!(at_once(&place, &task, &way).await.unwrap().outcome.success());
        first.ended.await.unwrap().unwrap();
        let task = task.slots(3);
        let error = at_once(&place, &task, &way).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to find room for the task on host `local`");
    });
}

#[test]
fn a_host_that_its_owner_needs_takes_no_task() {
    under_each_shell(async |way, shell| {
        let mut place = Place::new();
        place.host.max_load_percent = Some(1);
        let task = Task::new(Script::from_commands("t", ["true"]));
        let loaded = fs_err::read_to_string("/proc/loadavg").unwrap();
        let loaded: f64 = loaded.split(' ').next().unwrap().parse().unwrap();
        let error = at_once(&place, &task, &way).await.unwrap_err();
        assert!(loaded > 0.1, "tests run, so there is a load: {loaded}");
        let said = error.to_string();
        assert!(said.contains("above its limit of 0.0"), "{}: {said}", shell.name);
        place.host.max_load_percent = Some(100_000);
        at_once(&place, &task, &way).await.unwrap();
        // Who takes no slot is not asked.
        place.host.max_load_percent = Some(1);
        at_once(&place, &task.clone().slots(0), &way).await.unwrap();
    });
}
