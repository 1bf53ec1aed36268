//! One connection of a chain: from a stream to a host that let us in.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use geto_core::ssh_config::AddressFamily;
use geto_core::{Host, Secret};
use russh::client::{Handle, connect_stream};
use tokio::io::{AsyncRead, AsyncWrite};

use super::alive::{Pulse, Watched};
use super::auth;
use super::client::{self, Client, Report};
use super::failure::{self, Place};
use super::login;
use super::outbox::Outbox;
use super::route::Proxy;
use super::stream::{self, Family};
use super::trust::{Refusal, Trust, Unknown};
use crate::Error;
use crate::transport::budget::Budget;
use crate::transport::connect::ConnectOptions;
use crate::transport::gate::{self, Pauses};
use crate::transport::prompt::Asker;
use crate::transport::resolve::Resolved;

/// A host that let us in.
pub(super) struct Connection {
    pub(super) handle: Handle<Client>,
    pub(super) report: Arc<Report>,
    /// What it goes through.
    below: Below,
    pulse: Arc<Pulse>,
    way: gate::Way,
    /// What each command is given beside what the server sets by itself.
    pub(super) variables: Vec<(String, Secret)>,
}

pub(super) enum Below {
    Tcp { sent: Arc<AtomicU64> },
    Jump { connection: Arc<Connection> },
    Proxy(Proxy),
}

impl Connection {
    /// See [`Transport::bytes_sent`](crate::transport::Transport::bytes_sent).
    pub(super) fn bytes_sent(&self) -> Option<u64> {
        match &self.below {
            Below::Tcp { sent } => Some(sent.load(Ordering::Relaxed)),
            Below::Jump { connection } => connection.bytes_sent(),
            // A process of its own, which ends with this one.
            Below::Proxy(_) => None,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("report", &self.report).finish_non_exhaustive()
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A host to connect to.
pub(super) struct Hop<'a> {
    /// The name of the host at the end of the chain.
    pub(super) name: &'a str,
    pub(super) resolved: &'a Resolved,
    /// The host of geto.ini, if this is the last of the chain.
    pub(super) fleet_host: Option<&'a Host>,
    pub(super) options: &'a ConnectOptions,
    pub(super) budget: &'a Budget,
}

/// What a handshake came to.
enum Met {
    Accepted(Box<(Handle<Client>, Below)>),
    /// A key that a person could accept.
    Unknown(Unknown),
    /// The server has hung up before anybody could log in.
    Dropped(Error),
}

impl Hop<'_> {
    /// Connects, over `previous` if there is one, and logs in.
    pub(super) async fn reach(
        &self,
        previous: Option<Arc<Connection>>,
    ) -> Result<Connection, Error> {
        let ssh = &self.resolved.options;
        let is_between = self.fleet_host.is_none();
        let place = Place { name: self.name, resolved: self.resolved, is_between };
        let prompter = Arc::clone(&self.options.prompter);
        let asker = Asker::new(prompter, self.budget.clone(), ssh.batch_mode);
        let way = previous.as_ref().map(|before| before.way.clone()).unwrap_or_default();
        let way = way.to(self.resolved);
        let mut pauses = Pauses::new();
        let mut asked = false;
        let (pass, report, pulse, accepted) = loop {
            let report = Arc::new(Report::default());
            let pulse = Pulse::over(previous.as_ref().map(|before| Arc::clone(&before.pulse)));
            let pass = self.budget.while_stopped(gate::enter(way.places())).await;
            match self.meet(previous.as_ref(), &report, &pulse, &place).await {
                Ok(Met::Accepted(accepted)) => break (pass, report, pulse, accepted),
                Ok(Met::Unknown(unknown)) if asked => {
                    return Err(failure::of_key(Refusal::Unknown(unknown), &place));
                }
                Ok(Met::Unknown(unknown)) => {
                    asked = true;
                    // The server does not wait for the answer, so nobody else has to.
                    drop(pass);
                    self.ask_about(unknown, &asker, &place).await?;
                }
                Ok(Met::Dropped(error)) => {
                    tracing::debug!(host = self.name, "the server has hung up at once");
                    // With the pass: who waits for it should not come in between.
                    let pause = tokio::time::sleep(pauses.next());
                    if self.budget.spend(pause).await.is_err() {
                        return Err(pauses.explain(error));
                    }
                }
                Err(error) => return Err(pauses.explain(error)),
            }
        };
        let (mut handle, below) = *accepted;
        let login = login::of(self.resolved, self.fleet_host, &asker)
            .map_err(|why| failure::of_config(why, &place))?;
        let (logged_in, is_agents) = {
            let logging_in = auth::log_in(&login, &asker, &mut handle, &report);
            tokio::pin!(logging_in);
            let logged_in = self.budget.spend(logging_in.as_mut()).await;
            // While the login is still there, and with it what it waits for.
            (logged_in, report.is_agent_asked())
        };
        drop(pass);
        match logged_in {
            Ok(Ok(())) => {
                pulse.begin();
                let text = |word: OsString| word.into_string().ok();
                let own = std::env::vars_os();
                let own = own.filter_map(|(name, value)| Some((text(name)?, text(value)?)));
                let variables = ssh.variables(own);
                Ok(Connection { handle, report, below, pulse, way, variables })
            }
            Ok(Err(refused)) => Err(failure::of_login(refused, &report, &place)),
            Err(exhausted) => match login.agent.as_ref().filter(|_| is_agents) {
                Some(agent) => Err(failure::of_agent(&exhausted, agent, &place)),
                None => Err(failure::of_way(exhausted.to_string(), &place)),
            },
        }
    }

    /// Opens a stream and exchanges keys on it.
    async fn meet(
        &self,
        previous: Option<&Arc<Connection>>,
        report: &Arc<Report>,
        pulse: &Arc<Pulse>,
        place: &Place<'_>,
    ) -> Result<Met, Error> {
        let ssh = &self.resolved.options;
        let trust = Trust::of(self.resolved, self.fleet_host)
            .map_err(|why| failure::of_config(why, place))?;
        let interval = self.options.keepalive_interval;
        let interval = ssh.server_alive_interval.map_or(interval, |own| own.min(interval));
        let limit = interval.saturating_mul(self.options.keepalive_max.saturating_add(1));
        let config = client::config(interval, &trust, ssh)
            .map_err(|why| failure::of_config(format!("no way to do {why}"), place))?;
        let may_ask = trust.may_ask();
        let handler = Client { trust, report: Arc::clone(report) };
        let mut below = None;
        let shaking_hands = async {
            let (stream, through) = self.stream(previous.cloned()).await.map_err(Way::Dial)?;
            below = Some(through);
            let stream = Watched::new(stream, Arc::clone(pulse), limit);
            connect_stream(Arc::new(config), stream, handler).await.map_err(Way::Protocol)
        };
        let mut dropped = false;
        let failed = match self.budget.spend(shaking_hands).await {
            Ok(Ok(handle)) => match below {
                Some(below) => return Ok(Met::Accepted(Box::new((handle, below)))),
                None => "the stream is gone".to_owned(),
            },
            Ok(Err(Way::Dial(error))) => error.to_string(),
            Ok(Err(Way::Protocol(error))) => match report.take_refusal() {
                Some(Refusal::Unknown(unknown)) if may_ask => return Ok(Met::Unknown(unknown)),
                Some(refusal) => return Err(failure::of_key(refusal, place)),
                None if matches!(error, russh::Error::WrongServerSig) => {
                    return Err(failure::of_proof(place));
                }
                None => {
                    dropped = client::is_hang_up(&error) && !report.is_explained();
                    client::describe(&error)
                }
            },
            Err(exhausted) => exhausted.to_string(),
        };
        let complaint = match &mut below {
            Some(Below::Proxy(proxy)) => proxy.complaint().await,
            _ => None,
        };
        match complaint {
            // What failed is the command then, and will fail again.
            Some(complaint) => {
                let why = format!("{failed}; ProxyCommand says: {complaint}");
                Err(failure::of_way(why, place))
            }
            None if dropped => Ok(Met::Dropped(failure::of_way(failed, place))),
            None => Err(failure::of_way(failed, place)),
        }
    }

    /// Opens a stream to the host's SSH server.
    pub(super) async fn stream(
        &self,
        previous: Option<Arc<Connection>>,
    ) -> io::Result<(Box<dyn Stream>, Below)> {
        let ssh = &self.resolved.options;
        if let Some(connection) = previous {
            let port = u32::from(ssh.port);
            let opening =
                connection.handle.channel_open_direct_tcpip(&ssh.hostname, port, "127.0.0.1", 0);
            let channel = opening.await.map_err(|error| {
                let why = client::describe(&error);
                io::Error::other(format!("the host in between did not connect: {why}"))
            })?;
            let stream = Box::new(Outbox::new(channel.into_stream()));
            return Ok((stream, Below::Jump { connection }));
        }
        if let Some(command) = &ssh.proxy_command
            && !command.eq_ignore_ascii_case("none")
        {
            let command = self
                .resolved
                .with_tokens(|tokens| tokens.expand_proxy_command(command))
                .map_err(|error| io::Error::other(format!("ProxyCommand: {error}")))?;
            let (proxy, stream) = Proxy::start(&command)?;
            return Ok((Box::new(stream), Below::Proxy(proxy)));
        }
        let family = match ssh.address_family {
            AddressFamily::Any => Family::Any,
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
        };
        let from = ssh.bind_address.as_deref();
        let link = stream::dial(&ssh.hostname, ssh.port, family, from).await?;
        let sent = link.sent();
        Ok((Box::new(link), Below::Tcp { sent }))
    }

    /// Lets a person accept an unknown key, and learns it.
    async fn ask_about(
        &self,
        unknown: Unknown,
        asker: &Asker,
        place: &Place<'_>,
    ) -> Result<(), Error> {
        let question = place.question(&unknown);
        // Another connection to the same host may have had the same question.
        let settled =
            || Trust::of(self.resolved, self.fleet_host).is_ok_and(|trust| trust.knows(&unknown));
        let topic = place.topic(&unknown);
        if !asker.confirm(&topic, question, settled).await {
            return Err(failure::of_key(Refusal::Unknown(unknown), place));
        }
        let trust = Trust::of(self.resolved, self.fleet_host)
            .map_err(|why| failure::of_config(why, place))?;
        if trust.knows(&unknown) {
            return Ok(());
        }
        trust.learn(&unknown).map_err(|error| failure::of_learning(error, place))
    }
}

enum Way {
    Dial(io::Error),
    Protocol(russh::Error),
}
