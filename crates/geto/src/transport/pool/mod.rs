//! The connections of a fleet: one per host while it has channels, shared by all its tasks.
//!
//! ```text
//! Pool ─▶ Lease (a Transport) ─▶ Shared: one host ─▶ connections, by how many channels they have
//!          one per user            waits, logs in, learns MaxSessions from refusals
//! ```

mod shared;
mod silent;
mod state;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use geto_core::{Host, Secret, TransportKind};
use tokio::runtime;

use self::shared::Shared;
use self::silent::Silent;
use super::connect::ConnectOptions;
use super::native::Bastions;
use super::{Channel, Transport};
use crate::Error;

/// How many hosts keep a connection that nobody uses. A process may have 1,024 files open, mostly.
const IDLE: usize = 256;

/// Connections by host.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    hosts: Mutex<Hosts>,
    bastions: Arc<Bastions>,
    silent: Silent,
}

#[derive(Debug, Default)]
struct Hosts {
    entries: HashMap<Identity, Entry>,
    /// Counts how often a host was left by its last user.
    departures: u64,
}

#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    users: usize,
    /// When the last user left.
    left: u64,
}

/// Everything that tells one way to a host from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    /// Errors name the host, so two names have two connections.
    name: String,
    address: String,
    port: Option<u16>,
    user: Option<String>,
    password: Option<Secret>,
    privkey_path: Option<PathBuf>,
    known_hosts_path: Option<PathBuf>,
    ssh_config_path: Option<PathBuf>,
    transport: TransportKind,
    /// The runtime that drives the connection.
    runtime: runtime::Id,
}

impl Identity {
    fn of(host: &Host) -> Self {
        Self {
            name: host.name.clone(),
            address: host.address.clone(),
            port: host.port,
            user: host.user.clone(),
            password: host.password.clone(),
            privkey_path: host.privkey_path.clone(),
            known_hosts_path: host.known_hosts_path.clone(),
            ssh_config_path: host.ssh_config_path.clone(),
            transport: host.transport,
            runtime: runtime::Handle::current().id(),
        }
    }
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Enough to tell most apart, and no secret.
        (&self.name, &self.address, self.port, self.runtime).hash(state);
    }
}

impl Pool {
    /// Returns a way to `host`, by the connection that there is, or by a new one when there is
    /// none that lives.
    ///
    /// # Errors
    /// As [`connect`](super::connect()).
    ///
    /// # Cancel safety
    /// A login that others wait for too is begun anew by one of them.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        host: &Host,
        options: &ConnectOptions,
    ) -> Result<Arc<dyn Transport>, Error> {
        let identity = Identity::of(host);
        let shared = {
            let mut hosts = self.hosts();
            let entry = hosts.entries.entry(identity.clone()).or_insert_with(|| {
                let shared = Shared::new(host, options, Arc::clone(&self.bastions));
                Entry { shared: Arc::new(shared), users: 0, left: 0 }
            });
            entry.users += 1;
            Arc::clone(&entry.shared)
        };
        let lease = Lease { pool: Arc::clone(self), identity, shared };
        lease.shared.reach().await?;
        Ok(Arc::new(lease))
    }

    /// How many channels the server of `host` takes on one connection, once it has refused one.
    pub(crate) fn max_sessions(&self, host: &Host) -> Option<usize> {
        let hosts = self.hosts();
        let mut entries = hosts.entries.iter();
        // Whoever asks need not be on the runtime that it was learned on, or on any.
        let entry = entries.find(|(identity, entry)| {
            identity.name == host.name && entry.shared.max_sessions().is_some()
        });
        entry.and_then(|(_, entry)| entry.shared.max_sessions())
    }

    /// Whether geto is logged in at `host` by a connection of this process.
    pub(crate) fn is_logged_in(&self, host: &Host) -> bool {
        let hosts = self.hosts();
        hosts.entries.get(&Identity::of(host)).is_some_and(|entry| entry.shared.is_logged_in())
    }

    /// Whether `host` was waited for in vain, and has not answered since.
    pub(crate) fn is_silent(&self, host: &Host) -> bool {
        self.silent.has(&Identity::of(host))
    }

    /// Notes whether `host` has answered, or was waited for in vain.
    pub(crate) fn set_silent(&self, host: &Host, silent: bool) {
        match silent {
            true => self.silent.add(Identity::of(host)),
            false => self.silent.remove(&Identity::of(host)),
        }
    }

    /// Whether a silent host is to be asked again by whoever asks this.
    pub(crate) fn is_look_due(&self, host: &Host) -> bool {
        self.silent.is_due(&Identity::of(host))
    }

    /// How many of `most` channels more the connection to `host` takes; `None` when it takes all,
    /// or there is none whose channels are counted.
    pub(crate) async fn count_channels(&self, host: &Host, most: usize) -> Option<usize> {
        let identity = Identity::of(host);
        let shared = self.hosts().entries.get(&identity).map(|entry| Arc::clone(&entry.shared));
        shared?.count_channels(most).await
    }

    fn release(&self, identity: &Identity) {
        let mut gone = Vec::new();
        {
            let mut hosts = self.hosts();
            hosts.departures += 1;
            let now = hosts.departures;
            let Some(entry) = hosts.entries.get_mut(identity) else { return };
            entry.users -= 1;
            if entry.users > 0 {
                return;
            }
            entry.left = now;
            gone.extend(entry.shared.trim());
            let idle = || hosts.entries.iter().filter(|(_, entry)| entry.users == 0);
            if idle().count() > IDLE
                && let Some((oldest, _)) = idle().min_by_key(|(_, entry)| entry.left)
            {
                let oldest = oldest.clone();
                let entry = hosts.entries.remove(&oldest);
                gone.extend(entry.into_iter().flat_map(|entry| entry.shared.clear()));
            }
        }
        // Outside of the lock, since it ends connections.
        drop(gone);
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One user's way to a host.
#[derive(Debug)]
struct Lease {
    pool: Arc<Pool>,
    identity: Identity,
    shared: Arc<Shared>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.release(&self.identity);
    }
}

#[async_trait]
impl Transport for Lease {
    async fn open(&self, command: &str) -> Result<Channel, Error> {
        self.shared.open(command).await
    }

    fn bytes_sent(&self) -> Option<u64> {
        self.shared.bytes_sent()
    }

    fn start_up_timeout(&self) -> Duration {
        self.shared.connect_timeout()
    }
}
