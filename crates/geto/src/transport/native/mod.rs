//! SSH in this process.

mod auth;
mod channel;
mod client;
mod keys;
mod stream;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use geto_core::Host;
use russh::MethodKind;
use russh::client::Handle;

use self::auth::Login;
use self::client::{Client, Report};
use self::stream::Family;
use self::trust::Trust;
use super::budget::Budget;
use super::connect::ConnectOptions;
use super::prompt::Asker;
use super::{Channel, Transport};
use crate::{Error, ErrorKind};

/// An SSH connection in this process.
///
/// It ends when it and all channels that were opened on it are dropped.
#[derive(Debug)]
pub(super) struct NativeTransport {
    connection: Arc<Connection>,
    host: String,
}

/// What a channel keeps alive.
struct Connection {
    handle: Handle<Client>,
    report: Arc<Report>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("report", &self.report).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for NativeTransport {
    async fn open(&self, command: &str) -> Result<Channel, Error> {
        // A task of its own, since a channel that is half open must be closed all the same when
        // the caller has lost interest.
        let opening =
            tokio::spawn(channel::start(Arc::clone(&self.connection), command.to_owned()));
        let failed = match opening.await {
            Ok(Ok(channel)) => return Ok(channel),
            Ok(Err(error)) => error,
            Err(panicked) => {
                return Err(
                    Error::new(ErrorKind::Local, "failed to open a channel").caused_by(panicked)
                );
            }
        };
        let why = client::describe(&failed);
        Err(Error::new(ErrorKind::Unreachable, "failed to open a channel")
            .on_host(&self.host)
            .caused_by(why))
    }
}

pub(super) async fn connect(
    host: &Host,
    options: &ConnectOptions,
) -> Result<NativeTransport, Error> {
    let budget = Budget::new(options.connect_timeout);
    let asker = Asker::new(Arc::clone(&options.prompter), budget.clone(), false);
    let port = host.port.unwrap_or(22);
    let trust = Arc::new(Trust {
        host: host.address.clone(),
        port,
        files: host.known_hosts_path.iter().cloned().collect(),
    });
    let report = Arc::new(Report::default());
    let unreachable = |why: String| {
        Error::new(
            ErrorKind::Unreachable,
            format!("failed to connect to `{}` port {port}", host.address),
        )
        .on_host(&host.name)
        .caused_by(why)
    };
    let link = budget
        .spend(stream::dial(&host.address, port, Family::Any, None))
        .await
        .map_err(|e| unreachable(e.to_string()))?
        .map_err(|e| unreachable(e.to_string()))?;
    let config = Arc::new(client::config(Duration::from_secs(15), 3, &trust));
    let client = Client { trust, report: Arc::clone(&report) };
    let mut handle = budget
        .spend(russh::client::connect_stream(config, link, client))
        .await
        .map_err(|e| unreachable(e.to_string()))?
        .map_err(|e| {
            unreachable(format!("{} {:?}", client::describe(&e), report.take_refusal()))
        })?;
    let user = host.user.clone().unwrap_or_else(|| "root".to_owned());
    let login = Login {
        place: format!("{user}@{}:{port}", host.address),
        user,
        password: host.password.clone(),
        methods: vec![MethodKind::PublicKey, MethodKind::KeyboardInteractive, MethodKind::Password],
        tries: 3,
        key_files: Vec::new(),
        first_files: host.privkey_path.iter().cloned().collect(),
        certificate_files: Vec::new(),
        agent: None,
        identities_only: false,
    };
    budget
        .spend(auth::log_in(&login, &asker, &mut handle, &report))
        .await
        .map_err(|e| unreachable(e.to_string()))?
        .map_err(|e| unreachable(format!("{e:?}")))?;
    Ok(NativeTransport {
        connection: Arc::new(Connection { handle, report }),
        host: host.name.clone(),
    })
}
