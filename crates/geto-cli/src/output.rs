//! The task's output on its way to stdout and stderr.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use geto::bytes::Bytes;

use crate::streams::{write_all_stderr, write_stdout};

/// The most bytes that wait for whoever reads them.
const WAITING_MAX: usize = 1 << 20;

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A thread that writes output in its order. A reader that stalls (`| less`) holds up the task's
/// output, but neither signals nor the connection.
#[derive(Debug, Clone)]
pub(crate) struct Output(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<(Stream, Bytes)>,
    /// How many bytes are queued or being written.
    waiting: usize,
    writing: bool,
    /// Nobody waits for the reader any more.
    hurried: bool,
    /// Why stdout took no more.
    broken: Option<io::ErrorKind>,
}

impl Output {
    /// Starts the thread, which ends with the process.
    pub(crate) fn start() -> Self {
        let output = Self(Arc::default());
        let shared = Arc::clone(&output.0);
        std::thread::spawn(move || shared.write_all());
        output
    }

    /// Queues bytes, and waits for room.
    ///
    /// # Errors
    /// When stdout takes no more. What was meant for it is dropped from then on.
    pub(crate) fn write(&self, stream: Stream, bytes: Bytes) -> io::Result<()> {
        let mut state = self.0.lock();
        while state.waiting >= WAITING_MAX && !state.hurried {
            state = self.0.wait(state);
        }
        match state.broken {
            Some(kind) if stream == Stream::Stdout => return Err(kind.into()),
            // The results have it all.
            _ if state.waiting >= WAITING_MAX => return Ok(()),
            _ => {}
        }
        state.waiting += bytes.len();
        state.queue.push((stream, bytes));
        // One that writes looks by itself.
        if !state.writing {
            self.0.changed.notify_all();
        }
        Ok(())
    }

    /// From now on nothing waits for whoever reads: what finds no room is dropped.
    pub(crate) fn hurry(&self) {
        self.0.lock().hurried = true;
        self.0.changed.notify_all();
    }

    /// Waits until all is written, or nobody waits for that any more.
    ///
    /// # Errors
    /// When stdout did not take all of it.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        while (state.writing || !state.queue.is_empty()) && !state.hurried {
            state = self.0.wait(state);
        }
        match state.broken {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self) {
        let mut state = self.lock();
        loop {
            let queue = std::mem::take(&mut state.queue);
            state.writing = !queue.is_empty();
            if queue.is_empty() {
                self.changed.notify_all();
                state = self.wait(state);
                continue;
            }
            for (stream, bytes) in queue {
                let skipped = stream == Stream::Stdout && state.broken.is_some();
                drop(state);
                let written = match stream {
                    _ if skipped => Ok(()),
                    Stream::Stdout => write_stdout(&bytes),
                    Stream::Stderr => write_all_stderr(&bytes),
                };
                state = self.lock();
                let full = state.waiting >= WAITING_MAX;
                state.waiting -= bytes.len();
                if let (Stream::Stdout, Err(error)) = (stream, written) {
                    state.broken = Some(error.kind());
                }
                if full {
                    self.changed.notify_all();
                }
            }
        }
    }
}
