//! Which tasks of a batch have claimed which paths.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Paths that tasks of a batch have left files at: some 20 bytes for each.
///
/// What stands at a path can be seen, but not whose it is: with `--overwrite` a task may replace what
/// was there before the batch, and nothing that another task of the batch has left. An attempt at a
/// task may always replace what an earlier one has left that failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<HashMap<u64, Owner>>>);

/// One attempt at a task that claims paths.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) claims: Claims,
    /// The number of its task.
    pub(crate) owner: u64,
    /// Another attempt may replace what it leaves, since it failed.
    pub(crate) is_passing: bool,
    /// Others have to be told of what it leaves, since they might replace it.
    pub(crate) is_noted: bool,
    /// It may replace what earlier ones have left.
    pub(crate) replaces: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    number: u64,
    is_passing: bool,
}

/// What came of a claim.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    /// What an earlier attempt at the same task has left.
    pub(super) own: HashSet<PathBuf>,
    /// What other tasks have, with their numbers. Nothing was claimed if there is any.
    pub(super) taken: Vec<(PathBuf, u64)>,
    /// What it was before.
    before: Vec<(u64, Option<Owner>)>,
}

impl Claim {
    /// Claims these paths below `root`, which has no links in it: all or none.
    pub(super) fn make(&self, root: &Path, paths: Vec<PathBuf>) -> Claimed {
        let mut owners = self.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut claimed = Claimed::default();
        let mut keys = Vec::with_capacity(paths.len());
        for path in paths {
            let key = key(&root.join(&path));
            keys.push(key);
            match owners.get(&key) {
                Some(owner) if owner.number != self.owner => {
                    claimed.taken.push((path, owner.number));
                }
                Some(owner) if owner.is_passing && self.replaces => drop(claimed.own.insert(path)),
                _ => {}
            }
        }
        if claimed.taken.is_empty() {
            let new = Owner { number: self.owner, is_passing: self.is_passing };
            let note = |key| match self.is_noted {
                true => (key, owners.insert(key, new)),
                false => (key, owners.remove(&key)),
            };
            claimed.before = keys.into_iter().map(note).collect();
        }
        claimed
    }

    /// Takes it back, since nothing was left there.
    pub(super) fn unmake(&self, claimed: Claimed) {
        let mut owners = self.claims.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, before) in claimed.before {
            match before {
                Some(owner) => owners.insert(key, owner),
                None => owners.remove(&key),
            };
        }
    }
}

/// Two of ten million paths have the same one with a chance of one in 300,000; one of the two is an
/// error then, and nothing is lost.
fn key(path: &Path) -> u64 {
    let digest = blake3::hash(path.as_os_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}
