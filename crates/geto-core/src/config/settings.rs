//! The section `[geto]` of geto.ini.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Host;

/// What the section `[geto]` of geto.ini says, or the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Where results are kept here.
    pub local_work_path: PathBuf,
    /// A private key, tried before those of `ssh_config`.
    pub privkey_path: Option<PathBuf>,
    /// The only known_hosts file to use.
    pub known_hosts_path: Option<PathBuf>,
    /// The `ssh_config` to read instead of the user's own (`ssh -F`).
    pub ssh_config_path: Option<PathBuf>,
    /// Where geto works on hosts; `~/` is the login user's home.
    pub remote_work_path: String,
    /// Where slots are counted on hosts.
    pub remote_lock_path: String,
    /// The most bytes of dependencies that a host keeps.
    pub remote_cache_size: Option<u64>,
    /// How long results are kept under `local_work_path`, where later runs remove them; 30 days by
    /// default. `None`: until somebody removes them.
    pub keep_results: Option<Duration>,
}

impl Settings {
    /// The default of `keep_results`.
    pub const KEEP_RESULTS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Makes the defaults, with results kept under `local_work_path`.
    pub fn new(local_work_path: impl Into<PathBuf>) -> Self {
        Self {
            local_work_path: local_work_path.into(),
            privkey_path: None,
            known_hosts_path: None,
            ssh_config_path: None,
            remote_work_path: Host::REMOTE_WORK_PATH.to_owned(),
            remote_lock_path: Host::REMOTE_LOCK_PATH.to_owned(),
            remote_cache_size: None,
            keep_results: Some(Self::KEEP_RESULTS),
        }
    }

    /// Makes a host that is called and reached by `name`, as these settings say.
    pub fn host(&self, name: impl Into<String>) -> Host {
        self.apply(Host::new(name))
    }

    /// Makes the built-in host `local`, as these settings say.
    pub fn local_host(&self) -> Host {
        self.apply(Host::local())
    }

    fn apply(&self, host: Host) -> Host {
        Host {
            privkey_path: self.privkey_path.clone(),
            known_hosts_path: self.known_hosts_path.clone(),
            ssh_config_path: self.ssh_config_path.clone(),
            remote_work_path: self.remote_work_path.clone(),
            remote_lock_path: self.remote_lock_path.clone(),
            ..host
        }
    }
}

/// The places on this machine that geto.ini refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// The user's home, for `~/`.
    pub home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`; counts only when it is absolute.
    pub state_home: Option<PathBuf>,
    /// What relative paths on this machine start from: the directory of geto.ini.
    pub base: Option<PathBuf>,
}

impl Places {
    /// The default of `local_work_path`: `$XDG_STATE_HOME/geto`, else `~/.local/state/geto`. A user
    /// without a home finds results in `geto-results` of the current directory.
    pub fn local_work_path(&self) -> PathBuf {
        let state_home = self.state_home.as_deref().filter(|path| path.is_absolute());
        match (state_home, &self.home) {
            (Some(state_home), _) => state_home.join("geto"),
            (None, Some(home)) => home.join(".local/state/geto"),
            (None, None) => PathBuf::from("geto-results"),
        }
    }

    pub(super) fn relative_to_base(&self, path: &str) -> PathBuf {
        match &self.base {
            Some(base) => base.join(path),
            None => Path::new(path).to_owned(),
        }
    }
}
