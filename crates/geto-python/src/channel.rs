//! A command of a host, and bytes both ways.

use std::sync::{Mutex, PoisonError};

use geto::transport::ChannelEvent;
use geto::{Fleet, Host};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::runtime::{in_python, spawn};

/// The input of a command that runs.
#[pyclass(frozen, module = "geto._geto")]
#[derive(Debug)]
pub(crate) struct Channel(Mutex<Option<mpsc::UnboundedSender<Vec<u8>>>>);

#[pymethods]
impl Channel {
    /// Queues bytes; what has ended takes none, and says so by its end.
    fn write(&self, bytes: &[u8]) {
        if let Some(input) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            input.send(bytes.to_vec()).ok();
        }
    }

    /// Ends the input.
    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Starts `command` under the login shell of a host. `told` hears what it writes.
pub(crate) fn start(
    fleet: Fleet,
    host: impl Future<Output = Result<Host, geto::Error>> + Send + 'static,
    command: String,
    told: Py<PyAny>,
    done: Py<PyAny>,
) -> PyResult<Channel> {
    let (input, mut queued) = mpsc::unbounded_channel::<Vec<u8>>();
    let work = async move {
        let transport = fleet.connect(&host.await?).await?;
        let channel = transport.open(&command).await?;
        let (mut stdin, mut events) = (channel.stdin, channel.events);
        let writing = async {
            while let Some(bytes) = queued.recv().await {
                stdin.write_all(&bytes).await?;
                stdin.flush().await?;
            }
            stdin.shutdown().await
        };
        let hearing = async {
            while let Some(event) = events.recv().await {
                if let ChannelEvent::Stdout(bytes) = event {
                    in_python(|py| told.call1(py, (PyBytes::new(py, &bytes),)).map(drop));
                }
            }
        };
        tokio::pin!(writing, hearing);
        // A write may wait for ever once the other side is gone, and one that fails is told by the end.
        tokio::select! {
            _written = &mut writing => hearing.await,
            () = &mut hearing => {}
        }
        Ok(())
    };
    spawn(done, work, |py, ()| Ok(py.None()))?;
    Ok(Channel(Mutex::new(Some(input))))
}
