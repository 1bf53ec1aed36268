//! What can go wrong, in a form that one can match on.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use geto_core::{ExitCode, TaskId};

/// What went wrong, on which host, with which task, why, and what to do about it.
///
/// `Display` is one line that names what failed and on which host; the cause is in
/// [`source`](StdError::source), the advice in [`hint`](Self::hint). A script that fails is no
/// error but an [`Outcome`](crate::Outcome).
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    host: Option<String>,
    task: Option<TaskId>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    hint: Option<String>,
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration, a host's name or a task is wrong: the same call will fail again.
    Usage,
    /// The host could not be reached: name, route, refusal, time-out, a proxy that failed.
    Unreachable,
    /// The host's key is unknown, changed or revoked.
    HostKey,
    /// The host did not accept any credentials.
    Authentication,
    /// The host's shell did not do what geto asks: no `/bin/sh`, garbled answers, missing tools.
    Host,
    /// The task was not started: dependencies could not be sent, no space, no interpreter, ….
    NotStarted,
    /// No slot came free in time, and the task was not started.
    Full,
    /// The user ended it before it was started.
    Cancelled,
    /// The link broke after the task was started; how it ended is not known here.
    Lost,
    /// The task ended, and its results could not be brought home whole; the host keeps them.
    Results,
    /// Something on this machine failed: a file, a directory, a process.
    Local,
}

impl ErrorKind {
    const ALL: [Self; 11] = [
        Self::Usage,
        Self::Unreachable,
        Self::HostKey,
        Self::Authentication,
        Self::Host,
        Self::NotStarted,
        Self::Full,
        Self::Cancelled,
        Self::Lost,
        Self::Results,
        Self::Local,
    ];

    /// Its name in objects and in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::HostKey => "host-key",
            Self::Authentication => "authentication",
            Self::Host => "host",
            Self::NotStarted => "not-started",
            Self::Full => "full",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::Results => "results",
            Self::Local => "local",
        }
    }

    /// Returns the kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Error {
    /// Makes an error of `kind`; `message` says what failed, in lower case and without a stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, message, host: None, task: None, source: None, hint: None }))
    }

    /// Says which host it was.
    #[must_use]
    pub fn on_host(mut self, host: impl Into<String>) -> Self {
        self.0.host = Some(host.into());
        self
    }

    /// Says which task it was.
    #[must_use]
    pub fn of_task(mut self, task: TaskId) -> Self {
        self.0.task = Some(task);
        self
    }

    /// Gives the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Gives one command or option that helps.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says what it means for the task, once that is known.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same once more, for another who waited for what failed.
    pub(crate) fn repeat(&self) -> Self {
        Self(self.0.clone())
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The host's name.
    pub fn host(&self) -> Option<&str> {
        self.0.host.as_deref()
    }

    /// The task's id.
    pub fn task(&self) -> Option<TaskId> {
        self.0.task
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The exit code of `geto run` for this error.
    pub fn exit_code(&self) -> ExitCode {
        match self.0.kind {
            ErrorKind::Usage => ExitCode::USAGE,
            ErrorKind::Lost | ErrorKind::Results => ExitCode::LOST,
            ErrorKind::Full => ExitCode::NO_SLOT,
            ErrorKind::Cancelled => ExitCode::INTERRUPTED,
            _ => ExitCode::NOT_STARTED,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.host {
            Some(host) => write!(f, " on host `{host}`"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
