//! This machine, by the same protocol through a shell of its own.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::child::ChildInput;
use super::{Channel, ChannelEvent, Transport};
use crate::{Error, ErrorKind};

/// How much is read from a stream of a child at a time.
const READ_SIZE: usize = 64 << 10;

/// This machine: commands run under a shell of the same user.
///
/// It serves tasks that are to run here, and tests of programs that use geto: everything but the
/// way to the host is the same as over SSH.
#[derive(Debug, Clone)]
pub struct LocalTransport {
    shell: PathBuf,
}

impl LocalTransport {
    /// Makes the transport; it starts nothing yet.
    pub fn new() -> Self {
        Self { shell: PathBuf::from("/bin/sh") }
    }

    /// Lets another shell stand for `/bin/sh` in what geto itself runs, to see how it does there.
    #[must_use]
    pub fn with_shell(mut self, shell: impl Into<PathBuf>) -> Self {
        self.shell = shell.into();
        self
    }
}

impl Default for LocalTransport {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Transport for LocalTransport {
    async fn open(&self, command: &str) -> Result<Channel, Error> {
        let shell = self.shell.to_string_lossy();
        let mut child = Command::new(&self.shell)
            .arg("-c")
            .arg(command.replacen("/bin/sh", &shell, 1))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C is for geto alone, which passes it on as a cancel.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                Error::new(ErrorKind::Unreachable, format!("failed to start `{shell}`"))
                    .on_host("local")
                    .caused_by(error)
            })?;
        let stdin = child.stdin.take().expect("the child's stdin was asked for as a pipe");
        let (events, receiver) = mpsc::channel(16);
        tokio::spawn(pump(child, events));
        Ok(Channel { stdin: Box::pin(ChildInput::new(stdin)), events: receiver })
    }
}

/// Passes on what the child writes and how it ends. A child whose channel was dropped is not
/// killed: it reads the end of its input, as it would from sshd.
async fn pump(mut child: Child, events: mpsc::Sender<ChannelEvent>) {
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    tokio::join!(
        copy(stdout, ChannelEvent::Stdout, &events),
        copy(stderr, ChannelEvent::Stderr, &events),
    );
    if let Ok(status) = child.wait().await {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let exit = ChannelEvent::Exit(u32::try_from(code).unwrap_or(u32::MAX));
        // The receiver may be gone; then nobody asks.
        drop(events.send(exit).await);
    }
}

async fn copy(
    stream: Option<impl AsyncRead + Unpin>,
    event: fn(bytes::Bytes) -> ChannelEvent,
    events: &mpsc::Sender<ChannelEvent>,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    loop {
        buffer.reserve(READ_SIZE);
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if events.send(event(buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}
