//! Why and how a plan comes to an early end.

use super::{Counts, Policy};
use crate::map::limit::{Halt, HaltWhen, HaltWhy, Limit};

/// Why no more tasks are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// A condition of `--halt` or `--max-failures` came true.
    Halt(Halt),
    /// The user interrupted.
    Interrupted,
    /// Every host failed again and again, and none is well.
    NoHost,
    /// Whoever runs the plan said so: the inputs can't be read further.
    Asked,
}

/// What an interruption (Ctrl-C) does: each goes a step further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The first: no more tasks are started, those that run may end.
    NoMore,
    /// The second: those that run are ended.
    Kill,
    /// The third: they are left as they are.
    Leave,
}

/// While the number of all tasks is unknown, a share of failures is one of those that have ended,
/// once there are so many: fewer are no sample.
const SAMPLE: u64 = 100;

impl Policy {
    /// The condition that came true, one that ends tasks first.
    pub(super) fn halt(&self, counts: &Counts) -> Option<Halt> {
        let came_true = |halt: &&Halt| {
            let failed = counts.failed + counts.lost + counts.not_started;
            let count = match halt.why {
                HaltWhy::Fail => failed,
                HaltWhy::Success => counts.succeeded,
                HaltWhy::Done => counts.done(),
            };
            let is_share = matches!(halt.limit, Limit::Percent(_));
            let sampled = counts.total.is_none()
                && is_share
                && halt.why == HaltWhy::Fail
                && counts.done() >= SAMPLE;
            let total = if sampled { Some(counts.done()) } else { counts.total };
            halt.limit.reached(count, total)
        };
        let now = self.halts.iter().filter(|halt| halt.when == HaltWhen::Now).find(came_true);
        now.or_else(|| self.halts.iter().find(came_true)).copied()
    }
}
