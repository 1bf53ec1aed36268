//! Results that have had their time, and how they are removed.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err::{File, OpenOptions};
use geto_core::TaskId;
use rustix::fs::FlockOperation;

use crate::results::walk;
use crate::{Error, ErrorKind, Fleet, Ledger};

/// Nobody takes so long between making a directory and locking what is in it.
const LOCKED_BY: Duration = Duration::from_secs(3600);

/// Results under `local_work_path` that can be removed.
///
/// Nothing else there is looked at: a result is a directory whose name is the id of a task and in
/// which an `outcome.json` is. With them go directories of runs whose process is gone. Files that
/// [`into_dir`](crate::Run::into_dir) has put elsewhere are not touched.
#[derive(Debug)]
#[must_use = "nothing is removed until it is asked for"]
pub struct StaleResults {
    local_work_path: PathBuf,
    results: Vec<TaskId>,
    leftovers: Vec<Leftover>,
    bytes: u64,
}

/// What a process that is gone has left.
#[derive(Debug)]
enum Leftover {
    /// Of a run, and the number of its place among those of the task.
    Partial(TaskId, u32),
    /// Of results that were being removed, likewise.
    Removed(TaskId, u32),
}

impl StaleResults {
    /// How many results there are.
    pub fn count(&self) -> usize {
        self.results.len()
    }

    /// How many directories processes that are gone have left.
    pub fn leftovers(&self) -> usize {
        self.leftovers.len()
    }

    /// How many bytes are in the files of both.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes them, and tells the ledger. One that is gone meanwhile is no error.
    ///
    /// # Errors
    /// Of kind [`Local`](ErrorKind::Local), when one can't be removed; the others are removed all
    /// the same. When the ledger can't be told.
    pub fn remove(self) -> Result<(), Error> {
        let place = &*self.local_work_path;
        let mut removed = Vec::new();
        let mut first = None;
        for id in &self.results {
            match remove_result(place, *id) {
                Ok(()) => removed.push(*id),
                Err(error) => first = first.or(Some((place.join(id.to_string()), error))),
            }
        }
        for leftover in &self.leftovers {
            if let Err(error) = leftover.remove(place) {
                first = first.or(Some((leftover.path(place), error)));
            }
        }
        let told = match Ledger::open_existing(place) {
            Ok(Some(ledger)) => ledger.record_results_removed(&removed),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match first {
            None => told,
            Some((path, error)) => {
                let message = format!("failed to remove `{}`", path.display());
                Err(Error::new(ErrorKind::Local, message).caused_by(error))
            }
        }
    }
}

impl Fleet {
    /// Looks for results under `local_work_path` that came home longer ago than `age`.
    ///
    /// # Errors
    /// Of kind [`Local`](ErrorKind::Local), when the directory can't be read.
    pub fn stale_results(&self, age: Duration) -> Result<StaleResults, Error> {
        let place = self.local_work_path();
        stale_results(place, age).map_err(|error| {
            let message = format!("failed to look for results in `{}`", place.display());
            Error::new(ErrorKind::Local, message).caused_by(error)
        })
    }
}

/// Looks for results below `place` that came home longer ago than `age`.
pub(crate) fn stale_results(place: &Path, age: Duration) -> io::Result<StaleResults> {
    let local_work_path = place.to_owned();
    let (results, leftovers) = (Vec::new(), Vec::new());
    let mut stale = StaleResults { local_work_path, results, leftovers, bytes: 0 };
    let entries = match fs_err::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(stale),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Ok(id) = name.parse() {
            if is_stale(place, id, age) {
                stale.bytes += bytes_below(&place.join(name));
                stale.results.push(id);
            }
        } else if let Some(leftover) = Leftover::named(name)
            && leftover.is_left(place)
        {
            stale.bytes += bytes_below(&place.join(name));
            stale.leftovers.push(leftover);
        }
    }
    Ok(stale)
}

/// Whether there are results of `id` that came home longer ago than `age`.
fn is_stale(place: &Path, id: TaskId, age: Duration) -> bool {
    let directory = place.join(id.to_string());
    let outcome = fs_err::symlink_metadata(directory.join("outcome.json"));
    is_directory(&directory)
        && outcome.is_ok_and(|metadata| {
            metadata.is_file() && metadata.modified().is_ok_and(|home| age_of(home) >= age)
        })
}

/// Removes the results of `id` if they came home longer ago than `age`; false when they did not, or
/// are not there.
pub(crate) fn remove_stale(place: &Path, id: TaskId, age: Duration) -> io::Result<bool> {
    match is_stale(place, id, age) {
        true => remove_result(place, id).map(|()| true),
        false => Ok(false),
    }
}

/// Whether nothing is there that could be the results of `id`.
pub(crate) fn has_no_results(place: &Path, id: TaskId) -> bool {
    let metadata = fs_err::symlink_metadata(place.join(id.to_string()));
    metadata.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Takes the name away first: whoever is stopped in between leaves no half of a result.
fn remove_result(place: &Path, id: TaskId) -> io::Result<()> {
    let leftover = Leftover::Removed(id, FIRST);
    match take_away(&place.join(id.to_string()), &leftover.path(place)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    leftover.remove(place)
}

impl Leftover {
    /// What a name below `local_work_path` stands for.
    fn named(name: &str) -> Option<Self> {
        let (id, kind) = name.strip_prefix('.')?.split_once('.')?;
        let id = id.parse().ok()?;
        let (number, kind) = match kind.split_once('.') {
            Some((number, kind)) => (number.parse().ok()?, kind),
            None => (FIRST, kind),
        };
        match kind {
            "partial" => Some(Self::Partial(id, number)),
            "removed" => Some(Self::Removed(id, number)),
            _ => None,
        }
    }

    fn path(&self, place: &Path) -> PathBuf {
        place.join(match self {
            Self::Partial(id, number) => hidden_name(*id, *number, "partial"),
            Self::Removed(id, number) => hidden_name(*id, *number, "removed"),
        })
    }

    /// Whether nobody needs it any more.
    fn is_left(&self, place: &Path) -> bool {
        let path = self.path(place);
        match self {
            Self::Removed(..) => is_directory(&path),
            Self::Partial(..) => is_directory(&path) && lock_of_gone(&path).is_some(),
        }
    }

    fn remove(&self, place: &Path) -> io::Result<()> {
        let path = self.path(place);
        let (path, _lock) = match self {
            Self::Removed(..) => (path, None),
            Self::Partial(id, number) => {
                // Held until it is gone. Whoever has it by now keeps the directory.
                let Some(lock) = lock_of_gone(&path) else { return Ok(()) };
                let removed = Self::Removed(*id, *number).path(place);
                take_away(&path, &removed)?;
                (removed, Some(lock))
            }
        };
        remove_tree(&path)
    }
}

/// Removes directories of runs of `id` whose processes are gone, however lately. One that a process
/// still uses stays.
pub(crate) fn remove_partials_of_gone(place: &Path, id: TaskId) -> io::Result<()> {
    for number in FIRST.. {
        let path = place.join(partial_name(id, number));
        if !is_directory(&path) {
            break;
        }
        if let Some(Some(_lock)) = lock_stdout(&path) {
            let removed = Leftover::Removed(id, number).path(place);
            take_away(&path, &removed)?;
            remove_tree(&removed)?;
        }
    }
    Ok(())
}

/// The number of the place of who follows a task alone.
pub(crate) const FIRST: u32 = 1;

/// The name of the directory of a run. Those who follow the same task each have a number.
pub(crate) fn partial_name(id: TaskId, number: u32) -> String {
    hidden_name(id, number, "partial")
}

fn hidden_name(id: TaskId, number: u32, kind: &str) -> String {
    match number {
        FIRST => format!(".{id}.{kind}"),
        _ => format!(".{id}.{number}.{kind}"),
    }
}

/// Takes the directory of a run for this process; the lock ends with `stdout`, a file in it.
///
/// # Errors
/// When another process has found that nobody uses it.
pub(crate) fn lock_partial(stdout: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    match rustix::fs::flock(stdout, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(io::Error::other("it was removed")),
        // Where there are no locks nobody removes it.
        Err(_) => return Ok(()),
        Ok(()) => {}
    }
    let (held, there) = (stdout.metadata()?, fs_err::metadata(path)?);
    match (held.dev(), held.ino()) == (there.dev(), there.ino()) {
        true => Ok(()),
        false => Err(io::Error::other("it was removed")),
    }
}

/// Returns the lock of the directory of a run whose process is gone.
fn lock_of_gone(path: &Path) -> Option<Option<File>> {
    let made = fs_err::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    if age_of(made) < LOCKED_BY {
        return None;
    }
    lock_stdout(path)
}

/// Returns the lock of the directory of a run that nobody holds; none in it when there is nothing
/// yet that could be locked.
fn lock_stdout(path: &Path) -> Option<Option<File>> {
    match OpenOptions::new().write(true).open(path.join("stdout")) {
        Ok(file) => {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
            Some(Some(file))
        }
        // The process ended before it made one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
        Err(_) => None,
    }
}

/// How long ago that was.
fn age_of(time: SystemTime) -> Duration {
    SystemTime::now().duration_since(time).unwrap_or_default()
}

fn is_directory(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn bytes_below(path: &Path) -> u64 {
    let files = walk(path).filter_map(|entry| entry.ok()?.metadata().ok());
    files.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len()).sum()
}

/// Gives a directory the name of one that is being removed. What is left of another such goes first.
pub(crate) fn take_away(path: &Path, removed: &Path) -> io::Result<()> {
    remove_tree(removed)?;
    fs_err::rename(path, removed)
}

/// Removes a directory, also when a script left directories in it that can't be written to. It is
/// no error when there is none.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs_err::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        // Another process has done it meanwhile.
        Err(_) if !is_directory(path) => Ok(()),
        removed => removed,
    }
}

fn open_up(directory: &Path) -> io::Result<()> {
    fs_err::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
