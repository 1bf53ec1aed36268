//! A task that runs or waits to be repeated.

use std::time::Duration;

use super::{Attempt, Fate, HostId};

/// A task that is not done with, or of which a copy still runs.
#[derive(Debug)]
pub(super) struct Live<T> {
    /// None once it is done with.
    pub(super) task: Option<T>,
    /// How many attempts were begun.
    pub(super) attempts: u32,
    /// How many of them a host or a link failed.
    pub(super) failed_by_hosts: u32,
    /// How often it was repeated after a failure of its own.
    pub(super) repeats: u32,
    /// The attempts that run or are on their way: one, or two where one is speculative.
    pub(super) copies: Vec<Running>,
    /// Hosts that failed it, the last few.
    avoid: Vec<HostId>,
    /// When it was put into the queue.
    pub(super) queued_at: Duration,
    /// How its last attempt ended, while it waits for another.
    pub(super) last: Option<(Fate, Attempt)>,
}

/// An attempt that runs or is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) attempt: Attempt,
    /// When it was given to the host.
    pub(super) since: Duration,
    /// When its lease is over, if nothing is heard of it.
    pub(super) lease: Option<Duration>,
    /// When it was heard to have started.
    pub(super) started: Option<Duration>,
    /// It was given to a host that is full, to wait in line there.
    pub(super) is_in_line: bool,
    pub(super) killed: bool,
}

impl Running {
    /// How long it took up to now, without the time that it waited in line.
    pub(super) fn time(&self, now: Duration) -> Duration {
        let begun = if self.is_in_line { self.started.unwrap_or(now) } else { self.since };
        now.saturating_sub(begun)
    }
}

/// With more, there is hardly a host left to avoid them for.
const MOST_AVOIDED: usize = 8;

impl<T> Live<T> {
    pub(super) fn new(task: T) -> Self {
        Self {
            task: Some(task),
            attempts: 0,
            failed_by_hosts: 0,
            repeats: 0,
            copies: Vec::with_capacity(1),
            avoid: Vec::new(),
            queued_at: Duration::ZERO,
            last: None,
        }
    }

    pub(super) fn avoid(&mut self, host: HostId) {
        if !self.avoid.contains(&host) {
            if self.avoid.len() == MOST_AVOIDED {
                self.avoid.remove(0);
            }
            self.avoid.push(host);
        }
    }

    pub(super) fn avoided(&self) -> &[HostId] {
        &self.avoid
    }
}
