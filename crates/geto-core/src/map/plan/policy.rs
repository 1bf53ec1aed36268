//! What a plan goes by.

use std::time::Duration;

use crate::map::limit::{ExitCodes, Halt, HaltWhen, HaltWhy, Limit};

/// How long after a lease is over a task is taken for dead: the host's supervisor has 10 s to end it
/// (TERM, then KILL), and its clock may go slower than ours.
pub const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// What a plan goes by. `Policy::default()` has the defaults of `geto map`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// How often a task is given to a host again after a failure of a host or a link; 3 by default.
    pub host_retries: u32,
    /// How often a task is repeated after a failure of its own; never by default.
    pub retries: u32,
    /// Which exit codes are worth it; every failure by default.
    pub retry_exit: Option<ExitCodes>,
    /// When to halt, each for itself; never by default. See [`max_failures`](Self::max_failures).
    pub halts: Vec<Halt>,
    /// For how long a task lives on a host that hears nothing of its origin; 5 minutes by default.
    /// A plan takes a task for dead only [`LEASE_MARGIN`] later.
    pub lease: Duration,
    /// Whether second copies of stragglers are started at the end; not by default.
    pub speculate: bool,
    /// For how long hosts rest.
    pub rest: Rest,
}

/// For how long hosts rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// After the first failure, and twice as long after each further one; 1 s by default.
    pub first: Duration,
    /// At most so long; 5 minutes by default.
    pub longest: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            host_retries: 3,
            retries: 0,
            retry_exit: None,
            halts: Vec::new(),
            lease: Duration::from_secs(5 * 60),
            speculate: false,
            rest: Rest::default(),
        }
    }
}

impl Default for Rest {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(5 * 60) }
    }
}

impl Rest {
    /// How long it is after so many failures in a row, at least one.
    pub(super) fn after(&self, failures: u32) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

impl Policy {
    /// Adds `--max-failures`: when so many tasks have failed, no more are started. The same as
    /// `--halt soon,fail=…`.
    #[must_use]
    pub fn max_failures(mut self, limit: Limit) -> Self {
        self.halts.push(Halt { when: HaltWhen::Soon, why: HaltWhy::Fail, limit });
        self
    }

    /// Whether a failure with this code is worth another try, after `repeats` of them.
    pub(super) fn repeats(&self, code: Option<u8>, repeats: u32) -> bool {
        let is_worth_it = match (&self.retry_exit, code) {
            (None, _) => true,
            (Some(codes), Some(code)) => codes.contains(code),
            (Some(_), None) => false,
        };
        is_worth_it && repeats < self.retries
    }
}
