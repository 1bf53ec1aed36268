//! A fleet on which everything goes wrong, as it comes.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::map::limit::{Halt, Limit};

/// What really runs somewhere.
struct Process {
    attempt: Attempt,
    started: bool,
    /// When the host ends it, since it hears nothing.
    ends: Option<Duration>,
}

struct Fleet {
    plan: Plan<u64>,
    slots: Vec<u32>,
    now: Duration,
    processes: Vec<Process>,
    done: HashSet<u64>,
    random: u64,
    copies: usize,
}

impl Fleet {
    /// xorshift64; `0..below`.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn run(&mut self, tasks: u64) {
        let mut more = (1..=tasks).map(|number| (number, number));
        for step in 0.. {
            assert!(step < 200_000, "no end");
            match self.plan.next(self.now, &mut more) {
                Decision::Start(attempt) => self.begin(attempt),
                // It may have ended in the meantime, or be out of reach.
                Decision::Kill(_) => {}
                Decision::Leave(attempt) => self.processes.retain(|p| p.attempt != attempt),
                Decision::Final { sequence, task, .. } => {
                    assert_eq!(sequence, task);
                    assert!(self.done.insert(sequence), "{sequence} ended twice");
                }
                Decision::Wait { until } => self.pass(until),
                Decision::Over => break,
            }
            self.bury();
        }
        let counts = self.plan.counts();
        assert_eq!(counts.done(), counts.taken);
        assert_eq!(self.done.len() as u64, counts.taken);
        assert_eq!((counts.running, counts.waiting), (0, 0));
        assert!(self.plan.live.is_empty() && self.plan.leases.is_empty());
        assert!(self.plan.hosts().all(|host| host.running == 0));
        assert!(self.plan.stopped().is_some() || counts.taken == tasks);
    }

    fn begin(&mut self, attempt: Attempt) {
        assert!(!self.done.contains(&attempt.sequence), "started after its end");
        assert!((1..=self.slots[attempt.host.index()]).contains(&attempt.slot));
        let mut copies = 1;
        for process in self.processes.iter().map(|process| process.attempt) {
            assert!(
                (process.host, process.slot) != (attempt.host, attempt.slot),
                "slot taken twice"
            );
            if process.sequence == attempt.sequence {
                copies += 1;
                assert_ne!(process.host, attempt.host);
            }
        }
        assert!(copies <= self.copies, "{copies} copies of {attempt:?}");
        assert!(self.plan.task(attempt.sequence).is_some());
        self.processes.push(Process { attempt, started: false, ends: None });
    }

    /// Hosts end what has no lease any more, and nobody hears of it.
    fn bury(&mut self) {
        self.processes.retain(|process| process.ends.is_none_or(|ends| ends > self.now));
    }

    fn pass(&mut self, until: Option<Duration>) {
        if let Some(until) = until
            && (self.processes.is_empty() || self.random(4) == 0)
        {
            assert!(until > self.now);
            self.now = until;
            return;
        }
        assert!(!self.processes.is_empty(), "waits for nothing");
        let millis = self.random(2_000);
        self.now += Duration::from_millis(millis);
        self.bury();
        if self.random(400) == 0 {
            self.plan.interrupt(self.now);
            // The third time it leaves all: what happens to them is not its own any more.
            return;
        }
        if !self.processes.is_empty() {
            let index = usize::try_from(self.random(self.processes.len() as u64)).unwrap();
            self.happen(index);
        }
    }

    fn happen(&mut self, index: usize) {
        let (now, what) = (self.now, self.random(21));
        let process = &mut self.processes[index];
        let attempt = process.attempt;
        let over = match what {
            0..5 => {
                (process.started, process.ends) = (true, None);
                self.plan.started(attempt, now);
                return;
            }
            5..7 => {
                process.ends = Some(now + self.plan.policy.lease + Duration::from_secs(10));
                self.plan.silent(attempt, now);
                return;
            }
            7 => self.plan.lost(attempt, now),
            8 if !process.started => self.plan.not_started(attempt, Blame::Host, now),
            9 if !process.started => self.plan.not_started(attempt, Blame::Full, now),
            10 if !process.started => self.plan.not_started(attempt, Blame::Attempt, now),
            11 if !process.started => self.plan.not_started(attempt, Blame::Task, now),
            12 => self.plan.ended(attempt, End::Cancelled, now),
            13 => self.plan.ended(attempt, End::Failed(None), now),
            14 => self.plan.ended(attempt, End::Failed(Some(1)), now),
            15 => self.plan.ended(attempt, End::Kept, now),
            _ => self.plan.ended(attempt, End::Succeeded, now),
        };
        assert!(over, "{attempt:?} is not known");
        self.processes.swap_remove(index);
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let halts =
        ["never", "never", "never", "soon,fail=5", "now,fail=9", "now,done=50%", "soon,success=20"];
    (0u32..4, 0u32..3, any::<bool>(), prop::sample::select(halts.to_vec()), any::<bool>()).prop_map(
        |(host_retries, retries, speculate, halt, limited)| {
            let policy = Policy {
                host_retries,
                retries,
                speculate,
                halts: Halt::parse(halt).unwrap().into_iter().collect(),
                ..Policy::default()
            };
            if limited { policy.max_failures(Limit::Percent(50)) } else { policy }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Copies of a task never run at the same time (but for speculation), each slot has one task,
    /// each task that was begun comes to one end, and the plan to its own.
    #[test]
    fn whatever_happens_each_task_comes_to_one_end(
        policy in policies(),
        slots in prop::collection::vec(1u32..5, 1..8),
        tasks in 0u64..120,
        seed in 1u64..,
    ) {
        let copies = if policy.speculate { 2 } else { 1 };
        let mut plan = Plan::new(policy);
        for slots in &slots {
        plan.add_host(*slots, *slots);
    }
        let (processes, done) = (Vec::new(), HashSet::new());
        let now = Duration::ZERO;
        Fleet { plan, slots, now, processes, done, random: seed, copies }.run(tasks);
    }
}
