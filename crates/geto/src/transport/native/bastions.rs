//! Connections to hosts in between, each shared by all hosts behind it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::Connection;
use crate::Error;
use crate::transport::budget::Budget;
use crate::transport::resolve::Resolved;

/// The hosts in between that are logged into.
///
/// sshd counts only sessions for its `MaxSessions`, so one connection carries the way to any
/// number of hosts, and whatever a bastion asks a person for is asked once.
#[derive(Debug, Default)]
pub(in crate::transport) struct Bastions(Mutex<HashMap<String, Arc<Way>>>);

/// The way to one of them.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Held while somebody logs in, for all others to wait.
    reached: tokio::sync::Mutex<Option<Arc<Connection>>>,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u64,
    last: Option<Error>,
}

impl Bastions {
    /// The way over all of `hops` to the last of them.
    pub(super) fn way(&self, hops: &[Resolved]) -> Arc<Way> {
        let mut key = String::new();
        for hop in hops {
            // All that ssh_config says, since each word of it can lead elsewhere.
            write!(key, "{:?} {:?};", hop.original, hop.options).ok();
        }
        // The runtime on which a connection was made drives it.
        write!(key, "{:?}", tokio::runtime::Handle::current().id()).ok();
        let mut ways = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ways.entry(key).or_default())
    }
}

impl Way {
    /// Returns the connection, made by `connecting` when there is none that lives. Whoever waited
    /// for somebody else's login gets what came of it. The wait does not count for `budget`.
    ///
    /// # Cancel safety
    /// Another who waits goes on in the place of a call that is dropped.
    pub(super) async fn reach(
        &self,
        budget: &Budget,
        connecting: impl Future<Output = Result<Arc<Connection>, Error>>,
    ) -> Result<Arc<Connection>, Error> {
        let before = self.failures().count;
        let mut reached = budget.while_stopped(self.reached.lock()).await;
        if let Some(alive) = reached.as_ref().filter(|connection| !connection.handle.is_closed()) {
            return Ok(Arc::clone(alive));
        }
        let failed = {
            let failures = self.failures();
            let last = failures.last.as_ref().filter(|_| failures.count != before);
            last.map(Error::repeat)
        };
        if let Some(error) = failed {
            return Err(error);
        }
        match connecting.await {
            Ok(connection) => {
                *reached = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                let mut failures = self.failures();
                failures.count += 1;
                failures.last = Some(error.repeat());
                Err(error)
            }
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
