//! What Python is told, as dicts and tuples that the package makes its classes of.

use std::error::Error as _;

use geto::{Detached, Error, Event, HostTask, Outcome, Results};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// Kind, message, causes, host, task and hint of an error.
pub(crate) fn error_object(py: Python<'_>, error: &Error) -> PyResult<Py<PyAny>> {
    let object = PyDict::new(py);
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(next) = cause {
        causes.push(next.to_string());
        cause = next.source();
    }
    object.set_item("kind", error.kind().name())?;
    object.set_item("message", error.to_string())?;
    object.set_item("causes", causes)?;
    object.set_item("host", error.host())?;
    object.set_item("task", error.task().map(|id| id.to_string()))?;
    object.set_item("hint", error.hint())?;
    Ok(object.into_any().unbind())
}

fn outcome_object<'py>(py: Python<'py>, outcome: &Outcome) -> PyResult<Bound<'py, PyDict>> {
    let object = PyDict::new(py);
    object.set_item("kind", outcome.kind())?;
    object.set_item("text", outcome.to_string())?;
    object.set_item("exit_code", outcome.exit_code().0)?;
    let returncode = match outcome {
        Outcome::Exited { code } => Some(i32::from(*code)),
        Outcome::Signalled { signal } => Some(-i32::from(*signal)),
        _ => None,
    };
    object.set_item("returncode", returncode)?;
    Ok(object)
}

/// What a task brought home.
pub(crate) fn results_object(py: Python<'_>, results: &Results) -> PyResult<Py<PyAny>> {
    let object = PyDict::new(py);
    object.set_item("task_id", results.id.to_string())?;
    object.set_item("script", &results.script)?;
    object.set_item("host", &results.host)?;
    object.set_item("outcome", outcome_object(py, &results.outcome)?)?;
    object.set_item("started", results.started.as_secs_f64())?;
    object.set_item("run_time", results.run_time.as_secs_f64())?;
    object.set_item("cpu_time", results.cpu_time.as_secs_f64())?;
    object.set_item("directory", &results.directory)?;
    object.set_item("files", results.files.as_ref().map(|files| &files.directory))?;
    object.set_item("warnings", &results.warnings)?;
    Ok(object.into_any().unbind())
}

/// A task that was started and left.
pub(crate) fn detached_object(py: Python<'_>, detached: &Detached) -> PyResult<Py<PyAny>> {
    let (id, host) = (detached.id.to_string(), &detached.host);
    Ok((id, host, &detached.directory).into_pyobject(py)?.into_any().unbind())
}

/// A task that lives on a host.
pub(crate) fn task_object(py: Python<'_>, task: &HostTask) -> PyResult<Py<PyAny>> {
    let object = PyDict::new(py);
    object.set_item("task_id", task.id.to_string())?;
    object.set_item("host", &task.host)?;
    object.set_item("script", &task.script)?;
    object.set_item("state", format!("{:?}", task.state).to_lowercase())?;
    let outcome = task.outcome.as_ref().map(|outcome| outcome_object(py, outcome)).transpose()?;
    object.set_item("outcome", outcome)?;
    object.set_item("started", task.started.map(|time| time.as_secs_f64()))?;
    object.set_item("run_time", task.run_time.map(|time| time.as_secs_f64()))?;
    object.set_item("origin", &task.origin)?;
    Ok(object.into_any().unbind())
}

/// Kind and content of an event; `None` for those that the package has no use for.
pub(crate) fn event_object(
    py: Python<'_>,
    event: &Event,
) -> PyResult<Option<(&'static str, Py<PyAny>)>> {
    let text =
        |text: &str| -> PyResult<Py<PyAny>> { Ok(text.into_pyobject(py)?.into_any().unbind()) };
    Ok(Some(match event {
        Event::Stdout(bytes) => ("stdout", PyBytes::new(py, bytes).into_any().unbind()),
        Event::Stderr(bytes) => ("stderr", PyBytes::new(py, bytes).into_any().unbind()),
        Event::Slot { slots, .. } => ("slot", text(slots)?),
        Event::Started { id, host, directory } => {
            let started = (id.to_string(), host, directory);
            ("started", started.into_pyobject(py)?.into_any().unbind())
        }
        Event::Warning(warning) => ("warning", text(warning)?),
        _ => return Ok(None),
    }))
}
