//! What this side knows of the dependencies that hosts keep.
//!
//! A host keeps trees by their digest below its work path; the program's `cache.sh` says how. Here is
//! remembered what is in local files, and which trees were sent lately.

mod evict;
mod memory;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use geto_core::{Host, Task};

pub(crate) use self::evict::evict;
pub(crate) use self::memory::Memory;
use crate::stage::{StagePlan, Tree};
use crate::{Error, ErrorKind};

/// The most that a host keeps, unless told otherwise.
pub(crate) const SIZE: u64 = 10 << 30;

/// Which hosts are known to have which tree. Whoever brings one holds its lock meanwhile: the others of
/// this process wait, and find it there.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    known: Mutex<HashMap<(String, String), Filled>>,
    /// The hosts that could not keep one.
    refusing: Mutex<HashSet<String>>,
}

/// Whether a host has a tree.
pub(crate) type Filled = Arc<tokio::sync::Mutex<bool>>;

impl Caches {
    /// What is known of this tree on this host.
    pub(crate) fn of(&self, host: &Host, digest: &str) -> Filled {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry((host.name.clone(), digest.to_owned())).or_default())
    }

    /// Notes that a host could not keep a tree; true the first time.
    pub(crate) fn refuses(&self, host: &Host) -> bool {
        let mut refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        refusing.insert(host.name.clone())
    }
}

/// A task's dependencies on their way: what is sent with the task, and what hosts keep.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// All of them.
    pub(crate) whole: StagePlan,
    /// What is sent with the task when the host keeps the trees.
    pub(crate) rest: StagePlan,
    pub(crate) trees: Vec<Tree>,
}

impl Staged {
    /// Looks at all dependencies of `task`, and reads those that hosts are to keep, unless that was done
    /// before: what is in files is remembered below `local_work_path`.
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage) for what can't be sent, named with its path; nothing
    /// has been sent yet.
    pub(crate) async fn of(task: &Task, local_work_path: &Path) -> Result<Self, Error> {
        let whole = StagePlan::of(task).await?;
        if whole.tar_len() == 0 {
            return Ok(Self { rest: whole.clone(), whole, trees: Vec::new() });
        }
        let place = local_work_path.to_owned();
        let split = tokio::task::spawn_blocking(move || {
            let mut memory = Memory::open(&place);
            let (rest, trees) = whole.split(&mut memory)?;
            memory.keep();
            Ok(Self { whole, rest, trees })
        });
        split.await.map_err(|panicked| {
            Error::new(ErrorKind::Local, "failed to read the dependencies").caused_by(panicked)
        })?
    }

    /// The same without the help of hosts.
    pub(crate) fn without_trees(self) -> Self {
        Self { rest: self.whole.clone(), whole: self.whole, trees: Vec::new() }
    }
}
