//! One attempt at a job, from its place to its results.

use std::sync::{Arc, Mutex, PoisonError};

use geto_core::TaskId;
use geto_core::map::plan::{Attempt, Blame, End};
use geto_core::wire::Patience;
use tokio::sync::{mpsc, watch};

use super::places::{Location, Worker};
use super::{Follow, Make, MapEvent, MapPlace, Tried};
use crate::run::{Event, Results};
use crate::{Error, ErrorKind, Fleet, Outcome};

/// What all attempts share.
pub(super) struct Shared<'a, J> {
    pub(super) fleet: &'a Fleet,
    pub(super) locations: Vec<Location>,
    pub(super) make: Make<'a, J>,
    pub(super) follow: Mutex<Follow<'a, J>>,
    pub(super) overwrite: bool,
    pub(super) told: mpsc::UnboundedSender<(Attempt, Told)>,
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
}

/// What the plan is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ended(End),
    NotStarted(Blame),
    Lost,
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
    ) -> Ended {
        let mut worker = self.location(attempt).take();
        let mut id = None;
        let result = self.run(attempt, &job, cancel, &mut worker, &mut id).await;
        let verdict = verdict(&result);
        let host = self.location(attempt).host.name.clone();
        let (sequence, number) = (attempt.sequence, attempt.number);
        let tried = Tried { sequence, attempt: number, host, id, result };
        Ended { attempt, verdict, tried, worker }
    }

    async fn run(
        &self,
        attempt: Attempt,
        job: &J,
        cancel: watch::Sender<bool>,
        worker: &mut Worker,
        id: &mut Option<TaskId>,
    ) -> Result<Results, Error> {
        let place = self.place(attempt);
        let host = &self.location(attempt).host;
        let order = (self.make)(job, &place)?;
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
        run.warm = Some(worker.warm.clone());
        run.into = order.into;
        run.patience = Patience::AtMost(std::time::Duration::ZERO);
        run.follow(|event| {
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
        })
        .await
    }
}

/// What a result means for the plan.
fn verdict(result: &Result<Results, Error>) -> Verdict {
    match result {
        Ok(results) => match (&results.outcome, End::of(&results.outcome)) {
            (_, Some(end)) => Verdict::Ended(end),
            (Outcome::Running, None) => Verdict::Silent,
            (_, None) => Verdict::Lost,
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
            ErrorKind::Results => Verdict::Ended(End::Failed(None)),
            ErrorKind::Lost => Verdict::Silent,
        },
    }
}
