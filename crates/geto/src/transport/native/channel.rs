//! One command on a connection: a task that takes in what the host sends, and a writer that does
//! not outlive the channel.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, oneshot};

use super::Connection;
use crate::transport::{Channel, ChannelEvent};

/// How many pieces of up to 32 KiB wait for the reader, beside those that the connection holds: as many as
/// come while those of output that flows gather.
const EVENTS: usize = 64;
/// SSH's number for standard error among the "extended data".
const STDERR: u32 = 1;

/// Opens a channel and starts `command` on it; `held` is dropped when the channel has ended.
///
/// It must run to its end: a channel that is opened and forgotten takes one of the few that a
/// server allows.
pub(super) async fn start(
    connection: Arc<Connection>,
    command: String,
    held: impl Send + 'static,
) -> Result<Channel, russh::Error> {
    let (reader, writer) = connection.handle.channel_open_session().await?.split();
    for (name, value) in &connection.variables {
        let value = String::from_utf8_lossy(value.expose());
        writer.set_env(false, name, value).await?;
    }
    // Without a reply: the first bytes of input follow at once, a round trip earlier. A refusal
    // shows as a channel that closes without an exit status.
    writer.exec(false, command).await?;
    let (events, receiver) = mpsc::channel(EVENTS);
    let (gone, gone_seen) = oneshot::channel();
    let (dropped, dropped_seen) = oneshot::channel();
    let stdin =
        Stdin { inner: Box::pin(writer.make_writer()), gone: gone_seen, dropped: Some(dropped) };
    tokio::spawn(async move {
        pump(reader, writer, &events, dropped_seen).await;
        drop(gone);
        drop(connection);
        drop(held);
    });
    Ok(Channel { stdin: Box::pin(stdin), events: receiver })
}

/// Passes on what the host sends until the channel or the connection ends, or nobody listens.
async fn pump(
    mut reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
    events: &mpsc::Sender<ChannelEvent>,
    mut stdin_dropped: oneshot::Receiver<()>,
) {
    let writer = Arc::new(writer);
    let mut stdin_open = true;
    loop {
        let message = tokio::select! {
            message = reader.wait() => message,
            () = events.closed() => break,
            forgotten = &mut stdin_dropped, if stdin_open => {
                stdin_open = false;
                if forgotten.is_ok() {
                    // Beside this loop: the connection may take it only after it got rid of
                    // what this loop has yet to read.
                    let writer = Arc::clone(&writer);
                    tokio::spawn(async move { writer.eof().await });
                }
                continue;
            }
        };
        let event = match message {
            Some(ChannelMsg::Data { data }) => ChannelEvent::Stdout(data),
            Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => ChannelEvent::Stderr(data),
            Some(ChannelMsg::ExitStatus { exit_status }) => ChannelEvent::Exit(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                ChannelEvent::Exit(128 + number(&signal_name))
            }
            // The exit status and the end of input come in either order: only this is the end.
            Some(ChannelMsg::Close) | None => return,
            Some(_) => continue,
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    drop(reader);
    if let Err(error) = writer.close().await {
        tracing::debug!(%error, "the connection ended before its channel was closed");
    }
}

/// The number of a signal on Linux; macOS and the BSDs differ in USR1 only. 0 when unknown.
fn number(signal: &Sig) -> u32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => match name.split('@').next() {
            Some("TRAP") => 5,
            Some("BUS") => 7,
            Some("USR2") => 12,
            Some("XCPU") => 24,
            Some("XFSZ") => 25,
            Some("SYS") => 31,
            _ => 0,
        },
    }
}

/// The command's standard input: fails once the channel is gone, where the protocol crate's
/// writer would wait for ever for a window that nobody opens.
struct Stdin {
    inner: Pin<Box<dyn AsyncWrite + Send>>,
    gone: oneshot::Receiver<()>,
    /// Present until the end of input was sent.
    dropped: Option<oneshot::Sender<()>>,
}

impl Stdin {
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.gone).poll(cx).is_ready()
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if let Some(dropped) = self.dropped.take() {
            // The other end is gone when the channel is.
            dropped.send(()).ok();
        }
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gone.is_terminated() || self.is_gone(cx) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the channel was closed",
            )));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dropped.is_none() || self.gone.is_terminated() || self.is_gone(cx) {
            return Poll::Ready(Ok(()));
        }
        let ended = self.inner.as_mut().poll_shutdown(cx);
        if ended.is_ready() {
            self.dropped = None;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_numbers() {
        assert_eq!(number(&Sig::KILL), 9);
        assert_eq!(number(&Sig::Custom("USR2@openssh.com".to_owned())), 12);
    }
}
