//! The hosts of a batch, with the sessions that wait there for the next task.

use std::sync::{Mutex, PoisonError};

use geto_core::wire::{Reply, SlotRequest};
use geto_core::{Host, TaskId};

use crate::run::Warm;
use crate::session::{Next, Opening, Purpose, Session};
use crate::{Error, ErrorKind, Fleet, Removal};

/// A session on a host, and what it was told to remove.
#[derive(Debug, Default)]
pub(super) struct Worker {
    pub(super) warm: Warm,
    /// Tasks that the host may not have removed yet.
    pub(super) removing: Vec<TaskId>,
}

/// A host, and what waits there.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) host: Host,
    idle: Mutex<Vec<Worker>>,
}

impl Location {
    pub(super) fn new(host: Host) -> Self {
        Self { host, idle: Mutex::default() }
    }

    /// A session that waits, or the room for a new one.
    pub(super) fn take(&self) -> Worker {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(super) fn give(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    pub(super) fn take_all(&self) -> Vec<Worker> {
        std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Worker {
    /// Has the host forget a task whose results are home and whose end is written down. The answer is
    /// not waited for.
    pub(super) async fn remove(&mut self, id: TaskId) {
        self.removing.push(id);
        if let Some(mut session) = self.warm.take() {
            session.request(["remove", &id.to_string()]).await;
            self.warm.put(session);
        }
    }

    /// Waits until all is removed, in the session that was told so or in another.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) async fn finish(self, fleet: &Fleet, host: &Host) -> Vec<Error> {
        if self.removing.is_empty() {
            return Vec::new();
        }
        if let Some(mut session) = self.warm.take() {
            loop {
                match session.next().await {
                    Ok(Next::Reply(Reply::Removed)) => return Vec::new(),
                    Ok(Next::Reply(Reply::Error { .. }) | Next::Again | Next::End(_)) | Err(_) => {
                        break;
                    }
                    Ok(Next::Reply(_)) => {}
                }
            }
        }
        let removed = fleet.remove_all(host, &self.removing, Removal::Ended).await;
        removed.into_iter().filter_map(Result::err).collect()
    }
}

/// Opens a session and asks how many slots the host has.
pub(super) async fn greet(fleet: &Fleet, host: &Host) -> Result<(u32, Worker), Error> {
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
                    let worker = Worker::default();
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
                    return Err(session.error(ErrorKind::Unreachable, "the link broke"));
                }
            }
        }
    }
    Err(Error::new(ErrorKind::Host, "failed to start a shell that reads its input")
        .on_host(&host.name))
}
