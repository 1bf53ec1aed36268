use super::*;
use crate::map::limit::Halt;

/// A plan, its tasks and a clock in seconds.
struct Table {
    plan: Plan<u64>,
    more: std::vec::IntoIter<(u64, u64)>,
    now: Duration,
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn table(policy: Policy, slots: &[u32], tasks: u64) -> Table {
    let mut plan = Plan::new(policy);
    for slots in slots {
        plan.add_host(*slots, *slots);
    }
    let more = (1..=tasks).map(|number| (number, number)).collect::<Vec<_>>().into_iter();
    Table { plan, more, now: Duration::ZERO }
}

impl Table {
    fn next(&mut self) -> Decision<u64> {
        self.plan.next(self.now, &mut self.more)
    }

    fn start(&mut self) -> Attempt {
        match self.next() {
            Decision::Start(attempt) => attempt,
            other => panic!("{other:?}"),
        }
    }

    fn starts(&mut self, count: usize) -> Vec<Attempt> {
        (0..count).map(|_| self.start()).collect()
    }

    fn waits(&mut self) -> Option<u64> {
        match self.next() {
            Decision::Wait { until } => until.map(|until| until.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    fn fate(&mut self) -> (u64, Fate) {
        match self.next() {
            Decision::Final { sequence, task, fate, attempt } => {
                assert_eq!((sequence, attempt.sequence), (task, task));
                (sequence, fate)
            }
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, attempt: Attempt, end: End) {
        assert!(self.plan.ended(attempt, end, self.now));
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = secs(seconds);
        self
    }

    fn health(&self, host: u32) -> Health {
        self.plan.host(HostId(host)).unwrap().health
    }
}

fn halting(text: &str) -> Policy {
    Policy { halts: Halt::parse(text).unwrap().into_iter().collect(), ..Policy::default() }
}

#[test]
fn a_task_that_may_still_run_is_lost_and_runs_nowhere_else() {
    let mut table = table(Policy::default(), &[1, 1], 1);
    let attempt = table.start();
    assert!(table.plan.given_up(attempt, table.now));
    assert_eq!(table.fate(), (1, Fate::Lost));
    assert_eq!(table.next(), Decision::Over);
}

#[test]
fn tasks_that_come_later_are_waited_for() {
    let mut plan = Plan::new(Policy::default());
    plan.add_host(1, 1);
    let now = Duration::ZERO;
    assert_eq!(plan.decide(now, &mut || More::<u8>::Later), Decision::Wait { until: None });
    let Decision::Start(attempt) = plan.decide(now, &mut || More::Task(7, 1)) else { panic!() };
    assert!(plan.is_live(attempt));
    assert!(plan.ended(attempt, End::Succeeded, now));
    assert!(!plan.is_live(attempt));
    let last = Decision::Final { sequence: 7, task: 1, fate: Fate::Succeeded, attempt };
    assert_eq!(plan.decide(now, &mut || More::Later), last);
    assert_eq!(plan.decide(now, &mut || More::End), Decision::Over);
}

#[test]
fn tasks_go_where_fewest_run_for_the_weight() {
    let mut table = table(Policy::default(), &[1, 4, 2], 100);
    let hosts: Vec<_> = table.starts(7).iter().map(|a| (a.host.0, a.slot)).collect();
    assert_eq!(hosts, [(0, 1), (1, 1), (2, 1), (1, 2), (1, 3), (2, 2), (1, 4)]);
    assert_eq!(table.waits(), None);
    // A slot that is free again is the next to be used.
    let attempt = Attempt { sequence: 4, number: 1, host: HostId(1), slot: 2 };
    table.end(attempt, End::Succeeded);
    assert_eq!(table.fate(), (4, Fate::Succeeded));
    assert_eq!(table.start(), Attempt { sequence: 8, number: 1, host: HostId(1), slot: 2 });
}

#[test]
fn tasks_are_taken_only_when_a_host_has_room() {
    let mut table = table(Policy::default(), &[2], 10);
    table.starts(2);
    assert_eq!(table.waits(), None);
    assert_eq!(table.more.len(), 8);
    assert_eq!((table.plan.task(2), table.plan.task(3)), (Some(&2), None));
}

#[test]
fn all_ends_when_the_last_task_has() {
    let mut table = table(Policy::default(), &[4], 2);
    let attempts = table.starts(2);
    assert_eq!(table.waits(), None);
    for (attempt, end) in attempts.into_iter().zip([End::Failed(Some(3)), End::Succeeded]) {
        table.end(attempt, end);
    }
    assert_eq!(table.fate(), (1, Fate::Failed(Some(3))));
    assert_eq!(table.fate(), (2, Fate::Succeeded));
    assert_eq!(table.next(), Decision::Over);
    let counts = table.plan.counts();
    assert_eq!((counts.done(), counts.total, counts.exit_code()), (2, Some(2), 1));
}

#[test]
fn what_a_host_failed_goes_elsewhere_three_times() {
    let mut table = table(Policy::default(), &[1, 1, 1, 1, 1], 1);
    let mut hosts = Vec::new();
    for _ in 0..4 {
        let attempt = table.start();
        hosts.push(attempt.host.0);
        assert!(table.plan.not_started(attempt, Blame::Attempt, table.now));
    }
    assert_eq!(hosts, [0, 1, 2, 3]);
    assert_eq!(table.fate(), (1, Fate::NotStarted));
    assert_eq!(table.next(), Decision::Over);
    assert_eq!(table.plan.counts().repeated, 3);
}

#[test]
fn a_task_is_not_charged_for_hosts_that_are_down() {
    let mut table = table(Policy::default(), &[1; 9], 1);
    for _ in 0..8 {
        let attempt = table.start();
        assert!(table.plan.not_started(attempt, Blame::Host, table.now));
    }
    let attempt = table.start();
    assert_eq!((attempt.host.0, attempt.number), (8, 9));
    table.end(attempt, End::Succeeded);
    assert_eq!(table.fate(), (1, Fate::Succeeded));
}

#[test]
fn a_host_that_fails_rests_twice_as_long_each_time() {
    let mut table = table(Policy { host_retries: 99, ..Policy::default() }, &[2], 9);
    let mut rests = Vec::new();
    for _ in 0..11 {
        let attempt = table.start();
        if table.now > Duration::ZERO {
            // One task tries it.
            assert_eq!(table.waits(), None);
            assert_eq!(table.health(0), Health::Tried);
        }
        table.plan.not_started(attempt, Blame::Host, table.now);
        let until = table.waits().unwrap();
        rests.push(until - table.now.as_secs());
        table.at(until);
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    let attempt = table.start();
    table.plan.started(attempt, table.now);
    assert_eq!(table.health(0), Health::Well);
    let other = table.start();
    table.plan.not_started(other, Blame::Host, table.now);
    assert_eq!(table.waits().unwrap() - table.now.as_secs(), 1);
}

#[test]
fn a_host_may_be_rested_without_a_task() {
    let mut table = table(Policy { host_retries: 1, ..Policy::default() }, &[1, 1], 9);
    table.plan.host_failed(HostId(0), secs(0));
    let attempt = table.start();
    assert_eq!(attempt.host, HostId(1));
    assert_eq!(table.waits(), Some(1));
    assert_eq!(table.at(1).start().host, HostId(0));
    // Nothing more is known of it than that it failed.
    table.plan.host_failed(HostId(0), secs(2));
    assert_eq!(table.health(0), Health::Resting { until: secs(4) });
    table.plan.host_is_well(HostId(0));
    assert_eq!(table.health(0), Health::Well);
}

#[test]
fn a_plan_stops_when_no_host_could_be_reached_at_all() {
    let mut table = table(Policy { host_retries: 0, ..Policy::default() }, &[1, 1], 9);
    table.plan.host_failed(HostId(0), secs(0));
    assert_eq!(table.plan.stopped(), None);
    table.plan.host_failed(HostId(1), secs(0));
    assert_eq!(table.plan.stopped(), Some(StopReason::NoHost));
    assert_eq!(table.next(), Decision::Over);
}

#[test]
fn one_failure_that_many_tasks_tell_of_is_one() {
    let mut table = table(Policy::default(), &[4], 4);
    let attempts = table.starts(4);
    for attempt in &attempts[..3] {
        table.plan.silent(*attempt, secs(5));
    }
    assert_eq!(table.health(0), Health::Resting { until: secs(6) });
    assert_eq!(table.at(6).waits(), Some(335));
    // It was given to the host before that failure.
    table.plan.not_started(attempts[3], Blame::Host, secs(7));
    assert_eq!(table.health(0), Health::Tried);
}

#[test]
fn a_silent_task_goes_elsewhere_only_when_its_lease_is_over() {
    let mut table = table(Policy::default(), &[1, 1], 1);
    let first = table.start();
    table.plan.started(first, table.now);
    table.plan.silent(first, secs(100));
    assert_eq!(table.at(100).waits(), Some(430));
    assert_eq!(table.at(429).waits(), Some(430));
    let second = table.at(430).start();
    assert_eq!((second.host, second.number), (HostId(1), 2));
    // Too late.
    assert!(!table.plan.ended(first, End::Succeeded, table.now));
    table.end(second, End::Succeeded);
    assert_eq!(table.fate(), (1, Fate::Succeeded));
}

#[test]
fn a_silent_task_that_is_heard_of_goes_on() {
    let mut table = table(Policy::default(), &[1, 1], 1);
    let first = table.start();
    table.plan.silent(first, secs(1));
    table.plan.heard(first);
    assert_eq!(table.health(0), Health::Well);
    assert_eq!(table.at(1000).waits(), None);
    // Its lease counts anew.
    table.plan.silent(first, secs(1000));
    assert_eq!(table.waits(), Some(1330));
}

#[test]
fn a_lost_task_is_lost_when_it_was_lost_too_often() {
    let mut table = table(Policy { host_retries: 1, ..Policy::default() }, &[1, 1], 1);
    for _ in 0..2 {
        let attempt = table.start();
        table.plan.started(attempt, table.now);
        table.plan.lost(attempt, table.now);
    }
    assert_eq!(table.fate(), (1, Fate::Lost));
}

#[test]
fn a_task_whose_results_are_still_on_its_host_is_not_repeated() {
    let mut table = table(Policy { retries: 9, ..Policy::default() }, &[1], 1);
    let attempt = table.start();
    table.end(attempt, End::Kept);
    assert_eq!(table.fate(), (1, Fate::Failed(None)));
    assert_eq!(table.next(), Decision::Over);
}

#[test]
fn failures_are_repeated_by_their_codes() {
    let policy = Policy { retries: 2, retry_exit: "75".parse().ok(), ..Policy::default() };
    let fates = |policy: &Policy, ends: &[End]| {
        let mut table = table(policy.clone(), &[1], 1);
        for end in ends {
            let attempt = table.start();
            table.end(attempt, *end);
        }
        table.fate().1
    };
    let again = End::Failed(Some(75));
    assert_eq!(fates(&policy, &[again, End::Succeeded]), Fate::Succeeded);
    assert_eq!(fates(&policy, &[again, again, again]), Fate::Failed(Some(75)));
    assert_eq!(fates(&policy, &[End::Failed(Some(1))]), Fate::Failed(Some(1)));
    assert_eq!(fates(&policy, &[End::Failed(None)]), Fate::Failed(None));
    let policy = Policy { retry_exit: None, ..policy };
    assert_eq!(fates(&policy, &[again, End::Failed(None), End::Succeeded]), Fate::Succeeded);
}

#[test]
fn a_task_waits_ten_seconds_for_another_host() {
    let mut table = table(Policy::default(), &[1, 1], 2);
    let [first, second] = table.starts(2).try_into().unwrap();
    table.plan.started(second, table.now);
    table.plan.not_started(first, Blame::Attempt, secs(0));
    assert_eq!(table.at(1).waits(), Some(10));
    assert_eq!(table.at(10).start().host, first.host);
}

#[test]
fn one_task_waits_in_line_at_a_full_host_and_nobody_is_to_blame() {
    let mut table = table(Policy { host_retries: 0, ..Policy::default() }, &[3], 9);
    let [first, second, third] = table.starts(3).try_into().unwrap();
    assert!(![first, second, third].iter().any(|attempt| table.plan.is_in_line(*attempt)));
    table.plan.started(first, table.now);
    for attempt in [second, third] {
        table.plan.not_started(attempt, Blame::Full, table.now);
    }
    // One of them comes back at once, and waits; what the others that run there do says nothing.
    let waits = table.start();
    assert_eq!((waits.sequence, table.plan.is_in_line(waits)), (2, true));
    table.end(first, End::Succeeded);
    assert_eq!(table.fate(), (1, Fate::Succeeded));
    assert_eq!((table.waits(), table.health(0)), (None, Health::Full));
    // Once it is let in there may be room for more.
    table.at(7).plan.started(waits, secs(7));
    // To wait is not to be busy.
    assert_eq!(table.plan.host(HostId(0)).unwrap().busy, secs(0));
    let [third, fourth] = table.starts(2).try_into().unwrap();
    assert_eq!((third.sequence, fourth.sequence), (3, 4));
    assert!(!table.plan.is_in_line(third));
    // It may lose patience, again and again.
    table.plan.not_started(third, Blame::Full, table.now);
    for _ in 0..5 {
        let again = table.start();
        assert_eq!((again.sequence, table.plan.is_in_line(again)), (3, true));
        table.plan.not_started(again, Blame::Full, table.now);
    }
    let again = table.start();
    table.plan.started(again, table.now);
    table.end(again, End::Succeeded);
    assert_eq!(table.fate(), (3, Fate::Succeeded));
}

#[test]
fn a_full_host_comes_last() {
    let mut table = table(Policy::default(), &[4, 1], 9);
    let [first, second] = table.starts(2).try_into().unwrap();
    assert_eq!((first.host.0, second.host.0), (0, 1));
    table.plan.not_started(first, Blame::Full, table.now);
    table.end(second, End::Succeeded);
    assert_eq!(table.fate(), (2, Fate::Succeeded));
    // The task is not kept from the one that was full, but finds room elsewhere first.
    let again = table.start();
    assert_eq!((again.sequence, again.host.0), (1, 1));
    let next = table.start();
    assert_eq!((next.sequence, next.host.0, table.plan.is_in_line(next)), (3, 0, true));
    assert_eq!(table.waits(), None);
    // What has not started is not started any more.
    table.plan.interrupt(table.now);
    assert_eq!(table.next(), Decision::Kill(next));
    table.end(next, End::Cancelled);
    assert_eq!(table.fate(), (3, Fate::Cancelled));
}

#[test]
fn a_host_that_turns_slow_rests_and_is_tried_with_one_task() {
    let mut table = table(Policy::default(), &[1, 2], 1_000);
    // The first host takes a second for a task, the second as long as is said.
    let mut now = 0;
    let mut run = |table: &mut Table, slow: u64| {
        let attempt = table.at(now).start();
        now += if attempt.host.0 == 0 { 1 } else { slow };
        table.at(now).end(attempt, End::Succeeded);
        table.fate();
        (attempt.host.0, now)
    };
    for _ in 0..20 {
        run(&mut table, 3);
    }
    assert_eq!(table.plan.take_slow(), None);
    let mut last = 0;
    // Below a second host that is busy it gets every other task.
    let first = table.start();
    assert_eq!(first.host.0, 0);
    for _ in 0..5 {
        assert_eq!(table.health(1), Health::Well);
        let (host, now) = run(&mut table, 9);
        assert_eq!(host, 1);
        last = now;
    }
    let until = secs(last + 1);
    assert_eq!(table.plan.take_slow(), Some((HostId(1), secs(1))));
    assert_eq!(table.health(1), Health::Resting { until });
    assert!(table.plan.host(HostId(1)).unwrap().is_slow);
    // One task tries it, and that it starts says nothing.
    let tries = table.at(last + 1).start();
    assert_eq!(tries.host.0, 1);
    table.plan.started(tries, table.now);
    assert_eq!(table.waits(), None);
    table.at(last + 21).end(tries, End::Succeeded);
    table.fate();
    assert_eq!(table.plan.take_slow(), Some((HostId(1), secs(2))));
    let tries = table.at(last + 23).start();
    table.at(last + 24).end(tries, End::Succeeded);
    table.fate();
    assert_eq!(table.health(1), Health::Well);
    assert_eq!(table.starts(2).iter().map(|attempt| attempt.host.0).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn short_tasks_and_a_host_alone_are_never_slow() {
    for (slots, times) in [(&[1, 1][..], [1, 900]), (&[1], [1_000, 60_000])] {
        let mut table = table(Policy::default(), slots, 1_000);
        for round in 0..100 {
            let attempts = table.starts(slots.len());
            for attempt in attempts {
                let time = if round < 50 {
                    times[0]
                } else {
                    times[attempt.host.index().max(2 - slots.len())]
                };
                table.now += Duration::from_millis(time);
                table.end(attempt, End::Succeeded);
                table.fate();
            }
        }
        assert_eq!(table.plan.take_slow(), None, "{slots:?}");
    }
}

#[test]
fn soon_starts_no_more_and_lets_those_that_run_end() {
    let mut table = table(halting("soon,fail=1"), &[2, 2], 100);
    let attempts = table.starts(4);
    table.plan.not_started(attempts[3], Blame::Attempt, table.now);
    table.end(attempts[0], End::Failed(Some(1)));
    assert_eq!(table.fate(), (1, Fate::Failed(Some(1))));
    // What waited to be repeated is not.
    assert_eq!(table.fate(), (4, Fate::NotStarted));
    assert_eq!(table.waits(), None);
    assert!(matches!(table.plan.stopped(), Some(StopReason::Halt(_))));
    table.end(attempts[1], End::Succeeded);
    table.end(attempts[2], End::Succeeded);
    assert_eq!([table.fate().0, table.fate().0], [2, 3]);
    assert_eq!(table.next(), Decision::Over);
    assert_eq!(table.more.len(), 96);
}

#[test]
fn now_ends_those_that_run() {
    let mut table = table(halting("now,success=1"), &[3], 100);
    let attempts = table.starts(3);
    table.end(attempts[1], End::Succeeded);
    assert_eq!(table.fate(), (2, Fate::Succeeded));
    assert_eq!(table.next(), Decision::Kill(attempts[0]));
    assert_eq!(table.next(), Decision::Kill(attempts[2]));
    assert_eq!(table.waits(), None);
    table.end(attempts[0], End::Cancelled);
    table.end(attempts[2], End::Succeeded);
    assert_eq!(table.fate(), (1, Fate::Cancelled));
    assert_eq!(table.fate(), (3, Fate::Succeeded));
    assert_eq!(table.next(), Decision::Over);
}

#[test]
fn a_share_is_of_all_tasks_or_of_a_sample() {
    let failures_until_stop = |policy: Policy, total: Option<u64>| {
        let mut table = table(policy, &[1], 1000);
        if let Some(total) = total {
            table.plan.set_total(total);
        }
        let mut failures = 0;
        while let Decision::Start(attempt) = table.next() {
            table.end(attempt, End::Failed(Some(1)));
            table.fate();
            failures += 1;
        }
        failures
    };
    assert_eq!(failures_until_stop(halting("5%"), Some(1000)), 50);
    assert_eq!(failures_until_stop(halting("5%"), None), 100);
    assert_eq!(failures_until_stop(halting("soon,done=5%"), None), 1000);
    let limit = "7".parse().unwrap();
    assert_eq!(failures_until_stop(Policy::default().max_failures(limit), None), 7);
}

#[test]
fn a_share_may_be_reached_when_the_number_of_tasks_gets_known() {
    let mut table = table(halting("now,fail=50%"), &[2], 2);
    let attempts = table.starts(2);
    table.end(attempts[0], End::Failed(Some(1)));
    assert_eq!(table.fate(), (1, Fate::Failed(Some(1))));
    assert_eq!(table.next(), Decision::Kill(attempts[1]));
}

#[test]
fn interruptions_go_a_step_further_each() {
    let mut table = table(Policy::default(), &[2], 9);
    let attempts = table.starts(2);
    assert_eq!(table.plan.interrupt(table.now), Interruption::NoMore);
    assert_eq!(table.waits(), None);
    assert_eq!(table.plan.interrupt(table.now), Interruption::Kill);
    assert_eq!(table.next(), Decision::Kill(attempts[0]));
    assert_eq!(table.next(), Decision::Kill(attempts[1]));
    table.end(attempts[0], End::Cancelled);
    assert_eq!(table.fate(), (1, Fate::Cancelled));
    assert_eq!(table.plan.interrupt(table.now), Interruption::Leave);
    assert_eq!(table.next(), Decision::Leave(attempts[1]));
    assert_eq!(table.fate(), (2, Fate::Left));
    assert_eq!(table.next(), Decision::Over);
    assert_eq!(table.plan.counts().unsuccessful(), 2);
}

#[test]
fn a_plan_stops_when_no_host_is_left() {
    let mut table = table(Policy { host_retries: 1, ..Policy::default() }, &[1, 1], 1_000);
    let mut started = 0;
    loop {
        match table.next() {
            Decision::Start(attempt) => {
                started += 1;
                table.plan.not_started(attempt, Blame::Host, table.now);
            }
            Decision::Wait { until } => table.now = until.unwrap(),
            Decision::Final { fate, .. } => assert_eq!(fate, Fate::NotStarted),
            _ => break,
        }
    }
    assert_eq!(table.plan.stopped(), Some(StopReason::NoHost));
    assert_eq!(started, 4);
}

#[test]
fn a_straggler_gets_a_second_copy_and_the_first_result_wins() {
    let policy = Policy { speculate: true, ..Policy::default() };
    let mut table = table(policy, &[3, 2], 4);
    let attempts = table.starts(4);
    for attempt in &attempts[..3] {
        table.at(1).end(*attempt, End::Succeeded);
        table.fate();
    }
    let due = table.waits().unwrap();
    assert_eq!(due, 2, "twice the median, rounded up");
    let copy = table.at(due + 1).start();
    assert_eq!((copy.sequence, copy.number), (4, 2));
    assert_ne!(copy.host, attempts[3].host);
    assert_eq!(table.waits(), None);
    table.end(copy, End::Succeeded);
    assert_eq!(table.fate(), (4, Fate::Succeeded));
    assert_eq!(table.next(), Decision::Kill(attempts[3]));
    // Its slot is taken until it has ended.
    assert_eq!(table.waits(), None);
    table.end(attempts[3], End::Cancelled);
    assert_eq!(table.next(), Decision::Over);
    assert_eq!(table.plan.counts().succeeded, 4);
}

#[test]
fn a_second_copy_runs_on_another_host_though_it_has_less_room() {
    let mut table = table(Policy { speculate: true, ..Policy::default() }, &[9, 2], 5);
    let attempts = table.starts(5);
    for attempt in &attempts[2..] {
        table.end(*attempt, End::Succeeded);
        table.fate();
    }
    let copies = table.at(9).starts(2);
    for (copy, first) in copies.iter().zip(&attempts) {
        assert_eq!(copy.sequence, first.sequence);
        assert_ne!(copy.host, first.host);
    }
}

#[test]
fn of_two_reasons_to_halt_now_goes_first() {
    let halts = ["soon,fail=1", "now,fail=1"].map(|text| Halt::parse(text).unwrap().unwrap());
    let mut table = table(Policy { halts: halts.to_vec(), ..Policy::default() }, &[2], 9);
    let attempts = table.starts(2);
    table.end(attempts[0], End::Failed(Some(1)));
    table.fate();
    assert_eq!(table.next(), Decision::Kill(attempts[1]));
}

#[test]
fn a_host_may_grow_and_shrink() {
    let mut table = table(Policy::default(), &[2], 100);
    let attempts = table.starts(2);
    table.plan.resize(HostId(0), 1, 1);
    table.end(attempts[0], End::Succeeded);
    table.fate();
    assert_eq!(table.start().slot, 1);
    table.plan.resize(HostId(0), 3, 3);
    // Slot 2 is taken still.
    assert_eq!(table.start().slot, 3);
    assert_eq!(table.waits(), None);
}
