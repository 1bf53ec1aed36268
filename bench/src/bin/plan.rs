//! The scheduler of `geto map` alone: a fake fleet of 2,000 hosts with 8 slots each, and a clock that
//! jumps from event to event. 1 in 100 attempts is failed by its host, 1 in 1,000 falls silent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use geto_core::map::plan::{Attempt, Blame, Decision, End, Plan, Policy};
use nix::sys::resource::{UsageWho, getrusage};

const HOSTS: u32 = 2_000;
const SLOTS: u32 = 8;

/// What will happen to an attempt, and when.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Duration,
    what: What,
    attempt: (u64, u32, usize, u32),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Start,
    End,
    Refuse,
    FallSilent,
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "| tasks on {HOSTS} hosts | decisions | decisions/s | memory MiB |\n|---|---|---|---|"
    )?;
    for tasks in [100_000, 1_000_000, 3_000_000] {
        let begun = Instant::now();
        let decisions = simulate(tasks);
        let rate =
            decisions / u64::try_from(begun.elapsed().as_millis()).unwrap_or(1).max(1) * 1000;
        let memory = getrusage(UsageWho::RUSAGE_SELF)?.max_rss() / 1024;
        writeln!(out, "| {tasks} | {decisions} | {rate} | {memory} |")?;
    }
    Ok(())
}

fn simulate(tasks: u64) -> u64 {
    let mut plan = Plan::new(Policy::default());
    let hosts: Vec<_> = (0..HOSTS).map(|_| plan.add_host(SLOTS, SLOTS)).collect();
    let mut more = (1..=tasks).map(|number| (number, number));
    let mut events: BinaryHeap<Reverse<Event>> = BinaryHeap::new();
    let (mut now, mut decisions) = (Duration::ZERO, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    loop {
        let attempt = match plan.next(now, &mut more) {
            Decision::Start(attempt) => attempt,
            Decision::Over => break,
            Decision::Wait { until } => {
                let next = events.peek().map(|Reverse(event)| event.at);
                // What comes first: the next event, or the time that the plan waits for.
                let Some(at) = next.into_iter().chain(until).min() else { break };
                now = at;
                if next != Some(at) {
                    continue;
                }
                if let Some(Reverse(event)) = events.pop() {
                    let (sequence, number, host, slot) = event.attempt;
                    let attempt = Attempt { sequence, number, host: hosts[host], slot };
                    match event.what {
                        What::Start => plan.started(attempt, now),
                        What::End => plan.ended(attempt, End::Succeeded, now),
                        What::Refuse => plan.not_started(attempt, Blame::Attempt, now),
                        What::FallSilent => plan.silent(attempt, now),
                    };
                }
                continue;
            }
            _ => {
                decisions += 1;
                continue;
            }
        };
        decisions += 1;
        let soon = now + Duration::from_millis(1 + draw(50));
        let later = soon + Duration::from_millis(500 + draw(1_500));
        let event = |at, what| {
            let host = attempt.host.index();
            Reverse(Event {
                at,
                what,
                attempt: (attempt.sequence, attempt.number, host, attempt.slot),
            })
        };
        match draw(1_000) {
            0 => events.push(event(later, What::FallSilent)),
            1..=10 => events.push(event(soon, What::Refuse)),
            _ => {
                events.push(event(soon, What::Start));
                events.push(event(later, What::End));
            }
        }
    }
    decisions
}
