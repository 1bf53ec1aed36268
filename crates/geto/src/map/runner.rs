//! The loop: events of attempts go into the plan, decisions come out of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use geto_core::map::plan::{
    Attempt, Decision, Fate, Health, HostId, Interruption, Plan, StopReason,
};
use geto_core::{Host, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::attempt::{Ended, Shared, Told, Verdict};
use super::feed::Feed;
use super::places::{Location, Worker, greet};
use super::{Map, MapDone, MapEvent, MapHost, MapReport, Tried};
use crate::{Error, ErrorKind, Removal};

/// How often it is told how far all has come.
const PROGRESS: Duration = Duration::from_millis(250);

/// How long it may take to remove the last tasks from their hosts.
const REMOVAL: Duration = Duration::from_secs(60);

/// Runs all jobs.
pub(super) async fn run<J: Send + Sync + 'static>(map: Map<'_, J>) -> Result<MapReport, Error> {
    if map.hosts.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "there are no hosts to run on"));
    }
    let (told, hear) = mpsc::unbounded_channel();
    let lease = map.policy.lease;
    let mut plan = Plan::new(map.policy);
    if let Some(total) = map.total {
        plan.set_total(total);
    }
    let mut unasked = Vec::new();
    for host in &map.hosts {
        let known = map.per_host.or(host.slots.map(|slots| slots / map.slots_each.max(1)));
        let slots = known.map_or(0, |slots| slots.max(1));
        let id = plan.add_host(slots, slots);
        if known.is_none() {
            unasked.push(id);
        }
    }
    let interrupts = map.interrupts.subscribe();
    let shared = Shared {
        fleet: map.fleet,
        locations: map.hosts.into_iter().map(Location::new).collect(),
        make: map.make,
        follow: Mutex::new(map.follow.unwrap_or_else(|| Box::new(|_| {}))),
        overwrite: map.overwrite,
        told,
        lease,
    };
    let runner = Runner {
        shared: &shared,
        plan,
        feed: Feed::start(map.jobs)?,
        begun: Instant::now(),
        running: FuturesUnordered::new(),
        greetings: FuturesUnordered::new(),
        removals: FuturesUnordered::new(),
        handles: HashMap::new(),
        tries: HashMap::new(),
        leaving: Vec::new(),
        hear,
        interrupts,
        slots_each: map.slots_each,
        keep: map.keep,
        failure: None,
        told_stop: false,
    };
    runner.run(unasked).await
}

type Greeting = Result<(u32, Worker), Error>;
type Removing<'s> = BoxFuture<'s, Vec<Error>>;

struct Runner<'s, 'a, J> {
    shared: &'s Shared<'a, J>,
    plan: Plan<Arc<J>>,
    feed: Feed<J>,
    begun: Instant,
    running: FuturesUnordered<BoxFuture<'s, Result<Ended, Aborted>>>,
    greetings: FuturesUnordered<BoxFuture<'s, (HostId, Greeting)>>,
    removals: FuturesUnordered<Removing<'s>>,
    /// How attempts that are under way are ended and left.
    handles: HashMap<Attempt, Handle>,
    /// The last attempt at each job that is not done with.
    tries: HashMap<u64, (Attempt, Tried)>,
    /// Sessions whose task is over. Their hosts forget it, and they are used again, once it is clear
    /// what came of it and whoever follows has heard it.
    leaving: Vec<Leaving>,
    hear: mpsc::UnboundedReceiver<(Attempt, Told)>,
    interrupts: watch::Receiver<u32>,
    slots_each: u32,
    keep: bool,
    failure: Option<Error>,
    told_stop: bool,
}

/// An attempt that is over.
struct Leaving {
    attempt: Attempt,
    /// The task that its host may forget.
    home: Option<TaskId>,
    worker: Worker,
    /// Its host, when it was taken over.
    elsewhere: Option<Host>,
}

struct Handle {
    cancel: watch::Sender<bool>,
    abort: AbortHandle,
}

impl<'s, J: Send + Sync + 'static> Runner<'s, '_, J> {
    async fn run(mut self, unasked: Vec<HostId>) -> Result<MapReport, Error> {
        unasked.into_iter().for_each(|host| self.greet(host));
        let mut progress = tokio::time::interval(PROGRESS);
        loop {
            let now = self.begun.elapsed();
            let (plan, feed) = (&mut self.plan, &mut self.feed);
            match plan.decide(now, &mut || feed.take()) {
                Decision::Start(attempt) => {
                    self.let_go().await;
                    self.start(attempt);
                }
                Decision::Kill(attempt) => {
                    if let Some(handle) = self.handles.get(&attempt) {
                        handle.cancel.send_replace(true);
                    }
                }
                Decision::Leave(attempt) => self.forget(attempt),
                Decision::Final { sequence, task, fate, attempt } => {
                    self.done(sequence, &task, fate, attempt);
                }
                Decision::Over => break,
                Decision::Wait { until } => {
                    self.let_go().await;
                    self.stopped();
                    self.wait(until, &mut progress).await;
                }
            }
        }
        self.stopped();
        self.let_go().await;
        self.finish().await;
        let (hosts, counts) = (self.hosts(), self.plan.counts());
        let failure = self.failure.take().or_else(|| self.feed.failure());
        let (time, stopped) = (self.begun.elapsed(), self.plan.stopped());
        Ok(MapReport { counts, hosts, time, stopped, failure })
    }

    /// Waits until something happens, and tells the plan.
    async fn wait(&mut self, until: Option<Duration>, progress: &mut tokio::time::Interval) {
        let until = until.map(|until| self.begun + until);
        let due = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.running.next() => {
                if let Ok(ended) = ended {
                    self.ended(ended);
                }
            }
            Some((attempt, told)) = self.hear.recv() => self.hear(attempt, told),
            Some((host, greeting)) = self.greetings.next() => self.greeted(host, greeting),
            Some(errors) = self.removals.next() => self.removed(errors),
            Ok(()) = self.interrupts.changed() => {
                let step = self.plan.interrupt(self.begun.elapsed());
                self.shared.tell(MapEvent::Interrupted(step));
                if step == Interruption::Leave {
                    self.greetings.clear();
                }
            }
            () = self.feed.wait() => {
                if let Some(failure) = self.feed.failure() {
                    self.failure = Some(failure);
                    self.plan.stop();
                }
            }
            () = due => {}
            _ = progress.tick() => self.progress(),
        }
    }

    fn start(&mut self, attempt: Attempt) {
        let Some(job) = self.plan.task(attempt.sequence).map(Arc::clone) else { return };
        // One that was silent until its lease was over runs no more.
        let given_up: Vec<_> = (self.handles.keys().copied())
            .filter(|other| other.sequence == attempt.sequence)
            .filter(|other| !self.plan.is_live(*other))
            .collect();
        given_up.into_iter().for_each(|other| self.forget(other));
        let (cancel, _) = watch::channel(false);
        let (running, abort) = abortable(self.shared.attempt(attempt, job, cancel.clone()));
        self.handles.insert(attempt, Handle { cancel, abort });
        self.running.push(Box::pin(running));
    }

    /// Follows an attempt no further.
    fn forget(&mut self, attempt: Attempt) {
        if let Some(handle) = self.handles.remove(&attempt) {
            handle.abort.abort();
        }
    }

    fn hear(&mut self, attempt: Attempt, told: Told) {
        let now = self.begun.elapsed();
        match told {
            Told::Started => self.plan.started(attempt),
            Told::Heard => self.plan.heard(attempt),
            Told::Silent => self.plan.silent(attempt, now),
        };
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { attempt, verdict, tried, worker, elsewhere } = ended;
        let now = self.begun.elapsed();
        if self.handles.remove(&attempt).is_none() {
            return;
        }
        // What was told before its end.
        while let Ok((attempt, told)) = self.hear.try_recv() {
            self.hear(attempt, told);
        }
        let home = worker.warm.take_home().filter(|_| !self.keep);
        match verdict {
            Verdict::Ended(end) => self.plan.ended(attempt, end, now),
            Verdict::NotStarted(blame) => self.plan.not_started(attempt, blame, now),
            Verdict::Lost => self.plan.lost(attempt, now),
            Verdict::GivenUp => self.plan.given_up(attempt, now),
            // Its lease runs out, unless the plan knows already that it has.
            Verdict::Silent => self.plan.silent(attempt, now),
        };
        self.tries.insert(attempt.sequence, (attempt, tried));
        if verdict != Verdict::Silent {
            self.leaving.push(Leaving { attempt, home, worker, elsewhere });
        }
    }

    fn done(&mut self, sequence: u64, job: &J, fate: Fate, attempt: Attempt) {
        let tried = self.tries.remove(&sequence).filter(|(tried, _)| *tried == attempt);
        let tried = tried.as_ref().map(|(_, tried)| tried);
        let host = &self.shared.location(attempt).host.name;
        self.shared.tell(MapEvent::Done(&MapDone { sequence, job, fate, host, tried }));
        let others: Vec<_> = (self.handles.keys().copied())
            .filter(|other| other.sequence == sequence && !self.plan.is_live(*other))
            .collect();
        others.into_iter().for_each(|other| self.forget(other));
    }

    /// Lets hosts forget the tasks that are over, and their sessions take others.
    async fn let_go(&mut self) {
        for leaving in std::mem::take(&mut self.leaving) {
            let Leaving { attempt, home: mut id, mut worker, elsewhere } = leaving;
            if let Some((_, tried)) = self.tries.get(&attempt.sequence)
                && let Some(job) = self.plan.task(attempt.sequence)
            {
                self.shared.tell(MapEvent::Repeated { job, tried });
            }
            let location = self.shared.location(attempt);
            if let Some(host) = elsewhere
                && let Some(id) = id.take()
            {
                let fleet = self.shared.fleet;
                self.removals.push(Box::pin(async move {
                    let removed = fleet.remove_all(&host, &[id], Removal::Ended).await;
                    removed.into_iter().filter_map(Result::err).collect()
                }));
            }
            let Some(session) = worker.warm.take() else {
                worker.removing.extend(id);
                let (fleet, host) = (self.shared.fleet, &location.host);
                self.removals.push(Box::pin(async move { worker.finish(fleet, host).await }));
                continue;
            };
            worker.warm.put(session);
            // All that it was asked before has been answered.
            worker.removing.clear();
            if let Some(id) = id {
                worker.remove(id).await;
            }
            location.give(worker);
        }
    }

    fn greet(&mut self, host: HostId) {
        let Some(location) = self.shared.locations.get(host.index()) else { return };
        let fleet = self.shared.fleet;
        self.greetings
            .push(Box::pin(async move { (host, Box::pin(greet(fleet, &location.host)).await) }));
    }

    fn greeted(&mut self, host: HostId, greeting: Greeting) {
        let Some(location) = self.shared.locations.get(host.index()) else { return };
        let slots = match greeting {
            Ok((slots, worker)) => {
                if self.slots_each > 0 {
                    location.give(worker);
                }
                let slots = (slots / self.slots_each.max(1)).max(1);
                self.shared.tell(MapEvent::Host { host: &location.host.name, slots });
                slots
            }
            // A task tries it, and tells why it can't be reached.
            Err(_) => 1,
        };
        self.plan.resize(host, slots, slots);
    }

    fn removed(&self, errors: Vec<Error>) {
        for error in errors {
            tracing::warn!("{}", crate::run::reason(&error));
        }
    }

    fn stopped(&mut self) {
        if let Some(reason) = self.plan.stopped()
            && !std::mem::replace(&mut self.told_stop, true)
            && reason != StopReason::Interrupted
        {
            self.shared.tell(MapEvent::Stopped(reason));
        }
    }

    fn hosts(&self) -> Vec<MapHost> {
        let named = self.plan.hosts().zip(&self.shared.locations);
        named
            .map(|(view, location)| MapHost {
                name: location.host.name.clone(),
                slots: view.slots,
                running: view.running,
                ended: view.ended,
                busy: view.busy,
                is_resting: matches!(view.health, Health::Resting { .. }),
            })
            .collect()
    }

    fn progress(&self) {
        let (counts, hosts) = (self.plan.counts(), self.hosts());
        self.shared.tell(MapEvent::Progress { counts, hosts: &hosts });
    }

    /// Waits until hosts have removed what they were told to.
    async fn finish(&mut self) {
        for location in &self.shared.locations {
            for worker in location.take_all() {
                let fleet = self.shared.fleet;
                self.removals
                    .push(Box::pin(async move { worker.finish(fleet, &location.host).await }));
            }
        }
        let all = async {
            while let Some(errors) = self.removals.next().await {
                for error in errors {
                    tracing::warn!("{}", crate::run::reason(&error));
                }
            }
        };
        if tokio::time::timeout(REMOVAL, all).await.is_err() {
            tracing::warn!("hosts took too long to remove the last tasks; `geto ps` shows them");
        }
    }
}
