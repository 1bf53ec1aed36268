//! The hosts of a batch, with the sessions that wait there for the next task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use geto_core::wire::{Reply, SlotRequest};
use geto_core::{Host, TaskId};

use crate::run::Warm;
use crate::session::{Next, Opening, Purpose, Session, unread};
use crate::{Error, ErrorKind, Fleet, Removal};

/// For how long a host waits for a session that can tell it what to remove: while all of them run
/// long tasks, a further one is opened.
const OVERDUE: Duration = Duration::from_secs(5);

/// How often a host that can't be reached is told what to remove, at the end.
const REMOVE_TRIES: u32 = 3;

/// Tasks that a host may forget.
#[derive(Debug, Clone, Default)]
struct Forgettable(Arc<Mutex<Unsaid>>);

/// Tasks of which no session was told.
#[derive(Debug, Default)]
struct Unsaid {
    ids: Vec<TaskId>,
    /// When the first of them came here.
    since: Option<Instant>,
}

impl Forgettable {
    fn add(&self, ids: impl IntoIterator<Item = TaskId>) {
        let mut unsaid = lock(&self.0);
        unsaid.ids.extend(ids);
        if !unsaid.ids.is_empty() {
            unsaid.since.get_or_insert_with(Instant::now);
        }
    }

    fn take(&self) -> Vec<TaskId> {
        std::mem::take(&mut *lock(&self.0)).ids
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a session was told to remove and has not answered. When the session is gone, another is told.
#[derive(Debug)]
struct Asked {
    /// The number of the session.
    session: Option<u64>,
    ids: Vec<TaskId>,
    place: Forgettable,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.place.add(self.ids.drain(..));
    }
}

/// A session on a host, and what it was told to remove.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) warm: Warm,
    asked: Asked,
}

/// A host, and what waits there.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) host: Host,
    idle: Mutex<Vec<Worker>>,
    forgettable: Forgettable,
}

impl Location {
    pub(super) fn new(host: Host) -> Self {
        Self { host, idle: Mutex::default(), forgettable: Forgettable::default() }
    }

    /// A session that waits, or the room for a new one.
    pub(super) fn take(&self) -> Worker {
        self.pop().unwrap_or_else(|| self.new_worker())
    }

    fn new_worker(&self) -> Worker {
        let place = self.forgettable.clone();
        Worker { warm: Warm::default(), asked: Asked { session: None, ids: Vec::new(), place } }
    }

    fn pop(&self) -> Option<Worker> {
        lock(&self.idle).pop()
    }

    /// Gives back a session whose task is over, for the next one; tells whether it is still there.
    pub(super) fn give(&self, mut worker: Worker) -> bool {
        let Some(session) = worker.warm.number() else { return false };
        if worker.asked.session == Some(session) {
            // All that it was asked before that task has been answered.
            worker.asked.ids.clear();
        }
        // Another one, after the link broke, was asked for nothing.
        self.forgettable.add(worker.asked.ids.drain(..));
        worker.asked.session = Some(session);
        lock(&self.idle).push(worker);
        true
    }

    /// Notes that the host may forget these tasks: their results are home, and their end is written down.
    pub(super) fn may_forget(&self, ids: impl IntoIterator<Item = TaskId>) {
        self.forgettable.add(ids);
    }

    /// Whether no session has been free for long to be told what to remove.
    pub(super) fn is_overdue(&self) -> bool {
        lock(&self.forgettable.0).since.is_some_and(|since| since.elapsed() > OVERDUE)
    }

    /// Takes what nobody was told to remove.
    pub(super) fn take_forgettable(&self) -> Vec<TaskId> {
        self.forgettable.take()
    }

    /// Tells a session that waits what to remove. Where there is none, the next that waits is told. The
    /// answers are not waited for.
    pub(super) async fn remove(&self) {
        let Some(mut worker) = self.pop() else { return };
        worker.remove(self.take_forgettable()).await;
        lock(&self.idle).push(worker);
    }

    /// Waits until all is removed that may be.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) async fn finish(&self, fleet: &Fleet) -> Vec<Error> {
        while let Some(worker) = self.pop() {
            worker.finish().await;
        }
        let mut errors = Vec::new();
        for _ in 0..REMOVE_TRIES {
            let ids = self.take_forgettable();
            if ids.is_empty() {
                return Vec::new();
            }
            errors = self.remove_anew(fleet, ids).await;
        }
        errors
    }

    /// Has the host remove these, in a session of their own. Those that a broken link kept there are
    /// noted again.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) async fn remove_anew(&self, fleet: &Fleet, ids: Vec<TaskId>) -> Vec<Error> {
        let removed = fleet.remove_all(&self.host, &ids, Removal::Ended).await;
        let failed = ids.into_iter().zip(removed).filter_map(|(id, removed)| {
            let error = removed.err()?;
            if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Lost) {
                self.may_forget([id]);
            }
            Some(error)
        });
        failed.collect()
    }
}

impl Worker {
    async fn remove(&mut self, ids: Vec<TaskId>) {
        let Some(mut session) = self.warm.take() else {
            self.asked.place.add(ids);
            return;
        };
        for id in ids {
            self.asked.ids.push(id);
            session.request(["remove", &id.to_string()]).await;
        }
        self.warm.put(session);
    }

    /// Waits until all is removed that the session was told. What is not is told to another.
    async fn finish(mut self) {
        let Some(mut session) = self.warm.take() else { return };
        if self.asked.session != Some(session.number()) {
            return;
        }
        while !self.asked.ids.is_empty() {
            match session.next().await {
                // In the order of the requests.
                Ok(Next::Reply(Reply::Removed)) => drop(self.asked.ids.remove(0)),
                Ok(Next::Reply(Reply::Error { .. }) | Next::Again | Next::End(_)) | Err(_) => {
                    return;
                }
                Ok(Next::Reply(_)) => {}
            }
        }
    }
}

/// Opens a session and asks how many slots the host has.
pub(super) async fn greet(fleet: &Fleet, location: &Location) -> Result<(u32, Worker), Error> {
    let host = &location.host;
    let transport = fleet.connect(host).await?;
    let line = SlotRequest::question(host);
    for opening in Opening::ALL {
        let mut session =
            Session::open(&*transport, &host.name, opening, Purpose::SlottedTask).await?;
        session.request(["work", &host.remote_work_path]).await;
        session.send(line.clone()).await;
        loop {
            match session.next().await? {
                Next::Again => break,
                Next::Reply(Reply::Load(load)) => {
                    let worker = location.new_worker();
                    worker.warm.put(session);
                    return Ok((load.slots, worker));
                }
                Next::Reply(Reply::Error { text, .. }) => {
                    return Err(Error::new(ErrorKind::Host, "failed to ask for the slots")
                        .on_host(&host.name)
                        .caused_by(crate::text::printable(text.as_bytes())));
                }
                Next::Reply(_) => {}
                Next::End(_) => {
                    return Err(session.ended(ErrorKind::Unreachable, "the link broke"));
                }
            }
        }
    }
    Err(unread(&host.name))
}
