//! The tasks that live on hosts.

use std::time::Duration;

use geto_core::wire::{self, Clock, Listing, Reply, TaskState};
use geto_core::{Host, Outcome, TaskId};

use crate::session::{Next, Opening, Purpose, Session};
use crate::text::printable;
use crate::{Error, ErrorKind, Fleet};

/// A host that says more than this is no host of geto.
const TASKS_MAX: usize = 1 << 20;

/// A task that lives on a host: it runs there, waits, or has ended and left its results.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostTask {
    /// The task.
    pub id: TaskId,
    /// The host's name here.
    pub host: String,
    /// The name of its script.
    pub script: String,
    /// How far it has come.
    pub state: TaskState,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The numbers of its slots, with commas in between; empty when it takes none.
    pub slots: String,
    /// When its script was started, since 1970, by the clock of the machine that sent it.
    pub started: Option<Duration>,
    /// How long it has run, measured on the host.
    pub run_time: Option<Duration>,
    /// The processor time that its first process and those that it waited for have used.
    pub cpu_time: Option<Duration>,
    /// Who sent it, as `user@host`.
    pub origin: String,
}

impl HostTask {
    /// When it ended, since 1970, by the clock of the machine that sent it.
    pub fn ended(&self) -> Option<Duration> {
        self.outcome.as_ref()?;
        self.started?.checked_add(self.run_time?)
    }

    fn of(host: &Host, listing: &Listing, clock: Clock) -> Self {
        Self {
            id: listing.id,
            host: host.name.clone(),
            started: listing.started(),
            run_time: listing.run_time(clock),
            cpu_time: listing.cpu_time(clock),
            outcome: match listing.state {
                TaskState::Ended => Some(crate::run::outcome(listing.end.as_ref())),
                _ => None,
            },
            script: printable(listing.script.as_bytes()),
            state: listing.state,
            slots: printable(listing.slots.as_bytes()),
            origin: printable(listing.origin.as_bytes()),
        }
    }
}

/// Asks `host` for the tasks of the login user. Those whose supervisor has died are ended.
pub(crate) async fn list(fleet: &Fleet, host: &Host) -> Result<Vec<HostTask>, Error> {
    let transport = fleet.connect(host).await?;
    for opening in Opening::ALL {
        let mut session = Session::open(&*transport, &host.name, opening, Purpose::Attach).await?;
        session.request(["work", &host.remote_work_path]).await;
        session.request(["list"]).await;
        let mut listings = Vec::new();
        loop {
            match session.next().await? {
                Next::Again => break,
                Next::Reply(Reply::Task(_)) if listings.len() >= TASKS_MAX => {
                    return Err(Error::new(ErrorKind::Host, "the host lists too many tasks")
                        .on_host(&host.name));
                }
                Next::Reply(Reply::Task(listing)) => listings.push(*listing),
                Next::Reply(Reply::Listed(clock)) => {
                    let task = |listing| HostTask::of(host, &listing, clock);
                    return Ok(listings.into_iter().map(task).collect());
                }
                next => pass(&session, host, next, "failed to list the tasks")?,
            }
        }
    }
    Err(unread(host))
}

/// Removes a task that does not run, with all that it left on `host`.
pub(crate) async fn remove(fleet: &Fleet, host: &Host, id: TaskId) -> Result<(), Error> {
    let transport = fleet.connect(host).await?;
    for opening in Opening::ALL {
        let mut session = Session::open(&*transport, &host.name, opening, Purpose::Attach).await?;
        session.request(["work", &host.remote_work_path]).await;
        session.send(wire::request(["remove", &id.to_string()])).await;
        loop {
            match session.next().await? {
                Next::Again => break,
                Next::Reply(Reply::Removed) => return Ok(()),
                next => pass(&session, host, next, "failed to remove the task")
                    .map_err(|error| error.of_task(id))?,
            }
        }
    }
    Err(unread(host))
}

/// Passes over what may come before an answer.
fn pass(session: &Session, host: &Host, next: Next, failed: &str) -> Result<(), Error> {
    match next {
        Next::Reply(Reply::Error { text, .. }) => Err(Error::new(ErrorKind::Host, failed)
            .on_host(&host.name)
            .caused_by(printable(text.as_bytes()))),
        Next::Reply(_) => Ok(()),
        Next::Again | Next::End(_) => Err(session.error(ErrorKind::Unreachable, "the link broke")),
    }
}

fn unread(host: &Host) -> Error {
    Error::new(ErrorKind::Host, "failed to start a shell that reads its input").on_host(&host.name)
}
