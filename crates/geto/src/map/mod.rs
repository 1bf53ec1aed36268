//! Many tasks over the hosts of a fleet.
//!
//! ```text
//! jobs ──feed──▶ Plan ──Start──▶ attempt: Run in a session that stays ──▶ Results
//!                  ▲                 │ started, silent, heard, ended         │
//!                  └─────────────────┴──── Final ──▶ MapEvent::Done ──▶ host forgets
//! ```
//!
//! The decisions are those of [`plan`]. What is read and written besides, [`inputs`] and [`joblog`],
//! is the caller's.

mod attempt;
mod feed;
mod forget;
mod handles;
mod places;
mod runner;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use geto_core::{Host, ScriptBody, Task, TaskId};
use tokio::sync::watch;

pub use geto_core::map::plan::{Counts, Fate, Interruption, Policy, StopReason};
pub use geto_core::map::{inputs, joblog, key, limit, plan, template};

use crate::run::{Event, Results};
use crate::{Error, Fleet};

/// Adds to a key what a task is sent: the content of its dependencies, their names and modes. For
/// `--resume-key content`; it reads all of it.
///
/// # Errors
/// When something can't be read.
pub fn content_key(key: key::Key, task: &Task) -> Result<key::Key, Error> {
    let digest = crate::stage::digest(&task.dependencies)?;
    let script = match task.script.body() {
        ScriptBody::Text(text) => text.as_slice(),
        _ => &[],
    };
    Ok(key.with_content([script, &digest]))
}

type Jobs<J> = Box<dyn Iterator<Item = Result<(u64, J), Error>> + Send>;
type Make<'a, J> = Box<dyn Fn(&J, &MapPlace<'_>) -> Result<MapOrder, Error> + Send + Sync + 'a>;
type Keep = Box<dyn FnMut() -> Result<(), Error> + Send>;
type Follow<'a, J> = Box<dyn FnMut(MapEvent<'_, J>) + Send + 'a>;

/// Where and as what a job is about to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapPlace<'p> {
    /// The number of the job.
    pub sequence: u64,
    /// Which attempt at it this is, from 1.
    pub attempt: u32,
    /// The name of the host.
    pub host: &'p str,
    /// Which of the tasks that this batch runs there at once, from 1.
    pub slot: u32,
}

impl<'p> MapPlace<'p> {
    /// A place for the first attempt at a job.
    pub fn new(sequence: u64, host: &'p str, slot: u32) -> Self {
        Self { sequence, attempt: 1, host, slot }
    }
}

/// What is run of a job.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MapOrder {
    /// The task.
    pub task: Task,
    /// Where its files go; `<local_work_path>/<id>/files/` when `None`.
    pub into: Option<PathBuf>,
    /// What the task is recognised by on its host, should another process look for it: letters and
    /// digits, at most 256. None by default.
    pub tag: Option<String>,
    /// A task that another process has started for the same job, and its host: it is followed to its end
    /// instead of a new one, whatever host was chosen.
    pub takes_over: Option<(Host, TaskId)>,
}

impl MapOrder {
    /// Makes one whose files stay with its results.
    pub fn new(task: Task) -> Self {
        Self { task, into: None, tag: None, takes_over: None }
    }
}

/// Something that happened in a batch.
#[derive(Debug)]
#[non_exhaustive]
pub enum MapEvent<'e, J> {
    /// A host has told how many tasks it takes.
    Host {
        /// The host's name.
        host: &'e str,
        /// How many of this batch run there at once.
        slots: u32,
    },
    /// An attempt is given to a host.
    Attempt {
        /// The job.
        job: &'e J,
        /// Where.
        place: MapPlace<'e>,
        /// The id of the task's instance.
        id: TaskId,
    },
    /// What [`Run::follow`](crate::Run::follow) would tell of an attempt.
    Event {
        /// The job.
        job: &'e J,
        /// Where it runs.
        place: MapPlace<'e>,
        /// What happened.
        event: Event,
    },
    /// An attempt came to nothing that counts, and the job is tried again.
    Repeated {
        /// The job.
        job: &'e J,
        /// What was tried.
        tried: &'e Tried,
    },
    /// A job is done with. Its host forgets it, and removes what it holds of it, once this was told
    /// and [kept](Map::keep_told).
    Done(&'e MapDone<'e, J>),
    /// What [`Interrupter::interrupt`] does.
    Interrupted(Interruption),
    /// No more jobs are started.
    Stopped(StopReason),
    /// Nor are they for this reason: no more of them can be read, or what was told of them can't be
    /// [kept](Map::keep_told). Told once; [`MapReport::failure`] is the same.
    Failed(&'e Error),
    /// A host takes far longer for its tasks than others do: it gets none for a while, then one that tries
    /// it.
    Slow {
        /// The host's name.
        host: &'e str,
        /// For how long it rests.
        rest: Duration,
    },
    /// A moment has passed: counts and hosts, for who shows them.
    Progress {
        /// How many jobs came to what.
        counts: Counts,
        /// The hosts.
        hosts: &'e [MapHost],
    },
}

/// How an attempt went.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tried {
    /// The number of the job.
    pub sequence: u64,
    /// Which attempt at it this was, from 1.
    pub attempt: u32,
    /// The host's name.
    pub host: String,
    /// The id of the task's instance.
    pub id: Option<TaskId>,
    /// What it brought home, or why it brought nothing.
    pub result: Result<Results, Error>,
}

/// A job that is done with.
#[derive(Debug)]
#[non_exhaustive]
pub struct MapDone<'e, J> {
    /// The number of the job.
    pub sequence: u64,
    /// The job.
    pub job: &'e J,
    /// What became of it.
    pub fate: Fate,
    /// The host of the attempt that decided it, or of the last one.
    pub host: &'e str,
    /// That attempt; none where it did not come to an end here.
    pub tried: Option<&'e Tried>,
}

/// A host of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapHost {
    /// Its name.
    pub name: String,
    /// How many tasks of the batch run there at once.
    pub slots: u32,
    /// How many run there now.
    pub running: usize,
    /// How many attempts have ended there by themselves.
    pub ended: u64,
    /// For how long its slots were taken, all together.
    pub busy: Duration,
    /// Whether it failed, or is slow, and gets no task for a while.
    pub is_resting: bool,
    /// Whether others have its slots: one task waits in line there.
    pub is_full: bool,
    /// Whether it takes far longer for its tasks than others do.
    pub is_slow: bool,
}

/// What a batch came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct MapReport {
    /// How many jobs came to what.
    pub counts: Counts,
    /// The hosts, in the order in which they were given.
    pub hosts: Vec<MapHost>,
    /// How long it took.
    pub time: Duration,
    /// Why no more jobs were started, if it is not that there were none.
    pub stopped: Option<StopReason>,
    /// Why no more jobs could be read, or what was told of them not be kept.
    pub failure: Option<Error>,
}

/// Many tasks about to run on hosts: settle the details, then await a [`MapReport`].
///
/// Jobs are numbered values of the caller's, which are made tasks of once a host is chosen. They are
/// taken from their iterator as hosts have room, on a thread that may wait for a pipe or a disk: some
/// 64 are read ahead, and those that are done with are forgotten. Each job that was taken comes to
/// one [`MapEvent::Done`].
///
/// A session stays open for each task that runs at once, and the next task is sent in it.
///
/// # Cancel safety
/// Dropping the future leaves tasks running that were started, as dropping a [`Run`](crate::Run).
#[must_use = "nothing runs until this is awaited"]
pub struct Map<'a, J> {
    fleet: &'a Fleet,
    hosts: Vec<Host>,
    jobs: Jobs<J>,
    make: Make<'a, J>,
    policy: Policy,
    per_host: Option<u32>,
    slots_each: u32,
    total: Option<u64>,
    overwrite: bool,
    keep: bool,
    follow: Option<Follow<'a, J>>,
    kept: Option<Keep>,
    interrupts: watch::Sender<u32>,
}

/// Interrupts a [`Map`], from anywhere.
#[derive(Debug, Clone)]
pub struct Interrupter(watch::Sender<u32>);

impl Interrupter {
    /// Goes a step further each time: starts no more tasks, ends those that run, leaves them as they
    /// are. [`MapEvent::Interrupted`] tells which.
    pub fn interrupt(&self) {
        self.0.send_modify(|times| *times = times.saturating_add(1));
    }
}

impl<'a, J: Send + Sync + 'static> Map<'a, J> {
    pub(crate) fn new(
        fleet: &'a Fleet,
        hosts: Vec<Host>,
        jobs: impl Iterator<Item = Result<(u64, J), Error>> + Send + 'static,
        make: impl Fn(&J, &MapPlace<'_>) -> Result<MapOrder, Error> + Send + Sync + 'a,
    ) -> Self {
        Self {
            fleet,
            hosts,
            jobs: Box::new(jobs),
            make: Box::new(make),
            policy: Policy::default(),
            per_host: None,
            slots_each: 1,
            total: None,
            overwrite: false,
            keep: false,
            follow: None,
            kept: None,
            interrupts: watch::channel(0).0,
        }
    }

    /// What it goes by; see [`Policy`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How many tasks of this batch run on each host at once, at least 1; as many as it has slots by
    /// default. The host's own limits hold all the same.
    pub fn per_host(mut self, tasks: u32) -> Self {
        self.per_host = Some(tasks.max(1));
        self
    }

    /// How many slots of its host each task takes, as [`Task::slots`] says; 1 by default.
    pub fn slots_each(mut self, slots: u32) -> Self {
        self.slots_each = slots;
        self
    }

    /// How many jobs there are in all, where that is known.
    pub fn total(mut self, jobs: u64) -> Self {
        self.total = Some(jobs);
        self
    }

    /// Whether files in the directories of [`MapOrder::into`] may be replaced that were there before;
    /// false by default. Of two jobs that leave the same path there, the second always fails with an
    /// error of kind [`Results`](crate::ErrorKind::Results), before any of its files is put there.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether the tasks' directories stay on the hosts after the results are home; false by default.
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Tells `follow` what happens as it happens. It is called from the future, for one task at a
    /// time, and holds up all of them while it runs.
    pub fn follow(mut self, follow: impl FnMut(MapEvent<'_, J>) + Send + 'a) -> Self {
        self.follow = Some(Box::new(follow));
        self
    }

    /// Has `keep` called to keep what was told of jobs that are [done](MapEvent::Done), as by a sync of
    /// a log: on a thread that may wait for a disk, once for all that was told since the last call. A
    /// host forgets a task only after a call that began later than that was told, and succeeded. When
    /// one fails, no more jobs are started, and it is tried again with those that end after that.
    pub fn keep_told(mut self, keep: impl FnMut() -> Result<(), Error> + Send + 'static) -> Self {
        self.kept = Some(Box::new(keep));
        self
    }

    /// Returns a handle that interrupts it.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.interrupts.clone())
    }
}

impl<J> fmt::Debug for Map<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.hosts.len();
        f.debug_struct("Map").field("hosts", &hosts).finish_non_exhaustive()
    }
}

impl<'a, J: Send + Sync + 'static> IntoFuture for Map<'a, J> {
    type Output = Result<MapReport, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(runner::run(self))
    }
}
