//! The hosts of a plan: which have a free slot, and which rest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use super::{Health, HostId, HostView, Rest};

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
}

const SHORTEST: Duration = Duration::from_millis(1);

impl Hosts {
    pub(super) fn new(mut rest: Rest) -> Self {
        // A host that fails at once and needn't rest would be tried again without end.
        rest.first = rest.first.max(SHORTEST);
        rest.full = rest.full.max(SHORTEST);
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

    /// Takes a slot of a host that `best` gave.
    pub(super) fn take(&mut self, id: HostId) -> u32 {
        let host = &mut self.hosts[id.index()];
        let Reverse(slot) = host.free.pop().expect("invariant: a ready host has a free slot");
        host.taken.insert(slot);
        if host.health == Health::Tried {
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

    /// The host did what it was asked.
    pub(super) fn is_well(&mut self, id: HostId) {
        let host = &mut self.hosts[id.index()];
        if host.health == Health::Well {
            return;
        }
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
        let doubled = 1u32.checked_shl(host.failures - 1).unwrap_or(u32::MAX);
        let pause = self.rest.first.saturating_mul(doubled).min(self.rest.longest);
        self.pause(id, now + pause);
    }

    /// The host has no room for what others do there.
    pub(super) fn is_full(&mut self, id: HostId, now: Duration) {
        if !matches!(self.hosts[id.index()].health, Health::Resting { .. }) {
            self.pause(id, now + self.rest.full);
        }
    }

    fn pause(&mut self, id: HostId, until: Duration) {
        let host = &mut self.hosts[id.index()];
        if host.health == Health::Well {
            self.well -= 1;
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
            Health::Tried => host.trying.is_none(),
            Health::Resting { .. } => false,
        };
        let load = (is_ready && !host.free.is_empty())
            .then(|| ((host.taken.len() as u64) << 24) / u64::from(host.weight));
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
