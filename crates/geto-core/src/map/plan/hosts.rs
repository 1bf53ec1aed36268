//! The hosts of a plan: which have a free slot, and which rest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use super::speculate::SAMPLE;
use super::{Attempt, Health, HostId, HostView, Rest};

/// All hosts. What it is asked for each decision takes the logarithm of their number.
#[derive(Debug)]
pub(super) struct Hosts {
    rest: Rest,
    hosts: Vec<Host>,
    /// Those that can take a task now, least loaded first.
    ready: BTreeSet<(u64, HostId)>,
    resting: BTreeSet<(Duration, HostId)>,
    well: usize,
}

#[derive(Debug)]
struct Host {
    slots: u32,
    weight: u32,
    /// The numbers of free slots, lowest first.
    free: BinaryHeap<Reverse<u32>>,
    taken: BTreeSet<u32>,
    health: Health,
    /// While it is tried again: the slot of the one task that tries it.
    trying: Option<u32>,
    failures: u32,
    failed_at: Option<Duration>,
    /// What it is found by in `ready`.
    load: Option<u64>,
    ended: u64,
    busy: Duration,
    /// How long the last tasks took that succeeded, since it was well.
    recent: VecDeque<Duration>,
    succeeded: u64,
    /// How often in a row it was found to be slow.
    slow: u32,
}

/// A host is slow when each of its last so many tasks
const SLOW_TASKS: usize = 5;
/// took more than so many times as long as half of all tasks take at most,
const SLOW_TIMES: u32 = 4;
/// and longer than this: short tasks say more of the way to a host than of the host.
const SLOW_LEAST: Duration = Duration::from_secs(1);

/// Above the load of any host that has room.
const LAST: u64 = 1 << 60;

const SHORTEST: Duration = Duration::from_millis(1);

impl Hosts {
    pub(super) fn new(mut rest: Rest) -> Self {
        // A host that fails at once and needn't rest would be tried again without end.
        rest.first = rest.first.max(SHORTEST);
        let (ready, resting) = (BTreeSet::new(), BTreeSet::new());
        Self { rest, hosts: Vec::new(), ready, resting, well: 0 }
    }

    pub(super) fn add(&mut self, slots: u32, weight: u32) -> HostId {
        let id = HostId(u32::try_from(self.hosts.len()).expect("invariant: fewer than 2^32 hosts"));
        self.hosts.push(Host {
            slots,
            weight: weight.max(1),
            free: (1..=slots).map(Reverse).collect(),
            taken: BTreeSet::new(),
            health: Health::Well,
            trying: None,
            failures: 0,
            failed_at: None,
            load: None,
            ended: 0,
            busy: Duration::ZERO,
            recent: VecDeque::new(),
            succeeded: 0,
            slow: 0,
        });
        self.well += 1;
        self.place(id);
        id
    }

    pub(super) fn resize(&mut self, id: HostId, slots: u32, weight: u32) {
        let host = &mut self.hosts[id.index()];
        host.weight = weight.max(1);
        // A slot above the old number may be taken still, if the host was made smaller before.
        host.free = (1..=slots).filter(|slot| !host.taken.contains(slot)).map(Reverse).collect();
        host.slots = slots;
        self.place(id);
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn view(&self, id: HostId) -> Option<HostView> {
        self.hosts.get(id.index()).map(|host| HostView {
            slots: host.slots,
            running: host.taken.len(),
            health: host.health,
            ended: host.ended,
            busy: host.busy,
            is_slow: host.slow > 0,
        })
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The least loaded host with a free slot that is none of `avoid`, which are few.
    pub(super) fn best(&self, avoid: &[HostId]) -> Option<HostId> {
        self.ready.iter().map(|(_, id)| *id).find(|id| !avoid.contains(id))
    }

    /// Whether a host that is well is none of `avoid`.
    pub(super) fn others_are_well(&self, avoid: &[HostId]) -> bool {
        let avoided = avoid.iter().filter(|id| self.hosts[id.index()].health == Health::Well);
        self.well > avoided.count()
    }

    /// Whether the next task that it gets waits in line there.
    pub(super) fn is_in_line(&self, id: HostId) -> bool {
        self.hosts[id.index()].health == Health::Full
    }

    /// Takes a slot of a host that `best` gave.
    pub(super) fn take(&mut self, id: HostId) -> u32 {
        let host = &mut self.hosts[id.index()];
        let Reverse(slot) = host.free.pop().expect("invariant: a ready host has a free slot");
        host.taken.insert(slot);
        if matches!(host.health, Health::Tried | Health::Full) {
            host.trying = Some(slot);
        }
        self.place(id);
        slot
    }

    /// Gives a slot back, after a task had it for `busy`.
    pub(super) fn give(&mut self, id: HostId, slot: u32, busy: Duration) {
        let host = &mut self.hosts[id.index()];
        host.taken.remove(&slot);
        host.busy += busy;
        // The slots of a host that was made smaller are not used again.
        if slot <= host.slots {
            host.free.push(Reverse(slot));
        }
        // Whoever tried it ended without telling how it is.
        if host.trying == Some(slot) {
            host.trying = None;
        }
        self.place(id);
    }

    pub(super) fn count_ended(&mut self, id: HostId) {
        self.hosts[id.index()].ended += 1;
    }

    /// The host did what it was asked, of the task in that slot.
    pub(super) fn is_well(&mut self, id: HostId, slot: u32) {
        let host = &self.hosts[id.index()];
        // Whether there is room again, who waits in line there will know first.
        let waits = host.health == Health::Full && host.trying.is_some_and(|tried| tried != slot);
        // How long its tasks take is known when they have ended.
        if !waits && host.slow == 0 {
            self.is_surely_well(id);
        }
    }

    /// The host takes tasks.
    pub(super) fn is_surely_well(&mut self, id: HostId) {
        let host = &mut self.hosts[id.index()];
        host.slow = 0;
        if host.health == Health::Well {
            return;
        }
        host.recent.clear();
        if let Health::Resting { until } = host.health {
            self.resting.remove(&(until, id));
        }
        host.health = Health::Well;
        host.failures = 0;
        host.trying = None;
        self.well += 1;
        self.place(id);
    }

    /// The host failed a task that was given to it at `given`; it rests for twice as long as the
    /// last time. One failure that many tasks tell of is one: while it rests, and of tasks that are
    /// older than that, further ones change nothing.
    pub(super) fn failed(&mut self, id: HostId, now: Duration, given: Duration) {
        let host = &mut self.hosts[id.index()];
        let is_known = host.failed_at.is_some_and(|failed| given <= failed);
        if matches!(host.health, Health::Resting { .. }) || is_known {
            return;
        }
        host.failed_at = Some(now);
        host.failures += 1;
        let pause = self.rest.after(host.failures);
        self.pause(id, now + pause);
    }

    /// The host has no room for what others do there.
    pub(super) fn is_full(&mut self, id: HostId) {
        let host = &mut self.hosts[id.index()];
        match host.health {
            Health::Well => self.well -= 1,
            Health::Tried if host.trying.is_none() => {}
            // One waits there already, or it will be tried later.
            _ => return,
        }
        host.health = Health::Full;
        host.trying = None;
        self.place(id);
    }

    /// A task that was given to the host at `given` took so long, and succeeded. Half of all tasks of
    /// the batch, of which there are so many, take no longer than `usual`. Returns for how long the host
    /// rests when it is slow.
    pub(super) fn took(
        &mut self,
        attempt: Attempt,
        (given, time): (Duration, Duration),
        (usual, all): (Option<Duration>, u64),
        now: Duration,
    ) -> Option<Duration> {
        let host = &mut self.hosts[attempt.host.index()];
        host.succeeded += 1;
        if host.failed_at.is_some_and(|failed| given <= failed) {
            return None;
        }
        let limit = (usual? * SLOW_TIMES).max(SLOW_LEAST);
        if host.slow > 0 {
            // It was tried.
            if time <= limit {
                self.is_surely_well(attempt.host);
                return None;
            }
        } else {
            host.recent.push_back(time);
            if host.recent.len() > SLOW_TASKS {
                host.recent.pop_front();
            }
            let are_slow = host.recent.iter().all(|time| *time > limit);
            if host.recent.len() < SLOW_TASKS || !are_slow || all - host.succeeded < SAMPLE {
                return None;
            }
        }
        host.slow += 1;
        host.failed_at = Some(now);
        let pause = self.rest.after(host.slow);
        self.pause(attempt.host, now + pause);
        Some(pause)
    }

    fn pause(&mut self, id: HostId, until: Duration) {
        let host = &mut self.hosts[id.index()];
        match host.health {
            Health::Well => self.well -= 1,
            Health::Resting { until } => drop(self.resting.remove(&(until, id))),
            Health::Tried | Health::Full => {}
        }
        host.health = Health::Resting { until };
        host.trying = None;
        self.resting.insert((until, id));
        self.place(id);
    }

    /// Lets those be tried again that have rested.
    pub(super) fn wake(&mut self, now: Duration) {
        while let Some((until, id)) = self.resting.first().copied()
            && until <= now
        {
            self.resting.remove(&(until, id));
            self.hosts[id.index()].health = Health::Tried;
            self.place(id);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Whether each host failed more than `failures` times in a row.
    pub(super) fn all_failed(&self, failures: u32) -> bool {
        self.well == 0 && self.hosts.iter().all(|host| host.failures > failures)
    }

    /// Puts it where `best` finds it, or away from there.
    fn place(&mut self, id: HostId) {
        let host = &mut self.hosts[id.index()];
        let is_ready = match host.health {
            Health::Well => true,
            Health::Tried | Health::Full => host.trying.is_none(),
            Health::Resting { .. } => false,
        };
        let load = (is_ready && !host.free.is_empty())
            .then(|| ((host.taken.len() as u64) << 24) / u64::from(host.weight))
            .map(|load| if host.health == Health::Full { load + LAST } else { load });
        if host.load == load {
            return;
        }
        if let Some(load) = host.load {
            self.ready.remove(&(load, id));
        }
        if let Some(load) = load {
            self.ready.insert((load, id));
        }
        host.load = load;
    }
}
