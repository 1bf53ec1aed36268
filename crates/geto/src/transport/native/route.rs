//! The hosts on the way: what ProxyJump says, and what the hosts in between say themselves.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use geto_core::Host;
use geto_core::ssh_config::JumpHost;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::transport::resolve::{Asked, Resolved, resolve};
use crate::transport::text::escaped;
use crate::{Error, ErrorKind};

/// More hosts than anybody has in a row: a chain that leads back to itself.
const MOST_HOPS: usize = 16;
/// How long a failed proxy command is waited for to close its standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How much of what a proxy command writes to its standard error is kept.
const KEPT: usize = 4096;

/// Finds all hosts on the way to `target`, itself the last.
///
/// As with `ssh`, hosts before a jump host are those that stand before it in the list; only the
/// first of a list is reached by the way that its own section of ssh_config says.
pub(in crate::transport) async fn hops(
    host: &Host,
    target: Resolved,
) -> Result<Vec<Resolved>, Error> {
    let mut pending = jumps(&target);
    let mut hops = vec![target];
    while let Some(jump) = pending.pop() {
        if hops.len() >= MOST_HOPS {
            let message = "failed to follow ProxyJump: its hosts lead back to themselves";
            return Err(Error::new(ErrorKind::Usage, message).on_host(&host.name));
        }
        let asked = Asked {
            address: &jump.host,
            user: jump.user.as_deref(),
            port: jump.port,
            config: host.ssh_config_path.as_deref(),
        };
        let hop = resolve(asked, &host.name).await?;
        if pending.is_empty() {
            pending = jumps(&hop);
        }
        hops.push(hop);
    }
    hops.reverse();
    Ok(hops)
}

fn jumps(hop: &Resolved) -> Vec<JumpHost> {
    let jumps = &hop.options.proxy_jump;
    // `Host *` with a ProxyJump covers the jump host, too; `ssh` does not take that at its word.
    match jumps.last() {
        Some(last) if last.host.eq_ignore_ascii_case(&hop.original) => Vec::new(),
        _ => jumps.clone(),
    }
}

/// A running ProxyCommand; killed when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    _child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// Starts the command as `ssh` does, and returns its two ends as one stream.
    pub(super) fn start(
        command: &str,
    ) -> std::io::Result<(Self, impl AsyncRead + AsyncWrite + Unpin + Send + use<>)> {
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        let mut child = Command::new(shell.unwrap_or_else(|| "/bin/sh".into()))
            .arg("-c")
            .arg(format!("exec {command}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is geto's to handle: the connection must outlive it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let mut errors = child.stderr.take().ok_or_else(missing)?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&stderr);
        let listening = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = errors.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < KEPT {
                    kept.extend_from_slice(&buffer[..length]);
                }
            }
        });
        Ok((Self { _child: child, stderr, listening }, tokio::io::join(stdout, stdin)))
    }

    /// What the command complained about, once it has failed.
    pub(super) async fn complaint(&mut self) -> Option<String> {
        // What it wrote may come later than its end. Whoever keeps the stream open beyond that is
        // not waited for.
        tokio::time::timeout(LAST_WORDS, &mut self.listening).await.ok();
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = escaped(&String::from_utf8_lossy(&stderr));
        (!text.is_empty()).then_some(text)
    }
}
