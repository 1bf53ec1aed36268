//! The tasks that live on hosts.

use std::time::Duration;

use geto_core::wire::{Clock, Listing, Reply, TaskState};
use geto_core::{Host, Outcome, TaskId};

use crate::session::{Next, Opening, Purpose, Session, unread};
use crate::text::printable;
use crate::{Error, ErrorKind, Fleet};

/// How many bytes the tasks of a host may take here: some 75,000 tasks.
const BYTES_MAX: usize = 32 << 20;
/// How many removals are asked for at once.
const REMOVALS_AT_ONCE: usize = 64;

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
    /// What the batch that it is of recognises it by, as [`MapOrder::tag`](crate::map::MapOrder::tag)
    /// said.
    pub tag: Option<String>,
}

impl HostTask {
    /// When it ended, since 1970, by the clock of the machine that sent it.
    pub fn ended(&self) -> Option<Duration> {
        self.outcome.as_ref()?;
        self.started?.checked_add(self.run_time?)
    }

    fn of(host: &Host, listing: Listing, clock: Clock) -> Self {
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
            script: listing.script,
            state: listing.state,
            slots: listing.slots,
            origin: listing.origin,
            tag: listing.tag,
        }
    }
}

/// Which tasks are removed when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Removal {
    /// Those that don't run.
    #[default]
    Ended,
    /// Those, too, that run where their host can't see it: in another container, or in one that was
    /// restarted since, which nobody there can tell. What runs goes on without its directory.
    Unseen,
}

/// Asks `host` for the tasks of the login user. Those whose supervisor has died are ended.
pub(crate) async fn list(fleet: &Fleet, host: &Host) -> Result<Vec<HostTask>, Error> {
    let transport = fleet.connect(host).await?;
    for opening in Opening::ALL {
        let mut session = Session::open(&*transport, &host.name, opening, Purpose::Attach).await?;
        session.request(["work", &host.remote_work_path]).await;
        session.list().await;
        let (mut listings, mut bytes) = (Vec::new(), 0);
        loop {
            match session.next().await? {
                Next::Again => break,
                Next::Reply(Reply::Task(listing)) => {
                    let listing = shown(*listing);
                    bytes += size_of(&listing);
                    if bytes > BYTES_MAX {
                        let limit = format!("they take more than {BYTES_MAX} bytes here");
                        return Err(Error::new(ErrorKind::Host, "failed to list the tasks")
                            .on_host(&host.name)
                            .caused_by(limit)
                            .with_hint("remove old ones there: `geto rm TASK...`"));
                    }
                    listings.push(listing);
                }
                Next::Reply(Reply::Listed(clock)) => {
                    let task = |listing| HostTask::of(host, listing, clock);
                    return Ok(listings.into_iter().map(task).collect());
                }
                next => pass(&session, host, next, "failed to list the tasks")?,
            }
        }
    }
    Err(unread(&host.name))
}

/// What a person is shown of it.
fn shown(mut listing: Listing) -> Listing {
    let texts = [&mut listing.script, &mut listing.slots, &mut listing.origin];
    for text in texts.into_iter().chain(&mut listing.tag) {
        *text = printable(text.as_bytes());
    }
    listing
}

/// How much memory it takes, here and as what is made of it.
fn size_of(listing: &Listing) -> usize {
    let Listing { slots, origin, host, script, end, .. } = listing;
    let left = end.as_ref().map_or(0, |end| end.left.len());
    std::mem::size_of::<Listing>() + slots.len() + origin.len() + host.len() + script.len() + left
}

/// Removes tasks that don't run, with all that they left on `host`; what came of each stands in
/// their order.
pub(crate) async fn remove_all(
    fleet: &Fleet,
    host: &Host,
    ids: &[TaskId],
    removal: Removal,
) -> Vec<Result<(), Error>> {
    let mut removed = Vec::new();
    if let Err(error) = try_remove(fleet, host, ids, removal, &mut removed).await {
        // Whoever was not reached has the same reason.
        let rest = &ids[removed.len()..];
        removed.extend(rest.iter().map(|id| Err(error.repeat().of_task(*id))));
    }
    removed
}

async fn try_remove(
    fleet: &Fleet,
    host: &Host,
    ids: &[TaskId],
    removal: Removal,
    removed: &mut Vec<Result<(), Error>>,
) -> Result<(), Error> {
    let transport = fleet.connect(host).await?;
    'opened: for opening in Opening::ALL {
        let mut session = Session::open(&*transport, &host.name, opening, Purpose::Attach).await?;
        session.request(["work", &host.remote_work_path]).await;
        for some in ids[removed.len()..].chunks(REMOVALS_AT_ONCE) {
            for id in some {
                let unseen: &[&str] = match removal {
                    Removal::Ended => &[],
                    Removal::Unseen => &["unseen"],
                };
                let id = id.to_string();
                session.request(["remove", &id].iter().chain(unseen)).await;
            }
            let end = removed.len() + some.len();
            while let Some(id) = ids[..end].get(removed.len()) {
                let failed = "failed to remove the task";
                match session.next().await? {
                    Next::Again => continue 'opened,
                    Next::Reply(Reply::Removed) => removed.push(Ok(())),
                    Next::Reply(Reply::Error { kind, text })
                        if ["remove", "unseen"].contains(&&*kind) =>
                    {
                        let error = Error::new(ErrorKind::Host, failed).on_host(&host.name);
                        let error = error.of_task(*id).caused_by(printable(text.as_bytes()));
                        removed.push(Err(match &*kind {
                            "unseen" => error.with_hint(format!(
                                "it was started in another container, or before that was restarted: \
                                 `geto rm --force {id}` removes it, and ends nothing"
                            )),
                            _ => error,
                        }));
                    }
                    next => pass(&session, host, next, failed)?,
                }
            }
        }
        return Ok(());
    }
    Err(unread(&host.name))
}

/// Removes a task that does not run, with all that it left on `host`.
pub(crate) async fn remove(fleet: &Fleet, host: &Host, id: TaskId) -> Result<(), Error> {
    remove_all(fleet, host, &[id], Removal::Ended).await.into_iter().collect()
}

/// Passes over what may come before an answer.
fn pass(session: &Session, host: &Host, next: Next, failed: &str) -> Result<(), Error> {
    match next {
        Next::Reply(Reply::Error { text, .. }) => Err(Error::new(ErrorKind::Host, failed)
            .on_host(&host.name)
            .caused_by(printable(text.as_bytes()))),
        Next::Reply(_) => Ok(()),
        Next::Again | Next::End(_) => Err(session.ended(ErrorKind::Unreachable, "the link broke")),
    }
}
