//! The connections to one host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use geto_core::Host;
use tokio::sync::Notify;

use super::state::{Connected, State, Turn};
use crate::transport::connect::{ConnectOptions, Reached, log_in};
use crate::transport::native::Bastions;
use crate::transport::{Channel, ChannelRefused};
use crate::{Error, ErrorKind};

/// How often a channel is tried on connections that turn out to be dead.
const TRIES: u32 = 3;

/// The connections to one host. One, unless the server refuses channels.
#[derive(Debug)]
pub(super) struct Shared {
    host: Host,
    options: ConnectOptions,
    bastions: Arc<Bastions>,
    state: Mutex<State<Reached>>,
    /// Woken when there may be room, or a login failed.
    changed: Notify,
}

impl Connected for Reached {
    fn is_closed(&self) -> bool {
        match self {
            Self::Native(transport) => transport.is_closed(),
            Self::Other(_) => false,
        }
    }
}

impl Shared {
    pub(super) fn new(host: &Host, options: &ConnectOptions, bastions: Arc<Bastions>) -> Self {
        Self {
            host: host.clone(),
            options: options.clone(),
            bastions,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Returns once there is a connection.
    pub(super) async fn reach(self: &Arc<Self>) -> Result<(), Error> {
        if self.state().living().next().is_none() {
            // Taken and given back: whoever comes next finds a connection.
            drop(self.claim().await?);
        }
        Ok(())
    }

    /// Opens a channel on the connection that has the fewest.
    pub(super) async fn open(self: &Arc<Self>, command: &str) -> Result<Channel, Error> {
        let mut tries = 1;
        loop {
            let Claim { pending, held, connection } = self.claim().await?;
            let opened = match &*connection {
                Reached::Native(native) => native.open_holding(command, held).await,
                // Its channels are no concern of each other.
                Reached::Other(transport) => transport.open(command).await,
            };
            let error = match opened {
                Ok(channel) => {
                    pending.opened();
                    return Ok(channel);
                }
                Err(error) => error,
            };
            if ChannelRefused::is_cause_of(&error) {
                if pending.refused(&error) {
                    return Err(error);
                }
                tracing::debug!(host = self.host.name, "the server takes no more channels here");
            } else if error.kind() == ErrorKind::Unreachable
                && connection.is_closed()
                && tries < TRIES
            {
                tries += 1;
                tracing::debug!(host = self.host.name, %error, "the connection has died");
            } else {
                return Err(error);
            }
        }
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout
    }

    pub(super) fn max_sessions(&self) -> Option<usize> {
        self.state().max_sessions()
    }

    /// Whether there is a connection of this process, logged in.
    pub(super) fn is_logged_in(&self) -> bool {
        self.state().living().any(|(connection, _)| matches!(**connection, Reached::Native(_)))
    }

    /// How many of `most` channels more its connection takes; `None` when it takes all.
    pub(super) async fn count_channels(&self, most: usize) -> Option<usize> {
        let connection = self.state().living().next().map(|(connection, _)| Arc::clone(connection));
        match &*connection? {
            Reached::Native(native) => native.count_channels(most).await,
            Reached::Other(_) => None,
        }
    }

    /// The count of a connection's bytes is a channel's only while nothing else uses it.
    pub(super) fn bytes_sent(&self) -> Option<u64> {
        let state = self.state();
        let mut living = state.living();
        match (living.next(), living.next()) {
            (Some((connection, ..=1)), None) => connection.as_transport().bytes_sent(),
            _ => None,
        }
    }

    /// Gives up all but one of the connections that have no channels.
    pub(super) fn trim(&self) -> Vec<Arc<Reached>> {
        self.state().trim(1)
    }

    /// Gives up all connections that have no channels.
    pub(super) fn clear(&self) -> Vec<Arc<Reached>> {
        self.state().trim(0)
    }

    /// Waits for room for a channel, and logs in where that takes it.
    async fn claim(self: &Arc<Self>) -> Result<Claim, Error> {
        let waiting = Waiting::begin(self);
        let seen = self.state().failures();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let turn = self.state().turn(seen);
            match turn {
                Turn::Open { id, connection } => {
                    drop(waiting);
                    let held = Held { shared: Arc::clone(self), id };
                    let pending = Pending { shared: Arc::clone(self), id: Some(id) };
                    return Ok(Claim { held, pending, connection });
                }
                Turn::Failed(error) => return Err(error),
                Turn::Wait => changed.await,
                Turn::Connect => self.log_in().await?,
            }
        }
    }

    /// Logs in once more. Its failure is an error only when there is nothing to wait for.
    async fn log_in(self: &Arc<Self>) -> Result<(), Error> {
        let connecting = Connecting::begin(self);
        let reached = Box::pin(log_in(&self.host, &self.options, &self.bastions)).await;
        // Together with the news, or somebody would log in for nothing.
        let mut state = connecting.end();
        let result = match reached {
            Ok(connection) => {
                state.add(Arc::new(connection));
                Ok(())
            }
            Err(error) => {
                state.fail(&error);
                match state.living().any(|(_, used)| used > 0) {
                    true => {
                        tracing::debug!(host = self.host.name, %error, "no further connection");
                        Ok(())
                    }
                    false => Err(error),
                }
            }
        };
        drop(state);
        self.changed.notify_waiters();
        result
    }

    fn state(&self) -> MutexGuard<'_, State<Reached>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one channel.
struct Claim {
    pending: Pending,
    held: Held,
    connection: Arc<Reached>,
}

/// A place on a connection, until it is dropped.
struct Held {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.state().ended(self.id);
        self.shared.changed.notify_waiters();
    }
}

/// A channel that was asked for.
struct Pending {
    shared: Arc<Shared>,
    id: Option<u64>,
}

impl Pending {
    fn opened(mut self) {
        if let Some(id) = self.id.take() {
            self.shared.state().opened(id);
            self.shared.changed.notify_waiters();
        }
    }

    /// See [`State::refused`].
    fn refused(mut self, error: &Error) -> bool {
        let Some(id) = self.id.take() else { return true };
        let mut state = self.shared.state();
        state.not_opened(id);
        let hopeless = state.refused(id);
        if hopeless {
            state.fail(error);
        }
        drop(state);
        self.shared.changed.notify_waiters();
        hopeless
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.shared.state().not_opened(id);
            self.shared.changed.notify_waiters();
        }
    }
}

/// Somebody who waits for room.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.state().waiting += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// A login that is under way.
struct Connecting<'a>(Option<&'a Arc<Shared>>);

impl<'a> Connecting<'a> {
    fn begin(shared: &'a Arc<Shared>) -> Self {
        shared.state().connecting += 1;
        Self(Some(shared))
    }

    fn end(mut self) -> MutexGuard<'a, State<Reached>> {
        let shared = self.0.take().expect("it is taken here only");
        let mut state = shared.state();
        state.connecting -= 1;
        state
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.state().connecting -= 1;
            // Another one who waits takes it over.
            shared.changed.notify_waiters();
        }
    }
}
