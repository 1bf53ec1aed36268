//! The runtime of this process, and the way from it into Python.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use geto::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use crate::objects::error_object;

/// The runtime, and the process that it is of: threads do not survive a fork.
static RUNTIME: Mutex<Option<Place>> = Mutex::new(None);

struct Place {
    process: u32,
    handle: Handle,
    /// Tells all that was spawned that the interpreter ends; each has a receiver until it has heard it.
    closing: watch::Sender<bool>,
    /// Gone once the interpreter ends. It is never dropped otherwise: a child of a fork has a copy whose
    /// threads are not there.
    runtime: Option<ManuallyDrop<Runtime>>,
}

/// Returns the runtime of this process.
///
/// A child of a fork gets none once its parent had one: the threads that waited then are gone, and the
/// places where they waited are still listed in tables of this process, in memory that new threads
/// use. A new runtime would follow these lists.
fn runtime() -> PyResult<(Handle, watch::Receiver<bool>)> {
    let mut place = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match &*place {
        Some(place) if place.process != std::process::id() => Err(Python::attach(|py| {
            let forked = py.import("geto.errors").and_then(|errors| errors.getattr("ForkedError"));
            match forked.and_then(|kind| kind.call0()) {
                Ok(error) => PyErr::from_value(error),
                Err(error) => error,
            }
        })),
        _ if CLOSED.load(Ordering::SeqCst) => {
            Err(PyRuntimeError::new_err("cannot run tasks after interpreter shutdown"))
        }
        Some(place) => Ok((place.handle.clone(), place.closing.subscribe())),
        None => {
            let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = built.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
            let handle = runtime.handle().clone();
            let (closing, closed) = watch::channel(false);
            *place = Some(Place {
                process: std::process::id(),
                handle: handle.clone(),
                closing,
                runtime: Some(ManuallyDrop::new(runtime)),
            });
            Ok((handle, closed))
        }
    }
}

/// Waits for something that is over soon, without threads that would be missing after a fork.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> PyResult<T> {
    let built = Builder::new_current_thread().enable_all().build();
    let runtime = built.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(runtime.block_on(work))
}

/// Whether the interpreter ends.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// Who is in Python holds it for reading.
static INSIDE: RwLock<()> = RwLock::new(());

/// How long the end of the interpreter waits for what was spawned, then for the threads of the runtime, and
/// then for those who are in Python or come back to it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Lets no thread of the runtime into Python any more, ends the runtime, and waits until those who are in
/// Python have left: an interpreter that ends would end them where they are, which Rust does not
/// survive, and the process would take its libraries down under them.
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    let (runtime, closing) = {
        let mut place = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *place {
            Some(place) if place.process == std::process::id() => {
                (place.runtime.take(), place.closing.clone())
            }
            _ => return,
        }
    };
    // Before anybody is waited for, so that nobody else comes in.
    CLOSED.store(true, Ordering::SeqCst);
    py.detach(|| {
        // What is dropped lets those go on who wait for it.
        if let Some(runtime) = runtime.map(ManuallyDrop::into_inner) {
            // Whoever comes back from Python looks at timers, which panics once the runtime is shut.
            let left = async { tokio::time::timeout(PATIENCE, closing.closed()).await };
            closing.send_replace(true);
            runtime.block_on(left).ok();
            runtime.shutdown_timeout(PATIENCE);
        }
        let begun = Instant::now();
        // Nobody queues for it, so that those who are in Python may be waited for by each other.
        while INSIDE.try_write().is_err() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Of what was not dropped in time.
        geto::transport::end_children();
    });
}

/// Waits for the runtime without the interpreter, on a thread of Python that comes back to it before that
/// ends.
pub(crate) fn waiting<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let _inside = INSIDE.read().unwrap_or_else(PoisonError::into_inner);
    py.detach(work)
}

/// Does something in Python from a thread of the runtime. An interpreter that ends hears nothing.
pub(crate) fn in_python(work: impl FnOnce(Python<'_>) -> PyResult<()>) {
    tokio::task::block_in_place(|| {
        let _inside = INSIDE.read().unwrap_or_else(PoisonError::into_inner);
        if CLOSED.load(Ordering::SeqCst) {
            return;
        }
        Python::try_attach(|py| {
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
    let (runtime, mut closing) = runtime()?;
    runtime.spawn(async move {
        let ended = tokio::select! {
            biased;
            _closing = closing.wait_for(|is_closing| *is_closing) => return,
            ended = work => ended,
        };
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
