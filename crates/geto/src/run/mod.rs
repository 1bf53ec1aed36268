//! One task on one host, end to end.

mod attach;
mod candidate;
mod choose;
mod each;
mod event;
mod execute;
mod failure;
mod files;
mod fill;
mod finish;
mod hear;
mod input;
mod link;
mod record;
mod report;
mod send;
mod store;
mod wake;
mod warm;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use std::sync::Arc;
use std::time::Duration;

use geto_core::select::Pick;
use geto_core::wire::{From as Offset, Patience};
use geto_core::{Host, Task, TaskId};
use tokio::sync::watch;

use self::choose::{Choice, Chosen};
use self::execute::{Done, Execution, Progress, Until, Wish};
use self::finish::Destination;
use self::input::Input;
use self::link::Link;
use self::record::Record;
use self::send::Order;
use self::store::Store;

pub use attach::{Attach, OutputFrom};
pub(crate) use candidate::reason;
pub use each::{EachEvent, HostResult, RunEach};
pub use event::Event;
pub(crate) use failure::outcome;
pub use report::{FilesHome, Results};
pub(crate) use warm::{Batch, Warm};

use crate::cache::Staged;
use crate::transport::Transport;
use crate::{Error, ErrorKind, Fleet};

/// A task about to run on a host: settle the details, then await it.
///
/// Nothing happens before it is awaited.
///
/// # Cancel safety
/// Dropping the future after the task has started leaves the task running on its host, as killing
/// the process would: its output, outcome and files stay there. To end the task, keep a
/// [`Canceller`] and call [`cancel`](Canceller::cancel). Dropped before the start, the task is not
/// started.
#[must_use = "nothing runs until this is awaited"]
pub struct Run<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) task: &'a Task,
    pub(crate) target: Target,
    pub(crate) id: TaskId,
    pub(crate) into: Option<PathBuf>,
    pub(crate) overwrite: bool,
    pub(crate) keep: bool,
    pub(crate) patience: Patience,
    pub(crate) follow: Option<Box<dyn FnMut(Event) + Send + 'a>>,
    pub(crate) cancel: watch::Sender<bool>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    /// It is the caller's: there is no other way to the host.
    pub(crate) is_own_transport: bool,
    pub(crate) reconnect: Duration,
    /// What was read here already, when the task runs on more than one host.
    pub(crate) prepared: Option<Prepared>,
    /// What it belongs to, when it is one of many.
    pub(crate) batch: Option<Batch>,
}

/// For how long a broken link is made again, unless told otherwise.
pub(crate) const RECONNECT: Duration = Duration::from_secs(600);

/// What is read here before a task is sent.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    input: Input,
    staged: Staged,
}

impl Prepared {
    /// Checks the task, and reads what belongs to it.
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage), when something can't be read or sent.
    async fn of(task: &Task, local_work_path: &Path) -> Result<Self, Error> {
        let invalid =
            |error| Error::new(ErrorKind::Usage, "the task can't be run").caused_by(error);
        task.check().map_err(invalid)?;
        Ok(Self { input: Input::of(task).await?, staged: Staged::of(task, local_work_path).await? })
    }
}

/// Where a task is to run.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Host(Box<Host>),
    /// As [`Fleet::select`] takes it: one host.
    Word(String),
    /// One of these.
    Among(Vec<Host>, Pick),
}

impl Target {
    /// Returns the hosts that come into question, at least one, and how one is picked.
    async fn candidates(self, fleet: &Fleet) -> Result<(Vec<Host>, Pick), Error> {
        let usage = |message: String| Error::new(ErrorKind::Usage, message);
        match self {
            Self::Host(host) => Ok((vec![*host], Pick::First)),
            Self::Among(hosts, _) if hosts.is_empty() => {
                Err(usage("there are no hosts to choose from".to_owned()))
            }
            Self::Among(hosts, pick) => Ok((hosts, pick)),
            Self::Word(word) => {
                let hosts = fleet.select(&[word], &[]).await?;
                match hosts.len() {
                    1 => Ok((hosts, Pick::First)),
                    count => Err(usage(format!("one host is to be named, and these are {count}"))),
                }
            }
        }
    }
}

/// What a run comes to.
enum Went {
    Home(Results),
    Left(Detached),
}

/// A task that was started and left to its host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detached {
    /// The task.
    pub id: TaskId,
    /// The host's name.
    pub host: String,
    /// The task's directory there.
    pub directory: String,
}

/// Ends the task of a [`Run`], from anywhere.
#[derive(Debug, Clone)]
pub struct Canceller(watch::Sender<bool>);

impl Canceller {
    /// Ends the task and all its processes: TERM, then KILL after 10 s. The run then returns
    /// results with the outcome [`Cancelled`](crate::Outcome::Cancelled); a task that has not
    /// started yet is not started. Later calls change nothing.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl<'a> Run<'a> {
    /// The id of the task's instance.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Uses `transport` instead of connecting to the host: a live connection, or a way of one's own.
    /// Nothing is told of connecting then.
    pub fn over(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self.is_own_transport = true;
        self
    }

    /// For how long a link that breaks after the task was sent is made again, counted from the first
    /// try that fails, and anew when this machine has slept or the process was stopped; 10 minutes by
    /// default. Zero is never. The task goes on meanwhile, and what it
    /// wrote is not lost when the time is over: the run then fails with an error of kind
    /// [`Lost`](ErrorKind::Lost), and the host keeps all.
    pub fn reconnect(mut self, time: Duration) -> Self {
        self.reconnect = time;
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

    /// Whether the task's directory stays on the host after the results are home; false by default.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// How long the task waits when no slot is free; as long as it takes by default. After that the
    /// run fails with an error of kind [`Full`](ErrorKind::Full).
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Tells `follow` what happens as it happens, the task's output included. It is called from
    /// the future and holds it up while it runs.
    pub fn follow(mut self, follow: impl FnMut(Event) + Send + 'a) -> Self {
        self.follow = Some(Box::new(follow));
        self
    }

    /// Starts the task and leaves it to its host, where [`Fleet::attach`] finds it again, from here
    /// or elsewhere. Returns once its script has been started, which a task that waits for a slot
    /// takes its time for.
    ///
    /// # Errors
    /// As awaiting the run, up to there.
    ///
    /// # Cancel safety
    /// As awaiting the run: it may have been started.
    pub async fn detach(self) -> Result<Detached, Error> {
        let id = self.id;
        match Box::pin(self.execute(Until::Start)).await? {
            Went::Left(detached) => Ok(detached),
            Went::Home(results) => {
                let message = "the task ended before it was seen to start";
                Err(Error::new(ErrorKind::NotStarted, message).on_host(results.host).of_task(id))
            }
        }
    }

    /// Returns a handle that ends the task.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.cancel.clone())
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'a> IntoFuture for Run<'a> {
    type Output = Result<Results, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async {
            match self.execute(Until::End).await? {
                Went::Home(results) => Ok(results),
                Went::Left(_) => Err(Error::new(ErrorKind::Lost, "the task was left")),
            }
        })
    }
}

impl Run<'_> {
    async fn execute(mut self, until: Until) -> Result<Went, Error> {
        let (hosts, pick) = self.target.clone().candidates(self.fleet).await?;
        let Prepared { input, staged } = match self.prepared.take() {
            Some(prepared) => prepared,
            None => Prepared::of(self.task, self.fleet.local_work_path()).await?,
        };
        let store = Store::create(self.fleet.local_work_path(), self.id, self.task.max_results)?;
        let record = Record::of(self.id, self.fleet);
        let mut follow = self.follow.take().unwrap_or_else(|| Box::new(drop));
        let mut cancel = self.cancel.subscribe();
        let destination = Destination {
            into: self.into.take(),
            overwrite: self.overwrite,
            keep: self.keep,
            again: false,
            claims: self.batch.as_ref().and_then(|batch| batch.claims.clone()),
        };
        let transport = self.transport.take();
        let is_own = self.is_own_transport;
        let Self { fleet, task, id, patience, .. } = self;
        let choice = Choice { fleet, task, id, patience };
        let chosen = tokio::select! {
            chosen = choice.make(hosts, pick, transport, &mut follow) => chosen?,
            () = execute::cancelled(&mut cancel) => {
                let message = "the task was cancelled before it was started";
                return Err(Error::new(ErrorKind::Cancelled, message).of_task(self.id));
            }
        };
        let Chosen { host, transport, session } = chosen;
        let session = session.or_else(|| {
            let mut session = self.batch.as_ref()?.warm.take()?;
            session.renew();
            Some(session)
        });
        let follow = record.start(self.task, &host, destination.keep, follow).await;
        let mut link = Link::new(self.fleet, &host, transport, is_own, self.reconnect);
        let mut execution = Execution {
            host: &host,
            id: self.id,
            script: self.task.script.name().to_owned(),
            order: Some(Order {
                task: self.task,
                input,
                staged,
                patience: self.patience,
                detached: until == Until::Start,
                session,
            }),
            wish: Wish { stdout: Offset::Byte(0), stderr: Offset::Byte(0), bring: None, until },
            store: Some(store),
            follow,
            cancel,
            progress: Progress::default(),
            unpacking: None,
            batch: self.batch.take(),
        };
        let ended = match execution.run(&mut link).await {
            Ok(Done::Left(directory)) => {
                record.leave(&mut execution.follow).await;
                return Ok(Went::Left(Detached {
                    id: self.id,
                    host: host.name.clone(),
                    directory,
                }));
            }
            Ok(Done::Ended(ended)) => execution.finish(&mut link, *ended, &destination).await,
            Err(error) => Err(error),
        };
        record.end(&ended, destination.keep, &mut execution.follow).await;
        ended.map(Went::Home)
    }
}
