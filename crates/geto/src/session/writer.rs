//! The way to the host, which never holds up the way back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// The most of an upload that waits to be written, in pieces.
const QUEUE: usize = 8;
/// The size of a piece that a blocking writer hands over.
const PIECE: usize = 64 << 10;

/// Bytes to be written, and the room that they take when they are part of an upload.
type Piece = (Vec<u8>, Option<OwnedSemaphorePermit>);

/// Writes to a channel from a task of its own: a host that does not read can't keep geto from
/// reading what it says.
///
/// So nothing of geto's own ever waits for room, and only the blocking writer of an upload does:
/// what else is sent is short, and there is little of it.
#[derive(Debug)]
pub(crate) struct Writer {
    pieces: mpsc::UnboundedSender<Piece>,
    room: Arc<Semaphore>,
    queued: AtomicU64,
    written: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts writing to `stdin`, which ends when the writer is dropped.
    pub(crate) fn start(mut stdin: Pin<Box<dyn AsyncWrite + Send>>) -> Self {
        let (pieces, mut queue) = mpsc::unbounded_channel::<Piece>();
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        let task = tokio::spawn(async move {
            while let Some((piece, _room)) = queue.recv().await {
                // The reading side tells why, in the host's own words.
                if stdin.write_all(&piece).await.is_err() || stdin.flush().await.is_err() {
                    return;
                }
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        let room = Arc::new(Semaphore::new(QUEUE));
        Self { pieces, room, queued: AtomicU64::new(0), written, task }
    }

    /// Queues bytes, and does not wait for room. What can't be written any more is dropped: the
    /// reading side tells.
    pub(crate) async fn send(&self, bytes: Vec<u8>) {
        self.queued.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        drop(self.pieces.send((bytes, None)));
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
        BlockingWriter {
            pieces: self.pieces.clone(),
            room: Arc::clone(&self.room),
            runtime: Handle::current(),
            piece: Vec::with_capacity(PIECE),
        }
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
    pieces: mpsc::UnboundedSender<Piece>,
    room: Arc<Semaphore>,
    runtime: Handle,
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
        // The pieces that wait make room, too, when the session ends.
        let room = self.runtime.block_on(Arc::clone(&self.room).acquire_owned());
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the session has ended");
        let room = room.map_err(|_closed| gone())?;
        self.pieces.send((piece, Some(room))).map_err(|_closed| gone())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_host_that_does_not_read_holds_up_an_upload_and_nothing_else() {
        let (stdin, host) = tokio::io::duplex(1);
        let writer = Writer::start(Box::pin(stdin));
        let mut upload = writer.blocking();
        let upload = tokio::task::spawn_blocking(move || {
            loop {
                upload.write_all(&[0; PIECE])?;
            }
        });
        while writer.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 * QUEUE {
            writer.send(b"cancel\n".to_vec()).await;
        }
        drop(writer);
        let ended: io::Result<()> = upload.await.unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(host);
    }
}
