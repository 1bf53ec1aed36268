//! What ends a task.

use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use geto::{Canceller, TaskId};
use pyo3::prelude::*;

use crate::runtime::waiting;

/// Ends a task. It is there before the task is, so that whoever is interrupted while one is started can end it.
#[pyclass(frozen, module = "geto._geto")]
#[derive(Debug, Default)]
pub(crate) struct Handle(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    id: Option<TaskId>,
    canceller: Option<Canceller>,
    is_used: bool,
    is_killed: bool,
}

#[pymethods]
impl Handle {
    /// Makes one that ends nothing yet.
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The id of the task's instance, once it has one.
    #[getter]
    fn task_id(&self) -> Option<String> {
        self.held().id.map(|id| id.to_string())
    }

    /// Whether it was given to something, of whose end `done` is told.
    #[getter]
    fn is_used(&self) -> bool {
        self.held().is_used
    }

    /// Ends the task and all its processes, at once when it begins later.
    fn kill(&self) {
        let mut held = self.held();
        held.is_killed = true;
        if let Some(canceller) = &held.canceller {
            canceller.cancel();
        }
    }
}

impl Handle {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns who fills `handle`, and who waits for that.
    pub(crate) fn prepare(py: Python<'_>, handle: Py<Self>) -> (Holder, Begun) {
        let (tell, hear) = mpsc::sync_channel(1);
        (Holder { handle: handle.clone_ref(py), tell }, Begun { handle, hear })
    }
}

/// Fills a handle, from a thread of the runtime.
#[derive(Debug)]
pub(crate) struct Holder {
    handle: Py<Handle>,
    tell: mpsc::SyncSender<()>,
}

impl Holder {
    /// Takes what ends a task; tasks on all hosts have no id of their own.
    pub(crate) fn hold(&self, id: Option<TaskId>, canceller: Canceller) {
        let mut held = self.handle.get().held();
        if held.is_killed {
            canceller.cancel();
        }
        (held.id, held.canceller) = (id, Some(canceller));
        // Whoever waits for it is there until it comes.
        self.tell.send(()).ok();
    }
}

/// Waits until the task is known by its id.
#[derive(Debug)]
pub(crate) struct Begun {
    handle: Py<Handle>,
    hear: mpsc::Receiver<()>,
}

impl Begun {
    /// Waits, once `done` is sure to be told; also why there never will be a task.
    pub(crate) fn wait(self, py: Python<'_>) {
        let Self { handle, hear } = self;
        handle.get().held().is_used = true;
        // An error is that nothing was held: `done` says why.
        waiting(py, move || hear.recv().ok());
    }
}
