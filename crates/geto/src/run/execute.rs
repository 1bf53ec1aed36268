//! The exchange with a host that runs one task.

use std::time::{Duration, SystemTime};

use geto_core::wire::{EndReport, Patience, Reply, RunRequest};
use geto_core::{Host, Outcome, Task, TaskId};
use tokio::sync::watch;

use super::Event;
use super::choose;
use super::files::{self, Files};
use super::input::Input;
use super::store::Store;
use crate::session::{Next, Opening, Purpose, Session, random};
use crate::stage::StagePlan;
use crate::text::{printable, printable_lines};
use crate::transport::Transport;
use crate::{Error, ErrorKind};

/// How often it is told how much has been sent.
const SENDING_SHOWN: Duration = Duration::from_millis(100);

/// Tells who follows.
pub(super) type Follow<'a> = Box<dyn FnMut(Event) + Send + 'a>;

/// One task on its way through a host.
pub(super) struct Execution<'a> {
    pub(super) host: &'a Host,
    /// A session in which the task has been given its slot.
    pub(super) session: Option<Session>,
    pub(super) patience: Patience,
    pub(super) task: &'a Task,
    pub(super) id: TaskId,
    pub(super) input: Input,
    pub(super) plan: StagePlan,
    pub(super) store: Store,
    pub(super) follow: Follow<'a>,
    pub(super) cancel: watch::Receiver<bool>,
    pub(super) progress: Progress,
}

/// How far the exchange has come, as far as one can know here.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last word of the request may have reached the host: it may have started the task.
    sent: bool,
    started: Option<SystemTime>,
    directory: Option<String>,
    cancelled: bool,
    damaged: Option<String>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

/// What the host said of the task's end.
pub(super) struct Ended {
    pub(super) report: Option<EndReport>,
    pub(super) started: Duration,
    /// What came of the files, or why they are not here.
    pub(super) files: Result<Option<Files>, Error>,
    /// Why the files are not whole, in the words of the host.
    pub(super) damaged: Option<String>,
    /// The session, when it can still be asked for something.
    pub(super) session: Option<Session>,
}

/// What a session told of a task that ended.
type Exchanged = (Option<EndReport>, Result<Option<Files>, Error>);

impl Execution<'_> {
    /// Sends the task and follows it to its end, files included.
    pub(super) async fn run(&mut self, transport: &dyn Transport) -> Result<Ended, Error> {
        let attempt = format!("{:016x}", random()?);
        for opening in Opening::ALL {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => {
                    let purpose = Purpose::of_slots(self.task.slots);
                    Session::open(transport, &self.host.name, opening, purpose).await?
                }
            };
            session.of_task(self.patience, self.task.timeout);
            let outcome = self.exchange(&mut session, &attempt).await;
            self.progress.bytes_sent += session.writer().written();
            self.progress.bytes_received += session.received();
            match outcome {
                Ok(Some((report, files))) => return Ok(self.ended(report, files, session)),
                Ok(None) => {
                    self.progress.sent = false;
                    let noise = "start-up files of the login shell read from their input";
                    (self.follow)(Event::Warning(format!("{noise} on host `{}`", self.host.name)));
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Host, "failed to start a shell that reads its input")
            .on_host(&self.host.name)
            .with_hint("see what the login shell's start-up files do when not on a terminal"))
    }

    fn ended(
        &mut self,
        report: Option<EndReport>,
        files: Result<Option<Files>, Error>,
        session: Session,
    ) -> Ended {
        let started = self.progress.started.unwrap_or_else(SystemTime::now);
        Ended {
            report,
            started: started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            damaged: self.progress.damaged.take(),
            session: (session.status().is_none()).then_some(session),
            files,
        }
    }

    /// One session: `None` when it has to be opened again in another way.
    async fn exchange(
        &mut self,
        session: &mut Session,
        attempt: &str,
    ) -> Result<Option<Exchanged>, Error> {
        self.request(session, attempt).await;
        let mut upload = self.upload(session);
        let mut uploading = true;
        let mut tick = tokio::time::interval(SENDING_SHOWN);
        let report = loop {
            let next = tokio::select! {
                biased;
                sent = &mut upload, if uploading => {
                    uploading = false;
                    self.sent(session, sent).await?;
                    continue;
                }
                () = cancelled(&mut self.cancel), if !self.progress.cancelled => {
                    self.progress.cancelled = true;
                    if !self.progress.sent {
                        return Err(self.cancelled());
                    }
                    session.cancel().await;
                    continue;
                }
                _ = tick.tick(), if uploading => {
                    let (bytes, total) = (session.writer().written(), session.writer().queued());
                    (self.follow)(Event::Sending { bytes, total });
                    continue;
                }
                next = session.next() => next.map_err(|error| self.broken(error))?,
            };
            match next {
                Next::Again => return Ok(None),
                Next::End(Some(_)) if !session.is_greeted() => {
                    return Err(self.shut_out(session));
                }
                Next::End(_) => return Err(self.link_lost(session)),
                Next::Reply(Reply::Ended(report)) => break report,
                Next::Reply(reply) => self.take(reply)?,
            }
        };
        if let Some(report) = &report {
            let event = Event::Ended { outcome: report.outcome.clone(), run_time: report.run_time };
            (self.follow)(event);
        }
        session.writer().send(b"ack\n".to_vec()).await;
        let files = files::receive(self, session).await;
        Ok(Some((report, files)))
    }

    /// Queues all of the request but the dependencies.
    async fn request(&mut self, session: &mut Session, attempt: &str) {
        session.request(["work", &self.host.remote_work_path]).await;
        let dependencies_len = Some(self.plan.tar_len()).filter(|&len| len > 0);
        let request = RunRequest {
            id: self.id,
            attempt,
            host: self.host,
            task: self.task,
            text: self.input.text.as_deref(),
            stdin_len: self.input.stdin.as_ref().map(|bytes| bytes.len() as u64),
            dependencies_len,
            patience: self.patience,
        };
        session.writer().send(request.line()).await;
    }

    /// Sends script, input and dependencies from a thread of their own.
    fn upload(&self, session: &Session) -> tokio::task::JoinHandle<Result<(), Error>> {
        let script = self.input.text.clone().unwrap_or_default();
        let stdin = self.input.stdin.clone().unwrap_or_default();
        let plan = self.plan.clone();
        session.writer().count((script.len() + stdin.len()) as u64 + plan.tar_len());
        let mut writer = session.writer().blocking();
        let host = self.host.name.clone();
        tokio::task::spawn_blocking(move || {
            use std::io::Write as _;
            let failed = |error: std::io::Error| {
                Error::new(ErrorKind::NotStarted, "failed to send the task")
                    .on_host(&host)
                    .caused_by(error)
            };
            writer.write_all(&script).map_err(failed)?;
            writer.write_all(&stdin).map_err(failed)?;
            plan.write_tar(&mut writer)?;
            writer.flush().map_err(failed)
        })
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

    fn take(&mut self, reply: Reply) -> Result<(), Error> {
        match reply {
            Reply::Waiting(busy) => {
                (self.follow)(Event::Waiting { host: self.host.name.clone(), busy });
            }
            Reply::Slot { slots, gpus } => (self.follow)(Event::Slot { slots, gpus }),
            Reply::Full(busy) => {
                return Err(choose::full(self.task, &self.host.name, &busy).of_task(self.id));
            }
            Reply::Started(directory) => {
                self.progress.started = Some(SystemTime::now());
                self.progress.directory = Some(directory.clone());
                let host = self.host.name.clone();
                (self.follow)(Event::Started { id: self.id, host, directory });
            }
            Reply::Stdout(bytes) => {
                self.store.stdout(&bytes).map_err(|error| self.unwritten(error))?;
                (self.follow)(Event::Stdout(bytes));
            }
            Reply::Stderr(bytes) => {
                self.store.stderr(&bytes).map_err(|error| self.unwritten(error))?;
                (self.follow)(Event::Stderr(bytes));
            }
            Reply::Fact { name, value } if name == "leftover" => {
                let path = printable(value.as_bytes());
                (self.follow)(Event::Warning(format!(
                    "the directory `{path}` of an earlier task could not be removed on host `{}`",
                    self.host.name
                )));
            }
            Reply::Damaged(reason) => {
                self.progress.damaged = Some(printable_lines(reason.as_bytes()));
            }
            Reply::Error { kind, text } => return Err(self.refused(&kind, &text)),
            _ => {}
        }
        Ok(())
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

    pub(super) fn take_late(&mut self, reply: Reply) -> Result<(), Error> {
        self.take(reply)
    }

    pub(super) fn event(&mut self, event: Event) {
        (self.follow)(event);
    }

    /// What the host refuses, in the words of a user.
    fn refused(&self, kind: &str, text: &str) -> Error {
        let text = printable_lines(text.as_bytes());
        let (message, hint) = match kind {
            "exists" => ("failed to claim the task", None),
            "disk" => (
                "failed to put the task",
                Some("free space there, or set another `remote_work_path`"),
            ),
            "work-path" => {
                ("failed to use the work path", Some("set `remote_work_path` in geto.ini"))
            }
            "interpreter" => ("failed to find what executes the script", None),
            "lock" => (
                "failed to count tasks",
                Some("set another `remote_lock_path` in geto.ini, or pass `--no-slot`"),
            ),
            "demand" => ("failed to find room for the task", None),
            "tool" => ("failed to find a program that geto needs", None),
            _ => ("failed to run the task", None),
        };
        let kind = match self.progress.started {
            Some(_) => ErrorKind::Lost,
            None => ErrorKind::NotStarted,
        };
        let error =
            Error::new(kind, message).on_host(&self.host.name).of_task(self.id).caused_by(text);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn cancelled(&self) -> Error {
        let message = "the task was cancelled before it was started";
        Error::new(ErrorKind::Cancelled, message).on_host(&self.host.name).of_task(self.id)
    }

    /// The end of the channel before the end of the task.
    fn link_lost(&self, session: &Session) -> Error {
        let kind = match self.progress.sent {
            true => ErrorKind::Lost,
            false => ErrorKind::NotStarted,
        };
        self.broken(session.error(kind, "the link broke"))
    }

    /// A login shell that ends without running the loader: the task can't have been started.
    fn shut_out(&self, session: &Session) -> Error {
        session
            .error(ErrorKind::NotStarted, "the login shell ended without running a command")
            .of_task(self.id)
            .with_hint("see which shell the user has there (`getent passwd`), and what its start-up files do")
    }

    /// Adds to an error what is known of the task.
    pub(super) fn broken(&self, error: Error) -> Error {
        let error = error.of_task(self.id);
        if !self.progress.sent {
            return error;
        }
        self.left_running(error).with_kind(ErrorKind::Lost)
    }

    /// Output could not be kept here.
    fn unwritten(&self, error: Error) -> Error {
        self.left_running(error).with_kind(ErrorKind::Results)
    }

    /// Says where the task goes on.
    fn left_running(&self, error: Error) -> Error {
        let error = match error.kind() {
            ErrorKind::Local => error.of_task(self.id),
            _ => error.on_host(&self.host.name).of_task(self.id),
        };
        match &self.progress.directory {
            Some(directory) => error.with_hint(format!(
                "the task goes on there, in `{}`, and its results stay beside it",
                printable(directory.as_bytes())
            )),
            None => error,
        }
    }

    /// The task's directory on the host, for a person, where it is known.
    pub(super) fn directory(&self) -> Option<String> {
        self.progress.directory.as_ref().map(|directory| printable(directory.as_bytes()))
    }

    /// The results could not be brought home whole.
    pub(super) fn results_error(&self, error: Error) -> Error {
        let error = error.of_task(self.id).with_kind(ErrorKind::Results);
        match (&self.progress.directory, error.hint()) {
            (Some(directory), None) => error
                .with_hint(format!("the host keeps them: `{}`", printable(directory.as_bytes()))),
            _ => error,
        }
    }
}

/// Waits until the task is to be ended.
pub(super) async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|&cancelled| cancelled).await.is_err() {
        // Nobody is left who could end it.
        std::future::pending::<()>().await;
    }
}

/// The outcome of a task whose host could not say it.
pub(super) fn outcome(report: Option<&EndReport>) -> Outcome {
    match report {
        Some(report)
            if report.started
                || matches!(report.outcome, Outcome::Cancelled | Outcome::TimedOut) =>
        {
            report.outcome.clone()
        }
        Some(report) => Outcome::Lost {
            reason: format!("what the host kept of it is gone (status {})", report.raw_status),
        },
        None => {
            Outcome::Lost { reason: "its supervisor was killed, or the disk failed".to_owned() }
        }
    }
}
