//! A host: a machine that runs tasks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// A machine that runs tasks, and what geto.ini says of it.
///
/// What is `None` here is left to the user's `ssh_config` and to defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Host {
    /// The name that the user calls it by; unique in a fleet.
    pub name: String,
    /// Name or number to connect to, as `ssh` would be given it (a `Host` alias of `ssh_config`
    /// included). Not used by the transport `local`.
    pub address: String,
    /// TCP port.
    pub port: Option<u16>,
    /// The login user.
    pub user: Option<String>,
    /// The password, from geto.ini.
    pub password: Option<Secret>,
    /// A private key, tried before those of `ssh_config`.
    pub privkey_path: Option<PathBuf>,
    /// The only known_hosts file to use; hosts on the way may also be known to those of
    /// `ssh_config`.
    pub known_hosts_path: Option<PathBuf>,
    /// The `ssh_config` to read instead of the user's own (`ssh -F`).
    pub ssh_config_path: Option<PathBuf>,
    /// How many tasks run at once; the host's processors when `None`.
    pub slots: Option<u32>,
    /// How many GPUs it has; what its own tools say when `None`.
    pub gpus: Option<u32>,
    /// Names that select it as `@tag`.
    pub tags: Vec<String>,
    /// The niceness that tasks run at, 0 to 19.
    pub nice: Option<u8>,
    /// The load per processor, in hundredths, above which no task that takes a slot is started.
    pub max_load_percent: Option<u32>,
    /// How geto reaches it.
    pub transport: TransportKind,
    /// A line that the host's shell runs before each script.
    pub setup: Option<String>,
    /// Variables of each script; those of the task win.
    pub env: Vec<(String, Secret)>,
    /// Where geto works on the host; `~/` is the login user's home.
    pub remote_work_path: String,
    /// Where slots are counted on the host.
    pub remote_lock_path: String,
}

/// How geto reaches a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TransportKind {
    /// SSH in this process; geto falls back to [`Ssh`](Self::Ssh) by itself where `ssh_config`
    /// asks for what it can't do.
    #[default]
    Native,
    /// A child process `ssh`.
    Ssh,
    /// A shell on this machine.
    Local,
}

impl Host {
    /// The default of `remote_work_path`.
    pub const REMOTE_WORK_PATH: &'static str = "~/.cache/geto";
    /// The default of `remote_lock_path`.
    pub const REMOTE_LOCK_PATH: &'static str = "/var/tmp/geto_lock";

    /// Makes a host that is called and reached by `name`, everything else left to defaults.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            address: name.clone(),
            name,
            port: None,
            user: None,
            password: None,
            privkey_path: None,
            known_hosts_path: None,
            ssh_config_path: None,
            slots: None,
            gpus: None,
            tags: Vec::new(),
            nice: None,
            max_load_percent: None,
            transport: TransportKind::default(),
            setup: None,
            env: Vec::new(),
            remote_work_path: Self::REMOTE_WORK_PATH.to_owned(),
            remote_lock_path: Self::REMOTE_LOCK_PATH.to_owned(),
        }
    }

    /// Makes the built-in host `local`: this machine, by the same protocol through a local shell.
    pub fn local() -> Self {
        Self { transport: TransportKind::Local, ..Self::new("local") }
    }
}
