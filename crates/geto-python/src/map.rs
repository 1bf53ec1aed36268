//! Many tasks over the hosts of a fleet.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};

use geto::map::{Interrupter as Engine, MapEvent, MapOrder};
use geto::{Error, ErrorKind, Event, Fleet, Host, Task};
use pyo3::prelude::*;

use crate::objects::{error_object, event_object, results_object};
use crate::runtime::{in_python, spawn, waiting};
use crate::task::NativeTask;

/// Interrupts a batch.
#[pyclass(frozen, module = "geto._geto")]
#[derive(Debug)]
pub(crate) struct Interrupter(Engine);

#[pymethods]
impl Interrupter {
    /// Goes a step further each time: starts no more, ends those that run, leaves them.
    fn interrupt(&self) {
        self.0.interrupt();
    }
}

/// What a batch goes by.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) hosts: Vec<Host>,
    pub(crate) overwrite: bool,
    pub(crate) per_host: Option<u32>,
    /// Asked with the place of a task before it is started; false if it is not wanted any more.
    pub(crate) claim: Option<Py<PyAny>>,
    /// Told `(kind, place, value)`.
    pub(crate) tell: Py<PyAny>,
}

struct Job {
    task: Task,
    into: Option<PathBuf>,
}

type Given = Result<Job, Error>;

/// Takes the tasks of a batch. Python reads its iterators on a thread of its own: one of ours that waits
/// in there could not be told that the interpreter ends.
#[pyclass(frozen, module = "geto._geto")]
#[derive(Debug)]
pub(crate) struct Feeder(Mutex<Option<SyncSender<Given>>>);

#[pymethods]
impl Feeder {
    /// Gives a task, and waits for room; false when no more are wanted.
    fn put(&self, py: Python<'_>, task: &Bound<'_, NativeTask>, into: Option<PathBuf>) -> bool {
        self.give(py, Ok(Job { task: task.get().0.clone(), into }))
    }

    /// Says that the tasks can't be read any more, and why.
    fn fail(&self, py: Python<'_>, reason: String) {
        let error = Error::new(ErrorKind::Usage, "failed to read the tasks").caused_by(reason);
        self.give(py, Err(error));
    }

    /// Says that there are no more.
    fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Feeder {
    fn give(&self, py: Python<'_>, given: Given) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.is_some_and(|sender| waiting(py, || sender.send(given).is_ok()))
    }
}

/// What was given, in its order.
struct Jobs {
    given: Receiver<Given>,
    next: u64,
}

impl Iterator for Jobs {
    type Item = Result<(u64, Job), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        self.next += 1;
        self.given.recv().ok().map(|given| given.map(|job| (number, job)))
    }
}

/// Starts a batch.
pub(crate) fn start(
    py: Python<'_>,
    fleet: Fleet,
    plan: Plan,
    done: Py<PyAny>,
) -> PyResult<Option<(Feeder, Interrupter)>> {
    let (feeder, given) = std::sync::mpsc::sync_channel(1);
    let (give, take) = std::sync::mpsc::sync_channel(1);
    let work = async move {
        let Plan { hosts, overwrite, per_host, claim, tell } = plan;
        let make = |job: &Job, place: &geto::map::MapPlace<'_>| {
            let mut wanted = true;
            if let Some(claim) = &claim {
                in_python(|py| {
                    wanted = claim.call1(py, (place.sequence,))?.is_truthy(py)?;
                    Ok(())
                });
            }
            if !wanted {
                return Err(Error::new(ErrorKind::Usage, "the task is not wanted any more"));
            }
            let mut order = MapOrder::new(job.task.clone());
            order.into.clone_from(&job.into);
            Ok(order)
        };
        let mut map = fleet.map(hosts, Jobs { given, next: 0 }, make).overwrite(overwrite);
        if let Some(tasks) = per_host {
            map = map.per_host(tasks);
        }
        let map = map.follow(|event| match event {
            MapEvent::Event {
                place, event: event @ (Event::Stdout(_) | Event::Stderr(_)), ..
            } => {
                in_python(|py| match event_object(py, &event)? {
                    Some((kind, value)) => tell.call1(py, (kind, place.sequence, value)).map(drop),
                    None => Ok(()),
                });
            }
            MapEvent::Done(job) => in_python(|py| {
                let (results, error) = match job.tried.map(|tried| &tried.result) {
                    Some(Ok(results)) => (results_object(py, results)?, py.None()),
                    Some(Err(error)) => (py.None(), error_object(py, error)?),
                    None => (py.None(), py.None()),
                };
                tell.call1(py, ("done", job.sequence, (results, error))).map(drop)
            }),
            _ => {}
        });
        give.send(map.interrupter()).ok();
        let report = map.await?;
        match report.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    };
    spawn(done, work, |py, ()| Ok(py.None()))?;
    let interrupter = waiting(py, move || take.recv()).ok().map(Interrupter);
    Ok(interrupter.map(|interrupter| (Feeder(Mutex::new(Some(feeder))), interrupter)))
}
