//! The place of one task's results here: written aside, synced, renamed.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fs_err::{File, OpenOptions};
use geto_core::TaskId;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::clean::{FIRST, lock_partial, partial_name};
use crate::results::{self, Limits, Replaced, Written, is_of_ended, make_durable, sync_tree};
use crate::{Error, ErrorKind};

/// `<local_work_path>/.<id>.partial` while the task runs, `<local_work_path>/<id>` when all is
/// there. Who follows a task that another geto on this machine follows has `.<id>.2.partial`, and so on.
#[derive(Debug)]
pub(super) struct Store {
    partial: Arc<Partial>,
    last: PathBuf,
    stdout: Output,
    stderr: Output,
    bytes: u64,
    max: Option<u64>,
    /// The `stdout` of who followed the task before, who has it locked.
    other: Option<File>,
}

/// The directory that is written to. Once nobody writes to it any more, it is removed, unless all
/// was done: the host keeps the whole, and half of it here would only look like it.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    done: AtomicBool,
}

impl Partial {
    /// Where files are unpacked.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join("files")
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !*self.done.get_mut() {
            drop(fs_err::remove_dir_all(&self.path));
        }
    }
}

/// A file that gets onto the disk while it grows, so that little is left to wait for in the end.
#[derive(Debug)]
struct Output {
    file: File,
    /// What has come since a sync was begun.
    fresh: usize,
    /// A sync that was begun. Its failure is told to nobody else, so it must not be forgotten.
    syncing: Option<Syncing>,
}

type Syncing = JoinHandle<io::Result<()>>;

/// How much is worth a sync.
const SYNCED_AT_ONCE: usize = 8 << 20;
/// How often who brings home the same results is looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// How long that takes without a word.
const SILENCE: Duration = Duration::from_secs(2);
/// Output up to so many bytes is synced together with that of others.
const SHORT: usize = 64 << 10;

impl Output {
    fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, fresh: 0, syncing: None })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.fresh += bytes.len();
        if self.fresh >= SYNCED_AT_ONCE && self.syncing.as_ref().is_none_or(JoinHandle::is_finished)
        {
            settle(&mut self.syncing)?;
            self.fresh = 0;
            let file = self.file.try_clone()?;
            self.syncing = Some(std::thread::spawn(move || file.sync_data()));
        }
        Ok(())
    }
}

/// Waits for a sync that was begun.
fn settle(syncing: &mut Option<Syncing>) -> io::Result<()> {
    match syncing.take().map(JoinHandle::join) {
        None => Ok(()),
        Some(Ok(synced)) => synced,
        Some(Err(_panic)) => Err(io::Error::other("a sync panicked")),
    }
}

impl Store {
    /// Makes the place.
    pub(super) fn create(
        local_work_path: &Path,
        id: TaskId,
        max: Option<u64>,
    ) -> Result<Self, Error> {
        let last = local_work_path.join(id.to_string());
        let make = || -> io::Result<Self> {
            // Output may be anything, so it is for the user's eyes only.
            fs_err::create_dir_all(local_work_path)?;
            let (number, path) = make_partial(local_work_path, id)?;
            let stdout = path.join("stdout");
            let output = Output::create(stdout.clone())?;
            lock_partial(&output.file, &stdout)?;
            let stderr = Output::create(path.join("stderr"))?;
            let partial = Arc::new(Partial { path, done: AtomicBool::new(false) });
            let before = (number != FIRST).then(|| partial_name(id, FIRST));
            let before = before.and_then(|name| stdout_of(&local_work_path.join(name)));
            // Who has named the results may still move the files elsewhere.
            let other = before.or_else(|| stdout_of(&last).filter(is_held));
            let (stdout, bytes) = (output, 0);
            Ok(Self { partial, last: last.clone(), stdout, stderr, bytes, max, other })
        };
        make().map_err(|error| {
            let shown = local_work_path.display();
            Error::new(ErrorKind::Local, format!("failed to make a place for results in `{shown}`"))
                .caused_by(error)
                .with_hint("set `local_work_path` in geto.ini")
        })
    }

    /// Whether another geto on this machine followed the task when this one began to.
    pub(super) fn is_beside(&self) -> bool {
        self.other.is_some()
    }

    /// Waits until that one is done with the results; `told` is called when that takes a while. From
    /// then on nobody else touches them until this is dropped.
    pub(super) async fn wait_for_other(&self, told: impl FnOnce()) {
        let Some(other) = &self.other else { return };
        let begun = Instant::now();
        let mut told = Some(told);
        while is_held(other) {
            if begun.elapsed() > SILENCE
                && let Some(told) = told.take()
            {
                told();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Where results are that were brought home before.
    pub(super) fn earlier(&self) -> Option<&Path> {
        self.last.exists().then_some(&*self.last)
    }

    /// The same, when the task had ended by then: output and outcome are what they are now.
    pub(super) fn earlier_of_ended(&self) -> Option<&Path> {
        self.earlier().filter(|last| is_of_ended(last))
    }

    /// Moves the files to `directory`, and drops all else.
    ///
    /// # Errors
    /// As [`results::place`] says.
    pub(super) async fn add_files(
        &mut self,
        directory: PathBuf,
        replaced: Replaced,
    ) -> Result<(), Error> {
        let partial = self.partial();
        beside(move || {
            sync_tree(&partial.path).map_err(unwritable)?;
            results::place(&partial.files(), &directory, &replaced)
        })
        .await
    }

    /// Adds to the file `stdout`.
    pub(super) fn stdout(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.count(bytes)?;
        self.stdout.write(bytes).map_err(unwritable)
    }

    /// Adds to the file `stderr`.
    pub(super) fn stderr(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.count(bytes)?;
        self.stderr.write(bytes).map_err(unwritable)
    }

    /// The directory, for whoever writes to it on a thread of their own.
    pub(super) fn partial(&self) -> Arc<Partial> {
        Arc::clone(&self.partial)
    }

    /// Removes the files, which are not whole.
    pub(super) fn drop_files(&self) {
        // What stays is no result: it has no outcome beside it then.
        drop(fs_err::remove_dir_all(self.partial.files()));
    }

    /// How much may still come.
    pub(super) fn limits(&self) -> Limits {
        Limits { max_bytes: self.max, output_bytes: self.bytes, ..Limits::default() }
    }

    /// Writes `outcome.json`, syncs everything and renames it to its final place, which it returns.
    /// Once begun, it is done also when the call is dropped. What is there `so_far` of a task that runs
    /// never replaces what came at its end.
    pub(super) async fn finish(
        &mut self,
        outcome: Vec<u8>,
        so_far: bool,
    ) -> Result<PathBuf, Error> {
        let mut syncing = [self.stdout.syncing.take(), self.stderr.syncing.take()];
        let is_long = self.stdout.fresh.saturating_add(self.stderr.fresh) > SHORT;
        let (partial, last) = (self.partial(), self.last.clone());
        let (durable, told) = oneshot::channel();
        // A disk takes its time, and many tasks may end at once.
        tokio::task::spawn_blocking(move || {
            let write = || -> io::Result<bool> {
                syncing.iter_mut().try_for_each(settle)?;
                fs_err::write(partial.path.join("outcome.json"), outcome)?;
                // What takes long is nothing that others should wait for.
                let is_synced = is_long || partial.files().exists();
                if is_synced {
                    sync_tree(&partial.path)?;
                }
                Ok(is_synced)
            };
            match write() {
                Ok(is_synced) => make_durable(Written {
                    partial: partial.path.clone(),
                    last,
                    so_far,
                    is_synced,
                    named: Box::new(move || partial.done.store(true, Ordering::Relaxed)),
                    durable,
                }),
                // Nobody listens when the call was dropped.
                Err(error) => drop(durable.send(Err(error))),
            }
        });
        let finished = told.await;
        finished.unwrap_or_else(|panicked| Err(io::Error::other(panicked))).map_err(unwritable)
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        match self.max {
            Some(max) if self.bytes > max => {
                Err(Error::new(ErrorKind::Results, "failed to keep the output")
                    .caused_by(results::too_large(max)))
            }
            _ => Ok(()),
        }
    }
}

/// Makes the first directory of a run of `id` that nobody has.
fn make_partial(local_work_path: &Path, id: TaskId) -> io::Result<(u32, PathBuf)> {
    let mut number = FIRST;
    loop {
        let path = local_work_path.join(partial_name(id, number));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| (number, path)),
        }
    }
}

fn stdout_of(directory: &Path) -> Option<File> {
    OpenOptions::new().write(true).open(directory.join("stdout")).ok()
}

/// Whether another has it locked; else it is locked now. Not every file system knows how.
fn is_held(stdout: &File) -> bool {
    rustix::fs::flock(stdout, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}

/// Moves all that stands in `from` to `to`, as [`results::place`] does, while other tasks go on: the
/// other file system may be a slow one, and their leases have to be kept. Once begun, it is done also
/// when the call is dropped.
pub(super) async fn place(from: PathBuf, to: PathBuf, replaced: Replaced) -> Result<(), Error> {
    beside(move || results::place(&from, &to, &replaced)).await
}

async fn beside(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panicked| Err(unwritable(io::Error::other(panicked))))
}

fn unwritable(error: io::Error) -> Error {
    Error::new(ErrorKind::Local, "failed to write the results here").caused_by(error)
}
