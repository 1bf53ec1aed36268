//! Which tasks take so much longer than others that a second copy may be done before them.

use std::collections::BTreeSet;
use std::time::Duration;

/// How long tasks took, roughly, and which run with one copy.
#[derive(Debug)]
pub(super) struct Stragglers {
    /// How many took less than 1 ms, 2 ms, 4 ms….
    took: [u64; 48],
    ended: u64,
    /// When each was started, and its number.
    single: BTreeSet<(Duration, u64)>,
}

/// Apache Spark calls a task a straggler at 1.5 times the median (`spark.speculation.multiplier`).
/// Times are known here to a factor of two, and their upper bounds are taken.
const TIMES: u32 = 2;

/// With fewer, nothing is known of how long tasks take.
pub(super) const SAMPLE: u64 = 3;

impl Stragglers {
    pub(super) fn new() -> Self {
        Self { took: [0; 48], ended: 0, single: BTreeSet::new() }
    }

    pub(super) fn runs(&mut self, sequence: u64, since: Duration) {
        self.single.insert((since, sequence));
    }

    /// It has ended, or has a second copy.
    pub(super) fn forget(&mut self, sequence: u64, since: Duration) {
        self.single.remove(&(since, sequence));
    }

    pub(super) fn took(&mut self, time: Duration) {
        let bits = (u128::BITS - time.as_millis().leading_zeros()) as usize;
        self.took[bits.min(self.took.len() - 1)] += 1;
        self.ended += 1;
    }

    /// How many ended whose times are known.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// How long half of all tasks took at most; none while there are too few.
    pub(super) fn usual(&self) -> Option<Duration> {
        if self.ended < SAMPLE {
            return None;
        }
        let mut below = 0;
        let median = self.took.iter().position(|count| {
            below += count;
            below * 2 >= self.ended
        })?;
        Some(Duration::from_millis(1u64 << median))
    }

    /// From when on the task that has run longest is a straggler, and that task.
    pub(super) fn first(&self) -> Option<(Duration, u64)> {
        let bound = self.usual()? * TIMES;
        self.single.first().map(|(since, sequence)| (*since + bound, *sequence))
    }

    /// Those that have run longest, longest first.
    pub(super) fn oldest(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.single.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straggler_takes_far_longer_than_half_of_all() {
        let mut stragglers = Stragglers::new();
        stragglers.runs(7, Duration::from_secs(5));
        stragglers.runs(8, Duration::from_secs(6));
        for millis in [900, 1000] {
            stragglers.took(Duration::from_millis(millis));
        }
        assert_eq!(stragglers.first(), None);
        stragglers.took(Duration::from_secs(1000));
        let bound = Duration::from_millis(2 * 1024);
        assert_eq!(stragglers.first(), Some((Duration::from_secs(5) + bound, 7)));
        stragglers.forget(7, Duration::from_secs(5));
        assert_eq!(stragglers.first(), Some((Duration::from_secs(6) + bound, 8)));
    }
}
