//! What a host says of a task, and what it means.

use std::time::{Duration, SystemTime};

use geto_core::wire::{Boot, From as Offset, Reply, Start, TaskState};
use tokio::time::MissedTickBehavior;

use super::Event;
use super::choose;
use super::execute::{Execution, Failure, Said, Until, cancelled};
use super::failure::outcome;
use super::link::Link;
use crate::session::{Next, Session};
use crate::text::{printable, printable_lines};
use crate::{Error, ErrorKind};

/// How often it is told how much has been sent.
pub(super) const SENDING_SHOWN: Duration = Duration::from_millis(100);

/// How many globs that match nothing are told.
const UNMATCHED_MAX: usize = 64;

/// What a lease counts as at least, when it is said how often the origin lives.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// How often the host is told to look for output. It promises to show it within 0.2 s.
const LOOK: Duration = Duration::from_millis(125);

/// How often that is said from here: for a host, to be told costs nothing, and to know when by itself some
/// processes. A task that takes longer is worth them.
const LOOKS: u32 = 3;

/// An upload on a thread of its own.
pub(super) type Upload = tokio::task::JoinHandle<Result<(), Error>>;

pub(super) async fn joined(
    upload: &mut Option<Upload>,
) -> Result<Result<(), Error>, tokio::task::JoinError> {
    match upload {
        Some(upload) => upload.await,
        None => std::future::pending().await,
    }
}

impl Execution<'_> {
    /// Hears of the task until it has ended.
    pub(super) async fn hear(
        &mut self,
        session: &mut Session,
        mut upload: Option<Upload>,
        link: &mut Link<'_>,
    ) -> Result<Said, Failure> {
        let mut tick = tokio::time::interval(SENDING_SHOWN);
        let lease = self.batch.as_ref().map(|batch| batch.lease);
        let mut beat = tokio::time::interval(lease.unwrap_or_default().max(SHORTEST_LEASE) / 6);
        // With a lease, the host keeps the time from the beginning.
        let is_told = upload.is_some() && lease.is_none();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0;
        loop {
            let is_uploading = upload.is_some();
            let next = tokio::select! {
                biased;
                () = cancelled(&mut self.cancel), if !self.progress.cancelled => {
                    self.progress.cancelled = true;
                    if self.order.is_some() && !self.progress.sent {
                        return Err(self.cancelled().into());
                    }
                    if is_uploading {
                        // An earlier request that is still on its way may start it.
                        return Ok(Said::Claimed);
                    }
                    session.cancel().await;
                    continue;
                }
                sent = joined(&mut upload), if is_uploading => {
                    upload = None;
                    self.sent(session, sent).await?;
                    look.reset();
                    continue;
                }
                _ = tick.tick(), if is_uploading => {
                    let (bytes, total) = (session.writer().written(), session.writer().queued());
                    (self.follow)(Event::Sending { bytes, total });
                    continue;
                }
                // Not before it is told that the link works: while it is broken, the lease runs out.
                _ = beat.tick(), if lease.is_some() && self.is_alive_there() && link.is_whole() => {
                    if let Some(until) = session.host_clock_after(lease.unwrap_or_default()) {
                        session.writer().send(format!("alive {until}\n").into_bytes()).await;
                    }
                    continue;
                }
                // Counted from `go`, and so for the host, too, however far it is.
                _ = look.tick(), if is_told && !is_uploading && looks <= LOOKS => {
                    let line: &[u8] = if looks < LOOKS { b"look\n" } else { b"ticks\n" };
                    looks += 1;
                    session.writer().send(line.to_vec()).await;
                    continue;
                }
                next = session.next() => match next {
                    Ok(next) => next,
                    // What was sent is with those who read it, and is of no use to the program any more.
                    Err(error) if session.is_swallowed() && self.progress.sessions == 1 => {
                        return Err(error.of_task(self.id).into());
                    }
                    // A host that has just been started may hang; the task is elsewhere in it.
                    Err(error)
                        if session.is_slow()
                            && (self.progress.sessions > 1
                                || !session.is_greeted() && !link.answers().await) =>
                    {
                        return Err(Failure::Link(error));
                    }
                    Err(error) => return Err(self.broken(error).into()),
                },
            };
            let reply = match next {
                Next::Again => return Ok(Said::Again),
                Next::End(status) => {
                    let error = session.error(self.lost_kind(), "the link broke");
                    // A login shell that runs nothing does so the next time, too.
                    return Err(
                        match (status, session.is_greeted() || self.progress.sessions > 1) {
                            (Some(_), false) => Failure::Final(self.shut_out(session)),
                            _ => Failure::Link(error),
                        },
                    );
                }
                Next::Reply(reply) => reply,
            };
            if let Some(said) = self.answer(reply, link)? {
                if matches!(said, Said::Ended(_)) {
                    session.writer().send(b"ack\n".to_vec()).await;
                }
                return Ok(said);
            }
        }
    }

    /// Takes a reply; returns what the session has come to, if that is clear now.
    fn answer(&mut self, reply: Reply, link: &mut Link<'_>) -> Result<Option<Said>, Failure> {
        match reply {
            Reply::Boot(boot) => self.meet(boot),
            Reply::Waiting(_) => {
                self.progress.waits = true;
                self.take(reply)?;
            }
            Reply::State(state) => {
                let said = self.found(state)?;
                link.works(&mut self.follow);
                return Ok(said);
            }
            Reply::About(about) => {
                if self.order.is_none() {
                    self.script = about.script;
                    self.progress.began = about.started;
                }
            }
            Reply::From { stdout, stderr } => {
                let from = |wish, byte| (wish != Offset::Nowhere).then_some(byte);
                self.progress.stdout = from(self.wish.stdout, stdout);
                self.progress.stderr = from(self.wish.stderr, stderr);
            }
            Reply::Size { stdout, stderr } => {
                self.progress.shown[0].settle(stdout);
                self.progress.shown[1].settle(stderr);
            }
            Reply::SoFar => return Ok(Some(Said::SoFar)),
            Reply::Ended(mut report) => {
                link.works(&mut self.follow);
                // A script that removes what its host keeps of it has been started all the same.
                if let (Some(report), true) = (&mut report, self.was_started())
                    && report.start != Start::Done
                {
                    report.start = Start::Unknown;
                }
                if self.progress.ended.is_none() {
                    link.progresses();
                }
                if let (Some(report), None) = (&report, &self.progress.ended) {
                    let (outcome, run_time) = (outcome(Some(report)), report.run_time);
                    (self.follow)(Event::Ended { outcome, run_time });
                }
                self.progress.ended = Some(report.clone());
                return Ok(Some(Said::Ended(report)));
            }
            // Of a task that is left, nobody wants to hear.
            Reply::Stdout(_) | Reply::Stderr(_) if self.wish.until == Until::Start => {}
            Reply::Stdout(_) | Reply::Stderr(_) => {
                link.progresses();
                self.take(reply)?;
            }
            Reply::Started(directory) => {
                link.works(&mut self.follow);
                if self.progress.started.is_none() {
                    link.progresses();
                }
                self.started(directory);
                return Ok((self.wish.until == Until::Start).then_some(Said::Left));
            }
            // Of the task that the session ran before this one.
            Reply::Error { kind, text } if kind == "remove" => {
                let text = printable(text.as_bytes());
                (self.follow)(Event::Warning(format!(
                    "failed to remove the directory of an earlier task on host `{}`: {text}",
                    self.host.name
                )));
            }
            // A request that came late was one of this run's own.
            Reply::Error { kind, .. } if kind == "exists" && self.progress.sends > 1 => {
                self.progress.sent = true;
                return Ok(Some(Said::Claimed));
            }
            Reply::Error { kind, .. }
                if kind == "gone" && self.progress.cancelled && !self.has_started() =>
            {
                return Err(self.cancelled().into());
            }
            // It was there when the host was asked last.
            Reply::Error { kind, .. } if kind == "missing" && self.order.is_some() => {
                return Ok(Some(Said::Missing));
            }
            // There is no room for what it keeps and the task's copy.
            Reply::Error { kind, .. } if kind == "crowded" => {
                let order = self.order.as_mut().filter(|order| !order.staged.trees.is_empty());
                let Some(order) = order else { return Err(self.refused("disk", "").into()) };
                order.staged = order.staged.clone().without_trees();
                return Ok(Some(Said::Missing));
            }
            // It waited for a slot until its session had gone.
            Reply::Error { kind, .. }
                if kind == "gone" && self.order.is_some() && !self.has_started() =>
            {
                return Ok(Some(Said::Resend { spooled: 0 }));
            }
            reply => self.take(reply)?,
        }
        Ok(None)
    }

    /// Whether its host has it and reads what is said of it.
    fn is_alive_there(&self) -> bool {
        self.was_started() || self.progress.waits
    }

    fn has_started(&self) -> bool {
        self.progress.started.is_some() || self.progress.ended.is_some()
    }

    /// Looks whether the host is the one that the task was sent to, or has been started anew.
    pub(super) fn meet(&mut self, boot: Boot) {
        self.progress.rebooted |= match &self.progress.boot {
            Some(first) if first.id.is_empty() => boot.uptime < first.uptime,
            Some(first) => boot.id != first.id,
            // It never said which start it was. One that is older than the request was the same.
            None => self.progress.begun.is_some_and(|(instant, time)| {
                boot.uptime < instant.elapsed().max(time.elapsed().unwrap_or_default())
            }),
        };
        self.progress.boot.get_or_insert(boot);
    }

    /// What the host has found of a task that was sent before; `None` when it tells more.
    fn found(&mut self, state: TaskState) -> Result<Option<Said>, Failure> {
        let error = |message: &str| {
            Error::new(ErrorKind::Lost, message).on_host(&self.host.name).of_task(self.id)
        };
        let is_own = self.order.is_some();
        match state {
            TaskState::None { .. } if !is_own => {
                Err(error("there is no such task").with_kind(ErrorKind::Usage).into())
            }
            TaskState::None { .. } if self.has_started() => {
                let error = error("the task is not there any more");
                Err(self.because_rebooted(error).into())
            }
            TaskState::None { .. } if self.progress.sent && self.progress.rebooted => {
                let error = error("it is not known whether the task was started");
                Err(self.because_rebooted(error).into())
            }
            // What had come was not synced: its length may be right and its end empty.
            TaskState::None { .. } if self.progress.rebooted => {
                Ok(Some(Said::Resend { spooled: 0 }))
            }
            TaskState::None { spooled } => Ok(Some(Said::Resend { spooled })),
            TaskState::Gone => Err(error("the task was removed there").into()),
            TaskState::Sending if is_own => {
                Err(Failure::Link(error("the task is held by a session that can't be ended")))
            }
            TaskState::Sending => {
                Err(error("the task is still being sent").with_kind(ErrorKind::NotStarted).into())
            }
            state => {
                self.progress.sent = true;
                self.progress.has_ended_there = state == TaskState::Ended;
                Ok(None)
            }
        }
    }

    fn because_rebooted(&self, error: Error) -> Error {
        match self.progress.rebooted {
            true => error.caused_by("the host was restarted"),
            false => error,
        }
    }

    /// Everything is on its way: lets the task start, unless a file here changed meanwhile.
    async fn sent(
        &mut self,
        session: &Session,
        sent: Result<Result<(), Error>, tokio::task::JoinError>,
    ) -> Result<(), Error> {
        match sent {
            Ok(Ok(())) => {
                self.progress.sent = true;
                session.writer().send(b"go\n".to_vec()).await;
                Ok(())
            }
            // The host has closed the channel; what it says itself is better than this.
            Ok(Err(error)) if error.kind() == ErrorKind::NotStarted => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(panicked) => {
                Err(Error::new(ErrorKind::Local, "failed to read the dependencies")
                    .caused_by(panicked))
            }
        }
    }

    fn started(&mut self, directory: String) {
        self.progress.sent = true;
        if self.progress.started.is_none() {
            self.progress.started = Some(SystemTime::now());
            let (host, shown) = (self.host.name.clone(), directory.clone());
            (self.follow)(Event::Started { id: self.id, host, directory: shown });
        }
        self.progress.directory = Some(directory);
    }

    pub(super) fn take(&mut self, reply: Reply) -> Result<(), Error> {
        match reply {
            Reply::Waiting(busy) => {
                (self.follow)(Event::Waiting { host: self.host.name.clone(), busy });
            }
            Reply::Slot { slots, gpus } => (self.follow)(Event::Slot { slots, gpus }),
            Reply::Full(busy) => {
                let full = choose::full(&self.script, &self.host.name, &busy);
                return Err(full.of_task(self.id));
            }
            Reply::Stdout(bytes) => {
                if let Some(store) = &mut self.store {
                    store.stdout(&bytes).map_err(|error| self.unwritten(error))?;
                }
                let at = self.progress.stdout;
                self.progress.stdout = at.map(|at| at.saturating_add(bytes.len() as u64));
                if let Some(shown) = self.progress.shown[0].part(at.unwrap_or_default(), bytes) {
                    (self.follow)(Event::Stdout(shown));
                }
            }
            Reply::Stderr(bytes) => {
                if let Some(store) = &mut self.store {
                    store.stderr(&bytes).map_err(|error| self.unwritten(error))?;
                }
                let at = self.progress.stderr;
                self.progress.stderr = at.map(|at| at.saturating_add(bytes.len() as u64));
                if let Some(shown) = self.progress.shown[1].part(at.unwrap_or_default(), bytes) {
                    (self.follow)(Event::Stderr(shown));
                }
            }
            Reply::Fact { name, value } if name == "leftover" => {
                let path = printable(value.as_bytes());
                (self.follow)(Event::Warning(format!(
                    "the directory `{path}` of an earlier task could not be removed on host `{}`",
                    self.host.name
                )));
            }
            Reply::Fact { name, value } if name == "unmatched" => {
                let glob = printable(value.as_bytes());
                let unmatched = &mut self.progress.unmatched;
                // After a broken link they come again.
                if unmatched.len() < UNMATCHED_MAX && !unmatched.contains(&glob) {
                    unmatched.push(glob);
                }
            }
            Reply::Fact { name, value } if name == "fragile" => {
                (self.follow)(Event::Warning(super::failure::fragile(&self.host.name, &value)));
            }
            Reply::Fact { name, .. } if name == "ending" => {
                (self.follow)(Event::Ending { host: self.host.name.clone() });
            }
            Reply::Fact { name, .. } if name == "gone" => self.progress.is_gone = true,
            Reply::Damaged(reason) => {
                self.progress.damaged = Some(printable_lines(reason.as_bytes()));
            }
            Reply::Error { kind, text } => return Err(self.refused(&kind, &text)),
            _ => {}
        }
        Ok(())
    }
}
