//! A way through a host in between that always takes what is written to it.
//!
//! The protocol crate reads nothing while it writes, and writes nothing while a reader has no room. Of two
//! connections, one inside the other, the outer one may wait for the inner one to read, while that waits
//! for the outer one to write: for ever, unless one of them does not wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that keeps what can't be written yet, and writes it whenever it is polled: reading does that,
/// too. How much that may be is for the windows of the channels inside.
#[derive(Debug)]
pub(super) struct Outbox<S> {
    stream: S,
    kept: BytesMut,
}

impl<S> Outbox<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, kept: BytesMut::new() }
    }
}

impl<S: AsyncWrite + Unpin> Outbox<S> {
    /// Writes what is kept; ready when nothing is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.kept))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.kept.advance(written),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Outbox<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What has come is read also when nothing can be written any more.
        drop(self.poll_send(cx));
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outbox<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.kept.extend_from_slice(buf);
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const TEXT: &[u8] = b"more than the stream has room for";

    #[tokio::test]
    async fn a_write_waits_for_nobody_and_is_sent_while_somebody_reads() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut outbox = Outbox::new(near);
        outbox.write_all(TEXT).await.unwrap();
        outbox.flush().await.unwrap();
        let answering = async {
            let mut heard = vec![0; TEXT.len()];
            far.read_exact(&mut heard).await.unwrap();
            far.write_all(b"heard").await.unwrap();
            heard
        };
        let mut answer = [0; 5];
        let (read, heard) = tokio::join!(outbox.read_exact(&mut answer), answering);
        assert_eq!((read.unwrap(), &answer, heard.as_slice()), (5, b"heard", TEXT));
    }

    #[tokio::test]
    async fn the_end_comes_after_what_was_written() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut outbox = Outbox::new(near);
        outbox.write_all(TEXT).await.unwrap();
        let mut heard = Vec::new();
        let (ended, read) = tokio::join!(outbox.shutdown(), far.read_to_end(&mut heard));
        assert!(ended.is_ok() && read.is_ok());
        assert_eq!(heard, TEXT);
    }
}
