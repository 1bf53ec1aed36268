//! A host that is asked how much of it is used, and whether a task is let in.

use std::sync::Arc;

use geto_core::Host;
use geto_core::wire::{Busy, HostLoad, Reply};

use crate::session::{Next, Opening, Purpose, Session, unread};
use crate::text::printable;
use crate::transport::Transport;
use crate::{Error, ErrorKind, Fleet};

/// A host that answers.
pub(super) struct Candidate {
    pub(super) host: Host,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) session: Session,
    pub(super) load: HostLoad,
}

/// What a host said of a ticket.
pub(super) enum Ticket {
    LetIn { slots: String, gpus: String },
    Waiting(Busy),
}

/// What hosts said, each with its place in the order.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) candidates: Vec<(usize, Candidate)>,
    pub(super) failures: Vec<(usize, String, ErrorKind)>,
}

impl Answers {
    /// Returns the hosts that answered, or why none of `among` did.
    pub(super) fn finish(mut self, among: usize) -> Result<Vec<Candidate>, Error> {
        if self.candidates.is_empty() {
            self.failures.sort_by_key(|(index, ..)| *index);
            let kinds: Vec<_> = self.failures.iter().map(|(_, _, kind)| *kind).collect();
            let kind = match kinds[..] {
                [first, ..] if kinds.iter().all(|kind| *kind == first) => first,
                _ => ErrorKind::Unreachable,
            };
            let reasons: Vec<_> = self.failures.into_iter().map(|(_, reason, _)| reason).collect();
            return Err(Error::new(kind, format!("none of {among} hosts can take the task"))
                .caused_by(reasons.join("; ")));
        }
        self.candidates.sort_by_key(|(index, _)| *index);
        Ok(self.candidates.into_iter().map(|(_, candidate)| candidate).collect())
    }
}

/// Connects to a host and asks how much of it is used.
pub(super) async fn candidate(
    fleet: &Fleet,
    host: Host,
    line: Vec<u8>,
) -> Result<Candidate, Error> {
    let transport = fleet.connect(&host).await?;
    // A child `ssh` logs in, and may ask a person, only when it is given something to run.
    let is_logged_in = fleet.pool().is_logged_in(&host);
    let name = host.name.clone();
    let answering = answer(host, transport, line);
    if !is_logged_in {
        return answering.await;
    }
    let patience = fleet.connect_options().connect_timeout;
    tokio::time::timeout(patience, answering).await.unwrap_or_else(|_elapsed| {
        let seconds = patience.as_secs_f64();
        Err(Error::new(ErrorKind::Unreachable, "failed to get an answer").on_host(&name).caused_by(
            format!("its shell was silent for {seconds} s; see what its start-up files do"),
        ))
    })
}

/// Asks a host how much of it is used.
async fn answer(
    host: Host,
    transport: Arc<dyn Transport>,
    line: Vec<u8>,
) -> Result<Candidate, Error> {
    for opening in Opening::ALL {
        let mut session =
            Session::open(&*transport, &host.name, opening, Purpose::SlottedTask).await?;
        session.request(["work", &host.remote_work_path]).await;
        session.send(line.clone()).await;
        loop {
            match session.next().await? {
                Next::Again => break,
                Next::Reply(Reply::Load(load)) => {
                    return Ok(Candidate { host, transport, session, load });
                }
                next => check(&session, &host.name, next)?,
            }
        }
    }
    Err(unread(&host.name))
}

impl Candidate {
    /// Waits for what the host says of the ticket.
    pub(super) async fn ticket(&mut self) -> Result<Ticket, Error> {
        loop {
            match self.session.next().await? {
                Next::Reply(Reply::Slot { slots, gpus }) => {
                    return Ok(Ticket::LetIn { slots, gpus });
                }
                Next::Reply(Reply::Waiting(busy)) => return Ok(Ticket::Waiting(busy)),
                next => check(&self.session, &self.host.name, next)?,
            }
        }
    }
}

/// Passes over what may come before an answer.
fn check(session: &Session, host: &str, next: Next) -> Result<(), Error> {
    match next {
        Next::Reply(Reply::Error { text, .. }) => {
            Err(Error::new(ErrorKind::NotStarted, "failed to ask for a slot")
                .on_host(host)
                .caused_by(printable(text.as_bytes())))
        }
        Next::Reply(_) => Ok(()),
        Next::Again | Next::End(_) => Err(session.ended(ErrorKind::Unreachable, "the link broke")),
    }
}

/// An error and its causes in one line.
pub(crate) fn reason(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
