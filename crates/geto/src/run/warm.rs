//! A session that goes from one task of a batch to the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use geto_core::TaskId;

use crate::results::Claims;
use crate::session::Session;

/// Where a run finds a session that has run a task before, and leaves it for the next.
///
/// A run that has one does not let the host forget its task: whoever runs the batch does so once it
/// has written down what came of the task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Warm(Arc<Mutex<Left>>);

/// What a run belongs to that is one of many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    pub(crate) warm: Warm,
    /// For how long its host lets it live without hearing of this process.
    pub(crate) lease: Duration,
    /// What it is recognised by on its host.
    pub(crate) tag: Option<String>,
    /// Where paths of all tasks of the batch are claimed, and the number of this one's job.
    pub(crate) claims: Option<(Claims, u64)>,
}

/// What a run has left.
#[derive(Debug, Default)]
struct Left {
    session: Option<Session>,
    home: Option<TaskId>,
}

impl Warm {
    /// Takes the session that is there.
    pub(crate) fn take(&self) -> Option<Session> {
        self.with(|left| left.session.take())
    }

    /// The number of the session that is there.
    pub(crate) fn number(&self) -> Option<u64> {
        self.with(|left| left.session.as_ref().map(Session::number))
    }

    /// Leaves one that waits for a request.
    pub(crate) fn put(&self, session: Session) {
        self.with(|left| left.session = Some(session));
    }

    /// Notes that all of a task is home and on disk: its host may forget it.
    pub(crate) fn is_home(&self, id: TaskId) {
        self.with(|left| left.home = Some(id));
    }

    /// The task that its host may forget; told once.
    pub(crate) fn take_home(&self) -> Option<TaskId> {
        self.with(|left| left.home.take())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Left) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
