//! Tasks that were started before, by this or another origin.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use geto_core::wire::From as Offset;
use geto_core::{Bring, Host, Outcome, TaskId};
use tokio::sync::watch;

use super::execute::{Done, Ended, Execution, Progress, Until, Wish};
use super::failure::{left, outcome};
use super::finish::Destination;
use super::link::Link;
use super::store::Store;
use super::{Batch, Canceller, Event, RECONNECT, Results};
use crate::clean::remove_partials_of_gone;
use crate::{Error, ErrorKind, Fleet};

/// Which part of the output is wanted of a task that was started before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OutputFrom {
    /// All of it.
    #[default]
    Beginning,
    /// The last lines, as many as this, and what comes then.
    Tail(u64),
    /// What comes from now on.
    Now,
    /// None of it.
    Nowhere,
}

impl OutputFrom {
    fn offset(self) -> Offset {
        match self {
            Self::Beginning => Offset::Byte(0),
            Self::Tail(lines) => Offset::Tail(lines),
            Self::Now => Offset::End,
            Self::Nowhere => Offset::Nowhere,
        }
    }
}

/// A task that was started before, about to be followed to its end: settle the details, then await
/// its results, or [`watch`](Self::watch) it.
///
/// # Cancel safety
/// Dropping the future leaves the task as it is.
#[must_use = "nothing happens until this is awaited"]
pub struct Attach<'a> {
    fleet: &'a Fleet,
    host: Host,
    id: TaskId,
    stdout: OutputFrom,
    stderr: OutputFrom,
    until: Until,
    bring: Option<Bring>,
    max_results: Option<u64>,
    into: Option<PathBuf>,
    overwrite: bool,
    keep: bool,
    reconnect: Duration,
    follow: Option<Box<dyn FnMut(Event) + Send + 'a>>,
    pub(crate) cancel: watch::Sender<bool>,
    /// What the task belongs to from now on, when it is one of many.
    pub(crate) batch: Option<Batch>,
}

impl<'a> Attach<'a> {
    pub(crate) fn new(fleet: &'a Fleet, host: Host, id: TaskId) -> Self {
        let (cancel, _) = watch::channel(false);
        Self {
            fleet,
            host,
            id,
            stdout: OutputFrom::Beginning,
            stderr: OutputFrom::Beginning,
            until: Until::End,
            bring: None,
            max_results: None,
            into: None,
            overwrite: false,
            keep: true,
            reconnect: RECONNECT,
            follow: None,
            cancel,
            batch: None,
        }
    }

    /// Which part of the standard output is told to who follows; all by default. Results always hold
    /// all of it.
    pub fn stdout(mut self, from: OutputFrom) -> Self {
        self.stdout = from;
        self
    }

    /// Which part of the standard error is told, likewise.
    pub fn stderr(mut self, from: OutputFrom) -> Self {
        self.stderr = from;
        self
    }

    /// Takes what there is of a task that runs, instead of waiting for its end: the outcome is then
    /// [`Running`](Outcome::Running).
    pub fn so_far(mut self) -> Self {
        self.until = Until::Now;
        self
    }

    /// Which files come home; those that were said when the task was sent by default.
    pub fn bring(mut self, bring: Bring) -> Self {
        self.bring = Some(bring);
        self
    }

    /// The most bytes that come home; no limit by default.
    pub fn max_results(mut self, bytes: u64) -> Self {
        self.max_results = Some(bytes);
        self
    }

    /// Puts the files into `directory` (made when missing) instead of
    /// `<local_work_path>/<id>/files/`.
    pub fn into_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.into = Some(directory.into());
        self
    }

    /// Whether files in that directory may be replaced; false by default.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether the task stays on the host after its results are home; true by default.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// For how long a broken link is made again, as [`Run::reconnect`](crate::Run::reconnect).
    pub fn reconnect(mut self, time: Duration) -> Self {
        self.reconnect = time;
        self
    }

    /// Tells `follow` what happens as it happens, as [`Run::follow`](crate::Run::follow).
    pub fn follow(mut self, follow: impl FnMut(Event) + Send + 'a) -> Self {
        self.follow = Some(Box::new(follow));
        self
    }

    /// Returns a handle that ends the task.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.cancel.clone())
    }

    /// Follows the task without bringing its results home. Returns how it ended; `None` for one that
    /// has not, when only what there is [so far](Self::so_far) is wanted.
    ///
    /// # Errors
    /// As awaiting the results. A task that was cancelled before it was started is one of kind
    /// [`Cancelled`](ErrorKind::Cancelled).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the task as it is.
    pub async fn watch(mut self) -> Result<Option<Outcome>, Error> {
        self.bring = Some(Bring::Nothing);
        let host = self.host.clone();
        let mut link = self.link(&host).await?;
        let mut execution = self.execution(&host, None);
        let ended = ended(Box::pin(execution.run(&mut link)).await?)?;
        if let Some(warning) = ended.report.as_ref().and_then(left) {
            execution.event(Event::Warning(warning));
        }
        Ok((!ended.is_running).then(|| outcome(ended.report.as_ref())))
    }

    async fn execute(mut self) -> Result<Results, Error> {
        // A geto that was killed has left what it had brought; the host has all of it.
        let place = self.fleet.local_work_path();
        remove_partials_of_gone(place, self.id).map_err(|error| {
            let message = format!("failed to clear up in `{}`", place.display());
            Error::new(ErrorKind::Local, message).of_task(self.id).caused_by(error)
        })?;
        let store = Store::create(self.fleet.local_work_path(), self.id, self.max_results)?;
        let destination = Destination {
            into: self.into.take(),
            overwrite: self.overwrite,
            keep: self.keep,
            // Who goes on with a batch has not asked for what is there, and may find it half done.
            again: self.batch.is_some(),
            claims: self.batch.as_ref().and_then(|batch| batch.claims.clone()),
        };
        let host = self.host.clone();
        let mut link = self.link(&host).await?;
        let mut execution = self.execution(&host, Some(store));
        let ended = ended(execution.run(&mut link).await?)?;
        execution.finish(&mut link, ended, &destination).await
    }

    async fn link<'h>(&mut self, host: &'h Host) -> Result<Link<'h>, Error>
    where
        'a: 'h,
    {
        if let Some(follow) = &mut self.follow {
            follow(Event::Connecting { host: host.name.clone() });
        }
        let begun = Instant::now();
        let transport = self.fleet.connect(host).await?;
        if let Some(follow) = &mut self.follow {
            follow(Event::Connected { host: host.name.clone(), login: begun.elapsed() });
        }
        Ok(Link::new(self.fleet, host, transport, false, self.reconnect))
    }

    fn execution<'h>(self, host: &'h Host, store: Option<Store>) -> Execution<'h>
    where
        'a: 'h,
    {
        // Results hold all of the output, whatever is shown of it.
        let wanted = |from: OutputFrom| match store {
            Some(_) => Offset::Byte(0),
            None => from.offset(),
        };
        Execution {
            host,
            id: self.id,
            script: String::new(),
            order: None,
            wish: Wish {
                stdout: wanted(self.stdout),
                stderr: wanted(self.stderr),
                bring: self.bring,
                until: self.until,
            },
            progress: Progress {
                shown: match store {
                    Some(_) => [self.stdout, self.stderr].map(Shown::of),
                    None => [Shown::All; 2],
                },
                ..Progress::default()
            },
            store,
            follow: self.follow.unwrap_or_else(|| Box::new(drop)),
            cancel: self.cancel.subscribe(),
            unpacking: None,
            batch: self.batch,
        }
    }
}

/// Which part of the output that comes is told to who follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Shown {
    #[default]
    All,
    /// What the task writes from now on; where that begins is not known yet.
    Later,
    /// What comes from this byte on.
    From(u64),
    Nothing,
}

impl Shown {
    fn of(from: OutputFrom) -> Self {
        match from {
            OutputFrom::Beginning | OutputFrom::Tail(_) => Self::All,
            OutputFrom::Now => Self::Later,
            OutputFrom::Nowhere => Self::Nothing,
        }
    }

    /// So much was written when the task was attached to.
    pub(super) fn settle(&mut self, size: u64) {
        if *self == Self::Later {
            *self = Self::From(size);
        }
    }

    /// Returns what is shown of `bytes`, which begin at byte `at`.
    pub(super) fn part(self, at: u64, mut bytes: Bytes) -> Option<Bytes> {
        let from = match self {
            Self::All => 0,
            Self::From(from) => from,
            Self::Later | Self::Nothing => return None,
        };
        let hidden = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX);
        let shown = bytes.split_off(hidden.min(bytes.len()));
        (!shown.is_empty()).then_some(shown)
    }
}

impl<'a> IntoFuture for Attach<'a> {
    type Output = Result<Results, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.execute())
    }
}

impl fmt::Debug for Attach<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attach").field("id", &self.id).finish_non_exhaustive()
    }
}

fn ended(done: Done) -> Result<Ended, Error> {
    match done {
        Done::Ended(ended) => Ok(*ended),
        Done::Left(_) => Err(Error::new(ErrorKind::Lost, "the task was left")),
    }
}
