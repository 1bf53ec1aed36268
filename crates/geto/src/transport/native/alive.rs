//! Tells a link that is dead from one that nobody listens to just now.
//!
//! The protocol crate hands what a channel receives to its reader before it goes on, and its own
//! timers run meanwhile: a reader who takes his time would end a sound link. It asks the host for a
//! sign of life, and what comes of that is judged here, where bytes come and go.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How often it is looked, in vain, before a link is dead. A process that has slept has missed one
/// look, however long it slept.
const LOOKS: u32 = 8;

/// What others see of how a link is listened to.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Whether somebody waits for bytes, or for room for them.
    waits: AtomicBool,
    /// How often bytes have come.
    heard: AtomicU64,
    /// Nothing is judged before: a person may be asked, and the time to connect has a limit.
    judged: AtomicBool,
    /// The link that this one goes through.
    below: Option<Arc<Self>>,
}

impl Pulse {
    pub(super) fn over(below: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { below, ..Self::default() })
    }

    /// From now on the link is given up when it is dead.
    pub(super) fn begin(&self) {
        self.judged.store(true, Ordering::Relaxed);
    }

    /// How often bytes have come by the link that is not listened to, if that is what holds this one
    /// up.
    fn held_up_at(&self) -> Option<u64> {
        match self.waits.load(Ordering::Relaxed) {
            true => self.below.as_ref()?.held_up_at(),
            false => Some(self.heard.load(Ordering::Relaxed)),
        }
    }
}

/// A stream that fails once the other side has been silent, or takes nothing, for too long.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
    every: Duration,
    look: Pin<Box<Sleep>>,
    /// How many looks in a row were in vain.
    vain: u32,
    /// Whether the last write found no room.
    is_full: bool,
    held_up_at: Option<u64>,
}

impl<S> Watched<S> {
    /// `limit` is how long nothing may come while somebody waits for it.
    pub(super) fn new(stream: S, pulse: Arc<Pulse>, limit: Duration) -> Self {
        let every = limit / LOOKS;
        let look = Box::pin(tokio::time::sleep(every));
        Self { stream, pulse, every, look, vain: 0, is_full: false, held_up_at: None }
    }

    /// Waits for bytes or room, but not for ever.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.pulse.waits.store(true, Ordering::Relaxed);
        loop {
            ready!(self.look.as_mut().poll(cx));
            self.look.as_mut().reset(Instant::now() + self.every);
            let held_up_at = self.pulse.below.as_ref().and_then(|below| below.held_up_at());
            let is_held_up = held_up_at.is_some() && held_up_at == self.held_up_at;
            self.held_up_at = held_up_at;
            if is_held_up || !self.pulse.judged.load(Ordering::Relaxed) {
                continue;
            }
            self.vain += 1;
            if self.vain >= LOOKS {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
        }
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            // Room that was not there before: the other side has taken something.
            if std::mem::take(&mut self.is_full) {
                self.vain = 0;
            }
            return written;
        }
        self.is_full = true;
        self.wait(cx).map(Err)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.vain = 0;
            self.pulse.heard.fetch_add(1, Ordering::Relaxed);
            self.pulse.waits.store(false, Ordering::Relaxed);
            return read;
        }
        self.wait(cx).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(24);

    fn watched(below: Option<Arc<Pulse>>) -> (Watched<DuplexStream>, DuplexStream) {
        let (near, far) = tokio::io::duplex(1024);
        let pulse = Pulse::over(below);
        pulse.begin();
        (Watched::new(near, pulse, LIMIT), far)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_the_end_after_its_limit() {
        let (mut link, _far) = watched(None);
        let begun = Instant::now();
        let error = link.read_u8().await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 24));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_is_the_end_after_the_limit() {
        let (mut link, _far) = watched(None);
        let begun = Instant::now();
        let error = link.write_all(&[0; 2048]).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 24));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_and_a_slow_owner_are_no_dead_ones() {
        let (mut link, mut far) = watched(None);
        for _ in 0..3 {
            tokio::time::sleep(2 * LIMIT).await;
            far.write_u8(1).await.unwrap();
            assert_eq!(link.read_u8().await.unwrap(), 1);
            let writing = tokio::spawn(async move {
                tokio::time::sleep(LIMIT * 3 / 4).await;
                far.write_u8(2).await.unwrap();
                far
            });
            assert_eq!(link.read_u8().await.unwrap(), 2);
            far = writing.await.unwrap();
        }
    }

    /// Until the link below has been listened to again for as long.
    #[tokio::test(start_paused = true)]
    async fn a_link_is_not_judged_while_nobody_listens_to_the_one_below() {
        let below = Pulse::over(None);
        let (mut link, mut far) = watched(Some(Arc::clone(&below)));
        tokio::spawn(async move {
            tokio::time::sleep(5 * LIMIT).await;
            far.write_u8(1).await.unwrap();
            below.waits.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
            drop(far);
        });
        assert_eq!(link.read_u8().await.unwrap(), 1);
        assert_eq!(link.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
