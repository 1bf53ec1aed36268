//! Results of tasks that end at about the same time, made durable together.
//!
//! Who comes alone begins at once. Who comes while others are being synced is in the next group: the
//! slower a disk is, the more results share what it does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err::File;
use geto_core::Outcome;
use rustix::fs::{CWD, OFlags};
use tokio::sync::oneshot;

use super::copy::open_directory;
use super::sync::{sync_file_system, sync_tree};
use super::turn::Turn;
use crate::clean::{remove_tree, take_away};

/// So many results are worth a sync of the whole file system, which may have to wait for what others
/// write to it.
const TOGETHER: usize = 16;

/// Results that are written, and neither on disk nor at their place.
pub(crate) struct Written {
    /// Where they are.
    pub(crate) partial: PathBuf,
    /// Where they belong.
    pub(crate) last: PathBuf,
    /// Whether the task still runs. What came at its end, which another may have brought meanwhile,
    /// is then left as it is.
    pub(crate) so_far: bool,
    /// Whether all but the name is on disk.
    pub(crate) is_synced: bool,
    /// Called when they have their name.
    pub(crate) named: Box<dyn FnOnce() + Send>,
    /// Told once they and their name are on disk, and not before.
    pub(crate) durable: oneshot::Sender<io::Result<PathBuf>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Written>,
    is_syncing: bool,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: Vec::new(), is_syncing: false });

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets others go on when a group could not be finished.
struct Syncs;

impl Drop for Syncs {
    fn drop(&mut self) {
        queue().is_syncing = false;
    }
}

/// Makes results durable and gives them their name; `durable` tells when that is done. It may do the same
/// for others, so it must not be called on a thread that runs futures.
pub(crate) fn make_durable(written: Written) {
    let mut waiting = queue();
    waiting.waiting.push(written);
    if std::mem::replace(&mut waiting.is_syncing, true) {
        return;
    }
    drop(waiting);
    loop {
        let group = std::mem::take(&mut queue().waiting);
        let turn = Syncs;
        settle(group, &Disk);
        // Under the lock, or one who comes right now would wait for nobody.
        let mut next = queue();
        std::mem::forget(turn);
        if next.waiting.is_empty() {
            next.is_syncing = false;
            return;
        }
    }
}

/// What gets onto a disk, and in which order: tests look at it.
trait Syncing {
    fn tree(&self, directory: &Path) -> io::Result<()>;
    /// False where there is no such call.
    fn file_system(&self, directory: &Path) -> io::Result<bool>;
    /// The names in a directory.
    fn directory(&self, directory: &Path) -> io::Result<()>;
}

struct Disk;

impl Syncing for Disk {
    fn tree(&self, directory: &Path) -> io::Result<()> {
        sync_tree(directory)
    }

    fn file_system(&self, directory: &Path) -> io::Result<bool> {
        sync_file_system(directory)
    }

    fn directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

/// First the contents, then the names, and then it is told.
fn settle(group: Vec<Written>, disk: &impl Syncing) {
    let mut parents: Vec<PathBuf> =
        group.iter().filter_map(|one| one.last.parent()).map(Path::to_owned).collect();
    parents.sort_unstable();
    parents.dedup();
    let unsynced = group.iter().filter(|one| !one.is_synced).count();
    // When it fails, that may be over the file of somebody else: each tells for itself then.
    let all_synced = unsynced >= TOGETHER
        && parents.iter().all(|parent| matches!(disk.file_system(parent), Ok(true)));
    let mut named = Vec::new();
    for one in group {
        let synced = match one.is_synced || all_synced {
            true => Ok(()),
            false => disk.tree(&one.partial),
        };
        match synced.and_then(|()| name(&one.partial, &one.last, one.so_far)) {
            Ok(is_named) => {
                if is_named {
                    (one.named)();
                }
                named.push((one.last, one.durable));
            }
            // Nobody listens when the call was dropped.
            Err(error) => drop(one.durable.send(Err(error))),
        }
    }
    for parent in parents {
        let synced = disk.directory(&parent);
        for (last, durable) in named.extract_if(.., |(last, _)| last.parent() == Some(&parent)) {
            let told = match &synced {
                Ok(()) => Ok(last),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            drop(durable.send(told));
        }
    }
}

/// False when what is there is left as it is.
fn name(partial: &Path, last: &Path, so_far: bool) -> io::Result<bool> {
    // Others on this machine may bring the same results.
    let parent = last.parent().unwrap_or(Path::new("."));
    let _turn = Turn::wait(&open_directory(CWD, parent, OFlags::empty())?)?;
    if !last.exists() {
        return fs_err::rename(partial, last).map(|()| true);
    }
    if so_far && is_of_ended(last) {
        return Ok(false);
    }
    // One of the two is whole at any moment. Whoever is stopped in between leaves what is cleaned up,
    // here or later.
    let old = partial.with_extension("removed");
    take_away(last, &old)?;
    fs_err::rename(partial, last)?;
    remove_tree(&old)?;
    Ok(true)
}

/// Whether results in `directory` are those of a task that had ended by then.
pub(crate) fn is_of_ended(directory: &Path) -> bool {
    let outcome = fs_err::read(directory.join("outcome.json")).unwrap_or_default();
    let outcome: serde_json::Value = serde_json::from_slice(&outcome).unwrap_or_default();
    let kind = outcome.get("outcome").and_then(serde_json::Value::as_str);
    kind.is_some_and(|kind| kind != Outcome::Running.kind())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Looks, whenever something is synced, at what has its name and who has been told.
    struct Witness<'a> {
        tasks: &'a [PathBuf],
        told: RefCell<Vec<oneshot::Receiver<io::Result<PathBuf>>>>,
        calls: RefCell<Vec<&'static str>>,
        broken: Option<&'static str>,
    }

    impl Witness<'_> {
        fn see(&self, call: &'static str, named: bool) -> io::Result<()> {
            self.calls.borrow_mut().push(call);
            assert!(self.tasks.iter().all(|task| task.exists() == named), "{call}");
            for told in &mut *self.told.borrow_mut() {
                assert!(told.try_recv().is_err(), "told before {call}");
            }
            match self.broken == Some(call) {
                true => Err(io::Error::other("broken")),
                false => Ok(()),
            }
        }
    }

    impl Syncing for Witness<'_> {
        fn tree(&self, _: &Path) -> io::Result<()> {
            self.calls.borrow_mut().push("tree");
            Ok(())
        }

        fn file_system(&self, _: &Path) -> io::Result<bool> {
            self.see("file system", false).map(|()| true)
        }

        fn directory(&self, _: &Path) -> io::Result<()> {
            self.see("directory", true)
        }
    }

    /// Settles so many results; returns what was synced and what each was told.
    fn settled(
        count: usize,
        broken: Option<&'static str>,
    ) -> (Vec<&'static str>, Vec<io::Result<PathBuf>>) {
        let dir = tempfile::tempdir().unwrap();
        let tasks: Vec<_> = (0..count).map(|number| dir.path().join(number.to_string())).collect();
        let (mut group, mut told) = (Vec::new(), Vec::new());
        for last in &tasks {
            let partial = last.with_extension("partial");
            fs_err::create_dir(&partial).unwrap();
            let (durable, receiver) = oneshot::channel();
            told.push(receiver);
            let (last, named) = (last.clone(), Box::new(|| {}));
            group.push(Written { partial, last, so_far: false, is_synced: false, named, durable });
        }
        let told = RefCell::new(told);
        let witness = Witness { tasks: &tasks, told, calls: RefCell::default(), broken };
        settle(group, &witness);
        let told = witness.told.into_inner().into_iter();
        (witness.calls.into_inner(), told.map(|mut told| told.try_recv().unwrap()).collect())
    }

    #[test]
    fn nobody_is_told_before_contents_and_names_are_on_disk() {
        let (calls, told) = settled(TOGETHER, None);
        assert_eq!(calls, ["file system", "directory"]);
        assert!(told.iter().all(Result::is_ok), "{told:?}");
    }

    #[test]
    fn few_are_synced_one_by_one_and_share_the_directory() {
        let (calls, told) = settled(2, None);
        assert_eq!(calls, ["tree", "tree", "directory"]);
        assert!(told.iter().all(Result::is_ok), "{told:?}");
    }

    #[test]
    fn a_file_system_that_fails_is_asked_for_each() {
        let (calls, told) = settled(TOGETHER, Some("file system"));
        assert_eq!(calls.iter().filter(|call| **call == "tree").count(), TOGETHER);
        assert!(told.iter().all(Result::is_ok), "{told:?}");
    }

    #[test]
    fn names_that_are_not_on_disk_are_not_confirmed() {
        let (_, told) = settled(2, Some("directory"));
        assert!(told.iter().all(Result::is_err), "{told:?}");
    }

    #[test]
    fn all_who_come_at_once_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..40)
                .map(|number: u32| {
                    let last = dir.path().join(number.to_string());
                    scope.spawn(move || {
                        let partial = last.with_extension("partial");
                        fs_err::create_dir(&partial).unwrap();
                        fs_err::write(partial.join("outcome.json"), "{}").unwrap();
                        let (durable, told) = oneshot::channel();
                        let named = Box::new(|| {});
                        let (so_far, is_synced) = (false, false);
                        make_durable(Written { partial, last, so_far, is_synced, named, durable });
                        told.blocking_recv().unwrap().unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(results.iter().all(|last| last.join("outcome.json").exists()));
    }
    #[test]
    fn what_there_is_of_a_task_that_runs_replaces_nothing_that_came_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let last = dir.path().join("last");
        let bring = |outcome: &str, so_far| {
            let partial = dir.path().join("next.partial");
            fs_err::create_dir(&partial).unwrap();
            let text = format!("{{\"outcome\":\"{outcome}\"}}");
            fs_err::write(partial.join("outcome.json"), &text).unwrap();
            let named = name(&partial, &last, so_far).unwrap();
            assert_eq!(partial.exists(), !named);
            drop(fs_err::remove_dir_all(&partial));
            (named, fs_err::read_to_string(last.join("outcome.json")).unwrap() == text)
        };
        assert_eq!(bring("running", true), (true, true));
        assert_eq!(bring("running", true), (true, true));
        assert_eq!(bring("exited", false), (true, true));
        assert_eq!(bring("running", true), (false, false));
        assert_eq!(bring("exited", false), (true, true));
    }
}
