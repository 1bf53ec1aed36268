//! What the ledger knows of a task.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use geto_core::{Host, Outcome, TaskId, TransportKind};

use crate::{Error, ErrorKind, FilesHome, Results};

/// What the ledger knows of a task. Times are by the clock of this machine: since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerEntry {
    /// The task.
    pub id: TaskId,
    /// The script's name.
    pub script: String,
    /// The host, and what it takes to find it again.
    pub host: LedgerHost,
    /// When the task was asked for.
    pub asked: Duration,
    /// When its script started, as far as that was seen.
    pub started: Option<Duration>,
    /// When this machine was done with it: its results were home, or something went wrong.
    pub ended: Option<Duration>,
    /// How long the script ran, measured on the host.
    pub run_time: Option<Duration>,
    /// How the script ended, as far as that was seen.
    pub outcome: Option<Outcome>,
    /// What went wrong with the task, its script apart.
    pub error: Option<ErrorKind>,
    /// The task's directory on the host.
    pub directory: Option<String>,
    /// Where `stdout`, `stderr` and `outcome.json` were put.
    pub results: Option<PathBuf>,
    /// Whether they have been removed since, because of their age.
    pub results_removed: bool,
    /// The files that came home.
    pub files: Option<FilesHome>,
    /// Whether the host still keeps the task; `None` when that is not known.
    pub on_host: Option<bool>,
    /// The most bytes that were to come home; `None` is no limit.
    pub max_results: Option<u64>,
    /// Whether the host was to keep the task after its results are home.
    pub keep: bool,
}

/// A host as the ledger knows it: enough to find it without geto.ini, and no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerHost {
    /// The name that the user called it by.
    pub name: String,
    /// Name or number that was connected to.
    pub address: String,
    /// TCP port.
    pub port: Option<u16>,
    /// The login user.
    pub user: Option<String>,
    /// How geto reached it.
    pub transport: TransportKind,
    /// Where geto worked on it.
    pub remote_work_path: String,
    /// The `ssh_config` that was read instead of the user's own.
    pub ssh_config_path: Option<PathBuf>,
    /// The only known_hosts file that was used.
    pub known_hosts_path: Option<PathBuf>,
    /// A private key that was tried before those of `ssh_config`.
    pub privkey_path: Option<PathBuf>,
}

/// What became of a task; all of it `None` by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LedgerEnd {
    /// When the script started, by the clock of this machine: since 1970.
    pub started: Option<Duration>,
    /// When this machine was done with the task, likewise.
    pub ended: Option<Duration>,
    /// How long the script ran, measured on the host.
    pub run_time: Option<Duration>,
    /// How the script ended.
    pub outcome: Option<Outcome>,
    /// What went wrong with the task, its script apart.
    pub error: Option<ErrorKind>,
    /// Where `stdout`, `stderr` and `outcome.json` are.
    pub results: Option<PathBuf>,
    /// The files that came home.
    pub files: Option<FilesHome>,
    /// Whether the host still keeps the task.
    pub on_host: Option<bool>,
}

/// Which tasks of the ledger are wanted; all by default. A list that is empty lets all pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LedgerFilter {
    /// Ids, what ids begin with, or names of scripts.
    pub tasks: Vec<String>,
    /// Names of hosts; `*`, `?` and `[…]` match as in a shell.
    pub hosts: Vec<String>,
    /// Names of scripts, likewise.
    pub scripts: Vec<String>,
    /// Names that [`LedgerEntry::state`] returns.
    pub states: Vec<String>,
    /// Only tasks that were asked for at this time or later: since 1970.
    pub since: Option<Duration>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

impl LedgerEntry {
    /// What [`state`](Self::state) returns of a task whose end nobody here has seen.
    pub const UNKNOWN: &'static str = "unknown";

    /// Makes the entry of a task that was asked for just now.
    pub fn new(id: TaskId, script: impl Into<String>, host: &Host) -> Self {
        Self {
            id,
            script: script.into(),
            host: LedgerHost::of(host),
            asked: since_1970(),
            started: None,
            ended: None,
            run_time: None,
            outcome: None,
            error: None,
            directory: None,
            results: None,
            results_removed: false,
            files: None,
            on_host: None,
            max_results: None,
            keep: false,
        }
    }

    /// What became of the task, in a word: the [name](ErrorKind::name) of what went wrong, else the
    /// [kind](Outcome::kind) of the outcome, else [`UNKNOWN`](Self::UNKNOWN).
    pub fn state(&self) -> &'static str {
        match (self.error, &self.outcome) {
            (Some(error), _) => error.name(),
            (None, Some(outcome)) => outcome.kind(),
            (None, None) => Self::UNKNOWN,
        }
    }
}

impl LedgerHost {
    /// Returns what the ledger keeps of `host`.
    pub fn of(host: &Host) -> Self {
        Self {
            name: host.name.clone(),
            address: host.address.clone(),
            port: host.port,
            user: host.user.clone(),
            transport: host.transport,
            remote_work_path: host.remote_work_path.clone(),
            ssh_config_path: host.ssh_config_path.clone(),
            known_hosts_path: host.known_hosts_path.clone(),
            privkey_path: host.privkey_path.clone(),
        }
    }

    /// Makes a host that is reached in the same way; what is not kept is left to defaults.
    pub fn to_host(&self) -> Host {
        let mut host = Host::new(&*self.name);
        let Self { address, port, user, transport, remote_work_path, .. } = self.clone();
        (host.address, host.port, host.user, host.transport) = (address, port, user, transport);
        host.remote_work_path = remote_work_path;
        host.ssh_config_path.clone_from(&self.ssh_config_path);
        host.known_hosts_path.clone_from(&self.known_hosts_path);
        host.privkey_path.clone_from(&self.privkey_path);
        host
    }
}

impl LedgerEnd {
    /// Returns what came of a run; `keep` is whether the host was to keep the task all the same.
    pub fn of(ended: &Result<Results, Error>, keep: bool) -> Self {
        match ended {
            Ok(results) => Self {
                started: Some(results.started),
                ended: Some(since_1970()),
                run_time: Some(results.run_time),
                outcome: Some(results.outcome.clone()),
                error: None,
                results: Some(absolute(&results.directory)),
                files: results.files.as_ref().map(|files| FilesHome {
                    directory: absolute(&files.directory),
                    ..files.clone()
                }),
                on_host: Some(keep),
            },
            Err(error) => {
                let ran =
                    matches!(error.kind(), ErrorKind::Lost | ErrorKind::Results | ErrorKind::Local);
                let error = Some(error.kind());
                let on_host = (!ran).then_some(false);
                Self { error, on_host, ended: Some(since_1970()), ..Self::default() }
            }
        }
    }
}

/// A path that means the same wherever geto is called.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Now.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
