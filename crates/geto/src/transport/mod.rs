//! Ways to start a command on a host.
//!
//! A [`Transport`] opens a shell command with stdin, stdout and stderr, and tells how it ended:
//! nothing else. Copying files, claiming, running and collecting are built once, on top, so that
//! every transport has them all.

mod account;
mod asking;
mod budget;
mod child;
mod connect;
mod gate;
mod local;
mod native;
mod openssh;
mod pool;
mod prompt;
mod refusal;
mod refused;
mod resolve;
mod text;
mod turns;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;

pub(crate) use self::account::Account;
pub(crate) use self::asking::settings;
pub use self::connect::{ConnectOptions, connect};
pub(crate) use self::connect::{WayToKeys, host_keys};
pub use self::local::LocalTransport;
pub use self::openssh::end_children;
pub(crate) use self::pool::Pool;
pub use self::prompt::{NoPrompter, Prompter};
pub use self::refused::ChannelRefused;
use crate::Error;

/// A live way to one host: an SSH connection, or this machine's own shell.
///
/// Dropping it closes what it holds. A transport of one's own serves tests, or hosts that are
/// reached by other means than SSH.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Starts `command` under the login shell of the host and returns its three streams.
    ///
    /// Dropping the [`Channel`] closes them; the command may go on (sshd does not end it).
    ///
    /// # Errors
    /// When the host is not reachable any more or refuses one more channel.
    ///
    /// # Cancel safety
    /// A call that is dropped leaves at most a command that reads the end of its input at once.
    async fn open(&self, command: &str) -> Result<Channel, Error>;

    /// How many bytes have been handed to the system so far, from where they reach the host also
    /// when this process ends. `None`, the default, when that can't be told.
    fn bytes_sent(&self) -> Option<u64> {
        None
    }

    /// How long the start-up files of the login shell may take, from the start of a command; 15 s by
    /// default. When they take longer, the host is given up.
    fn start_up_timeout(&self) -> Duration {
        ConnectOptions::default().connect_timeout
    }
}

/// The streams of one command.
pub struct Channel {
    /// The command's standard input. `shutdown` ends it. A write may wait for ever after the host
    /// has closed the channel: wait for [`events`](Self::events) beside it.
    pub stdin: Pin<Box<dyn AsyncWrite + Send>>,
    /// What the command writes and how it ends, in order. The end of this stream is the end of
    /// the channel; without a [`ChannelEvent::Exit`] before it the link was lost.
    pub events: mpsc::Receiver<ChannelEvent>,
}

/// Something that happened on a [`Channel`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// Bytes of the command's standard output.
    Stdout(Bytes),
    /// Bytes of the command's standard error.
    Stderr(Bytes),
    /// The command ended with this status; 128 plus the number when a signal ended it. It may come
    /// before the last bytes.
    Exit(u32),
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}
