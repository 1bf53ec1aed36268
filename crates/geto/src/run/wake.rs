//! Notices that this process was stopped, or that its machine slept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);
/// A look that comes so much too late comes after a sleep: no machine is as busy as that.
const LATE: Duration = Duration::from_secs(2);

/// Looks again and again at the clock, until it is dropped.
#[derive(Debug)]
pub(super) struct Wake {
    looks: Arc<Mutex<Looks>>,
    looker: AbortHandle,
}

#[derive(Debug)]
struct Looks {
    /// By a clock that goes on while the machine sleeps.
    last: SystemTime,
    woke: Option<Instant>,
}

impl Wake {
    pub(super) fn begin() -> Self {
        let looks = Arc::new(Mutex::new(Looks { last: SystemTime::now(), woke: None }));
        let seen = Arc::clone(&looks);
        let looker = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                look(&seen);
            }
        });
        Self { looks, looker: looker.abort_handle() }
    }

    /// When the last sleep since the beginning ended.
    pub(super) fn woke(&self) -> Option<Instant> {
        // The other one may not have had its turn yet.
        look(&self.looks)
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.looker.abort();
    }
}

fn look(looks: &Mutex<Looks>) -> Option<Instant> {
    let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
    let now = SystemTime::now();
    // A clock that was set back tells nothing.
    if now.duration_since(looks.last).is_ok_and(|since| since > LOOK + LATE) {
        looks.woke = Some(Instant::now());
    }
    looks.last = now;
    looks.woke
}
