//! From a host to a live way to it.

use std::sync::Arc;
use std::time::Duration;

use geto_core::{Host, TransportKind};

use super::native;
use super::prompt::{NoPrompter, Prompter};
use super::{LocalTransport, Transport};
use crate::{Error, ErrorKind};

/// How a connection is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long it may take from the look-up of the name until the host lets geto in, hosts in
    /// between included; the time that a person takes to answer does not count. 15 s by default.
    pub connect_timeout: Duration,
    /// Who is asked for passwords, passphrases and about unknown host keys; nobody by default.
    pub prompter: Arc<dyn Prompter>,
    /// After how much silence the host is asked whether it is there. 15 s by default.
    pub keepalive_interval: Duration,
    /// How many such questions go unanswered before the connection is given up. 3 by default.
    pub keepalive_max: u32,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            prompter: Arc::new(NoPrompter),
            keepalive_interval: Duration::from_secs(15),
            keepalive_max: 3,
        }
    }
}

/// Connects to `host` and logs in.
///
/// # Errors
/// Of kind [`Unreachable`](ErrorKind::Unreachable), [`HostKey`](ErrorKind::HostKey) or
/// [`Authentication`](ErrorKind::Authentication).
///
/// # Cancel safety
/// A call that is dropped closes what it has opened.
pub async fn connect(host: &Host, options: &ConnectOptions) -> Result<Arc<dyn Transport>, Error> {
    match host.transport {
        TransportKind::Local => Ok(Arc::new(LocalTransport::new())),
        TransportKind::Native => {
            let transport = Box::pin(native::connect(host, options)).await?;
            Ok(Arc::new(transport))
        }
        other => {
            let message = format!("failed to connect by transport `{other:?}`");
            Err(Error::new(ErrorKind::Usage, message).on_host(&host.name))
        }
    }
}
