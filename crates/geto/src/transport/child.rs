//! The streams of a child process as those of a channel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::process::ChildStdin;

/// The child's standard input; shutting it down closes it, which the pipe itself leaves to drop.
pub(super) struct ChildInput(Option<ChildStdin>);

impl ChildInput {
    pub(super) fn new(pipe: ChildStdin) -> Self {
        Self(Some(pipe))
    }

    fn pipe(&mut self) -> io::Result<Pin<&mut ChildStdin>> {
        let closed = || io::Error::new(io::ErrorKind::BrokenPipe, "the channel was closed");
        self.0.as_mut().map(Pin::new).ok_or_else(closed)
    }
}

impl AsyncWrite for ChildInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pipe()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}
