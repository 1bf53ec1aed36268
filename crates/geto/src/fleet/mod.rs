//! All the hosts that this machine knows, and ways to run tasks on them.

mod aliases;
mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use geto_core::config::Settings;
use geto_core::select::{Known, Pick, SelectError, possible_aliases, select};
use geto_core::wire::Patience;
use geto_core::{Host, Task, TaskId};
use tokio::sync::watch;

use self::aliases::SshAliases;
use crate::cache::{self, Caches};
use crate::ledger::{Ledger, LedgerWriter};
use crate::map::{Map, MapOrder, MapPlace};
use crate::probe::{self, Checkup, HostStatus, Observer};
use crate::run::Target;
use crate::stage::{Plan, StagePlan};
use crate::tasks::{self, HostTask, Removal};
use crate::transport::{ConnectOptions, Pool, Transport};
use crate::{Attach, Error, ErrorKind, Run, RunEach};

/// All the hosts that this machine knows.
///
/// A fleet keeps its connections, and its clones share them: tasks on one host run on one
/// connection, and on more only where the server takes no further channel. All end with the last
/// clone of the fleet, and with what runs on them.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use geto::{Fleet, Host, Script, Task};
///
/// let mut host = Host::local();
/// # host.remote_work_path = dir.path().join("work").display().to_string();
/// let fleet = Fleet::new([host], dir.path().join("results"));
/// let script = Script::from_commands("greet", ["echo Hello, $1", "echo bye >left.txt"]);
/// let task = Task::new(script).arg("world");
/// let results = fleet.run_on_host(&task, "local").await?;
///
/// assert!(results.outcome.success());
/// assert_eq!(results.stdout()?, b"Hello, world\n");
/// let files = results.files.expect("it left one");
/// assert_eq!(std::fs::read(files.directory.join("left.txt"))?, b"bye\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fleet {
    hosts: Vec<Host>,
    settings: Settings,
    config_path: Option<PathBuf>,
    connect_options: ConnectOptions,
    /// Clones share both.
    pool: Arc<Pool>,
    ledger_writer: Arc<LedgerWriter>,
    caches: Arc<Caches>,
}

impl Fleet {
    /// Makes a fleet of `hosts`, which keeps results under `local_work_path`: 30 days, unless
    /// [`with_keep_results`](Self::with_keep_results) says something else.
    pub fn new(hosts: impl IntoIterator<Item = Host>, local_work_path: impl Into<PathBuf>) -> Self {
        Self {
            hosts: hosts.into_iter().collect(),
            settings: Settings::new(local_work_path),
            config_path: None,
            connect_options: ConnectOptions::default(),
            pool: Arc::default(),
            ledger_writer: Arc::default(),
            caches: Arc::default(),
        }
    }

    /// The hosts, in the order of the configuration.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What the section `[geto]` says, or the defaults.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Says how long results are kept under `local_work_path`; `None`: until somebody removes them.
    /// Runs from now on follow it.
    #[must_use]
    pub fn with_keep_results(mut self, keep_results: Option<Duration>) -> Self {
        self.settings.keep_results = keep_results;
        self.ledger_writer = Arc::default();
        self
    }

    /// Says how many bytes of dependencies a host keeps at most, 10 GiB by default; with 0, none are
    /// kept, and each task's are sent with it.
    #[must_use]
    pub fn with_remote_cache_size(mut self, bytes: u64) -> Self {
        self.settings.remote_cache_size = Some(bytes);
        self
    }

    /// The geto.ini that was read, if there is one.
    pub fn config_path(&self) -> Option<&Path> {
        self.config_path.as_deref()
    }

    /// Where results are kept here.
    pub fn local_work_path(&self) -> &Path {
        &self.settings.local_work_path
    }

    /// Opens the ledger of what this machine has started, when there is one.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn ledger(&self) -> Result<Option<Ledger>, Error> {
        Ledger::open_existing(self.local_work_path())
    }

    /// How hosts are connected to.
    pub fn connect_options(&self) -> &ConnectOptions {
        &self.connect_options
    }

    /// Says how hosts are connected to. Connections that were made in another way stay with the
    /// clones of this fleet.
    #[must_use]
    pub fn with_connect_options(mut self, options: ConnectOptions) -> Self {
        self.connect_options = options;
        self.pool = Arc::default();
        self
    }

    /// How many tasks one connection to `host` takes at once (`MaxSessions` of its server), once
    /// the server has refused one more; further connections are made for the rest.
    pub fn max_sessions(&self, host: &Host) -> Option<usize> {
        self.pool.max_sessions(host)
    }

    /// How many of `most` channels more the connection to `host` takes; `None` when it takes all, or
    /// there is none whose channels are counted.
    pub(crate) async fn count_channels(&self, host: &Host, most: usize) -> Option<usize> {
        self.pool.count_channels(host, most).await
    }

    /// The thread that writes to the ledger.
    pub(crate) fn ledger_writer(&self) -> Arc<LedgerWriter> {
        Arc::clone(&self.ledger_writer)
    }

    /// Which hosts are known to have which dependencies.
    pub(crate) fn caches(&self) -> &Caches {
        &self.caches
    }

    /// What is known of the hosts' connections.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns a way to `host`: the fleet's connection to it, made if there is none that lives. Tasks need
    /// none of it; it is for what is done beside them.
    ///
    /// # Errors
    /// When the host can't be reached or logged into.
    ///
    /// # Cancel safety
    /// A call that is dropped leaves the login to others who wait for it, if there are any.
    pub async fn connect(&self, host: &Host) -> Result<Arc<dyn Transport>, Error> {
        self.pool.connect(host, &self.connect_options).await
    }

    /// Returns the hosts that `words` name, without those that `exclude` names; without words, all
    /// hosts of the fleet.
    ///
    /// A word is a name or glob of the fleet, `@tag`, a `Host` of the user's `ssh_config`,
    /// `[user@]addr[:port]`, `ssh://[user@]host[:port]`, `local`, or several of these with commas
    /// in between. Hosts outside the fleet follow its [`settings`](Self::settings).
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage), when a word names no host or none is left.
    ///
    /// # Cancel safety
    /// Nothing is changed anywhere; `ssh -G`, which may be asked, is ended.
    pub async fn select<W: AsRef<str>>(
        &self,
        words: &[W],
        exclude: &[W],
    ) -> Result<Vec<Host>, Error> {
        let asked = possible_aliases(words, &self.hosts);
        let config = self.settings.ssh_config_path.as_deref();
        let aliases = SshAliases::look_up(&asked, config).await;
        let known = Known { hosts: &self.hosts, settings: &self.settings, aliases: &aliases };
        select(words, exclude, &known).map_err(|error| {
            let hint = match &error {
                SelectError::UnknownHost { word, .. } => {
                    Some(format!("if it is an address, write `{word}:22`"))
                }
                _ => None,
            };
            let error = Error::new(ErrorKind::Usage, "failed to choose a host").caused_by(error);
            match hint {
                Some(hint) => error.with_hint(crate::text::printable(hint.as_bytes())),
                None => error,
            }
        })
    }

    /// Asks `host` what it is like, by the fleet's connection to it. It leaves nothing there but work
    /// path and lock path.
    ///
    /// # Errors
    /// When the host can't be reached or logged into, or its shell does not do what geto needs.
    ///
    /// # Cancel safety
    /// A call that is dropped closes its channel.
    pub async fn probe(&self, host: &Host) -> Result<HostStatus, Error> {
        probe::probe(host, self).await
    }

    /// Does what [`probe`](Self::probe) does, and looks for what may harm tasks later.
    ///
    /// # Errors
    /// As [`probe`](Self::probe); the error says what helps.
    ///
    /// # Cancel safety
    /// A call that is dropped closes its channel.
    pub async fn check(&self, host: &Host) -> Result<Checkup, Error> {
        probe::check(host, self).await
    }

    /// Connects to `host`, to ask more than once what it is like.
    ///
    /// # Errors
    /// As [`probe`](Self::probe).
    ///
    /// # Cancel safety
    /// A call that is dropped closes its channel.
    pub async fn observe(&self, host: &Host) -> Result<Observer, Error> {
        probe::observe(host, self).await
    }

    /// Looks at the dependencies of `task` and says what would be sent. Sends nothing.
    ///
    /// # Errors
    /// When the task can't be run, or a dependency can't be sent.
    pub async fn plan(&self, task: &Task) -> Result<Plan, Error> {
        let invalid =
            |error| Error::new(ErrorKind::Usage, "the task can't be run").caused_by(error);
        task.check().map_err(invalid)?;
        Ok(StagePlan::of(task).await?.into_plan())
    }

    /// Runs `task` on the host that `word` names, which [`select`](Self::select) describes; await
    /// the result. A word that names several hosts is an error.
    pub fn run_on_host<'a>(&'a self, task: &'a Task, word: &str) -> Run<'a> {
        self.run(task, Target::Word(word.to_owned()))
    }

    /// Runs `task` on `host`, which need not be of this fleet; await the result.
    pub fn run_on<'a>(&'a self, task: &'a Task, host: Host) -> Run<'a> {
        self.run(task, Target::Host(Box::new(host)))
    }

    /// Runs `task` on the host of the fleet that has the fewest instances of its script's name
    /// relative to its slots; await the result.
    pub fn run_on_balanced_host<'a>(&'a self, task: &'a Task) -> Run<'a> {
        self.run_among(task, self.hosts.clone(), Pick::Balanced)
    }

    /// Runs `task` on a host of the fleet that is picked at random among those with room; await the
    /// result.
    pub fn run_on_random_host<'a>(&'a self, task: &'a Task) -> Run<'a> {
        self.run_among(task, self.hosts.clone(), Pick::Random)
    }

    /// Runs `task` on one of `hosts`, which need not be of this fleet; await the result.
    ///
    /// All are asked at once. One that does not answer within the connect timeout is left out with
    /// a warning; from then on tasks of this fleet are not kept waiting by it: it is asked again
    /// beside them, and comes into question once it answers. Where all are full, the task waits on all of them for the first slot that comes
    /// free.
    pub fn run_among<'a>(&'a self, task: &'a Task, hosts: Vec<Host>, pick: Pick) -> Run<'a> {
        self.run(task, Target::Among(hosts, pick))
    }

    /// Runs `task` on each host of the fleet at once, without a slot; await the results.
    pub fn run_on_each_host<'a>(&'a self, task: &Task) -> RunEach<'a> {
        self.run_on_each(task, self.hosts.clone())
    }

    /// Runs `task` on each of `hosts` at once, which need not be of this fleet, without a slot;
    /// await the results.
    pub fn run_on_each<'a>(&'a self, task: &Task, hosts: Vec<Host>) -> RunEach<'a> {
        RunEach::new(self, task, hosts)
    }

    /// Runs many tasks on `hosts`, which need not be of this fleet: one for each of `jobs`, which `make`
    /// turns into a task once its host is chosen. Await the report.
    ///
    /// Jobs have numbers that no other has. A job that can't be made a task of is not started; an
    /// error among the jobs ends them.
    pub fn map<'a, J: Send + Sync + 'static>(
        &'a self,
        hosts: Vec<Host>,
        jobs: impl Iterator<Item = Result<(u64, J), Error>> + Send + 'static,
        make: impl Fn(&J, &MapPlace<'_>) -> Result<MapOrder, Error> + Send + Sync + 'a,
    ) -> Map<'a, J> {
        Map::new(self, hosts, jobs, make)
    }

    /// Returns the tasks of the login user that live on `host`, from whatever origin: those that run,
    /// that wait, and that have ended and were not removed.
    ///
    /// # Errors
    /// When the host can't be reached or logged into, or its shell does not do what geto needs.
    ///
    /// # Cancel safety
    /// A call that is dropped closes its channel.
    pub async fn tasks(&self, host: &Host) -> Result<Vec<HostTask>, Error> {
        Box::pin(tasks::list(self, host)).await
    }

    /// Follows the task `id` on `host`, which this or another origin has started; await its results.
    pub fn attach(&self, host: Host, id: TaskId) -> Attach<'_> {
        Attach::new(self, host, id)
    }

    /// Removes the task `id` from `host`, with its results there. One that runs is not removed.
    ///
    /// # Errors
    /// When the host can't be reached or logged into, or the task runs or can't be removed. It is no
    /// error when there is no such task.
    ///
    /// # Cancel safety
    /// A call that is dropped may have removed it.
    pub async fn remove(&self, host: &Host, id: TaskId) -> Result<(), Error> {
        Box::pin(tasks::remove(self, host, id)).await
    }

    /// Removes tasks from `host` in one session, those that `removal` names. Returns what came of
    /// each, in the order of `ids`.
    ///
    /// # Cancel safety
    /// A call that is dropped may have removed some.
    pub async fn remove_all(
        &self,
        host: &Host,
        ids: &[TaskId],
        removal: Removal,
    ) -> Vec<Result<(), Error>> {
        Box::pin(tasks::remove_all(self, host, ids, removal)).await
    }

    /// Removes the dependencies that `host` keeps for the login user, but for what tasks use that are
    /// still there. Returns how many bytes were freed, about.
    ///
    /// # Errors
    /// When the host can't be reached, or does not do it.
    pub async fn evict_cache(&self, host: &Host) -> Result<u64, Error> {
        Box::pin(cache::evict(self, host)).await
    }

    fn run<'a>(&'a self, task: &'a Task, target: Target) -> Run<'a> {
        let (cancel, _) = watch::channel(false);
        Run {
            fleet: self,
            task,
            target,
            id: TaskId::from_bits(getrandom::u64().unwrap_or_default()),
            into: None,
            overwrite: false,
            keep: false,
            patience: Patience::Forever,
            follow: None,
            cancel,
            transport: None,
            is_own_transport: false,
            reconnect: crate::run::RECONNECT,
            prepared: None,
            batch: None,
        }
    }
}
