//! A server behind a proxy that breaks links, and what must hold whatever breaks.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use geto::transport::ConnectOptions;
use geto::{Error, ErrorKind, Event, Fleet, Host, Outcome, Results, Script, Task, TaskState};
use geto_testkit::{Proxy, ProxyBuilder, Server, Sshd, Traffic};

use crate::ssh::tasks_left;
use crate::support::{Place, below, machines, runtime};

/// How long processes and tickets may take to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server behind a proxy, and a file in which each start of a task is counted.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) place: Place,
    pub(crate) fleet: Fleet,
    pub(crate) runs: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Sshd::builder().start(), |proxy| proxy)
    }

    pub(crate) fn of(server: Server, proxy: impl FnOnce(ProxyBuilder) -> ProxyBuilder) -> Self {
        let proxy = proxy(Proxy::builder(server.address())).start();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
        let place = Place::of(host);
        let fleet = fleet(&place);
        let runs = place.dir.path().join("runs");
        Self { server, proxy, place, fleet, runs }
    }

    /// Runs a line before each script.
    pub(crate) fn with_setup(mut self, line: String) -> Self {
        self.place.host.setup = Some(line);
        self.fleet = fleet(&self.place);
        self
    }

    /// A task that counts its starts.
    pub(crate) fn task(&self, line: &str) -> Task {
        let count = format!("echo run >>'{}'", self.runs.display());
        Task::new(Script::from_commands("t", [count, line.to_owned()]))
    }

    /// Runs it, and breaks something when `breaks` says so of an event; returns how often the link
    /// was said to be broken and back, too.
    pub(crate) fn run(
        &self,
        task: &Task,
        mut breaks: impl FnMut(&Event) + Send,
    ) -> (Result<Results, Error>, usize, usize) {
        let (broken, back) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = self.fleet.run_on_host(task, self.server.name()).follow(|event| {
            match &event {
                Event::LinkBroken { .. } => broken.fetch_add(1, Ordering::Relaxed),
                Event::LinkBack { .. } => back.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            breaks(&event);
        });
        let result = runtime().block_on(run.into_future());
        (result, broken.into_inner(), back.into_inner())
    }

    /// How much went over all links.
    pub(crate) fn traffic(&self, bytes: impl Fn(&Traffic) -> u64) -> u64 {
        self.proxy.connections().iter().map(bytes).sum()
    }

    /// The directories of tasks on the host.
    pub(crate) fn tasks(&self) -> Vec<PathBuf> {
        tasks(&self.server)
    }

    /// How often the task has been started.
    pub(crate) fn starts(&self) -> usize {
        fs_err::read_to_string(&self.runs).unwrap_or_default().lines().count()
    }

    pub(crate) fn check_once(&self) {
        assert_eq!(fs_err::read_to_string(&self.runs).unwrap(), "run\n");
        assert_eq!(tasks_left(&self.server), Vec::<PathBuf>::new());
    }

    /// Removes what stands on the host after its results have come home, as a person would who sees it
    /// listed; returns how many tasks that were.
    pub(crate) fn remove_rest(&self) -> usize {
        // Not over a link that may be dead without saying so.
        let fleet = self.place.fleet();
        runtime().block_on(async {
            let tasks = fleet.tasks(&self.place.host).await.unwrap();
            for task in &tasks {
                assert_eq!(task.state, TaskState::Ended, "{task:?}");
                fleet.remove(&self.place.host, task.id).await.unwrap();
            }
            tasks.len()
        })
    }

    /// Looks that nothing is left on the host, once nobody from here is connected: no process, no
    /// task, no ticket.
    pub(crate) fn end(self) -> Server {
        let Self { server, proxy, fleet, place, .. } = self;
        drop(fleet);
        // Of a far host the last word may still be on its way.
        assert_eq!(tasks_left(&server), Vec::<PathBuf>::new());
        drop(proxy);
        let begun = Instant::now();
        loop {
            let left: Vec<_> =
                server.processes().iter().map(geto_testkit::Process::arguments).collect();
            let tickets = tickets(&server, &place.host);
            if left.is_empty() && tickets.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "left: {left:?} {tickets:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }
}

/// A fleet that soon finds out that a link is dead.
fn fleet(place: &Place) -> Fleet {
    let mut options = ConnectOptions::default();
    options.keepalive_interval = Duration::from_millis(500);
    options.keepalive_max = 2;
    place.fleet().with_connect_options(options)
}

pub(crate) fn tasks(server: &Server) -> Vec<PathBuf> {
    below(&server.inside("~/.cache/geto"), "tasks")
}

fn tickets(server: &Server, host: &Host) -> Vec<PathBuf> {
    let lock = server.inside(&host.remote_lock_path);
    let mut files: Vec<_> = machines(&lock);
    files.retain(|path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"t."))
    });
    files
}

/// What `seq` writes from 1 to `last`.
pub(crate) fn numbers(last: u32) -> Vec<u8> {
    (1..=last).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

/// Kills the session's own shell, whose channel then ends.
pub(crate) fn kill_shell(server: &Server) {
    // The last word of the claim is its process id and start.
    kill_named(&tasks(server)[0].join("claim"));
}

/// Kills the process whose id and start are the last word of a file.
pub(crate) fn kill_named(file: &Path) {
    let text = fs_err::read_to_string(file).unwrap();
    let process = text.split_whitespace().last().unwrap().split(':').next().unwrap();
    let process = rustix::process::Pid::from_raw(process.parse().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}

/// What a task of known output and files comes to.
pub(crate) struct Whole {
    /// The last number of both its outputs.
    pub(crate) numbers: u32,
    /// The size of its file `f`.
    pub(crate) file_bytes: u64,
}

impl Whole {
    /// What it does.
    pub(crate) fn line(&self) -> String {
        let Self { numbers, file_bytes } = self;
        format!(
            "seq {numbers}; seq {numbers} >&2; mkdir d; echo x >d/x; yes 0123456 | head -c {file_bytes} >f; exit 3"
        )
    }

    /// Whether all has come, exactly, or nothing was started. True in the first case.
    pub(crate) fn check(&self, world: &World, result: Result<Results, Error>) -> bool {
        let results = match result {
            Ok(results) => results,
            Err(error) => {
                assert_eq!(error.exit_code().0, 125, "{error:?}");
                assert!(matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::NotStarted));
                assert_eq!(world.starts(), 0);
                return false;
            }
        };
        assert_eq!(results.outcome, Outcome::Exited { code: 3 });
        assert_eq!(results.stdout().unwrap(), numbers(self.numbers));
        assert_eq!(results.stderr().unwrap(), numbers(self.numbers));
        let files = results.files.unwrap();
        assert_eq!((files.count, files.bytes), (2, self.file_bytes + 2));
        let file = fs_err::read(files.directory.join("f")).unwrap();
        let line = b"0123456\n".iter().cycle().take(file.len());
        assert!(file.len() as u64 == self.file_bytes && file.iter().eq(line));
        assert_eq!(world.starts(), 1);
        true
    }
}
