//! The exchange with a host that runs one task.

use std::time::{Duration, Instant, SystemTime};

use geto_core::wire::{AttachRequest, Boot, EndReport, From as Offset, Reply};
use geto_core::{Bring, Host, TaskId};
use tokio::sync::watch;

use super::Event;
use super::attach::Shown;
use super::files::{self, Files, Unpacking};
use super::link::Link;
use super::send::{Attempt, Order};
use super::store::Store;
use super::warm::Batch;
use crate::session::{Next, Opening, Purpose, Session, random, unread};
use crate::text::printable;
use crate::{Error, ErrorKind};

/// Tells who follows.
pub(super) type Follow<'a> = Box<dyn FnMut(Event) + Send + 'a>;

/// One task on its way through a host.
pub(super) struct Execution<'a> {
    pub(super) host: &'a Host,
    pub(super) id: TaskId,
    /// The name of its script.
    pub(super) script: String,
    /// What is sent; nothing when another session has started the task.
    pub(super) order: Option<Order<'a>>,
    pub(super) wish: Wish,
    /// Where the results go; nowhere when none are wanted.
    pub(super) store: Option<Store>,
    pub(super) follow: Follow<'a>,
    pub(super) cancel: watch::Receiver<bool>,
    pub(super) progress: Progress,
    pub(super) unpacking: Option<Unpacking>,
    /// What the task belongs to, when it is one of many.
    pub(super) batch: Option<Batch>,
}

/// What is wanted of a task.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// What of its output, to begin with.
    pub(super) stdout: Offset,
    pub(super) stderr: Offset,
    /// Which files; those that were said when it was sent when `None`.
    pub(super) bring: Option<Bring>,
    pub(super) until: Until,
}

/// For how long a task is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until it has ended and its files are here.
    End,
    /// Until it has been started.
    Start,
    /// For as long as it takes to tell what there is.
    Now,
}

/// How far the exchange has come, as far as one can know here.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How many sessions there were.
    pub(super) sessions: u32,
    /// How often the task was sent.
    pub(super) sends: u32,
    /// How often the host gave it back: nothing was started.
    pub(super) returns: u32,
    /// The last word of the request may have reached the host: it may have started the task.
    pub(super) sent: bool,
    pub(super) started: Option<SystemTime>,
    /// The host said that it waits for a slot.
    pub(super) waits: bool,
    pub(super) directory: Option<String>,
    pub(super) cancelled: bool,
    /// When it was started, since 1970, as the host says of a task that another session has started.
    pub(super) began: Option<Duration>,
    /// It had ended before this session began.
    pub(super) has_ended_there: bool,
    /// What the host said of the task's end, once it has.
    pub(super) ended: Option<Option<EndReport>>,
    pub(super) damaged: Option<String>,
    /// Somebody has removed it from its host.
    pub(super) is_gone: bool,
    /// The globs that match no file, for a person.
    pub(super) unmatched: Vec<String>,
    /// When the task was first sent.
    pub(super) begun: Option<(Instant, SystemTime)>,
    /// The start of the host that the task was sent to.
    pub(super) boot: Option<Boot>,
    /// The host was started anew since.
    pub(super) rebooted: bool,
    /// Where in its output to go on; `None` before that is known.
    pub(super) stdout: Option<u64>,
    pub(super) stderr: Option<u64>,
    /// What of both outputs is told to who follows.
    pub(super) shown: [Shown; 2],
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

/// What the host said of the task's end.
pub(super) struct Ended {
    pub(super) report: Option<EndReport>,
    /// It has not ended; this is what there is.
    pub(super) is_running: bool,
    pub(super) started: Duration,
    /// What came of the files, or why they are not here.
    pub(super) files: Result<Option<Files>, Error>,
    /// Why the files are not whole, in the words of the host.
    pub(super) damaged: Option<String>,
    /// The session, when it can still be asked for something.
    pub(super) session: Option<Session>,
}

/// What a run comes to.
pub(super) enum Done {
    Ended(Box<Ended>),
    /// The task runs, in this directory, and no more is wanted.
    Left(String),
}

/// What a session comes to.
pub(super) enum Said {
    /// It has to be opened in another way.
    Again,
    Ended(Option<EndReport>),
    SoFar,
    Left,
    /// Nothing was started; all is to be sent once more but what the host has.
    Resend {
        spooled: u64,
    },
    /// Nothing was started: the host does not keep any more what the task needs.
    Missing,
    /// Another session of the same run has, or may get, the right to start the task.
    Claimed,
}

/// Why a session came to nothing.
pub(super) enum Failure {
    /// The link broke; another session can go on.
    Link(Error),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy)]
enum Step {
    Send { spooled: u64 },
    Attach,
}

impl Execution<'_> {
    /// Sends the task, unless another session has done so, and follows it to its end, files
    /// included, over as many links as it takes.
    pub(super) async fn run(&mut self, link: &mut Link<'_>) -> Result<Done, Error> {
        let byte = |offset| match offset {
            Offset::Byte(byte) => Some(byte),
            _ => None,
        };
        self.progress.stdout = byte(self.wish.stdout);
        self.progress.stderr = byte(self.wish.stderr);
        let mut step = match &self.order {
            Some(_) => Step::Send { spooled: 0 },
            None => Step::Attach,
        };
        loop {
            let error = match Box::pin(self.converse(link, step)).await {
                Ok(Turn::Done(done)) => return Ok(done),
                Ok(Turn::Go(next)) => {
                    if self.progress.sends > self.progress.returns + 1 {
                        // Neither the one nor the other holds: not as fast as the host allows.
                        let error = Error::new(ErrorKind::Host, "the task is sent again and again");
                        let rested = link.rest(&error.on_host(&self.host.name)).await;
                        rested.map_err(|error| self.given_up(error))?;
                    }
                    step = next;
                    continue;
                }
                Err(Failure::Final(error)) => match self.progress.ended.take() {
                    None => return Err(error),
                    Some(report) => return Ok(self.half(report, error).await),
                },
                Err(Failure::Link(error)) => error,
            };
            let mut cancel = self.cancel.clone();
            let is_unsent = self.order.is_some() && !self.progress.sent;
            let again = tokio::select! {
                again = link.again(error, &mut self.follow) => again,
                () = cancelled(&mut cancel), if is_unsent => return Err(self.cancelled()),
            };
            if let Err(error) = again {
                return match self.progress.ended.take() {
                    None => Err(self.given_up(error)),
                    Some(report) => Ok(self.half(report, error).await),
                };
            }
            step = Step::Attach;
        }
    }

    /// Output and outcome are here, and the files will not come.
    async fn half(&mut self, report: Option<EndReport>, error: Error) -> Done {
        let error = self.results_error(error);
        files::drop_partial(self).await;
        Done::Ended(Box::new(self.ended(report, Err(error), None)))
    }

    /// One session, opened in another way where start-up files read what was meant for geto.
    async fn converse(&mut self, link: &mut Link<'_>, step: Step) -> Result<Turn, Failure> {
        let is_first = self.progress.begun.is_none();
        self.progress.begun.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
        self.progress.sessions += 1;
        for opening in Opening::ALL {
            let given = self.order.as_mut().and_then(|order| order.session.take());
            let mut session = match given {
                Some(session) => session,
                None => {
                    let purpose = match (step, &self.order) {
                        (Step::Send { .. }, Some(order)) => Purpose::of_slots(order.task.slots),
                        _ => Purpose::Attach,
                    };
                    let (transport, name) = (link.transport(), &self.host.name);
                    let opened = Session::open(&**transport, name, opening, purpose).await;
                    opened.map_err(|error| match is_first {
                        true => Failure::Final(error.of_task(self.id)),
                        false => Failure::Link(error),
                    })?
                }
            };
            if let Some(order) = &self.order {
                session.of_task(order.patience, order.task.timeout);
            }
            let turn = self.take_turn(&mut session, link, step).await;
            self.progress.bytes_sent += session.sent();
            self.progress.bytes_received += session.received();
            match turn? {
                (Said::Again, _) => {
                    // Nothing that this session was sent was run. An earlier one may have.
                    if self.progress.sessions == 1 {
                        self.progress.sent = false;
                    }
                    let noise = "start-up files of the login shell read from their input";
                    (self.follow)(Event::Warning(format!("{noise} on host `{}`", self.host.name)));
                }
                (Said::Missing, _) => {
                    self.progress.returns += 1;
                    // As long as no other request may still be on its way.
                    if self.progress.returns == self.progress.sends {
                        self.progress.sent = false;
                    }
                    self.forget_trees(link).await;
                    if self.progress.returns > 1 {
                        self.keep_nothing("what it kept is gone again");
                    }
                    return Ok(Turn::Go(Step::Send { spooled: 0 }));
                }
                (Said::Resend { spooled }, _) => return Ok(Turn::Go(Step::Send { spooled })),
                (Said::Claimed, _) => return Ok(Turn::Go(Step::Attach)),
                (Said::Left, _) => {
                    let directory = self.progress.directory.clone().unwrap_or_default();
                    return Ok(Turn::Done(Done::Left(directory)));
                }
                (Said::SoFar, files) => {
                    let mut ended = self.ended(None, files, Some(session));
                    ended.is_running = true;
                    return Ok(Turn::Done(Done::Ended(Box::new(ended))));
                }
                (Said::Ended(report), files) => {
                    let ended = self.ended(report, files, Some(session));
                    return Ok(Turn::Done(Done::Ended(Box::new(ended))));
                }
            }
        }
        Err(Failure::Final(unread(&self.host.name).of_task(self.id)))
    }

    /// What a session says, and the files that come behind it.
    async fn take_turn(
        &mut self,
        session: &mut Session,
        link: &mut Link<'_>,
        step: Step,
    ) -> Result<(Said, Result<Option<Files>, Error>), Failure> {
        let said = match step {
            Step::Send { spooled } => self.send(session, spooled, link).await?,
            Step::Attach => self.attach(session, link).await?,
        };
        if !matches!(said, Said::Ended(_) | Said::SoFar) {
            return Ok((said, Ok(None)));
        }
        let before = self.unpacking.as_ref().map(Unpacking::bytes);
        let received = files::receive(self, session).await;
        if self.unpacking.as_ref().map(Unpacking::bytes) > before {
            link.progresses();
        }
        match received {
            Ok(files) => Ok((said, Ok(files))),
            Err(Failure::Final(error)) => Ok((said, Err(error))),
            Err(failure) => Err(failure),
        }
    }

    fn ended(
        &mut self,
        report: Option<EndReport>,
        files: Result<Option<Files>, Error>,
        session: Option<Session>,
    ) -> Ended {
        let started = self.progress.started.unwrap_or_else(SystemTime::now);
        Ended {
            report,
            is_running: false,
            started: self.progress.began.unwrap_or_else(|| {
                started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
            }),
            damaged: self.progress.damaged.take(),
            session: session.filter(|session| session.status().is_none()),
            files,
        }
    }

    /// Sends the task and hears of it.
    async fn send(
        &mut self,
        session: &mut Session,
        spooled: u64,
        link: &mut Link<'_>,
    ) -> Result<Said, Failure> {
        if self.progress.cancelled {
            // The host has just said that nothing was started.
            if self.progress.sent {
                self.bury(session).await?;
            }
            return Err(self.cancelled().into());
        }
        if let Some(said) = self.learn_clock(session).await? {
            return Ok(said);
        }
        if let Some(said) = self.fill(session, link).await? {
            return Ok(said);
        }
        let order = self.order.as_ref().expect("only who has an order sends");
        self.progress.sends += 1;
        let nonce = format!("{:016x}", random()?);
        let attempt = Attempt { nonce, spooled, again: self.progress.sessions > 1 };
        let batch = self.batch.as_ref();
        order.request(session, self.host, self.id, &attempt, batch).await;
        let upload = order.upload(session, self.host, spooled);
        self.hear(session, Some(upload), link).await
    }

    /// Asks what the clock of the host shows, by which the lease of a task is said; once a session.
    /// Returns what the session has come to when it gives no answer.
    async fn learn_clock(&mut self, session: &mut Session) -> Result<Option<Said>, Failure> {
        if self.batch.is_none() || session.host_clock_after(Duration::ZERO).is_some() {
            return Ok(None);
        }
        session.request(["work", &self.host.remote_work_path]).await;
        while session.host_clock_after(Duration::ZERO).is_none() {
            match session.next().await.map_err(|error| self.broken(error))? {
                Next::Again => return Ok(Some(Said::Again)),
                Next::Reply(Reply::Boot(boot)) => self.meet(boot),
                Next::Reply(reply) => self.take(reply)?,
                Next::End(Some(_)) if !session.is_greeted() => {
                    return Err(Failure::Final(self.shut_out(session)));
                }
                Next::End(_) => {
                    return Err(Failure::Link(session.error(self.lost_kind(), "the link broke")));
                }
            }
        }
        Ok(None)
    }

    /// Lets the host refuse the task from now on: an earlier request may still be on its way.
    async fn bury(&mut self, session: &mut Session) -> Result<(), Failure> {
        session.request(["work", &self.host.remote_work_path]).await;
        session.request(["remove", &self.id.to_string(), "early"]).await;
        loop {
            let message = "failed to make sure that the task is not started";
            let failed = |session: &Session| session.error(ErrorKind::Host, message);
            match session.next().await.map_err(Failure::Link)? {
                Next::Reply(Reply::Removed) => return Ok(()),
                // It was just started, or has even ended: whoever attaches to it is told.
                Next::Reply(Reply::Error { text, .. }) => {
                    let error = failed(session).caused_by(printable(text.as_bytes()));
                    return Err(Failure::Link(error));
                }
                Next::Reply(_) => {}
                Next::Again | Next::End(_) => return Err(Failure::Link(failed(session))),
            }
        }
    }

    /// Goes on with a task that was sent before.
    async fn attach(
        &mut self,
        session: &mut Session,
        link: &mut Link<'_>,
    ) -> Result<Said, Failure> {
        session.request(["work", &self.host.remote_work_path]).await;
        let bring = self.wanted();
        let request = AttachRequest {
            id: self.id,
            stdout: self.progress.stdout.map_or(self.wish.stdout, Offset::Byte),
            stderr: self.progress.stderr.map_or(self.wish.stderr, Offset::Byte),
            follow: self.wish.until != Until::Now,
            bring,
            again: self.order.is_some(),
            has_files: self.unpacking.is_some(),
        };
        session.send(request.line()).await;
        if self.progress.cancelled {
            session.cancel().await;
        }
        self.hear(session, None, link).await
    }

    /// Which files are to come; those that were said when the task was sent when `None`.
    pub(super) fn wanted(&self) -> Option<&Bring> {
        match &self.order {
            Some(order) => Some(&order.task.bring),
            None => self.wish.bring.as_ref(),
        }
    }

    /// Whether the host said that the script runs.
    pub(super) fn was_started(&self) -> bool {
        self.progress.started.is_some()
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.progress.damaged.is_some()
    }

    pub(super) fn set_damaged(&mut self, reason: String) {
        self.progress.damaged = Some(reason);
    }

    pub(super) fn event(&mut self, event: Event) {
        (self.follow)(event);
    }
}

/// A turn of the exchange.
enum Turn {
    Done(Done),
    Go(Step),
}

/// Waits until the task is to be ended.
pub(super) async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|&cancelled| cancelled).await.is_err() {
        // Nobody is left who could end it.
        std::future::pending::<()>().await;
    }
}
