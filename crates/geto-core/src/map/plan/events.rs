//! What is told to a plan.
//!
//! What is told of an attempt says whether it was known. One that is not has been dealt with before, as one whose
//! lease was over and that was heard of later.

use std::time::Duration;

use super::state::Running;
use super::{Attempt, Blame, End, Fate, HostId, LEASE_MARGIN, Plan, StopReason};

impl<T> Plan<T> {
    /// The attempt runs on its host.
    pub fn started(&mut self, attempt: Attempt, now: Duration) -> bool {
        if let Some(copy) = self.copy(attempt) {
            copy.started.get_or_insert(now);
        }
        self.heard(attempt)
    }

    /// The attempt was heard of, after it had been silent.
    pub fn heard(&mut self, attempt: Attempt) -> bool {
        let Some(copy) = self.copy(attempt) else { return false };
        if let Some(lease) = copy.lease.take() {
            self.leases.remove(&(lease, attempt.sequence, attempt.number));
        }
        self.hosts.is_well(attempt.host, attempt.slot);
        true
    }

    /// Nothing more is heard of an attempt that has started or may have, and nothing more is sent to
    /// its host from now on: its lease runs out. To be told again after each try to reach it that it
    /// may have heard, for then its lease counts anew there. The host rests.
    pub fn silent(&mut self, attempt: Attempt, now: Duration) -> bool {
        let lease = now + self.policy.lease + LEASE_MARGIN;
        let Some(copy) = self.copy(attempt) else { return false };
        let since = copy.since;
        let key = |until| (until, attempt.sequence, attempt.number);
        if let Some(old) = copy.lease.replace(lease) {
            self.leases.remove(&key(old));
        }
        self.leases.insert(key(lease));
        self.hosts.failed(attempt.host, now, since);
        true
    }

    /// The attempt has ended.
    pub fn ended(&mut self, attempt: Attempt, end: End, now: Duration) -> bool {
        let Some(copy) = self.release(attempt, now) else { return false };
        self.hosts.is_well(attempt.host, attempt.slot);
        self.hosts.count_ended(attempt.host);
        if end == End::Succeeded {
            let time = copy.time(now);
            self.stragglers.took(time);
            let fleet = (self.stragglers.usual(), self.stragglers.ended());
            let rest = self.hosts.took(attempt, (copy.since, time), fleet, now);
            self.slow.extend(rest.map(|rest| (attempt.host, rest)));
        }
        self.settle(attempt, |plan| match end {
            End::Succeeded => plan.finish(Fate::Succeeded, attempt),
            End::Kept => plan.finish(Fate::Failed(None), attempt),
            End::Cancelled => plan.finish(Fate::Cancelled, attempt),
            End::Failed(code) => plan.failed(code, attempt, now),
        });
        true
    }

    fn failed(&mut self, code: Option<u8>, attempt: Attempt, now: Duration) {
        let is_stopped = self.stopped.is_some();
        let Some(live) = self.live.get_mut(&attempt.sequence) else { return };
        if is_stopped || !self.policy.repeats(code, live.repeats) {
            return self.finish(Fate::Failed(code), attempt);
        }
        live.last = Some((Fate::Failed(code), attempt));
        live.repeats += 1;
        if live.copies.is_empty() {
            self.repeat(attempt.sequence, now);
        }
    }

    /// The attempt was not started, and never will be.
    pub fn not_started(&mut self, attempt: Attempt, blame: Blame, now: Duration) -> bool {
        let Some(copy) = self.release(attempt, now) else { return false };
        match blame {
            Blame::Host | Blame::Attempt => self.hosts.failed(attempt.host, now, copy.since),
            Blame::Full => self.hosts.is_full(attempt.host),
            Blame::Task => {}
        }
        self.settle(attempt, |plan| match blame {
            Blame::Task => plan.finish(Fate::NotStarted, attempt),
            Blame::Full => plan.again(Fate::NotStarted, attempt, now),
            Blame::Host => plan.elsewhere(Fate::NotStarted, attempt, 0, now),
            Blame::Attempt => plan.elsewhere(Fate::NotStarted, attempt, 1, now),
        });
        self.look_for_hosts();
        true
    }

    /// The attempt was started, runs no more for certain, and its end is unknown: the host was
    /// rebooted, or what it knew of the task is gone.
    pub fn lost(&mut self, attempt: Attempt, now: Duration) -> bool {
        let Some(copy) = self.release(attempt, now) else { return false };
        self.hosts.failed(attempt.host, now, copy.since);
        self.settle(attempt, |plan| plan.elsewhere(Fate::Lost, attempt, 1, now));
        self.look_for_hosts();
        true
    }

    /// The attempt was started, and neither its end can be learnt nor when it runs no more: its task is
    /// lost, and is not run elsewhere.
    pub fn given_up(&mut self, attempt: Attempt, now: Duration) -> bool {
        let Some(copy) = self.release(attempt, now) else { return false };
        self.hosts.failed(attempt.host, now, copy.since);
        self.settle(attempt, |plan| plan.finish(Fate::Lost, attempt));
        self.look_for_hosts();
        true
    }

    /// The host can't be reached, or is not to be given tasks: it rests, and then one task tries it. What runs there goes on.
    pub fn host_failed(&mut self, host: HostId, now: Duration) {
        self.hosts.failed(host, now, now);
        self.look_for_hosts();
    }

    /// The host was reached again: it takes tasks.
    pub fn host_is_well(&mut self, host: HostId) {
        self.hosts.is_surely_well(host);
    }

    /// Repeats a task on another host, if it has not had too many.
    fn elsewhere(&mut self, fate: Fate, attempt: Attempt, failures: u32, now: Duration) {
        let Some(live) = self.live.get_mut(&attempt.sequence) else { return };
        live.failed_by_hosts += failures;
        live.avoid(attempt.host);
        self.again(fate, attempt, now);
    }

    /// Repeats a task, if it has not had too many failures of hosts.
    fn again(&mut self, fate: Fate, attempt: Attempt, now: Duration) {
        let is_stopped = self.stopped.is_some();
        let Some(live) = self.live.get_mut(&attempt.sequence) else { return };
        live.last = Some((fate, attempt));
        if !live.copies.is_empty() {
            return;
        }
        if is_stopped || live.failed_by_hosts > self.policy.host_retries {
            return self.finish(fate, attempt);
        }
        self.repeat(attempt.sequence, now);
    }

    /// When each host has failed as often in a row as a task may be failed by hosts, and nothing
    /// runs, all the tasks to come would be tried in vain.
    fn look_for_hosts(&mut self) {
        let is_vain = self.counts.running == 0 && self.hosts.all_failed(self.policy.host_retries);
        if self.stopped.is_none() && is_vain {
            self.stop_for(StopReason::NoHost);
        }
    }

    /// Takes those for dead whose lease is over.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((until, sequence, number)) = self.leases.first().copied()
            && until <= now
        {
            let copies = self.live.get(&sequence).map(|live| live.copies.as_slice());
            let copy = copies.unwrap_or_default().iter().find(|c| c.attempt.number == number);
            match copy.map(|copy| copy.attempt) {
                Some(attempt) => self.lost(attempt, now),
                None => self.leases.remove(&(until, sequence, number)),
            };
        }
    }

    fn copy(&mut self, attempt: Attempt) -> Option<&mut Running> {
        let live = self.live.get_mut(&attempt.sequence)?;
        live.copies.iter_mut().find(|copy| copy.attempt == attempt)
    }

    /// The attempt is over: its slot is free.
    pub(super) fn release(&mut self, attempt: Attempt, now: Duration) -> Option<Running> {
        let live = self.live.get_mut(&attempt.sequence)?;
        let index = live.copies.iter().position(|copy| copy.attempt == attempt)?;
        let copy = live.copies.remove(index);
        self.stragglers.forget(attempt.sequence, copy.since);
        if let (true, Some(_), [other]) =
            (self.policy.speculate, &live.task, live.copies.as_slice())
        {
            self.stragglers.runs(attempt.sequence, other.since);
        }
        if let Some(lease) = copy.lease {
            self.leases.remove(&(lease, attempt.sequence, attempt.number));
        }
        self.hosts.give(attempt.host, attempt.slot, copy.time(now));
        self.counts.running -= 1;
        Some(copy)
    }

    /// After an attempt is over: does `what` if its task is not done with, and forgets a task that
    /// is, with its last copy.
    pub(super) fn settle(&mut self, attempt: Attempt, what: impl FnOnce(&mut Self)) {
        let Some(live) = self.live.get(&attempt.sequence) else { return };
        if live.task.is_some() {
            what(self);
        } else if live.copies.is_empty() {
            self.live.remove(&attempt.sequence);
        }
    }
}
