//! The same task on each of several hosts, at once.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use geto_core::{Host, Task, TaskId};
use tokio::sync::{Semaphore, watch};

use super::{Canceller, Event, Prepared, RECONNECT, Results, execute};
use crate::transport::Transport;
use crate::{Error, ErrorKind, Fleet};

/// How many hosts run the task at once, unless told otherwise.
const FANOUT: usize = 64;
/// How long a host that does not answer keeps others from their turn.
const SLOW: Duration = Duration::from_secs(1);

/// The directory for the files of a host.
type IntoDir<'a> = Box<dyn Fn(&Host) -> PathBuf + Send + Sync + 'a>;
type Follow<'a> = Box<dyn FnMut(EachEvent<'_>) + Send + 'a>;

/// A task about to run on each of several hosts: settle the details, then await it.
///
/// It takes no slot anywhere, and waits for none. Awaiting it gives a [`HostResult`] for each host,
/// in the order in which they were given. It fails as a whole only before anything was run: when
/// the task or something that belongs to it can't be read.
///
/// # Cancel safety
/// As [`Run`](crate::Run): dropping the future leaves tasks running that were started, and starts
/// no others.
#[must_use = "nothing runs until this is awaited"]
pub struct RunEach<'a> {
    fleet: &'a Fleet,
    task: Task,
    hosts: Vec<Host>,
    fanout: usize,
    into: Option<IntoDir<'a>>,
    overwrite: bool,
    keep: bool,
    reconnect: Duration,
    follow: Option<Follow<'a>>,
    cancel: watch::Sender<bool>,
}

/// How a task went on one of several hosts.
#[derive(Debug)]
#[non_exhaustive]
pub struct HostResult {
    /// The host's name.
    pub host: String,
    /// The id of the task's instance there.
    pub id: TaskId,
    /// What it brought home, or why it brought nothing.
    pub result: Result<Results, Error>,
}

impl HostResult {
    /// Whether the script ended with exit code 0.
    pub fn success(&self) -> bool {
        self.result.as_ref().is_ok_and(|results| results.outcome.success())
    }
}

/// Something that happened on one of several hosts.
#[derive(Debug)]
#[non_exhaustive]
pub enum EachEvent<'e> {
    /// What [`Run::follow`](crate::Run::follow) would tell.
    Event {
        /// The host's name.
        host: &'e str,
        /// What happened.
        event: Event,
    },
    /// Nothing more comes from this host.
    Done(&'e HostResult),
}

impl<'a> RunEach<'a> {
    pub(crate) fn new(fleet: &'a Fleet, task: &Task, hosts: Vec<Host>) -> Self {
        let mut task = task.clone();
        (task.slots, task.gpus) = (0, 0);
        let (cancel, _) = watch::channel(false);
        Self {
            fleet,
            task,
            hosts,
            fanout: FANOUT,
            into: None,
            overwrite: false,
            keep: false,
            reconnect: RECONNECT,
            follow: None,
            cancel,
        }
    }

    /// On how many hosts the task runs at once, at least one; 64 by default. A host that does not
    /// answer within a second counts again once it does.
    pub fn fanout(mut self, hosts: usize) -> Self {
        self.fanout = hosts.max(1);
        self
    }

    /// Puts the files of each host into the directory that `directory` gives for it (made when
    /// missing) instead of `<local_work_path>/<id>/files/`.
    pub fn into_dirs(mut self, directory: impl Fn(&Host) -> PathBuf + Send + Sync + 'a) -> Self {
        self.into = Some(Box::new(directory));
        self
    }

    /// Whether files in those directories may be replaced; false by default.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether the task's directories stay on the hosts after the results are home; false by
    /// default.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// For how long a broken link is made again, as [`Run::reconnect`](crate::Run::reconnect).
    pub fn reconnect(mut self, time: Duration) -> Self {
        self.reconnect = time;
        self
    }

    /// Tells `follow` what happens as it happens. It is called from the future, for one host at a
    /// time, and holds up all of them while it runs.
    pub fn follow(mut self, follow: impl FnMut(EachEvent<'_>) + Send + 'a) -> Self {
        self.follow = Some(Box::new(follow));
        self
    }

    /// Returns a handle that ends the task on all hosts, and starts it on no other.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.cancel.clone())
    }

    async fn execute(self) -> Result<Vec<HostResult>, Error> {
        let Self { fleet, task, hosts, fanout, into, overwrite, keep, reconnect, follow, cancel } =
            self;
        if hosts.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "there are no hosts to run on"));
        }
        let prepared = Prepared::of(&task, fleet.local_work_path()).await?;
        let turns = Semaphore::new(fanout);
        let follow = Mutex::new(follow.unwrap_or_else(|| Box::new(|_| {})));
        let all =
            All { fleet, task, prepared, turns, into, overwrite, keep, reconnect, follow, cancel };
        let all = &all;
        let running: FuturesUnordered<_> = hosts
            .into_iter()
            .enumerate()
            .map(|(index, host)| async move { (index, Box::pin(all.run(host)).await) })
            .collect();
        let mut results: Vec<_> = running.collect().await;
        results.sort_by_key(|(index, _)| *index);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }
}

/// What the hosts share.
struct All<'a> {
    fleet: &'a Fleet,
    task: Task,
    prepared: Prepared,
    turns: Semaphore,
    into: Option<IntoDir<'a>>,
    overwrite: bool,
    keep: bool,
    reconnect: Duration,
    follow: Mutex<Follow<'a>>,
    cancel: watch::Sender<bool>,
}

impl All<'_> {
    async fn run(&self, host: Host) -> HostResult {
        let run = self.fleet.run_on(&self.task, host.clone());
        let mut run = run.overwrite(self.overwrite).keep(self.keep).reconnect(self.reconnect);
        run.into = self.into.as_ref().map(|into| into(&host));
        run.prepared = Some(self.prepared.clone());
        run.cancel = self.cancel.clone();
        let id = run.id();
        let name = host.name.clone();
        let result = async {
            let (transport, _turn) = self.reach(&host, id).await?;
            run.transport = Some(transport);
            run.follow(|event| self.tell(&name, event)).await
        };
        let result = HostResult { host: name.clone(), id, result: result.await };
        self.pass_on(EachEvent::Done(&result));
        result
    }

    /// Connects to `host` when it is its turn.
    async fn reach(
        &self,
        host: &Host,
        id: TaskId,
    ) -> Result<(Arc<dyn Transport>, impl Drop), Error> {
        let mut cancelled = self.cancel.subscribe();
        let connected = async {
            let turn = self.turn().await;
            self.tell(&host.name, Event::Connecting { host: host.name.clone() });
            let begun = Instant::now();
            let connecting = self.fleet.connect(host);
            tokio::pin!(connecting);
            let (transport, turn) = tokio::select! {
                transport = &mut connecting => (transport?, turn),
                () = tokio::time::sleep(SLOW) => {
                    drop(turn);
                    (connecting.await?, self.turn().await)
                }
            };
            let login = begun.elapsed();
            self.tell(&host.name, Event::Connected { host: host.name.clone(), login });
            Ok((transport, turn))
        };
        tokio::select! {
            connected = connected => connected,
            () = execute::cancelled(&mut cancelled) => {
                let message = "the task was cancelled before it was started";
                Err(Error::new(ErrorKind::Cancelled, message).on_host(&host.name).of_task(id))
            }
        }
    }

    async fn turn(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.turns.acquire().await.expect("nobody closes it")
    }

    fn tell(&self, host: &str, event: Event) {
        self.pass_on(EachEvent::Event { host, event });
    }

    fn pass_on(&self, event: EachEvent<'_>) {
        (self.follow.lock().unwrap_or_else(PoisonError::into_inner))(event);
    }
}

impl fmt::Debug for RunEach<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.hosts.len();
        f.debug_struct("RunEach").field("hosts", &hosts).finish_non_exhaustive()
    }
}

impl<'a> IntoFuture for RunEach<'a> {
    type Output = Result<Vec<HostResult>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.execute())
    }
}
