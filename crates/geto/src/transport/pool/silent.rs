//! Hosts that did not answer in time: nobody waits for them a second time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Identity;

/// The hosts that were waited for in vain.
#[derive(Debug, Default)]
pub(super) struct Silent(Mutex<HashMap<Identity, Look>>);

/// Whether a silent host is being asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Idle,
    UnderWay,
}

impl Silent {
    pub(super) fn has(&self, host: &Identity) -> bool {
        self.hosts().contains_key(host)
    }

    /// Notes that a host was waited for in vain.
    pub(super) fn add(&self, host: Identity) {
        self.hosts().insert(host, Look::Idle);
    }

    /// Notes that a host has answered.
    pub(super) fn remove(&self, host: &Identity) {
        self.hosts().remove(host);
    }

    /// Whether a silent host is to be asked again by whoever asks this; one at a time.
    pub(super) fn is_due(&self, host: &Identity) -> bool {
        let mut hosts = self.hosts();
        match hosts.get_mut(host) {
            Some(look @ Look::Idle) => {
                *look = Look::UnderWay;
                true
            }
            _ => false,
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<Identity, Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
