//! One at a time.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The directories, by device and inode, into which this process puts files.
static TAKEN: LazyLock<Mutex<HashSet<(u64, u64)>>> = LazyLock::new(Mutex::default);
/// Told when there is one less.
static FREED: Condvar = Condvar::new();

/// How long other processes are waited for. One of another user, or one that hangs, must not keep files
/// from their places; who else puts files there for longer than this will hardly take them back.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// The turn to put files into a directory.
///
/// A directory is moved as a whole, and moved back when a later move fails: what others have put into it
/// meanwhile would go with it. Let go when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    key: (u64, u64),
    /// Locked, as flock(2) says, until it is closed.
    directory: OwnedFd,
}

impl Turn {
    /// Waits for those of this process, as long as it takes, and for a while for others.
    ///
    /// # Errors
    /// When the directory can't be looked at.
    pub(super) fn wait(directory: &OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(directory)?;
        // Of its own: descriptors that were duplicated share their lock.
        let own = super::copy::open_directory(directory, ".", rustix::fs::OFlags::empty())?;
        let key = (stat.st_dev, stat.st_ino);
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = FREED.wait_while(taken, |taken| taken.contains(&key));
        taken.unwrap_or_else(PoisonError::into_inner).insert(key);
        let turn = Self { key, directory: own };
        let begun = Instant::now();
        let lock = FlockOperation::NonBlockingLockExclusive;
        // Not every file system knows how.
        while rustix::fs::flock(&turn.directory, lock) == Err(Errno::WOULDBLOCK)
            && begun.elapsed() < PATIENCE
        {
            std::thread::sleep(PAUSE);
        }
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        rustix::fs::flock(&self.directory, FlockOperation::Unlock).ok();
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        FREED.notify_all();
    }
}
