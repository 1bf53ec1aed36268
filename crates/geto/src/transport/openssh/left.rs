//! What a child `ssh` would leave behind: itself with what it has started, and its directory.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::log::{both_ends, make_pipe};

/// Becomes `ssh`, beside somebody who waits for a line in the pipe `$1` that only this process holds open: it
/// comes when `ssh` has ended. When the pipe ends without it, nobody is left to end `ssh`, which would stay
/// until the host is done. Opened for both ways first, so that nobody waits for a process that is gone.
pub(super) const SCRIPT: &str = r#"exec 8<>"$1" || exit
exec 9<"$1" 8>&- || exit
dir=${1%/*}
shift
{
  trap '' TERM
  read -r _ <&9 || { kill -TERM "-$$"; kill -CONT "-$$"; rm -rf "$dir"; }
} </dev/null >/dev/null 2>&1 &
exec ssh "$@" 9<&-"#;

/// All that has to be taken away once its owner is gone.
static LEFT: Mutex<Vec<Left>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Left {
    id: u64,
    /// The child, which leads a process group.
    group: Option<Pid>,
    dir: Option<PathBuf>,
    /// What ends with this process, for whoever waits beside the child.
    alive: Option<File>,
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
        all().push(Left { id, group: None, dir: Some(dir.keep()), alive: None });
        Self(id)
    }

    /// Makes the pipe in `dir` that tells whether this process lives.
    pub(super) async fn pipe(&self, dir: &Path) -> io::Result<PathBuf> {
        let path = dir.join("alive");
        make_pipe(&path).await?;
        let alive = both_ends(&path)?;
        self.change(|left| left.alive = Some(alive));
        Ok(path)
    }

    /// The child has been started, with a process group of its own.
    pub(super) fn started(&self, pid: Option<u32>) {
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        self.change(|left| left.group = pid);
    }

    /// The child has ended, and its number may be another's now.
    pub(super) fn ended(&self) {
        self.change(|left| {
            left.group = None;
            // Who does not hear it ends by the end of the pipe.
            left.alive.take().map(|mut alive| alive.write_all(b"\n").ok());
        });
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
