//! A running SSH server, of either kind.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::machine::Prepared;
use crate::process::{self, MountNamespace, Process};
use crate::program::program;

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that listens on an address and port of its own.
///
/// Dropping it kills the server and every process that its sessions left (detached ones included)
/// and removes its directory.
#[derive(Debug)]
pub struct Server {
    name: String,
    address: SocketAddr,
    machine: Prepared,
    keys: Vec<PathBuf>,
    trust: Trust,
    log: Log,
    child: Child,
    namespace: Option<MountNamespace>,
    dir: TempDir,
}

/// The key material by which clients know a server.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// Public lines of its host keys.
    Keys(Vec<String>),
    /// Public line of the authority that signed them.
    Authority(String),
}

/// What a kind of server brings to [`Server::start`].
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) dir: TempDir,
    pub(crate) machine: Prepared,
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) trust: Trust,
    /// Text in its log that says that it listens.
    pub(crate) ready: &'static str,
}

impl Server {
    /// Starts the command that `command` returns for an address, until one is free.
    pub(crate) fn start(start: Start, command: impl Fn(&Start, SocketAddr) -> Command) -> Self {
        for _ in 0..20 {
            let address = free_address();
            let mut command = command(&start, address);
            command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
            command.stderr(std::process::Stdio::piped()).env_clear().current_dir("/");
            command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
            let mut child = crate::program::spawn(command)
                .unwrap_or_else(|cause| panic!("failed to start server: {cause}"));
            let log = Log::follow(child.stderr.take().expect("it is piped"));
            if !log.wait(start.ready) {
                process::kill(child.id());
                let _status = child.wait();
                let text = log.text();
                assert!(text.contains("Address already in use"), "server did not start: {text}");
                continue;
            }
            let Start { name, dir, machine, keys, trust, .. } = start;
            let namespace = MountNamespace::of(child.id());
            let server = Self { name, address, machine, keys, trust, log, child, namespace, dir };
            server.trust_at(server.address);
            server.write_config(&server.ssh_config(), server.address);
            return server;
        }
        panic!("20 free ports in a row were taken by others before the server had them");
    }

    /// The address that it listens on, in 127.0.0.0/8.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address without the port.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.ip().to_string()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The `Host` alias in its ssh_config.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user who can log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.machine.user.name
    }

    /// The home of sessions, as this process sees it too.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.machine.home
    }

    /// The directory with all its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The first private key that it lets in.
    ///
    /// # Panics
    ///
    /// When it lets in none.
    #[must_use]
    pub fn key(&self) -> &Path {
        self.keys.first().expect("this server takes no keys")
    }

    /// The private keys that it lets in.
    #[must_use]
    pub fn keys(&self) -> &[PathBuf] {
        &self.keys
    }

    /// A file with its host keys, or their authority.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.dir().join("known_hosts")
    }

    /// A client configuration with all that is needed for `ssh -F … <name>`.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.dir().join("ssh_config")
    }

    /// Writes a client configuration that goes through `address` (a proxy's, say).
    #[must_use]
    pub fn ssh_config_via(&self, address: SocketAddr) -> PathBuf {
        let file = self.dir().join(format!("ssh_config_{}", address.port()));
        self.trust_at(address);
        self.write_config(&file, address);
        file
    }

    /// Returns the `Host` section of its client configuration.
    #[must_use]
    pub fn ssh_config_section(&self, address: SocketAddr) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "Host {}\n  HostName {}\n  Port {}\n  User {}\n  StrictHostKeyChecking yes\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  IdentityAgent none\n  \
             IdentitiesOnly yes\n",
            self.name,
            address.ip(),
            address.port(),
            self.user(),
            self.known_hosts().display(),
        );
        let keys = if self.keys.is_empty() { &[PathBuf::from("none")] } else { &self.keys[..] };
        for key in keys {
            writeln!(text, "  IdentityFile {}", key.display()).expect("writing to memory");
        }
        text
    }

    fn write_config(&self, file: &Path, address: SocketAddr) {
        fs_err::write(file, self.ssh_config_section(address)).expect("own directory");
    }

    /// Returns the lines of known_hosts for this server at `address`.
    #[must_use]
    pub fn known_hosts_lines(&self, address: SocketAddr) -> String {
        let place = format!("[{}]:{}", address.ip(), address.port());
        match &self.trust {
            Trust::Keys(keys) => keys.iter().map(|key| format!("{place} {key}")).collect(),
            Trust::Authority(key) => format!("@cert-authority {place} {key}"),
        }
    }

    fn trust_at(&self, address: SocketAddr) {
        let lines = self.known_hosts_lines(address);
        self.trust_lines(&lines);
    }

    pub(crate) fn trust_everywhere(&self) {
        let lines = self.known_hosts_lines(self.address);
        self.trust_lines(&lines.replace(&format!("[{}]", self.host()), "[127.*]"));
    }

    fn trust_lines(&self, lines: &str) {
        let old = fs_err::read_to_string(self.known_hosts()).unwrap_or_default();
        fs_err::write(self.known_hosts(), format!("{old}{lines}")).expect("own directory");
    }

    /// Returns `ssh -F <config> <name>`, to be given a command.
    #[must_use]
    pub fn ssh(&self) -> Command {
        self.ssh_with(&self.ssh_config(), &[])
    }

    /// Returns `ssh` with another configuration and options before the host's name.
    #[must_use]
    pub fn ssh_with(&self, config: &Path, options: &[&str]) -> Command {
        let mut ssh = Command::new(program("ssh", "openssh-client"));
        ssh.arg("-F").arg(config).args(options).arg(&self.name);
        ssh.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS").env_remove("DISPLAY");
        ssh
    }

    /// Returns what a path of the sessions is for this process, behind their mounts.
    ///
    /// # Panics
    ///
    /// When `path` is neither absolute nor in `~/`.
    #[must_use]
    pub fn inside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.machine.expand(path.as_ref());
        let path = path.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.child.id().to_string()).join("root").join(path)
    }

    /// The server's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until its log has `text`.
    ///
    /// # Panics
    ///
    /// After 30 s.
    pub fn wait_for_log(&self, text: &str) {
        assert!(self.log.wait(text), "the server never logged `{text}`: {}", self.log());
    }

    /// Returns all processes of its sessions, detached ones included, without the server itself.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let mut found = process::descendants(self.pid());
        let dir = self.dir().as_os_str().as_encoded_bytes();
        for process in process::all() {
            // The namespace is the one mark that no process can lose; the environment names the
            // home where there is none.
            let own = match &self.namespace {
                Some(namespace) => namespace.holds(&process),
                None => process.environment_holds(dir),
            };
            if own && process.pid != self.pid() && !found.contains(&process) {
                found.push(process);
            }
        }
        found
    }

    /// Kills the server's side of every session with SIGKILL, as when a link dies for good.
    ///
    /// What the sessions started is left alone. New sessions can be opened.
    pub fn kill_sessions(&self) {
        loop {
            // `sshd` up to 9.7, `sshd-session` and `sshd-auth` since.
            let sessions: Vec<_> = process::descendants(self.pid())
                .into_iter()
                .filter(|process| {
                    process.name.starts_with("sshd") || process.name.starts_with("dropbear")
                })
                .collect();
            if sessions.is_empty() {
                return;
            }
            sessions.iter().for_each(Process::kill);
        }
    }

    /// Kills all processes of sessions, detached ones included.
    pub fn kill_processes(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            // One that forks faster than it is killed is not worth hanging for.
            if Instant::now() > deadline {
                return;
            }
            left.iter().for_each(Process::kill);
            thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The listener first, or it would accept while the rest is killed. Its children lose the
        // only tie that a machine without namespace has, so they are looked up before.
        let left = self.processes();
        process::kill(self.pid());
        left.iter().for_each(Process::kill);
        let _status = self.child.wait();
        self.kill_processes();
    }
}

/// Lines that a server writes.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    text: String,
    ended: bool,
}

impl Log {
    pub(crate) fn follow(stream: impl Read + Send + 'static) -> Self {
        let log = Self(Arc::default());
        let writer = log.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            loop {
                line.clear();
                let ended = !matches!(stream.read_until(b'\n', &mut line), Ok(1..));
                let (lines, changed) = &*writer.0;
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.text.push_str(&String::from_utf8_lossy(&line));
                lines.ended = ended;
                changed.notify_all();
                if ended {
                    return;
                }
            }
        });
        log
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    /// Waits for a text; false when the writer ended without it, or after 30 s.
    pub(crate) fn wait(&self, text: &str) -> bool {
        let (lines, changed) = &*self.0;
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |lines: &mut Lines| !lines.ended && !lines.text.contains(text);
        let (lines, _timeout) = changed
            .wait_timeout_while(lines, PATIENCE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        lines.text.contains(text)
    }
}

/// Returns an address that nobody listens on at the moment.
///
/// Each call takes another one of 127.0.0.0/8, so that the port is hardly ever taken meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let number = std::process::id().wrapping_mul(97).wrapping_add(count);
    let [_, high, middle, low] = number.to_be_bytes();
    let ip = Ipv4Addr::new(127, high.clamp(1, 254), middle, low.clamp(1, 254));
    let listener = TcpListener::bind((ip, 0)).expect("Linux answers on all of 127.0.0.0/8");
    listener.local_addr().expect("it is bound")
}
