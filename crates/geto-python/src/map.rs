//! Many tasks over the hosts of a fleet.

use std::path::PathBuf;

use geto::map::{Interrupter as Engine, MapEvent, MapOrder};
use geto::{Error, ErrorKind, Event, Fleet, Host, Task};
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

use crate::objects::{error_object, event_object, results_object};
use crate::runtime::{attached, in_python, spawn};
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

/// The iterator of Python. It is asked on a thread of the batch's own, and may wait.
struct Jobs {
    tasks: Py<PyAny>,
    next: u64,
}

impl Iterator for Jobs {
    type Item = Result<(u64, Job), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = attached(|py| {
            let next = self.tasks.bind(py).call_method0("__next__");
            match next.and_then(|next| next.extract::<(PyRef<'_, NativeTask>, Option<PathBuf>)>()) {
                Ok((task, into)) => Some(Ok(Job { task: task.0.clone(), into })),
                Err(error) if error.is_instance_of::<PyStopIteration>(py) => None,
                Err(error) => Some(Err(Error::new(ErrorKind::Usage, "failed to read the tasks")
                    .caused_by(error.to_string()))),
            }
        });
        let number = self.next;
        self.next += 1;
        taken.flatten().map(|job| job.map(|job| (number, job)))
    }
}

/// Starts a batch.
pub(crate) fn start(
    py: Python<'_>,
    fleet: Fleet,
    plan: Plan,
    tasks: Py<PyAny>,
    done: Py<PyAny>,
) -> PyResult<Option<Interrupter>> {
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
        let mut map = fleet.map(hosts, Jobs { tasks, next: 0 }, make).overwrite(overwrite);
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
    Ok(py.detach(move || take.recv()).ok().map(Interrupter))
}
