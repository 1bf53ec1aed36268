//! What a child `ssh` would leave behind: itself with what it has started, and its directory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// All that has to be taken away once its owner is gone.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Left {
    id: u64,
    /// The child, which leads a process group.
    group: Option<Pid>,
    dir: Option<PathBuf>,
}

/// A child `ssh` and its directory; both are taken away when it is dropped, or by
/// [`end_children`].
#[derive(Debug)]
pub(super) struct Held(u64);

impl Held {
    /// Takes over a directory.
    pub(super) fn dir(dir: tempfile::TempDir) -> Self {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        all().push(Left { id, group: None, dir: Some(dir.keep()) });
        Self(id)
    }

    /// The child has been started, with a process group of its own.
    pub(super) fn started(&self, pid: Option<u32>) {
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        self.change(|left| left.group = pid);
    }

    /// The child has ended, and its number may be another's now.
    pub(super) fn ended(&self) {
        self.change(|left| left.group = None);
    }

    /// The child needs its directory no more.
    pub(super) fn is_in(&self) {
        let mut dir = None;
        self.change(|left| dir = left.dir.take());
        dir.iter().for_each(|dir| remove(dir));
    }

    fn change(&self, change: impl FnOnce(&mut Left)) {
        // It is not there any more when the process is about to end.
        all().iter_mut().find(|left| left.id == self.0).map(change);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = all();
        let place = all.iter().position(|left| left.id == self.0);
        let left = place.map(|place| all.swap_remove(place));
        drop(all);
        left.iter().for_each(Left::take_away);
    }
}

impl Left {
    fn take_away(&self) {
        if let Some(group) = self.group {
            // What `ssh` has started (an `ssh` for a jump host, a ProxyCommand, a question) may stand
            // still since it asks on a terminal that is not its own. All that fails is gone already.
            kill_process_group(group, Signal::TERM).ok();
            kill_process_group(group, Signal::CONT).ok();
            kill_process(group, Signal::KILL).ok();
        }
        self.dir.iter().for_each(|dir| remove(dir));
    }
}

fn remove(dir: &Path) {
    if let Err(error) = fs_err::remove_dir_all(dir) {
        tracing::debug!(%error, "a directory of ssh was not removed");
    }
}

fn all() -> std::sync::MutexGuard<'static, Vec<Left>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all child processes `ssh` of this process, and removes their directories.
///
/// For a process that is about to end. What holds a connection ends it when it is dropped, but
/// tasks of a runtime that is shut down in the background, or not at all, are not dropped.
pub fn end_children() {
    let left = std::mem::take(&mut *all());
    left.iter().for_each(Left::take_away);
}
