//! Which task runs where and when, and what becomes of it: a machine without a clock.
//!
//! Whoever runs tasks tells a [`Plan`] what happened and asks for the [next](Plan::next) decision;
//! times come in as durations since a moment of the caller's choice. A plan holds the tasks that run
//! or wait to be repeated, and no others: neither those to come, which it takes from an iterator
//! when a host has room, nor those that have ended. A decision takes the logarithm of the number of
//! hosts and of running tasks.
//!
//! ```text
//!              ┌── not started, lost: elsewhere ──┐
//! iterator ──▶ queue ──▶ given to a host ──▶ started ──▶ ended ──▶ Final
//!              └── retry codes ───────────────────────────┘  └─ silent ─ lease over ─▶ lost
//! ```
//!
//! ```
//! use std::time::Duration;
//! use geto_core::map::plan::{Decision, End, Plan, Policy};
//!
//! let mut plan = Plan::new(Policy::default());
//! plan.add_host(2, 2);
//! let mut tasks = (1..).zip(["a", "b", "c"]);
//! let now = Duration::ZERO;
//! let mut ended = Vec::new();
//! loop {
//!     match plan.next(now, &mut tasks) {
//!         Decision::Start(attempt) => {
//!             // A runner sends `plan.task(attempt.sequence)` to the host, and tells later:
//!             plan.started(attempt, now);
//!             plan.ended(attempt, End::Succeeded, now);
//!         }
//!         Decision::Final { task, .. } => ended.push(task),
//!         Decision::Over => break,
//!         other => unreachable!("{other:?}"),
//!     }
//! }
//! assert_eq!(ended, ["a", "b", "c"]);
//! ```

mod events;
mod hosts;
mod machine;
mod policy;
#[cfg(test)]
mod simulation;
mod speculate;
mod state;
mod stop;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::Outcome;

pub use machine::Plan;
pub use policy::{LEASE_MARGIN, Policy, Rest};
pub use stop::{Interruption, StopReason};

/// A host of a plan, in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub(super) u32);

impl HostId {
    /// Its place among the hosts, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It takes tasks.
    Well,
    /// It failed, and gets no task before that time.
    Resting {
        /// When it is tried again.
        until: Duration,
    },
    /// It has rested: one task tries it.
    Tried,
    /// Others have its slots: one task waits in line there.
    Full,
}

/// A host, to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostView {
    /// How many tasks may run there.
    pub slots: u32,
    /// How many run there, or may run: those of a host that went silent are among them.
    pub running: usize,
    /// How it is.
    pub health: Health,
    /// How many attempts have ended there by themselves.
    pub ended: u64,
    /// For how long its slots were taken, all together.
    pub busy: Duration,
    /// Whether it takes far longer for its tasks than others do.
    pub is_slow: bool,
}

/// One try of a task on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The number of the task, from 1.
    pub sequence: u64,
    /// Which try of the task it is, from 1.
    pub number: u32,
    /// Where it runs.
    pub host: HostId,
    /// The slot that it has there, from 1.
    pub slot: u32,
}

/// How an attempt ended that is known to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With exit code 0.
    Succeeded,
    /// In another way of its own: an exit code, or none for a signal or a timeout.
    Failed(Option<u8>),
    /// In whatever way, and what it left is still on its host: to repeat it would be to run it twice.
    Kept,
    /// Somebody ended it.
    Cancelled,
}

impl End {
    /// How an outcome counts; none for those that tell of no end: a lost task
    /// ([`Plan::lost`]), one that was not started ([`Plan::not_started`]), and one that runs.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Exited { code: 0 } => Some(Self::Succeeded),
            Outcome::Exited { code } => Some(Self::Failed(Some(*code))),
            Outcome::Signalled { .. } | Outcome::TimedOut => Some(Self::Failed(None)),
            Outcome::Cancelled => Some(Self::Cancelled),
            Outcome::Lost { .. } | Outcome::NotStarted { .. } | Outcome::Running => None,
        }
    }
}

/// Why an attempt was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The host can't be reached or logged into: it rests, and the task goes elsewhere, as often as
    /// it takes.
    Host,
    /// The link broke, or sending failed, on the way to the start: it rests, and the task has one
    /// retry less (`--host-retries`).
    Attempt,
    /// Others have all of its slots: tasks go elsewhere where there is room, and one of them waits in
    /// line there.
    Full,
    /// The task itself can't be started anywhere: a file is missing here.
    Task,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It succeeded.
    Succeeded,
    /// Its last attempt failed: an exit code, or none for a signal, a timeout, or when its results are
    /// still on its host.
    Failed(Option<u8>),
    /// Somebody ended it.
    Cancelled,
    /// It was not started: it is safe to run it again.
    NotStarted,
    /// It was started, and nothing is known of its end but that it runs no more.
    Lost,
    /// It was left running when the user interrupted for the third time.
    Left,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<T> {
    /// Start this attempt; [`Plan::task`] has its task.
    Start(Attempt),
    /// End it on its host, and tell how it ended as of any other. It may have ended in the meantime,
    /// or be silent.
    Kill(Attempt),
    /// Leave it as it runs, and forget it: nothing more is expected of it.
    Leave(Attempt),
    /// A task is done with.
    Final {
        /// Its number.
        sequence: u64,
        /// The task.
        task: T,
        /// What became of it.
        fate: Fate,
        /// The attempt that decided it; the last one, where none did.
        attempt: Attempt,
    },
    /// Nothing can be done before the next event, or that time.
    Wait {
        /// When to ask again if nothing happens.
        until: Option<Duration>,
    },
    /// Nothing is left to do.
    Over,
}

/// The next task that is not begun, as far as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum More<T> {
    /// Its number, which no other task has, and the task.
    Task(u64, T),
    /// There may be one later: whoever reads the inputs has not got it yet.
    Later,
    /// There is none, and there will be none.
    End,
}

/// How many tasks came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Those that could not be started.
    pub not_started: u64,
    /// Those that are lost.
    pub lost: u64,
    /// Those that were left running.
    pub left: u64,
    /// Attempts that were begun beyond the first of each task.
    pub repeated: u64,
    /// How many tasks were taken from the iterator.
    pub taken: u64,
    /// Attempts that run or are on their way.
    pub running: u64,
    /// Tasks that wait to be repeated.
    pub waiting: u64,
    /// How many tasks there are, once that is known.
    pub total: Option<u64>,
}

impl Counts {
    /// Those that are done with.
    pub fn done(&self) -> u64 {
        self.succeeded + self.unsuccessful()
    }

    /// Those that are done with and didn't succeed.
    pub fn unsuccessful(&self) -> u64 {
        self.failed + self.cancelled + self.not_started + self.lost + self.left
    }

    /// The exit code of `geto map`: 0, or the number of tasks that didn't succeed, up to 101, as
    /// parallel(1), EXIT STATUS.
    pub fn exit_code(&self) -> u8 {
        u8::try_from(self.unsuccessful().min(101)).unwrap_or(101)
    }
}
