//! The runtime of this process, and the way from it into Python.

use std::future::Future;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use geto::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

use crate::objects::error_object;

/// The runtime, and the process that it is of: threads do not survive a fork.
static RUNTIME: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);

/// Returns the runtime of this process.
///
/// A child of a fork gets none once its parent had one: the threads that waited then are gone, and the
/// places where they waited are still listed in tables of this process, in memory that new threads
/// use. A new runtime would follow these lists.
pub(crate) fn runtime() -> PyResult<&'static Runtime> {
    let mut place = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match *place {
        Some((process, runtime)) if process == std::process::id() => Ok(runtime),
        Some(_) => Err(Python::attach(|py| {
            let forked = py.import("geto.errors").and_then(|errors| errors.getattr("ForkedError"));
            match forked.and_then(|kind| kind.call0()) {
                Ok(error) => PyErr::from_value(error),
                Err(error) => error,
            }
        })),
        None => {
            let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let built = built.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
            // The interpreter ends without asking.
            let runtime: &'static Runtime = Box::leak(Box::new(built));
            *place = Some((std::process::id(), runtime));
            Ok(runtime)
        }
    }
}

/// Waits for something that is over soon, without threads that would be missing after a fork.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> PyResult<T> {
    let built = Builder::new_current_thread().enable_all().build();
    let runtime = built.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(runtime.block_on(work))
}

/// Whether the interpreter ends. Who is in Python holds it for reading.
static CLOSED: RwLock<bool> = RwLock::new(false);

/// How long the end of the interpreter waits for those who are in Python.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets no thread of the runtime into Python any more, and waits until those that are there have left:
/// an interpreter that ends would end them where they are, which Rust does not survive.
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    let place = *RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_none_or(|(process, _)| process != std::process::id()) {
        return;
    }
    py.detach(|| {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            // Nobody queues for it, so that those who are in Python may be waited for by each other.
            if let Ok(mut closed) = CLOSED.try_write() {
                *closed = true;
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The runtime drops nothing.
        geto::transport::end_children();
    });
}

/// Does something in Python. `None` when the interpreter ends, which hears nothing.
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let closed = CLOSED.read().unwrap_or_else(PoisonError::into_inner);
    if *closed {
        return None;
    }
    Python::try_attach(work)
}

/// Does something in Python from a thread of the runtime.
pub(crate) fn in_python(work: impl FnOnce(Python<'_>) -> PyResult<()>) {
    tokio::task::block_in_place(|| {
        attached(|py| {
            if let Err(error) = work(py) {
                error.write_unraisable(py, None);
            }
        });
    });
}

/// Starts `work`, and tells `done` what came of it.
pub(crate) fn spawn<T: Send + 'static>(
    done: Py<PyAny>,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
    object: impl FnOnce(Python<'_>, &T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<()> {
    runtime()?.spawn(async move {
        let ended = work.await;
        in_python(|py| {
            let told = match &ended {
                Ok(value) => done.call1(py, (object(py, value)?, py.None())),
                Err(error) => done.call1(py, (py.None(), error_object(py, error)?)),
            };
            // Without the interpreter it could not be let go.
            drop(done);
            told.map(drop)
        });
    });
    Ok(())
}
