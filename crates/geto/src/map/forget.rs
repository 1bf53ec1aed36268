//! Tasks that are over, on their way to be forgotten by their hosts.

use std::sync::{Arc, Mutex, PoisonError};

use geto_core::map::plan::HostId;
use geto_core::{Host, TaskId};
use tokio::task::JoinHandle;

use super::Keep;
use crate::{Error, ErrorKind};

/// A task whose results are home.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) place: HomePlace,
    pub(super) id: TaskId,
}

/// Where it ran.
#[derive(Debug)]
pub(super) enum HomePlace {
    /// On a host of the plan.
    Planned(HostId),
    /// On this one, where it was taken over.
    Elsewhere(Box<Host>),
}

type Keeping = JoinHandle<Result<(), Error>>;

/// Tasks of which was told that they are done, until what was told is kept.
///
/// One call keeps all that was told while the last one took its time: a disk that takes 10 ms for a
/// sync makes larger groups, not slower tasks.
pub(super) struct Forgetting {
    keep: Option<Arc<Mutex<Keep>>>,
    /// Not to be forgotten yet.
    told: Vec<Home>,
    /// What is being kept now, and of which tasks.
    keeping: Option<(Keeping, Vec<Home>)>,
    is_due: bool,
    has_failed: bool,
}

impl Forgetting {
    pub(super) fn new(keep: Option<Keep>) -> Self {
        let keep = keep.map(|keep| Arc::new(Mutex::new(keep)));
        Self { keep, told: Vec::new(), keeping: None, is_due: false, has_failed: false }
    }

    /// Something was told that is to be kept.
    pub(super) fn told(&mut self) {
        self.is_due = true;
    }

    /// Tries once more what could not be kept.
    pub(super) fn again(&mut self) {
        self.is_due |= std::mem::take(&mut self.has_failed);
    }

    /// Takes note of a task that was told of; returns it when its host may forget it at once.
    pub(super) fn add(&mut self, home: Home) -> Option<Home> {
        if self.keep.is_none() {
            return Some(home);
        }
        self.told.push(home);
        None
    }

    /// Begins to keep what was told, unless that goes on or there is nothing.
    pub(super) fn begin(&mut self) {
        let Some(keep) = self.keep.as_ref().filter(|_| self.is_due && self.keeping.is_none())
        else {
            return;
        };
        self.is_due = false;
        let keep = Arc::clone(keep);
        // A disk takes its time.
        let keeping = tokio::task::spawn_blocking(move || {
            (keep.lock().unwrap_or_else(PoisonError::into_inner))()
        });
        self.keeping = Some((keeping, std::mem::take(&mut self.told)));
    }

    pub(super) fn is_keeping(&self) -> bool {
        self.keeping.is_some()
    }

    /// Waits until what was begun is done, and returns the tasks that may be forgotten.
    ///
    /// # Errors
    /// When it can't be kept: none of them may be forgotten before a later call succeeds.
    ///
    /// # Cancel safety
    /// Nothing is lost when the call is dropped.
    pub(super) async fn kept(&mut self) -> Result<Vec<Home>, Error> {
        let Some((keeping, _)) = &mut self.keeping else { return std::future::pending().await };
        let kept = keeping.await.unwrap_or_else(|panicked| {
            Err(Error::new(ErrorKind::Local, "failed to keep what was told").caused_by(panicked))
        });
        let homes = self.keeping.take().map(|(_, homes)| homes).unwrap_or_default();
        match kept {
            Ok(()) => {
                self.has_failed = false;
                Ok(homes)
            }
            Err(error) => {
                self.has_failed = true;
                self.told.splice(0..0, homes);
                Err(error)
            }
        }
    }
}
