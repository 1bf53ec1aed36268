//! What goes wrong with a task, in the words of a user.

use geto_core::Outcome;
use geto_core::wire::{EndReport, Start};

use super::execute::Execution;
use crate::session::Session;
use crate::text::{printable, printable_lines};
use crate::{Error, ErrorKind};

impl Execution<'_> {
    /// What the host refuses, in the words of a user.
    pub(super) fn refused(&self, kind: &str, text: &str) -> Error {
        let mut text = printable_lines(text.as_bytes());
        // GNU tar only says how much it wrote.
        if kind == "disk" && ["No space left", "Wrote only"].iter().any(|full| text.contains(full))
        {
            text.insert_str(0, "disk full: ");
        }
        let (message, hint) = match kind {
            "exists" => ("failed to claim the task", None),
            "gone" => ("the task's directory was removed before it had ended", None),
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
        let kind = match self.progress.started.is_some() {
            true => ErrorKind::Lost,
            false => ErrorKind::NotStarted,
        };
        let error =
            Error::new(kind, message).on_host(&self.host.name).of_task(self.id).caused_by(text);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    pub(super) fn cancelled(&self) -> Error {
        let message = "the task was cancelled before it was started";
        Error::new(ErrorKind::Cancelled, message).on_host(&self.host.name).of_task(self.id)
    }

    /// A login shell that ends without running the loader: the task can't have been started.
    pub(super) fn shut_out(&self, session: &Session) -> Error {
        session.shut_out().of_task(self.id)
    }

    /// What the end of the link means.
    pub(super) fn lost_kind(&self) -> ErrorKind {
        match self.progress.sent {
            true => ErrorKind::Lost,
            false => ErrorKind::NotStarted,
        }
    }

    /// The link broke, and could not be made again.
    pub(super) fn given_up(&self, error: Error) -> Error {
        let kind = self.lost_kind();
        self.broken(error).with_kind(kind)
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
    pub(super) fn unwritten(&self, error: Error) -> Error {
        self.left_running(error).with_kind(ErrorKind::Results)
    }

    /// Says where the task goes on.
    fn left_running(&self, error: Error) -> Error {
        let error = match error.kind() {
            ErrorKind::Local => error.of_task(self.id),
            _ => error.on_host(&self.host.name).of_task(self.id),
        };
        let find = self.find_again();
        let has_ended = self.progress.has_ended_there || self.progress.ended.is_some();
        match self.directory() {
            Some(directory) if has_ended => error.with_hint(format!(
                "the task has ended: {find}; its results stay beside `{directory}`",
            )),
            Some(directory) => error.with_hint(format!(
                "the task goes on there unless it has ended: {find}; its results stay beside \
                 `{directory}`",
            )),
            None => error.with_hint(format!("if it was started there, {find}")),
        }
    }

    /// How the task is found again, for a person.
    fn find_again(&self) -> String {
        let host = printable(self.host.name.as_bytes());
        format!("`geto attach -H {host} {}` finds it again", self.id)
    }

    /// The task's directory on the host, for a person, where it is known.
    pub(super) fn directory(&self) -> Option<String> {
        self.progress.directory.as_ref().map(|directory| printable(directory.as_bytes()))
    }

    /// The results could not be brought home whole.
    pub(super) fn results_error(&self, error: Error) -> Error {
        let error = error.of_task(self.id).with_kind(ErrorKind::Results);
        match (self.directory(), error.hint()) {
            (Some(directory), None) if !self.progress.is_gone => {
                error.with_hint(format!("the host keeps them: `{directory}`"))
            }
            _ => error,
        }
    }
}

/// What is said of processes that could not be ended, when there are such.
pub(super) fn left(report: &EndReport) -> Option<String> {
    let left = printable(report.left.as_bytes());
    (!left.is_empty()).then(|| format!("processes of the task could not be ended: {left}"))
}

/// What may end a task that is left on its host, and what keeps it.
pub(super) fn fragile(host: &str, ending: &str) -> String {
    if ending == "logind" {
        return format!(
            "logind may end the task on host `{host}` with its session (`KillUserProcesses=yes`); \
             `loginctl enable-linger` there keeps it"
        );
    }
    let unit = printable(ending.as_bytes());
    format!(
        "systemd may end the task on host `{host}` with its connection, which has a unit of its own \
         (`{unit}`); `loginctl enable-linger` there keeps it, or `KillMode=process` in such units"
    )
}

/// The outcome of a task whose host could not say it.
pub(crate) fn outcome(report: Option<&EndReport>) -> Outcome {
    let Some(report) = report else {
        return Outcome::Lost {
            reason: "its supervisor was killed, or the disk failed".to_owned(),
        };
    };
    let status = report.raw_status;
    match (&report.outcome, report.start) {
        (outcome, Start::Done) => outcome.clone(),
        (Outcome::Exited { .. } | Outcome::Signalled { .. }, Start::Unknown) => {
            Outcome::Lost { reason: format!("what the host kept of it is gone (status {status})") }
        }
        (Outcome::Exited { .. } | Outcome::Signalled { .. }, start) => Outcome::NotStarted {
            reason: match start {
                _ if report.disk_full => "the disk was full".to_owned(),
                Start::EndedInSetup => format!("`setup` ended with status {status}"),
                Start::EndedInLogin => {
                    format!("start-up files of the login shell ended with status {status}")
                }
                _ => format!("it ended with status {status}"),
            },
        },
        (outcome, _) => outcome.clone(),
    }
}
