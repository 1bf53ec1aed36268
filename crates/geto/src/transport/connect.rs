//! From a host to a live way to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use geto_core::{Host, TransportKind};

use super::budget::Budget;
use super::native::{Bastions, NativeTransport};
use super::prompt::{NoPrompter, Prompter};
use super::resolve::{Asked, Resolved, resolve};
use super::{LocalTransport, Transport};
use super::{native, openssh};
use crate::trust::{FetchError, HostKey};
use crate::{Error, ErrorKind};

/// How a connection is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long it may take from the look-up of the name until the host lets geto in, hosts in
    /// between included; the time that a person takes to answer does not count. The start-up files of its
    /// login shell may take as long again. 15 s by default.
    pub connect_timeout: Duration,
    /// Who is asked for passwords, passphrases and about unknown host keys; nobody by default.
    pub prompter: Arc<dyn Prompter>,
    /// After how much silence the host is asked whether it is there. 8 s by default.
    pub keepalive_interval: Duration,
    /// How many such questions go unanswered before the connection is given up. 2 by default: a dead
    /// host is noticed within 30 s.
    pub keepalive_max: u32,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            prompter: Arc::new(NoPrompter),
            keepalive_interval: Duration::from_secs(8),
            keepalive_max: 2,
        }
    }
}

/// Connects to `host` and logs in.
///
/// A host of transport [`Native`](TransportKind::Native) is reached by a child `ssh` where
/// `ssh_config` asks for what this process can't do. With a child `ssh`, each channel is a
/// connection of its own: what is wrong with the host shows when one is opened.
///
/// # Errors
/// Of kind [`Unreachable`](ErrorKind::Unreachable), [`HostKey`](ErrorKind::HostKey) or
/// [`Authentication`](ErrorKind::Authentication), or [`Usage`](ErrorKind::Usage) when
/// `ssh_config` is wrong.
///
/// # Cancel safety
/// A call that is dropped closes what it has opened.
pub async fn connect(host: &Host, options: &ConnectOptions) -> Result<Arc<dyn Transport>, Error> {
    Ok(log_in(host, options, &Bastions::default()).await?.into_transport())
}

/// What [`connect`] comes to.
#[derive(Debug)]
pub(super) enum Reached {
    /// A connection that takes as many channels as the server allows.
    Native(Arc<NativeTransport>),
    /// A way whose channels are no concern of each other.
    Other(Arc<dyn Transport>),
}

impl Reached {
    pub(super) fn as_transport(&self) -> &dyn Transport {
        match self {
            Self::Native(transport) => &**transport,
            Self::Other(transport) => &**transport,
        }
    }

    fn into_transport(self) -> Arc<dyn Transport> {
        match self {
            Self::Native(transport) => transport,
            Self::Other(transport) => transport,
        }
    }
}

/// As [`connect`], by the connections to hosts in between that `bastions` has.
pub(super) async fn log_in(
    host: &Host,
    options: &ConnectOptions,
    bastions: &Bastions,
) -> Result<Reached, Error> {
    if host.transport != TransportKind::Local {
        check_key(host)?;
    }
    match host.transport {
        TransportKind::Local => Ok(Reached::Other(Arc::new(LocalTransport::new()))),
        TransportKind::Native => {
            let budget = Budget::new(options.connect_timeout);
            let hops = way_to(host, &budget).await?;
            if let Some(reason) = native::lacks(&hops) {
                tracing::debug!(host = host.name, reason, "goes by a child ssh");
                return Ok(openssh::OpensshTransport::reached(host, hops, options));
            }
            let connecting = native::connect(host, hops, options, &budget, bastions);
            Ok(Reached::Native(Arc::new(Box::pin(connecting).await?)))
        }
        TransportKind::Ssh => {
            let hops = way_to(host, &Budget::new(options.connect_timeout)).await?;
            Ok(openssh::OpensshTransport::reached(host, hops, options))
        }
        other => {
            let message = format!("failed to connect by transport `{other:?}`");
            Err(Error::new(ErrorKind::Usage, message).on_host(&host.name))
        }
    }
}

/// Refuses a `privkey_path` where nothing is: who names a key does not want to get in by another.
fn check_key(host: &Host) -> Result<(), Error> {
    let Some(path) = &host.privkey_path else { return Ok(()) };
    let mut public = path.clone().into_os_string();
    public.push(".pub");
    let is_there = |path: &Path| fs_err::metadata(path).map(drop);
    let error = match is_there(path) {
        // An agent may hold the private part.
        Err(error) if is_there(Path::new(&public)).is_err() => error,
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Authentication, format!("failed to log in at `{}`", host.address))
        .on_host(&host.name)
        .caused_by(format!("`privkey_path` of geto.ini: {error}"))
        .with_hint("correct `privkey_path` in geto.ini, or leave it out for ssh_config's keys"))
}

/// Finds all hosts on the way to `host`.
async fn way_to(host: &Host, budget: &Budget) -> Result<Vec<Resolved>, Error> {
    let resolving = async {
        let target = resolve(Asked::of(host), &host.name).await?;
        let mut hops = native::hops(host, target).await?;
        if let (Some(path), Some((_, jumps))) = (&host.known_hosts_path, hops.split_last_mut()) {
            // It is where `geto trust` writes for them, too. They may be known elsewhere already.
            let path = path.display().to_string().replace('%', "%%");
            for jump in jumps {
                jump.options.user_known_hosts_files.insert(0, path.clone());
            }
        }
        Ok(hops)
    };
    budget.spend(resolving).await.map_err(|exhausted| {
        let message = format!("failed to read ssh_config for `{}`", host.address);
        Error::new(ErrorKind::Local, message).on_host(&host.name).caused_by(exhausted)
    })?
}

/// The keys of a host, and where known_hosts has its keys.
#[derive(Debug)]
pub(crate) struct WayToKeys {
    pub(crate) fetched: Result<Vec<HostKey>, FetchError>,
    /// What a ProxyCommand has complained about, where they were not fetched.
    pub(crate) complaint: Option<String>,
    pub(crate) hostname: String,
    pub(crate) port: u16,
    pub(crate) alias: Option<String>,
    pub(crate) known_hosts: PathBuf,
    pub(crate) hashed: bool,
}

/// Fetches the keys of `host` by the way that `ssh_config` says.
pub(crate) async fn host_keys(host: &Host, options: &ConnectOptions) -> Result<WayToKeys, Error> {
    if host.transport == TransportKind::Local {
        let error = Error::new(ErrorKind::Usage, "failed to fetch the host keys");
        return Err(error.on_host(&host.name).caused_by("it is this machine, without SSH"));
    }
    let budget = Budget::new(options.connect_timeout);
    let hops = way_to(host, &budget).await?;
    Box::pin(native::host_keys(host, hops, options, &budget)).await
}
