//! The keys of a host of the fleet, reached as its connection would be.

use std::path::{Path, PathBuf};

use geto_core::Host;
use geto_core::known_hosts::{HostIdentity, KnownHosts};

use super::known_hosts::{add_to_known_hosts, is_new};
use super::{FetchError, HostKey};
use crate::transport::{ConnectOptions, WayToKeys, host_keys};
use crate::{Error, ErrorKind};

/// The keys that a host has shown, and where accepted ones belong.
#[derive(Debug)]
pub struct ShownKeys {
    keys: Vec<HostKey>,
    hostname: String,
    port: u16,
    alias: Option<String>,
    known_hosts: PathBuf,
    hashed: bool,
}

/// Fetches the keys of `host` by the way that `ssh_config` says, jump hosts and proxy commands
/// included. The hosts in between must be trusted and are logged into.
///
/// That proves who holds the keys, not that it is the host that was meant: somebody must compare
/// the fingerprints.
///
/// # Errors
/// [`ErrorKind::Unreachable`] when the host can't be connected to or shows no key of a usual type,
/// and what connecting to a host in between may end in.
///
/// # Cancel safety
/// A call that is dropped closes its connections.
pub async fn fetch(host: &Host, options: &ConnectOptions) -> Result<ShownKeys, Error> {
    let failed = |cause: FetchError, complaint: Option<String>| {
        let error = Error::new(ErrorKind::Unreachable, "failed to fetch the host keys");
        let error = error.on_host(&host.name);
        if let Some(complaint) = complaint {
            return error.caused_by(format!("ProxyCommand says: {complaint}"));
        }
        match cause {
            FetchError::Connect(cause) => error.caused_by(cause),
            FetchError::Handshake(cause) => error.caused_by(cause),
            FetchError::TimedOut => {
                let cause = format!("no answer within {:?}", options.connect_timeout);
                error.caused_by(cause).with_hint("pass a longer `--connect-timeout`")
            }
            FetchError::NoKey => error.caused_by("it has no key of a usual type"),
        }
    };
    let WayToKeys { fetched, complaint, hostname, port, alias, known_hosts, hashed } =
        host_keys(host, options).await?;
    let keys = fetched.map_err(|cause| failed(cause, complaint))?;
    Ok(ShownKeys { keys, hostname, port, alias, known_hosts, hashed })
}

impl ShownKeys {
    /// All keys that the host has, one of each type.
    pub fn keys(&self) -> &[HostKey] {
        &self.keys
    }

    /// The name that known_hosts has for the host: `name`, or `[name]:port`.
    pub fn name(&self) -> String {
        self.identity().name()
    }

    /// The file that [`accept`](Self::accept) writes to.
    pub fn known_hosts_path(&self) -> &Path {
        &self.known_hosts
    }

    /// Says whether that file is one that keeps what is written to it.
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage), when it is a device, as `/dev/null`, or a directory.
    pub fn check_file(&self) -> Result<(), Error> {
        match fs_err::metadata(&self.known_hosts) {
            Ok(metadata) if !metadata.is_file() => {
                let cause = format!("`{}` keeps nothing", self.known_hosts.display());
                Err(Error::new(ErrorKind::Usage, "failed to keep the host keys")
                    .caused_by(cause)
                    .with_hint(
                        "name a file by `known_hosts_path` in geto.ini, or by \
                         `UserKnownHostsFile` in ssh_config",
                    ))
            }
            // One that is not there yet is made.
            _ => Ok(()),
        }
    }

    /// The keys that this file does not have yet.
    ///
    /// # Errors
    /// As [`add_to_known_hosts`], which writes them.
    pub fn unknown(&self) -> Result<Vec<&HostKey>, Error> {
        let mut known = KnownHosts::default();
        if let Ok(old) = fs_err::read(&self.known_hosts) {
            known.add_file(&self.known_hosts, &old);
        }
        let identity = self.identity();
        let mut unknown = Vec::new();
        for key in &self.keys {
            if is_new(&known, &identity, key)? {
                unknown.push(key);
            }
        }
        Ok(unknown)
    }

    /// Adds the keys to that file, and returns how many were new.
    ///
    /// # Errors
    /// As [`add_to_known_hosts`].
    pub fn accept(&self) -> Result<usize, Error> {
        add_to_known_hosts(&self.known_hosts, &self.identity(), self.hashed, &self.keys)
    }

    fn identity(&self) -> HostIdentity<'_> {
        HostIdentity { host: &self.hostname, port: self.port, alias: self.alias.as_deref() }
    }
}
