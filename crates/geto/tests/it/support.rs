//! What the tests share.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geto::transport::{LocalTransport, Transport};
use geto::{Error, Event, Fleet, Host, Results, Task};
use geto_testkit::{Shell, system_shells};
use tempfile::TempDir;

/// How long processes may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place to work in, here and on the host.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) host: Host,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::of(Host::local())
    }

    pub(crate) fn of(mut host: Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Not counted with other tests.
        host.remote_lock_path = "~/geto_lock".to_owned();
        if host.transport == geto::TransportKind::Local {
            host.remote_work_path = dir.path().join("work").display().to_string();
            host.remote_lock_path = dir.path().join("lock").display().to_string();
        }
        Self { dir, host }
    }

    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::new([self.host.clone()], self.dir.path().join("results"))
    }

    /// The directories of tasks on the local host.
    pub(crate) fn tasks(&self) -> Vec<PathBuf> {
        below(&self.dir.path().join("work"), "tasks")
    }

    /// Runs `task` over `transport`.
    pub(crate) async fn run(&self, task: &Task, transport: &Arc<dyn Transport>) -> Results {
        self.try_run(task, transport).await.unwrap()
    }

    pub(crate) async fn try_run(
        &self,
        task: &Task,
        transport: &Arc<dyn Transport>,
    ) -> Result<Results, Error> {
        let fleet = self.fleet();
        let run = fleet.run_on_host(task, &self.host.name).reconnect(Duration::ZERO);
        run.over(Arc::clone(transport)).await
    }
}

/// The directories of one kind below a work path.
pub(crate) fn below(work: &Path, kind: &str) -> Vec<PathBuf> {
    machines(work).iter().flat_map(|machine| entries(&machine.join(kind))).collect()
}

/// The file with the number of a task's first process.
pub(crate) fn pid_file(task: &Path) -> PathBuf {
    let machine = task.ancestors().nth(2).expect("a task is in a directory of its machine");
    machine.join("pids").join(task.file_name().expect("a task has a name"))
}

/// What may be a machine's directory below a work path.
pub(crate) fn machines(work: &Path) -> Vec<PathBuf> {
    let users = entries(work).into_iter();
    users.flat_map(|user| [user.clone()].into_iter().chain(entries(&user))).collect()
}

fn entries(path: &Path) -> Vec<PathBuf> {
    match fs_err::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Runs `test` under each shell that /bin/sh may be, and looks that nothing of geto's own is left.
pub(crate) fn under_each_shell<F: Future<Output = ()>>(
    test: impl Fn(Arc<dyn Transport>, Shell) -> F,
) {
    for shell in system_shells() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sh");
        symlink(&shell.path, &path).unwrap();
        eprintln!("{}", shell.name);
        let transport: Arc<dyn Transport> =
            Arc::new(LocalTransport::new().with_shell(path.clone()));
        let name = shell.name;
        runtime().block_on(test(transport, shell));
        // Of the task, nothing is in the words of this path.
        let begun = Instant::now();
        while let Some(left) = process_of(&path) {
            assert!(begun.elapsed() < PATIENCE, "left under {name}: {left}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A process that runs that program.
fn process_of(program: &Path) -> Option<String> {
    fs_err::read_dir("/proc").unwrap().find_map(|entry| {
        let process = entry.unwrap().path();
        let words = fs_err::read(process.join("cmdline")).ok()?;
        let is_it = words.starts_with(program.as_os_str().as_encoded_bytes());
        is_it.then(|| format!("{}: {}", process.display(), String::from_utf8_lossy(&words)))
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A short name for what happened.
pub(crate) fn kind(event: &Event) -> &'static str {
    match event {
        Event::Started { .. } => "started",
        Event::Stdout(_) => "stdout",
        Event::Stderr(_) => "stderr",
        Event::Ended { .. } => "ended",
        _ => "other",
    }
}
