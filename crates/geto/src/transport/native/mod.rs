//! SSH in this process.
//!
//! ```text
//! route (who is on the way) ─▶ dial: stream ─▶ client + trust (host key) ─▶ auth + keys
//!                                  ▲                                         │
//!                                  └────── a channel to the next host ◀──────┘─▶ channel
//! ```

mod alive;
mod auth;
mod bastions;
mod channel;
mod client;
mod connection;
mod failure;
mod identities;
mod keys;
mod login;
mod outbox;
mod route;
mod signer;
mod stream;
mod trust;

pub(super) use self::bastions::Bastions;
pub(super) use self::route::hops;

use std::sync::Arc;

use async_trait::async_trait;
use geto_core::Host;

use self::connection::{Below, Connection, Hop};
use self::trust::Trust;
use super::budget::Budget;
use super::connect::{ConnectOptions, WayToKeys};
use super::resolve::Resolved;
use super::{Channel, Transport};
use crate::trust::fetch_host_keys_over;
use crate::{Error, ErrorKind};

/// An SSH connection in this process.
///
/// It ends when it and all channels that were opened on it are dropped.
#[derive(Debug)]
pub(super) struct NativeTransport {
    connection: Arc<Connection>,
    host: String,
}

#[async_trait]
impl Transport for NativeTransport {
    async fn open(&self, command: &str) -> Result<Channel, Error> {
        self.open_holding(command, ()).await
    }

    fn bytes_sent(&self) -> Option<u64> {
        self.connection.bytes_sent()
    }
}

impl NativeTransport {
    /// Opens a channel; `held` is dropped when it has ended, or was not opened.
    pub(super) async fn open_holding(
        &self,
        command: &str,
        held: impl Send + 'static,
    ) -> Result<Channel, Error> {
        // A task of its own, since a channel that is half open must be closed all the same when
        // the caller has lost interest.
        let start = channel::start(Arc::clone(&self.connection), command.to_owned(), held);
        let failed = match tokio::spawn(start).await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => error,
            Err(panicked) => {
                let error = Error::new(ErrorKind::Local, "failed to open a channel");
                return Err(error.on_host(&self.host).caused_by(panicked));
            }
        };
        Err(failure::of_channel(&failed, &self.connection).on_host(&self.host))
    }

    /// How many of `most` channels more the server takes here; `None` when it takes all, or can't
    /// be asked. Nothing is run on them.
    pub(super) async fn count_channels(&self, most: usize) -> Option<usize> {
        let connection = Arc::clone(&self.connection);
        // To its end in any case: a channel that is opened and forgotten stays open.
        let counting = tokio::spawn(async move {
            let asked = (0..most).map(|_| connection.handle.channel_open_session());
            let answers = futures_util::future::join_all(asked).await;
            let mut open = 0;
            for channel in answers.into_iter().flatten() {
                open += 1;
                drop(channel.close().await);
            }
            (!connection.handle.is_closed() && open < most).then_some(open)
        });
        counting.await.ok().flatten()
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.handle.is_closed()
    }
}

/// Connects to the last of `hops` by way of those before it.
pub(super) async fn connect(
    host: &Host,
    hops: Vec<Resolved>,
    options: &ConnectOptions,
    budget: &Budget,
    bastions: &Bastions,
) -> Result<NativeTransport, Error> {
    let (last, before) = last_of(host, &hops)?;
    let previous = Box::pin(reach(host, before, options, budget, bastions)).await?;
    let hop = Hop { name: &host.name, resolved: last, fleet_host: Some(host), options, budget };
    let connection = Arc::new(Box::pin(hop.reach(previous)).await?);
    Ok(NativeTransport { connection, host: host.name.clone() })
}

/// Fetches the keys of the last of `hops` by way of those before it.
pub(super) async fn host_keys(
    host: &Host,
    hops: Vec<Resolved>,
    options: &ConnectOptions,
    budget: &Budget,
) -> Result<WayToKeys, Error> {
    let (last, before) = last_of(host, &hops)?;
    let failed = |why: String| {
        let message = "failed to find where host keys are known";
        Error::new(ErrorKind::Usage, message).on_host(&host.name).caused_by(why)
    };
    let trust = Trust::of(last, Some(host)).map_err(failed)?;
    let previous = Box::pin(reach(host, before, options, budget, &Bastions::default())).await?;
    let hop = Hop { name: &host.name, resolved: last, fleet_host: Some(host), options, budget };
    // They end with the last connection.
    let below = std::sync::Mutex::new(Vec::new());
    let connect = || async {
        let (stream, through) = hop.stream(previous.clone()).await?;
        below.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(through);
        Ok(stream)
    };
    let fetched = Box::pin(fetch_host_keys_over(connect, options.connect_timeout)).await;
    let mut complaint = None;
    if fetched.is_err() {
        let below = below.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        for below in below {
            if let (Below::Proxy(mut proxy), None) = (below, &complaint) {
                complaint = proxy.complaint().await;
            }
        }
    }
    let nowhere = || failed("ssh_config names no known_hosts file".to_owned());
    trust.way_to_keys(fetched, complaint).ok_or_else(nowhere)
}

/// Connects to `hops`, each by way of the one before, and logs in, where `bastions` has no
/// connection to them already.
async fn reach(
    host: &Host,
    hops: &[Resolved],
    options: &ConnectOptions,
    budget: &Budget,
    bastions: &Bastions,
) -> Result<Option<Arc<Connection>>, Error> {
    let mut reached: Option<Arc<Connection>> = None;
    for (place, resolved) in hops.iter().enumerate() {
        let hop = Hop { name: &host.name, resolved, fleet_host: None, options, budget };
        let connecting = async { Box::pin(hop.reach(reached.clone())).await.map(Arc::new) };
        let way = bastions.way(&hops[..=place]);
        let connection = way.reach(budget, connecting).await;
        reached = Some(connection.map_err(|error| error.on_host(&host.name))?);
    }
    Ok(reached)
}

fn last_of<'a>(host: &Host, hops: &'a [Resolved]) -> Result<(&'a Resolved, &'a [Resolved]), Error> {
    let nowhere = || Error::new(ErrorKind::Local, "failed to find a way").on_host(&host.name);
    hops.split_last().ok_or_else(nowhere)
}

/// Whether known_hosts has any key of a host, as `ssh_config` alone says.
pub(super) fn is_known(host: &Resolved) -> bool {
    Trust::of(host, None).is_ok_and(|trust| trust.has_keys())
}

/// What `ssh_config` asks for that can't be done in this process.
pub(super) fn lacks(hops: &[Resolved]) -> Option<String> {
    hops.iter().find_map(|hop| {
        let ssh = &hop.options;
        let revoked = ssh.revoked_host_keys.as_deref();
        // A binary list, mostly; what says that a key is bad must not be passed over.
        let revoked = revoked.filter(|path| !path.eq_ignore_ascii_case("none"));
        let revoked = revoked.map(|path| format!("RevokedHostKeys {path}"));
        ssh.needs_ssh.clone().or(revoked).or_else(|| client::lacks(ssh))
    })
}
