//! The loop: events of attempts go into the plan, decisions come out of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Aborted, BoxFuture, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use geto_core::map::plan::{
    Attempt, Decision, Fate, Health, HostId, Interruption, Plan, StopReason,
};
use geto_core::wire::Patience;
use geto_core::{Host, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::attempt::{Ended, Shared, Told, Verdict};
use super::feed::Feed;
use super::forget::{Forgetting, Home, HomePlace};
use super::handles::{Handle, Handles};
use super::places::{Location, Worker, greet};
use super::{Map, MapDone, MapEvent, MapHost, MapReport, Tried};
use crate::results::Claims;
use crate::{Error, ErrorKind, Removal};

/// How often it is told how far all has come.
const PROGRESS: Duration = Duration::from_millis(250);

/// How long a task waits in line at a host, while others take tasks: there may be room, and then nothing
/// left to do.
const SHORT_PATIENCE: Duration = Duration::from_secs(30);

/// The same while none does: who leaves the line comes last in the next.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// How long it may take to remove the last tasks from their hosts.
const REMOVAL: Duration = Duration::from_secs(60);

/// Runs all jobs.
pub(super) async fn run<J: Send + Sync + 'static>(map: Map<'_, J>) -> Result<MapReport, Error> {
    if map.hosts.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "there are no hosts to run on"));
    }
    let (told, hear) = mpsc::unbounded_channel();
    let (lease, retries) = (map.policy.lease, map.policy.retries);
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
        // Otherwise nothing is replaced that stands there, whoever left it.
        claims: (map.overwrite || retries > 0).then(Claims::default),
    };
    let runner = Runner {
        shared: &shared,
        plan,
        feed: Feed::start(map.jobs)?,
        begun: Instant::now(),
        running: FuturesUnordered::new(),
        greetings: FuturesUnordered::new(),
        removals: FuturesUnordered::new(),
        handles: Handles::default(),
        tries: HashMap::new(),
        leaving: Vec::new(),
        forgetting: Forgetting::new(map.kept),
        hear,
        interrupts,
        interrupted: 0,
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
    handles: Handles,
    /// The last attempt at each job that is not done with.
    tries: HashMap<u64, (Attempt, Tried)>,
    /// Sessions whose task is over. Their hosts forget it, and they are used again, once it is clear
    /// what came of it and whoever follows has heard it.
    leaving: Vec<Leaving>,
    forgetting: Forgetting,
    hear: mpsc::UnboundedReceiver<(Attempt, Told)>,
    interrupts: watch::Receiver<u32>,
    /// How many of them were heeded.
    interrupted: u32,
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
                    if let Some(handle) = self.handles.get(attempt) {
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
        self.finish().await;
        let (hosts, counts) = (self.hosts(), self.plan.counts());
        if let Some(failure) = self.feed.failure() {
            self.fail(failure);
        }
        let failure = self.failure.take();
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
            kept = self.forgetting.kept() => self.kept(kept).await,
            Ok(()) = self.interrupts.changed() => {
                // Several that come at once are one change.
                let times = *self.interrupts.borrow_and_update();
                for _ in std::mem::replace(&mut self.interrupted, times)..times {
                    let step = self.plan.interrupt(self.begun.elapsed());
                    self.shared.tell(MapEvent::Interrupted(step));
                    if step == Interruption::Leave {
                        self.greetings.clear();
                    }
                }
            }
            () = self.feed.wait() => {
                if let Some(failure) = self.feed.failure() {
                    self.fail(failure);
                }
            }
            () = due => {}
            _ = progress.tick() => self.progress(),
        }
    }

    fn start(&mut self, attempt: Attempt) {
        let Some(job) = self.plan.task(attempt.sequence).map(Arc::clone) else { return };
        // One that was silent until its lease was over runs no more.
        for dead in self.forget_dead(attempt.sequence) {
            let message = "nothing was heard of the task until its lease was over";
            let host = &self.shared.location(dead).host.name;
            let error = Error::new(ErrorKind::Lost, message).on_host(host);
            let (sequence, number, host) = (dead.sequence, dead.number, host.clone());
            let tried = Tried { sequence, attempt: number, host, id: None, result: Err(error) };
            self.shared.tell(MapEvent::Repeated { job: &job, tried: &tried });
        }
        let patience = self.patience(attempt);
        let (cancel, _) = watch::channel(false);
        let (running, abort) =
            abortable(self.shared.attempt(attempt, job, cancel.clone(), patience));
        self.handles.insert(attempt, Handle { cancel, abort });
        self.running.push(Box::pin(running));
    }

    /// How long it waits in line where others have all slots.
    fn patience(&self, attempt: Attempt) -> Patience {
        if !self.plan.is_in_line(attempt) {
            return Patience::AtMost(Duration::ZERO);
        }
        match self.shared.locations.len() {
            1 => Patience::Forever,
            _ if self.plan.others_are_well(attempt.host) => Patience::AtMost(SHORT_PATIENCE),
            _ => Patience::AtMost(LONG_PATIENCE),
        }
    }

    /// Follows an attempt no further.
    fn forget(&mut self, attempt: Attempt) {
        if let Some(handle) = self.handles.remove(attempt) {
            handle.abort.abort();
        }
    }

    /// Follows those attempts at a job no further of which the plan expects nothing.
    fn forget_dead(&mut self, sequence: u64) -> Vec<Attempt> {
        let of_job = self.handles.of_job(sequence);
        let dead: Vec<_> = of_job.filter(|attempt| !self.plan.is_live(*attempt)).collect();
        dead.iter().for_each(|attempt| self.forget(*attempt));
        dead
    }

    /// No more jobs are started, for this reason.
    fn fail(&mut self, error: Error) {
        self.plan.stop();
        if self.failure.is_none() {
            self.shared.tell(MapEvent::Failed(&error));
            self.failure = Some(error);
        }
    }

    fn hear(&mut self, attempt: Attempt, told: Told) {
        let now = self.begun.elapsed();
        match told {
            Told::Started => self.plan.started(attempt, now),
            Told::Heard => self.plan.heard(attempt),
            Told::Silent => self.plan.silent(attempt, now),
        };
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { attempt, verdict, tried, worker, elsewhere } = ended;
        let now = self.begun.elapsed();
        if self.handles.remove(attempt).is_none() {
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
        while let Some((host, rest)) = self.plan.take_slow() {
            if let Some(location) = self.shared.locations.get(host.index()) {
                self.shared.tell(MapEvent::Slow { host: &location.host.name, rest });
            }
        }
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
        self.forgetting.told();
        self.forget_dead(sequence);
    }

    /// Lets sessions of tasks that are over take others, and hosts forget the tasks.
    async fn let_go(&mut self) {
        let mut homes = Vec::new();
        for leaving in std::mem::take(&mut self.leaving) {
            let Leaving { attempt, home, worker, elsewhere } = leaving;
            let place = match elsewhere {
                Some(host) => HomePlace::Elsewhere(Box::new(host)),
                None => HomePlace::Planned(attempt.host),
            };
            let home = home.map(|id| Home { place, id });
            if let Some(job) = self.plan.task(attempt.sequence) {
                if let Some((_, tried)) = self.tries.get(&attempt.sequence) {
                    self.shared.tell(MapEvent::Repeated { job, tried });
                }
                homes.extend(home);
            } else {
                // Of a second copy nobody asks any more.
                self.tries.remove(&attempt.sequence);
                homes.extend(home.and_then(|home| self.forgetting.add(home)));
            }
            let location = self.shared.location(attempt);
            if !location.give(worker) {
                self.remove_anew(location);
            }
        }
        self.forget_homes(homes).await;
        self.forgetting.begin();
    }

    /// Lets hosts forget tasks.
    async fn forget_homes(&mut self, homes: Vec<Home>) {
        let mut hosts = BTreeSet::new();
        for Home { place, id } in homes {
            match place {
                HomePlace::Planned(host) => {
                    hosts.insert(host);
                    if let Some(location) = self.shared.locations.get(host.index()) {
                        location.may_forget([id]);
                    }
                }
                HomePlace::Elsewhere(host) => {
                    let fleet = self.shared.fleet;
                    self.removals.push(Box::pin(async move {
                        let removed = fleet.remove_all(&host, &[id], Removal::Ended).await;
                        removed.into_iter().filter_map(Result::err).collect()
                    }));
                }
            }
        }
        for host in hosts {
            if let Some(location) = self.shared.locations.get(host.index()) {
                location.remove().await;
            }
        }
    }

    /// What was told is kept, or can't be.
    async fn kept(&mut self, kept: Result<Vec<Home>, Error>) {
        match kept {
            Ok(homes) => self.forget_homes(homes).await,
            Err(error) => self.fail(error),
        }
    }

    /// Has a host remove what none of its sessions was told.
    fn remove_anew(&self, location: &'s Location) {
        let ids = location.take_forgettable();
        if !ids.is_empty() {
            let fleet = self.shared.fleet;
            self.removals.push(Box::pin(async move { location.remove_anew(fleet, ids).await }));
        }
    }

    fn greet(&mut self, host: HostId) {
        let Some(location) = self.shared.locations.get(host.index()) else { return };
        let fleet = self.shared.fleet;
        self.greetings
            .push(Box::pin(async move { (host, Box::pin(greet(fleet, location)).await) }));
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
                is_full: view.health == Health::Full,
                is_slow: view.is_slow,
            })
            .collect()
    }

    fn progress(&self) {
        let locations = self.shared.locations.iter();
        locations.filter(|location| location.is_overdue()).for_each(|l| self.remove_anew(l));
        let (counts, hosts) = (self.plan.counts(), self.hosts());
        self.shared.tell(MapEvent::Progress { counts, hosts: &hosts });
    }

    /// Waits until hosts have removed what they were told to.
    async fn finish(&mut self) {
        self.let_go().await;
        // There may be room on a disk again that there was not.
        for _ in 0..2 {
            while self.forgetting.is_keeping() {
                let kept = self.forgetting.kept().await;
                self.kept(kept).await;
                self.forgetting.begin();
            }
            self.forgetting.again();
            self.forgetting.begin();
        }
        for location in &self.shared.locations {
            let fleet = self.shared.fleet;
            self.removals.push(Box::pin(async move { location.finish(fleet).await }));
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
