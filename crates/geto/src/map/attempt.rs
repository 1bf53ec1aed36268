//! One attempt at a job, from its place to its results.

use std::sync::{Arc, Mutex, PoisonError};

use geto_core::map::plan::{Attempt, Blame, End, LEASE_MARGIN};
use geto_core::wire::{EndReport, Patience};
use geto_core::{Host, TaskId};
use tokio::sync::{mpsc, watch};

use super::places::{Location, Worker};
use super::{Follow, Make, MapEvent, MapOrder, MapPlace, Tried};
use crate::results::Claims;
use crate::run::{Batch, Event, Results};
use crate::{Error, ErrorKind, Fleet, Outcome};

/// What all attempts share.
pub(super) struct Shared<'a, J> {
    pub(super) fleet: &'a Fleet,
    pub(super) locations: Vec<Location>,
    pub(super) make: Make<'a, J>,
    pub(super) follow: Mutex<Follow<'a, J>>,
    pub(super) overwrite: bool,
    pub(super) told: mpsc::UnboundedSender<(Attempt, Told)>,
    pub(super) lease: std::time::Duration,
    /// Of paths that results go to, where two tasks could have the same one.
    pub(super) claims: Option<Claims>,
}

/// What the plan is told of an attempt while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Started,
    /// The link broke.
    Silent,
    /// It is there again.
    Heard,
}

/// What an attempt came to.
pub(super) struct Ended {
    pub(super) attempt: Attempt,
    pub(super) verdict: Verdict,
    pub(super) tried: Tried,
    pub(super) worker: Worker,
    /// The host of a task that was taken over.
    pub(super) elsewhere: Option<Host>,
}

/// What the plan is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ended(End),
    NotStarted(Blame),
    /// Its end is not known, and nothing of it runs any more.
    Lost,
    /// Its end is not known, nor whether something of it runs: who was to end that was killed.
    GivenUp,
    /// It was started, and goes on for all that is known.
    Silent,
}

impl<J: Sync> Shared<'_, J> {
    pub(super) fn tell(&self, event: MapEvent<'_, J>) {
        (self.follow.lock().unwrap_or_else(PoisonError::into_inner))(event);
    }

    pub(super) fn location(&self, attempt: Attempt) -> &Location {
        let location = self.locations.get(attempt.host.index());
        location.expect("invariant: the plan has these hosts and no others")
    }

    pub(super) fn place(&self, attempt: Attempt) -> MapPlace<'_> {
        MapPlace {
            sequence: attempt.sequence,
            attempt: attempt.number,
            host: &self.location(attempt).host.name,
            slot: attempt.slot,
        }
    }

    /// Runs a job on the host that was chosen.
    pub(super) async fn attempt(
        &self,
        attempt: Attempt,
        job: Arc<J>,
        cancel: watch::Sender<bool>,
        patience: Patience,
    ) -> Ended {
        let mut worker = self.location(attempt).take();
        let (mut id, mut elsewhere) = (None, None);
        let asked = cancel.subscribe();
        let order = (self.make)(&job, &self.place(attempt));
        let result = match order {
            Err(error) => Err(error),
            Ok(mut order) => match order.takes_over.take() {
                None => {
                    let handling = (cancel, patience);
                    self.run(attempt, &job, order, handling, &mut worker, &mut id).await
                }
                Some((host, task)) => {
                    id = Some(task);
                    let host = elsewhere.insert(host);
                    self.take_over(attempt, &job, order, (host, task), cancel, &worker).await
                }
            },
        };
        let verdict = match (verdict(&result), &elsewhere) {
            // It is not there any more, and a new one may be.
            (Verdict::NotStarted(_), Some(_)) => Verdict::NotStarted(Blame::Attempt),
            // Who has started it, and not this batch, wanted its end.
            (Verdict::Ended(End::Cancelled), Some(_)) if !*asked.borrow() => {
                Verdict::NotStarted(Blame::Attempt)
            }
            (verdict, _) => verdict,
        };
        let host = elsewhere.as_ref().unwrap_or(&self.location(attempt).host).name.clone();
        let (sequence, number) = (attempt.sequence, attempt.number);
        let tried = Tried { sequence, attempt: number, host, id, result };
        Ended { attempt, verdict, tried, worker, elsewhere }
    }

    /// Follows a task to its end that another process has started.
    async fn take_over(
        &self,
        attempt: Attempt,
        job: &J,
        order: MapOrder,
        (host, id): (&Host, TaskId),
        cancel: watch::Sender<bool>,
        worker: &Worker,
    ) -> Result<Results, Error> {
        let place = MapPlace { host: &host.name, ..self.place(attempt) };
        self.tell(MapEvent::Attempt { job, place, id });
        let mut attach = self.fleet.attach(host.clone(), id).overwrite(self.overwrite);
        if let Some(into) = order.into {
            attach = attach.into_dir(into);
        }
        attach.cancel = cancel;
        let lease = self.lease;
        attach.batch = Some(self.batch(attempt, worker, None));
        let attach = attach.reconnect(lease + LEASE_MARGIN);
        attach.follow(|event| self.hear(attempt, job, place, event)).await
    }

    fn batch(&self, attempt: Attempt, worker: &Worker, tag: Option<String>) -> Batch {
        let claims = self.claims.clone().map(|claims| (claims, attempt.sequence));
        Batch { warm: worker.warm.clone(), lease: self.lease, tag, claims }
    }

    fn hear(&self, attempt: Attempt, job: &J, place: MapPlace<'_>, event: Event) {
        let told = match &event {
            Event::Started { .. } => Some(Told::Started),
            Event::LinkBroken { .. } => Some(Told::Silent),
            Event::LinkBack { .. } => Some(Told::Heard),
            _ => None,
        };
        if let Some(told) = told {
            // The plan is there as long as there are attempts.
            self.told.send((attempt, told)).ok();
        }
        self.tell(MapEvent::Event { job, place, event });
    }

    async fn run(
        &self,
        attempt: Attempt,
        job: &J,
        order: MapOrder,
        (cancel, patience): (watch::Sender<bool>, Patience),
        worker: &mut Worker,
        id: &mut Option<TaskId>,
    ) -> Result<Results, Error> {
        let place = self.place(attempt);
        let host = &self.location(attempt).host;
        let mut run = self.fleet.run_on(&order.task, host.clone()).overwrite(self.overwrite);
        *id = Some(run.id());
        self.tell(MapEvent::Attempt { job, place, id: run.id() });
        let mut cancelled = cancel.subscribe();
        let connected = tokio::select! {
            connected = self.fleet.connect(host) => connected,
            _ = cancelled.wait_for(|&cancelled| cancelled) => {
                let message = "the task was cancelled before it was started";
                Err(Error::new(ErrorKind::Cancelled, message))
            }
        };
        run.transport = Some(connected?);
        run.cancel = cancel;
        let lease = self.lease;
        run.batch = Some(self.batch(attempt, worker, order.tag));
        run.reconnect = lease + LEASE_MARGIN;
        run.into = order.into;
        run.patience = patience;
        run.follow(|event| self.hear(attempt, job, place, event)).await
    }
}

/// What a result means for the plan.
fn verdict(result: &Result<Results, Error>) -> Verdict {
    match result {
        Ok(results) => match (&results.outcome, End::of(&results.outcome)) {
            (_, Some(end)) => Verdict::Ended(end),
            (Outcome::Running, None) => Verdict::Silent,
            (Outcome::NotStarted { .. }, None) => Verdict::NotStarted(Blame::Attempt),
            (Outcome::Lost { reason }, None)
                if [EndReport::RESTARTED, EndReport::LEASE_OVER].contains(&&**reason) =>
            {
                Verdict::Lost
            }
            (_, None) => Verdict::GivenUp,
        },
        Err(error) => match error.kind() {
            ErrorKind::Unreachable
            | ErrorKind::HostKey
            | ErrorKind::Authentication
            | ErrorKind::Host => Verdict::NotStarted(Blame::Host),
            ErrorKind::NotStarted => Verdict::NotStarted(Blame::Attempt),
            ErrorKind::Full => Verdict::NotStarted(Blame::Full),
            ErrorKind::Cancelled => Verdict::Ended(End::Cancelled),
            ErrorKind::Usage | ErrorKind::Local => Verdict::NotStarted(Blame::Task),
            // It ran, and what it left is on its host: to run it again would be to run it twice.
            ErrorKind::Results => Verdict::Ended(End::Kept),
            ErrorKind::Lost => Verdict::Silent,
        },
    }
}
