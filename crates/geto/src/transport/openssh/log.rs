//! What `ssh` writes to its log (`-E`): whether the host has let us in, and why not.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use geto_core::Host;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use super::jumps;
use crate::transport::budget::Exhausted;
use crate::transport::native;
use crate::transport::refusal::{AGENT_HINT, jump_hint, password_hint};
use crate::transport::resolve::Resolved;
use crate::transport::text::escaped;
use crate::{Error, ErrorKind};

/// How much of the messages is kept.
const KEPT: usize = 8192;

/// The reading end of a log.
#[derive(Debug)]
pub(super) struct Log {
    pipe: Receiver,
    text: Text,
}

/// The lines of a log, as far as they matter.
#[derive(Debug, Default)]
struct Text {
    partial: Vec<u8>,
    messages: String,
    is_in: bool,
    ended: bool,
    /// By way of a connection that another `ssh` holds.
    shared: bool,
    offered: Vec<String>,
    /// The key that the host has shown, with its type.
    key: Option<String>,
    /// Whether `ssh` has last begun what it asks an agent for.
    is_agent_asked: bool,
}

/// Who logs in where, and by what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) host: &'a Host,
    pub(super) jumps: &'a [Resolved],
    /// Whether the host was given the password of geto.ini.
    pub(super) has_given_password: bool,
}

impl Log {
    /// Makes a pipe in `dir`. A plain file would have to be polled.
    pub(super) async fn create(dir: &Path) -> io::Result<(PathBuf, Self)> {
        let path = dir.join("log");
        make_pipe(&path).await?;
        let pipe = Receiver::from_file(both_ends(&path)?)?;
        Ok((path, Self { pipe, text: Text::default() }))
    }

    /// Reads until the host has let us in; for ever, if it never does.
    pub(super) async fn watch(&mut self) {
        while !self.is_in() {
            if self.pipe.readable().await.is_err() {
                return std::future::pending().await;
            }
            self.drain();
        }
    }

    /// Reads for ever.
    pub(super) async fn follow(&mut self) {
        while self.pipe.readable().await.is_ok() {
            self.drain();
        }
        std::future::pending::<()>().await;
    }

    /// Reads what is there.
    pub(super) fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.pipe.try_read(&mut buffer) {
            self.text.take(&buffer[..length]);
        }
    }

    /// Whether the host has let us in.
    pub(super) fn is_in(&self) -> bool {
        self.text.is_in
    }

    /// Whether the host has told how the command ended.
    pub(super) fn command_ended(&self) -> bool {
        self.text.ended || (self.text.shared && self.text.messages.is_empty())
    }

    /// Whether it says no more than that the server has hung up before anybody could log in;
    /// `more` is what came on standard error.
    pub(super) fn is_hang_up(&self, more: &str) -> bool {
        is_hang_up(&format!("{}\n{more}", self.text.messages))
    }

    /// Why there is no connection; `more` is what came on standard error.
    pub(super) fn diagnose(&self, login: &Login<'_>, more: &str) -> Error {
        let text = &self.text;
        let host = login.host;
        let mut messages = text.messages.clone();
        more.lines().filter(|line| !is_chatter(line)).for_each(|line| {
            messages.push_str(line);
            messages.push('\n');
        });
        let kind = classify(&messages);
        // A jump host's `ssh` writes to standard error, and the one behind it hears no more than
        // that it has hung up.
        let is_between = !login.jumps.is_empty()
            && kind != ErrorKind::Unreachable
            && classify(&text.messages) == ErrorKind::Unreachable;
        // An `ssh` that could not ask about a key does not say whose.
        let may_be = |jump: &Resolved| kind != ErrorKind::HostKey || !native::is_known(jump);
        let jump = is_between.then(|| jumps::subject(login.jumps, more, may_be)).flatten();
        let verb = match kind {
            ErrorKind::HostKey => "verify the host key of",
            ErrorKind::Authentication => "log in at",
            _ => "connect to",
        };
        let place = match (is_between, jump) {
            (true, Some(jump)) => format!("jump host `{}`", jump.word),
            (true, None) => format!("a jump host of `{}`", host.address),
            (false, _) => format!("`{}`", host.address),
        };
        let mut why = escaped(messages.trim());
        if why.is_empty() {
            "ssh ended without a word".clone_into(&mut why);
        }
        if kind == ErrorKind::Authentication && !text.offered.is_empty() {
            why.push_str("; tried ");
            why.push_str(&escaped(&text.offered.join(", ")));
        }
        let key = text.key.as_ref().filter(|_| kind == ErrorKind::HostKey && !is_between);
        if let Some(key) = key {
            why.push_str("\nit shows key ");
            why.push_str(&escaped(key));
        }
        let error = Error::new(kind, format!("failed to {verb} {place}"))
            .on_host(&host.name)
            .caused_by(why);
        match kind {
            ErrorKind::HostKey if messages.contains("has changed") => error.with_hint(
                "a changed key is always refused; if the host was set up anew, remove that line",
            ),
            ErrorKind::HostKey if is_revoked(&messages) => error.with_hint(
                "a revoked key is always refused; ask whoever runs the host for its new one",
            ),
            ErrorKind::HostKey => {
                let word = match (is_between, jump) {
                    (true, Some(jump)) => &jump.word,
                    (true, None) => "JUMP-HOST",
                    (false, _) => &host.name,
                };
                error.with_hint(match key {
                    Some(_) => format!(
                        "compare the fingerprint with the host's own, then accept it with `geto \
                         trust {word}`"
                    ),
                    None => format!(
                        "`geto trust {word}` shows its fingerprint: compare it with the host's own \
                         before you accept it"
                    ),
                })
            }
            // What geto.ini says is not about it.
            ErrorKind::Authentication if is_between => {
                error.with_hint(jump_hint(jump.map_or("the jump host", |jump| &jump.word)))
            }
            ErrorKind::Authentication if login.has_given_password => {
                error.with_hint(password_hint(&host.name))
            }
            ErrorKind::Authentication => error.with_hint(
                "name a key with `privkey_path` in geto.ini, or load one with `ssh-add`",
            ),
            _ => error,
        }
    }

    /// Nothing came in time.
    pub(super) fn timed_out(&self, host: &Host, exhausted: &Exhausted) -> Error {
        let error =
            Error::new(ErrorKind::Unreachable, format!("failed to connect to `{}`", host.address));
        let error = error.on_host(&host.name);
        match self.text.is_agent_asked {
            // It looks for keys before it asks the host for anything, and says no more of it.
            true => error
                .caused_by(format!("{exhausted}, of ssh-agent or of the host"))
                .with_hint(AGENT_HINT),
            false => error.caused_by(exhausted.to_string()),
        }
    }
}

/// Makes a named pipe for this user only.
pub(super) async fn make_pipe(path: &Path) -> io::Result<()> {
    // There is no portable call for it without unsafe code.
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.args(["-m", "600"]).arg(path).stdin(Stdio::null()).kill_on_drop(true);
    let output = mkfifo.output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(escaped(&String::from_utf8_lossy(&output.stderr))))
}

/// Opens both ends of a pipe, so that opening does not wait for the other side, and reading does
/// not end with it.
pub(super) fn both_ends(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    options.read(true).write(true).custom_flags(nonblocking).open(path)
}

impl Text {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&self.partial).into_owned();
                    self.partial.clear();
                    self.line(line.trim_end_matches('\r'));
                }
                _ if self.partial.len() < KEPT => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(detail) = line.strip_prefix("debug1: ") {
            self.follow_agent(detail);
            // The latter is the end of the command line that ssh repeats for a mux master.
            if detail.starts_with("mux_client_request_session: master session id") {
                self.is_in = true;
                self.shared = true;
            } else if detail.starts_with("client_input_channel_req: ")
                && (detail.contains(" rtype exit-status ")
                    || detail.contains(" rtype exit-signal "))
            {
                self.ended = true;
            } else if let Some(key) = detail.strip_prefix("Server host key: ") {
                self.key = Some(key.to_owned());
            } else if let Some(key) = detail.strip_prefix("Offering public key: ") {
                self.offered.push(format!("publickey {key}"));
            } else if let Some(method) = detail.strip_prefix("Next authentication method: ")
                && method != "publickey"
            {
                self.offered.push(method.to_owned());
            }
        } else if line.starts_with("Authenticated to ") {
            self.is_in = true;
        } else if self.messages.len() < KEPT && !is_chatter(line) {
            self.messages.push_str(line);
            self.messages.push('\n');
        }
    }
}

impl Text {
    fn follow_agent(&mut self, detail: &str) {
        let asks = detail.starts_with("SSH2_MSG_NEWKEYS received")
            || (detail.starts_with("Server accepts key: ") && detail.ends_with(" agent"));
        let goes_on = [
            "get_agent_identities: agent returned",
            "Will attempt key: ",
            "SSH2_MSG_SERVICE_ACCEPT received",
            "Authentications that can continue",
        ];
        if asks {
            self.is_agent_asked = true;
        } else if goes_on.iter().any(|start| detail.starts_with(start)) {
            self.is_agent_asked = false;
        }
    }
}

/// Lines that say nothing about what went wrong.
fn is_chatter(line: &str) -> bool {
    let starts = ["OpenSSH_", "Transferred: ", "Bytes per second: ", "Authenticated using "];
    line.starts_with("debug")
        || line.trim_matches(['@', ' ']).is_empty()
        || starts.iter().any(|start| line.starts_with(start))
}

/// Whether `ssh` says that a host key is marked as revoked.
fn is_revoked(messages: &str) -> bool {
    messages.contains("REVOKED HOST KEY") || messages.contains("marked as revoked")
}

/// Whether `ssh` says no more than that the server has hung up at once.
fn is_hang_up(messages: &str) -> bool {
    let mut hung_up = false;
    let only = messages.lines().filter(|line| !is_chatter(line)).all(|line| {
        let exchange = ["kex_exchange_identification: ", "ssh_exchange_identification: "];
        let during = exchange.iter().find_map(|start| line.strip_prefix(start));
        let closed = |text: &str| {
            text.contains("Connection closed by") || text.contains("Connection reset by")
        };
        hung_up |= during.is_some_and(closed);
        // It repeats itself with the address.
        closed(line) || during.is_some() || line.starts_with("banner exchange: ")
    });
    hung_up && only
}

/// Which kind of failure `ssh`'s messages are about.
fn classify(messages: &str) -> ErrorKind {
    let has = |text: &str| messages.contains(text);
    if has("Host key verification failed")
        || has("REMOTE HOST IDENTIFICATION HAS CHANGED")
        || has("host key is known for")
        || has("REVOKED HOST KEY")
    {
        ErrorKind::HostKey
    } else if has("Permission denied (")
        || has("Too many authentication failures")
        || has("No more authentication methods")
    {
        ErrorKind::Authentication
    } else if has("Bad configuration option") || has("Bad owner or permissions on") {
        ErrorKind::Usage
    } else {
        ErrorKind::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(log: &str) -> Text {
        let mut text = Text::default();
        text.take(log.as_bytes());
        text
    }

    #[test]
    fn failures_are_told_apart_by_what_ssh_says() {
        let table = [
            ("root@h: Permission denied (publickey).", ErrorKind::Authentication),
            (
                "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures",
                ErrorKind::Authentication,
            ),
            (
                "No ED25519 host key is known for [h]:22 and you have requested strict checking.",
                ErrorKind::HostKey,
            ),
            ("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", ErrorKind::HostKey),
            ("Host key verification failed.", ErrorKind::HostKey),
            ("ssh: connect to host h port 22: Connection refused", ErrorKind::Unreachable),
            (
                "ssh: Could not resolve hostname h: Name or service not known",
                ErrorKind::Unreachable,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host",
                ErrorKind::Unreachable,
            ),
            ("/x: line 1: Bad configuration option: foo", ErrorKind::Usage),
            ("", ErrorKind::Unreachable),
        ];
        for (message, kind) in table {
            assert_eq!(classify(message), kind, "{message}");
        }
    }

    #[test]
    fn a_server_that_hangs_up_is_told_from_one_that_is_not_there() {
        let dropped = "debug1: x\nkex_exchange_identification: read: Connection reset by peer\n";
        assert!(is_hang_up(&format!("{dropped}Connection reset by 127.0.0.1 port 22\n")));
        let dropped = "kex_exchange_identification: Connection closed by remote host\n";
        assert!(is_hang_up(&format!("{dropped}Connection closed by UNKNOWN port 65535\n")));
        for reason in [
            "ssh: connect to host jump port 22: Connection refused\n",
            "me@jump: Permission denied (publickey).\n",
            "Host key verification failed.\n",
        ] {
            assert!(!is_hang_up(&format!("{reason}{dropped}")), "{reason}");
        }
        assert!(!is_hang_up("Connection closed by 127.0.0.1 port 22\n"));
        assert!(!is_hang_up(""));
    }

    #[test]
    fn only_the_hosts_own_exit_status_counts() {
        let log = "debug1: Connecting to h\nAuthenticated to h ([h]:22) using \"publickey\".\n";
        assert!(text(log).is_in);
        assert!(!text(log).ended);
        let status = "debug1: client_input_channel_req: channel 0 rtype exit-status reply 0\n";
        assert!(text(&format!("{log}{status}")).ended);
        // A command line that is repeated in the log is no sign.
        let command = "debug1: Sending command: Authenticated to rtype exit-status\n";
        assert!(!text(command).is_in && !text(command).ended);
    }

    #[test]
    fn debugging_lines_are_no_messages() {
        let text = text("OpenSSH_9.2p1\r\ndebug1: x\r\nssh: connect to host h: refused\r\n");
        assert_eq!(text.messages, "ssh: connect to host h: refused\n");
    }
}
