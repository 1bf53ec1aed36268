//! The decisions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::hosts::Hosts;
use super::speculate::Stragglers;
use super::state::{Live, Running};
use super::{
    Attempt, Counts, Decision, Fate, HostId, HostView, Interruption, More, Policy, StopReason,
};
use crate::map::limit::HaltWhen;

/// Which task runs where and when, for tasks of the type `T`.
///
/// Copies of a task never run at the same time, unless [`Policy::speculate`] is set: an attempt is
/// over when [`ended`](Self::ended), [`not_started`](Self::not_started) or [`lost`](Self::lost) was
/// told, or its lease and [`LEASE_MARGIN`](super::LEASE_MARGIN) have passed since it went
/// [`silent`](Self::silent). Each task that was taken from the iterator comes to one
/// [`Decision::Final`].
#[derive(Debug)]
pub struct Plan<T> {
    pub(super) policy: Policy,
    pub(super) hosts: Hosts,
    pub(super) live: BTreeMap<u64, Live<T>>,
    /// Tasks to be repeated, in the order in which they came here.
    pub(super) queue: VecDeque<u64>,
    /// What was decided and not asked for yet.
    pub(super) decided: VecDeque<Decision<T>>,
    pub(super) leases: BTreeSet<(Duration, u64, u32)>,
    pub(super) stragglers: Stragglers,
    pub(super) counts: Counts,
    pub(super) stopped: Option<StopReason>,
    /// Hosts that were found to be slow, and for how long they rest.
    pub(super) slow: VecDeque<(HostId, Duration)>,
    killing: bool,
    interruptions: u32,
    exhausted: bool,
}

/// How many tasks that wait are looked at to find one that may go to a host that is free.
const LOOK_AHEAD: usize = 16;

/// For how long a task waits for another host than those that failed it.
const ELSEWHERE: Duration = Duration::from_secs(10);

impl<T> Plan<T> {
    /// Makes a plan without hosts.
    pub fn new(policy: Policy) -> Self {
        Self {
            hosts: Hosts::new(policy.rest),
            policy,
            live: BTreeMap::new(),
            queue: VecDeque::new(),
            decided: VecDeque::new(),
            leases: BTreeSet::new(),
            stragglers: Stragglers::new(),
            counts: Counts::default(),
            stopped: None,
            slow: VecDeque::new(),
            killing: false,
            interruptions: 0,
            exhausted: false,
        }
    }

    /// Adds a host with so many slots. Tasks go where the fewest run for their `weight`, which is
    /// mostly the number of slots; among equals, to the first.
    pub fn add_host(&mut self, slots: u32, weight: u32) -> HostId {
        self.hosts.add(slots, weight)
    }

    /// Changes the number of a host's slots and its weight, as when it told how many processors it
    /// has. What runs there goes on.
    pub fn resize(&mut self, host: HostId, slots: u32, weight: u32) {
        self.hosts.resize(host, slots, weight);
    }

    /// How a host is; none for one of another plan.
    pub fn host(&self, host: HostId) -> Option<HostView> {
        self.hosts.view(host)
    }

    /// All hosts, in the order in which they were added.
    pub fn hosts(&self) -> impl Iterator<Item = HostView> {
        (0..self.hosts.len())
            .filter_map(|index| self.hosts.view(HostId(u32::try_from(index).unwrap_or(u32::MAX))))
    }

    /// The task of that number, while it is not done with.
    pub fn task(&self, sequence: u64) -> Option<&T> {
        self.live.get(&sequence).and_then(|live| live.task.as_ref())
    }

    /// Whether the attempt runs, or may run, for all that the plan was told.
    pub fn is_live(&self, attempt: Attempt) -> bool {
        let live = self.live.get(&attempt.sequence);
        live.is_some_and(|live| live.copies.iter().any(|copy| copy.attempt == attempt))
    }

    /// Whether the attempt was given to a host that is full, to wait in line there until its turn comes:
    /// any other is to come back with [`Blame::Full`](super::Blame::Full) at once.
    pub fn is_in_line(&self, attempt: Attempt) -> bool {
        let live = self.live.get(&attempt.sequence);
        let copies = live.map(|live| live.copies.as_slice()).unwrap_or_default();
        copies.iter().any(|copy| copy.attempt == attempt && copy.is_in_line)
    }

    /// A host that was found to be slow, and for how long it rests; told once each time.
    pub fn take_slow(&mut self) -> Option<(HostId, Duration)> {
        self.slow.pop_front()
    }

    /// Whether another host than this one takes tasks.
    pub fn others_are_well(&self, host: HostId) -> bool {
        self.hosts.others_are_well(&[host])
    }

    /// How many tasks came to what.
    pub fn counts(&self) -> Counts {
        Counts { waiting: self.queue.len() as u64, ..self.counts }
    }

    /// Why no more tasks are started, if so.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// Tells how many tasks there are in all, where that is known before the iterator ends: shares
    /// as in `--halt now,fail=5%` are of them.
    pub fn set_total(&mut self, total: u64) {
        self.counts.total = Some(total);
    }

    /// Decides what is to be done. `more` gives the tasks that are not begun, each with its number,
    /// which no other task has; it is asked only when a host has room. To be called until it says
    /// [`Decision::Wait`], after each event, and when the time that it named has come. While no host
    /// has slots, it waits.
    pub fn next(
        &mut self,
        now: Duration,
        more: &mut impl Iterator<Item = (u64, T)>,
    ) -> Decision<T> {
        self.decide(now, &mut || more.next().map_or(More::End, |(n, task)| More::Task(n, task)))
    }

    /// The same, for tasks that come when they come: after [`More::Later`] it waits, and is to be
    /// called again when there are more.
    pub fn decide(&mut self, now: Duration, more: &mut impl FnMut() -> More<T>) -> Decision<T> {
        self.expire(now);
        self.hosts.wake(now);
        if let Some(decision) = self.decided.pop_front() {
            return decision;
        }
        if self.stopped.is_none() {
            if let Some((sequence, host)) = self.queued(now) {
                return self.start(sequence, host, now);
            }
            if !self.exhausted
                && let Some(host) = self.hosts.best(&[])
            {
                match more() {
                    More::Task(sequence, task) => {
                        self.counts.taken += 1;
                        self.live.insert(sequence, Live::new(task));
                        return self.start(sequence, host, now);
                    }
                    More::Later => {}
                    More::End => {
                        self.exhausted = true;
                        self.counts.total.get_or_insert(self.counts.taken);
                        self.halt();
                        return self.decide(now, more);
                    }
                }
            }
            if let Some((sequence, host)) = self.speculative(now) {
                return self.start(sequence, host, now);
            }
        }
        if self.live.is_empty() && (self.exhausted || self.stopped.is_some()) {
            return Decision::Over;
        }
        Decision::Wait { until: self.until(now) }
    }

    fn start(&mut self, sequence: u64, host: HostId, now: Duration) -> Decision<T> {
        let is_in_line = self.hosts.is_in_line(host);
        let slot = self.hosts.take(host);
        let live = self.live.get_mut(&sequence).expect("invariant: what is started is live");
        live.attempts += 1;
        let attempt = Attempt { sequence, number: live.attempts, host, slot };
        self.counts.running += 1;
        self.counts.repeated += u64::from(live.attempts > 1);
        if self.policy.speculate {
            match live.copies.first() {
                Some(first) => self.stragglers.forget(sequence, first.since),
                None => self.stragglers.runs(sequence, now),
            }
        }
        live.copies.push(Running {
            attempt,
            since: now,
            lease: None,
            started: None,
            is_in_line,
            killed: false,
        });
        Decision::Start(attempt)
    }

    /// A task of the queue and a host that has room for it.
    fn queued(&mut self, now: Duration) -> Option<(u64, HostId)> {
        if !self.hosts.any_ready() {
            return None;
        }
        let found = self.queue.iter().take(LOOK_AHEAD).enumerate().find_map(|(index, sequence)| {
            let live = self.live.get(sequence)?;
            let anywhere = || {
                let is_due = now >= live.queued_at + ELSEWHERE;
                let rest = is_due || !self.hosts.others_are_well(live.avoided());
                self.hosts.best(&[]).filter(|_| rest)
            };
            let host = self.hosts.best(live.avoided()).or_else(anywhere)?;
            Some((index, *sequence, host))
        });
        let (index, sequence, host) = found?;
        self.queue.remove(index);
        Some((sequence, host))
    }

    /// A straggler and a host, another one, that has room for a second copy.
    fn speculative(&self, now: Duration) -> Option<(u64, HostId)> {
        if !self.policy.speculate || !self.exhausted || !self.queue.is_empty() {
            return None;
        }
        let (due, _) = self.stragglers.first()?;
        let (oldest, _) = self.stragglers.oldest().next()?;
        let bound = due - oldest;
        let due = self.stragglers.oldest().take_while(|(since, _)| *since + bound <= now);
        due.take(LOOK_AHEAD).find_map(|(_, sequence)| {
            let copy = self.live.get(&sequence)?.copies.first()?;
            Some((sequence, self.hosts.best(&[copy.attempt.host])?))
        })
    }

    fn until(&self, now: Duration) -> Option<Duration> {
        let lease = self.leases.first().map(|(until, ..)| *until);
        if self.stopped.is_some() {
            return lease;
        }
        let host = match self.queue.is_empty() && self.exhausted && !self.policy.speculate {
            true => None,
            false => self.hosts.next_wake(),
        };
        // A host is free that none of them may go to yet.
        let first = self.queue.front().filter(|_| self.hosts.any_ready());
        let first = first.and_then(|sequence| self.live.get(sequence));
        let elsewhere = first.map(|live| live.queued_at + ELSEWHERE);
        let straggler = match self.policy.speculate && self.exhausted {
            true => self.stragglers.first().map(|(due, _)| due),
            false => None,
        };
        [lease, host, elsewhere, straggler].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Puts a task into the queue.
    pub(super) fn repeat(&mut self, sequence: u64, now: Duration) {
        if let Some(live) = self.live.get_mut(&sequence) {
            live.queued_at = now;
            self.queue.push_back(sequence);
        }
    }

    /// A task is done with; other copies of it are ended.
    pub(super) fn finish(&mut self, fate: Fate, attempt: Attempt) {
        let sequence = attempt.sequence;
        let Some(live) = self.live.get_mut(&sequence) else { return };
        let Some(task) = live.task.take() else { return };
        match fate {
            Fate::Succeeded => self.counts.succeeded += 1,
            Fate::Failed(_) => self.counts.failed += 1,
            Fate::Cancelled => self.counts.cancelled += 1,
            Fate::NotStarted => self.counts.not_started += 1,
            Fate::Lost => self.counts.lost += 1,
            Fate::Left => self.counts.left += 1,
        }
        self.decided.push_back(Decision::Final { sequence, task, fate, attempt });
        for copy in live.copies.iter_mut().filter(|copy| !copy.killed) {
            copy.killed = true;
            self.stragglers.forget(sequence, copy.since);
            self.decided.push_back(Decision::Kill(copy.attempt));
        }
        if live.copies.is_empty() {
            self.live.remove(&sequence);
        }
        self.halt();
    }

    fn halt(&mut self) {
        let Some(halt) = self.policy.halt(&self.counts) else { return };
        if self.stopped.is_none() {
            self.stop_for(StopReason::Halt(halt));
        }
        if halt.when == HaltWhen::Now {
            self.kill();
        }
    }

    /// Starts no more tasks: what waits to be repeated is done with, what runs goes on.
    pub fn stop(&mut self) {
        self.stop_for(StopReason::Asked);
    }

    pub(super) fn stop_for(&mut self, reason: StopReason) {
        self.stopped.get_or_insert(reason);
        // What waits in line would start later.
        for copy in self.live.values_mut().flat_map(|live| &mut live.copies) {
            if copy.is_in_line && copy.started.is_none() && !copy.killed {
                copy.killed = true;
                self.decided.push_back(Decision::Kill(copy.attempt));
            }
        }
        while let Some(sequence) = self.queue.pop_front() {
            let last = self.live.get(&sequence).and_then(|live| live.last);
            if let Some((fate, attempt)) = last {
                self.finish(fate, attempt);
            }
        }
    }

    fn kill(&mut self) {
        if std::mem::replace(&mut self.killing, true) {
            return;
        }
        for copy in self.live.values_mut().flat_map(|live| &mut live.copies) {
            if !std::mem::replace(&mut copy.killed, true) {
                self.decided.push_back(Decision::Kill(copy.attempt));
            }
        }
    }

    /// The user interrupts. Returns what that does this time, to be said.
    pub fn interrupt(&mut self, now: Duration) -> Interruption {
        self.interruptions = self.interruptions.saturating_add(1);
        self.stop_for(StopReason::Interrupted);
        match self.interruptions {
            1 => Interruption::NoMore,
            2 => {
                self.kill();
                Interruption::Kill
            }
            _ => {
                self.leave(now);
                Interruption::Leave
            }
        }
    }

    fn leave(&mut self, now: Duration) {
        let attempts: Vec<_> =
            self.live.values().flat_map(|live| &live.copies).map(|copy| copy.attempt).collect();
        for attempt in &attempts {
            self.release(*attempt, now);
            self.decided.push_back(Decision::Leave(*attempt));
        }
        for attempt in attempts {
            self.settle(attempt, |plan| plan.finish(Fate::Left, attempt));
        }
    }
}
