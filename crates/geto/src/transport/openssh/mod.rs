//! SSH by a child process `ssh` per channel: slower than in this process, and able to do all that
//! the user's `ssh` can.

mod bridge;
mod jumps;
mod left;
mod log;

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use geto_core::Host;
use geto_core::ssh_config::{LOCALE, SshOptions, StrictHostKeyChecking};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use self::bridge::{Bridge, Server};
use self::left::Held;
pub use self::left::end_children;
use self::log::{Log, Login};
use super::budget::Budget;
use super::child::ChildInput;
use super::connect::{ConnectOptions, Reached};
use super::gate::{self, Pauses};
use super::prompt::Asker;
use super::resolve::{Asked, Resolved};
use super::{Channel, ChannelEvent, Transport};
use crate::{Error, ErrorKind};

/// How many pieces of output wait for the reader.
const EVENTS: usize = 16;
/// How much is read at once.
const PIECE: usize = 64 << 10;
/// How long a failed `ssh` is waited for to close its standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// `ssh`'s own exit status; also that of a command that ends with it.
const SSH_FAILED: i32 = 255;

/// A way to a host by child processes, one per channel.
#[derive(Debug)]
pub(super) struct OpensshTransport {
    host: Host,
    options: ConnectOptions,
    /// Where each channel logs in.
    places: Vec<String>,
    servers: Vec<Server>,
    hops: Vec<Resolved>,
    /// What the user's configuration says, and must not hold here.
    overrides: Vec<&'static str>,
}

impl OpensshTransport {
    /// Makes it for a host that is reached over `hops`, itself the last; nothing is started before
    /// a channel is opened.
    pub(super) fn reached(host: &Host, hops: Vec<Resolved>, options: &ConnectOptions) -> Reached {
        let (host, options) = (host.clone(), options.clone());
        let (places, servers) = (gate::places(&hops), Server::of(&hops));
        let overrides = hops.last().map(|hop| overrides(&hop.options)).unwrap_or_default();
        Reached::Other(Arc::new(Self { host, options, places, servers, hops, overrides }))
    }

    fn local(&self, why: io::Error) -> Error {
        Error::new(ErrorKind::Local, "failed to start `ssh`")
            .on_host(&self.host.name)
            .caused_by(why)
    }

    fn command(&self, (log, alive): (&Path, &Path), bridge: &Bridge, command: &str) -> Command {
        let mut ssh = Command::new("/bin/sh");
        ssh.args(["-c", left::SCRIPT, "geto-ssh"]).arg(alive);
        let option = |text: String| ["-o".to_owned(), text];
        // Never earlier than it was said; what is over to a second is cut off here.
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        ssh.arg("-T").arg("-E").arg(log);
        // DEBUG tells when the host has let us in, and whether an exit status is the command's.
        ssh.args(option("LogLevel=DEBUG1".to_owned()));
        let timeout = seconds(self.options.connect_timeout);
        ssh.args(option(format!("ConnectTimeout={timeout}")));
        let interval = seconds(self.options.keepalive_interval).max(1);
        ssh.args(option(format!("ServerAliveInterval={interval}")));
        ssh.args(option(format!("ServerAliveCountMax={}", self.options.keepalive_max)));
        // What a section of ssh_config sets up for people is not meant for a channel of ours.
        for off in ["ForwardX11=no", "ForwardAgent=no", "ClearAllForwardings=yes"] {
            ssh.args(option(off.to_owned()));
        }
        for off in ["PermitLocalCommand=no", "RemoteCommand=none", "EscapeChar=none"] {
            ssh.args(option(off.to_owned()));
        }
        for over in &self.overrides {
            ssh.args(option((*over).to_owned()));
        }
        if bridge.is_silent() {
            ssh.args(option("BatchMode=yes".to_owned()));
        }
        if let Some(way) = jumps::proxy_command(&self.host, &self.hops, bridge.is_silent()) {
            ssh.args(option(format!("ProxyCommand={}", way.replace('%', "%%"))));
        }
        if let Some(key) = &self.host.privkey_path {
            ssh.arg("-i").arg(key);
        }
        if let Some(known_hosts) = &self.host.known_hosts_path {
            let path = known_hosts.display().to_string().replace('%', "%%");
            ssh.args(option(format!("UserKnownHostsFile=\"{path}\"")));
            ssh.args(option("GlobalKnownHostsFile=none".to_owned()));
        }
        let asked = Asked::of(&self.host);
        ssh.args(asked.arguments()).arg("--").arg(asked.address).arg(command);
        // What `SendEnv` would send of them is not for a task.
        for name in LOCALE {
            ssh.env_remove(name);
        }
        bridge.prepare(&mut ssh);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is geto's to handle: the connection must outlive it.
        ssh.process_group(0);
        ssh
    }
}

/// Returns the options of `ssh` that take back what a configuration says. Only what it does say: an
/// older `ssh` does not know all of them.
fn overrides(configured: &SshOptions) -> Vec<&'static str> {
    let mut overrides = configured.channel_overrides.clone();
    // `no` makes `ssh` go on with a changed or revoked key; a new one is taken all the same.
    if configured.strict_host_key_checking == StrictHostKeyChecking::No {
        overrides.push("StrictHostKeyChecking=accept-new");
    }
    overrides
}

#[async_trait]
impl Transport for OpensshTransport {
    async fn open(&self, command: &str) -> Result<Channel, Error> {
        let _pass = gate::enter(self.places.clone()).await;
        let budget = Budget::new(self.options.connect_timeout);
        let mut pauses = Pauses::new();
        loop {
            match self.start(command, &budget).await.map_err(|error| pauses.explain(error))? {
                Started::Channel(channel) => return Ok(channel),
                Started::Dropped(error) => {
                    tracing::debug!(host = self.host.name, "the server has hung up at once");
                    let pause = tokio::time::sleep(pauses.next());
                    if budget.spend(pause).await.is_err() {
                        return Err(pauses.explain(error));
                    }
                }
            }
        }
    }
}

/// What a child `ssh` came to.
enum Started {
    Channel(Channel),
    /// The server has hung up before anybody could log in.
    Dropped(Error),
}

impl OpensshTransport {
    /// Starts `ssh` and waits until the host has let us in.
    async fn start(&self, command: &str, budget: &Budget) -> Result<Started, Error> {
        let dir = tempfile::Builder::new().prefix("geto-ssh-").tempdir();
        let dir = dir.map_err(|error| self.local(error))?;
        let path = dir.path().to_owned();
        let held = Held::dir(dir);
        let (log_path, mut log) = Log::create(&path).await.map_err(|error| self.local(error))?;
        let asker = Asker::new(Arc::clone(&self.options.prompter), budget.clone(), false);
        let password = self.host.password.as_ref();
        let bridge = Bridge::create(&path, password, &self.servers, asker)
            .await
            .map_err(|error| self.local(error))?;
        let alive = held.pipe(&path).await.map_err(|error| self.local(error))?;
        let mut ssh = self.command((&log_path, &alive), &bridge, command);
        let mut child = ssh.spawn().map_err(|error| self.local(error))?;
        // Dropped before the child, whose number is its own until then.
        let held = held;
        held.started(child.id());
        let missing = || self.local(io::Error::other("a pipe is missing"));
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let mut stdout = child.stdout.take().ok_or_else(missing)?;
        let mut stderr = child.stderr.take().ok_or_else(missing)?;
        let mut early = Early::default();
        let waited = bridge.serve_until(early.wait(&mut log, &mut stdout, &mut stderr, &mut child));
        // `ssh` counts the time to connect, but not that of an agent or of a server that thinks.
        match budget.spend(waited).await {
            Ok(true) => bridge.prove().await,
            Ok(false) => {
                held.ended();
                // A jump host's `ssh` has no log of its own. Whoever keeps the stream open beyond
                // the end of `ssh` is not waited for.
                let rest = stderr.take(PIECE as u64);
                tokio::pin!(rest);
                let reading =
                    async { while let Ok(1..) = rest.read_buf(&mut early.stderr).await {} };
                tokio::time::timeout(LAST_WORDS, reading).await.ok();
                let more = String::from_utf8_lossy(&early.stderr);
                let has_given_password = bridge.has_given_password().await;
                let jumps = self.hops.split_last().map_or(&[][..], |(_, jumps)| jumps);
                let login = Login { host: &self.host, jumps, has_given_password };
                let error = log.diagnose(&login, &more);
                if error.kind() == ErrorKind::Authentication {
                    bridge.give_up().await;
                }
                return match log.is_hang_up(&more) {
                    true => Ok(Started::Dropped(error)),
                    false => Err(error),
                };
            }
            Err(exhausted) => return Err(log.timed_out(&self.host, &exhausted)),
        }
        held.is_in();
        let (events, receiver) = mpsc::channel(EVENTS);
        tokio::spawn(async move {
            let running = Running { child, log, held };
            running.pump(early, stdout, stderr, &events).await;
        });
        Ok(Started::Channel(Channel { stdin: Box::pin(ChildInput::new(stdin)), events: receiver }))
    }
}

/// What came before it was clear that the host has let us in.
#[derive(Default)]
struct Early {
    stdout: BytesMut,
    stderr: BytesMut,
}

impl Early {
    /// Waits until the host has let us in (true), or `ssh` has given up.
    async fn wait(
        &mut self,
        log: &mut Log,
        stdout: &mut (impl AsyncRead + Unpin),
        stderr: &mut (impl AsyncRead + Unpin),
        child: &mut Child,
    ) -> bool {
        tokio::select! {
            biased;
            () = log.watch() => true,
            // Bytes of the host, whatever the log says. What `ssh` prints by itself goes to the
            // log, but what its own children print does not.
            Ok(1..) = stdout.read_buf(&mut self.stdout) => true,
            _ = child.wait() => {
                log.drain();
                log.is_in()
            }
            // A ProxyCommand shares it: no sign of the host.
            () = collect(stderr, &mut self.stderr) => true,
        }
    }
}

/// Collects until a limit that nobody's greeting reaches.
async fn collect(from: &mut (impl AsyncRead + Unpin), into: &mut BytesMut) {
    while into.len() < PIECE {
        if !matches!(from.read_buf(into).await, Ok(1..)) {
            std::future::pending::<()>().await;
        }
    }
}

/// A child that has a channel.
struct Running {
    // Before the child, as above.
    held: Held,
    child: Child,
    log: Log,
}

impl Running {
    async fn pump(
        mut self,
        early: Early,
        stdout: impl AsyncRead + Unpin,
        stderr: impl AsyncRead + Unpin,
        events: &mpsc::Sender<ChannelEvent>,
    ) {
        let copying = async {
            tokio::join!(
                copy(early.stdout, stdout, events, ChannelEvent::Stdout),
                copy(early.stderr, stderr, events, ChannelEvent::Stderr),
            );
        };
        tokio::select! {
            () = copying => {}
            // `ssh` would wait for a reader of its log.
            () = self.log.follow() => {}
            // Who drops this kills it.
            () = events.closed() => return,
        }
        let Ok(status) = self.child.wait().await else { return };
        self.held.ended();
        self.log.drain();
        let exit = match status.code() {
            Some(SSH_FAILED) if !self.log.command_ended() => None,
            Some(code) => u32::try_from(code).ok(),
            None => {
                tracing::debug!(signal = status.signal(), "ssh was ended by a signal");
                None
            }
        };
        if let Some(exit) = exit {
            // The receiver may be gone.
            events.send(ChannelEvent::Exit(exit)).await.ok();
        }
    }
}

async fn copy(
    mut buffer: BytesMut,
    mut from: impl AsyncRead + Unpin,
    events: &mpsc::Sender<ChannelEvent>,
    event: fn(bytes::Bytes) -> ChannelEvent,
) {
    loop {
        if !buffer.is_empty() && events.send(event(buffer.split().freeze())).await.is_err() {
            return;
        }
        buffer.reserve(PIECE);
        if !matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}
