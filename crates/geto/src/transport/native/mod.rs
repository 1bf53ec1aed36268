//! SSH in this process.
//!
//! ```text
//! route (who is on the way) ─▶ dial: stream ─▶ client + trust (host key) ─▶ auth + keys
//!                                  ▲                                         │
//!                                  └────── a channel to the next host ◀──────┘─▶ channel
//! ```

mod auth;
mod channel;
mod client;
mod connection;
mod failure;
mod identities;
mod keys;
mod login;
mod route;
mod signer;
mod stream;
mod trust;

pub(super) use self::route::hops;

use std::sync::Arc;

use async_trait::async_trait;
use geto_core::Host;

use self::connection::Connection;
use super::budget::Budget;
use super::connect::ConnectOptions;
use super::resolve::Resolved;
use super::{Channel, Transport};
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
        // A task of its own, since a channel that is half open must be closed all the same when
        // the caller has lost interest.
        let start = channel::start(Arc::clone(&self.connection), command.to_owned());
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
}

/// Connects to the last of `hops` by way of those before it.
pub(super) async fn connect(
    host: &Host,
    hops: Vec<Resolved>,
    options: &ConnectOptions,
    budget: &Budget,
) -> Result<NativeTransport, Error> {
    let mut reached: Option<Arc<Connection>> = None;
    let last = hops.len().saturating_sub(1);
    for (index, hop) in hops.into_iter().enumerate() {
        let fleet_host = (index == last).then_some(host);
        let name = &host.name;
        let hop = connection::Hop { name, resolved: &hop, fleet_host, options, budget };
        reached = Some(Arc::new(Box::pin(hop.reach(reached)).await?));
    }
    match reached {
        Some(connection) => Ok(NativeTransport { connection, host: host.name.clone() }),
        None => Err(Error::new(ErrorKind::Local, "failed to find a way").on_host(&host.name)),
    }
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
