//! The way to the host, which never holds up the way back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The most that waits to be written, in pieces.
const QUEUE: usize = 8;
/// The size of a piece that a blocking writer hands over.
const PIECE: usize = 64 << 10;

/// Writes to a channel from a task of its own: a host that does not read can't keep geto from
/// reading what it says.
#[derive(Debug)]
pub(crate) struct Writer {
    pieces: mpsc::Sender<Vec<u8>>,
    queued: AtomicU64,
    written: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts writing to `stdin`, which ends when the writer is dropped.
    pub(crate) fn start(mut stdin: Pin<Box<dyn AsyncWrite + Send>>) -> Self {
        let (pieces, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE);
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        let task = tokio::spawn(async move {
            while let Some(piece) = queue.recv().await {
                // The reading side tells why, in the host's own words.
                if stdin.write_all(&piece).await.is_err() || stdin.flush().await.is_err() {
                    return;
                }
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        Self { pieces, queued: AtomicU64::new(0), written, task }
    }

    /// Queues bytes. What can't be written any more is dropped: the reading side tells.
    pub(crate) async fn send(&self, bytes: Vec<u8>) {
        self.queued.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        drop(self.pieces.send(bytes).await);
    }

    /// How many bytes were written to the channel.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many bytes are to be written, as far as is known.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether all that was queued is written.
    pub(crate) fn is_idle(&self) -> bool {
        self.written() == self.queued()
    }

    /// Returns a writer for blocking code. It must not be used on a thread that runs futures.
    pub(crate) fn blocking(&self) -> BlockingWriter {
        BlockingWriter { pieces: self.pieces.clone(), piece: Vec::with_capacity(PIECE) }
    }

    /// Counts bytes that a [`blocking`](Self::blocking) writer has queued.
    pub(crate) fn count(&self, bytes: u64) {
        self.queued.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may wait for ever on a channel that the host does not read.
        self.task.abort();
    }
}

/// The blocking side of a [`Writer`]. `flush` hands over what is left.
#[derive(Debug)]
pub(crate) struct BlockingWriter {
    pieces: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl io::Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend(bytes.iter().take(take));
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if piece.is_empty() {
            return Ok(());
        }
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the session has ended");
        self.pieces.blocking_send(piece).map_err(gone)
    }
}
