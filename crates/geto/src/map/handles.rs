//! How attempts that are under way are ended and left.

use std::collections::HashMap;

use futures_util::future::AbortHandle;
use geto_core::map::plan::Attempt;
use tokio::sync::watch;

/// How an attempt is ended and left.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) cancel: watch::Sender<bool>,
    pub(super) abort: AbortHandle,
}

/// All of them, by their jobs: what is done for one job does not depend on how many there are.
#[derive(Debug, Default)]
pub(super) struct Handles(HashMap<u64, Vec<(Attempt, Handle)>>);

impl Handles {
    pub(super) fn insert(&mut self, attempt: Attempt, handle: Handle) {
        self.0.entry(attempt.sequence).or_default().push((attempt, handle));
    }

    pub(super) fn get(&self, attempt: Attempt) -> Option<&Handle> {
        let all = self.0.get(&attempt.sequence)?;
        all.iter().find(|(other, _)| *other == attempt).map(|(_, handle)| handle)
    }

    pub(super) fn remove(&mut self, attempt: Attempt) -> Option<Handle> {
        let all = self.0.get_mut(&attempt.sequence)?;
        let at = all.iter().position(|(other, _)| *other == attempt)?;
        let (_, handle) = all.swap_remove(at);
        if all.is_empty() {
            self.0.remove(&attempt.sequence);
        }
        Some(handle)
    }

    /// The attempts at a job that are under way.
    pub(super) fn of_job(&self, sequence: u64) -> impl Iterator<Item = Attempt> {
        self.0.get(&sequence).into_iter().flatten().map(|(attempt, _)| *attempt)
    }
}
