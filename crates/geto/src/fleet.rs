//! All the hosts that this machine knows, and ways to run tasks on them.

use std::path::PathBuf;

use geto_core::{Host, Task, TaskId};
use tokio::sync::watch;

use crate::probe::{self, HostStatus};
use crate::stage::{Plan, StagePlan};
use crate::transport::ConnectOptions;
use crate::{Error, ErrorKind, Run};

/// All the hosts that this machine knows.
#[derive(Debug, Clone)]
pub struct Fleet {
    hosts: Vec<Host>,
    local_work_path: PathBuf,
    connect_options: ConnectOptions,
}

impl Fleet {
    /// Makes a fleet of `hosts`, which keeps results under `local_work_path`.
    pub fn new(hosts: impl IntoIterator<Item = Host>, local_work_path: impl Into<PathBuf>) -> Self {
        Self {
            hosts: hosts.into_iter().collect(),
            local_work_path: local_work_path.into(),
            connect_options: ConnectOptions::default(),
        }
    }

    /// The hosts, in the order of the configuration.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Where results are kept here.
    pub fn local_work_path(&self) -> &std::path::Path {
        &self.local_work_path
    }

    /// How hosts are connected to.
    pub fn connect_options(&self) -> &ConnectOptions {
        &self.connect_options
    }

    /// Says how hosts are connected to.
    #[must_use]
    pub fn with_connect_options(mut self, options: ConnectOptions) -> Self {
        self.connect_options = options;
        self
    }

    /// Connects to `host` and asks what it is like. It leaves nothing there but the work path.
    ///
    /// # Errors
    /// When the host can't be reached or logged into, or its shell does not do what geto needs.
    ///
    /// # Cancel safety
    /// A call that is dropped closes its connection.
    pub async fn probe(&self, host: &Host) -> Result<HostStatus, Error> {
        probe::probe(host, &self.connect_options).await
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

    /// Runs `task` on the host called `name`; await the result.
    pub fn run_on_host<'a>(&'a self, task: &'a Task, name: &str) -> Run<'a> {
        let host = self.hosts.iter().find(|host| host.name == name).cloned();
        let host = host
            .ok_or_else(|| Error::new(ErrorKind::Usage, format!("the fleet has no host `{name}`")));
        let (cancel, _) = watch::channel(false);
        Run {
            fleet: self,
            task,
            host,
            id: TaskId::from_bits(getrandom::u64().unwrap_or_default()),
            into: None,
            overwrite: false,
            keep: false,
            follow: None,
            cancel,
            transport: None,
        }
    }
}
