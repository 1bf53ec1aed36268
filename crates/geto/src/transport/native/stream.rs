//! The TCP connection under SSH, and how it is made.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up: what
/// keepalives don't see while a write is blocked.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// How many reads from the start of a connection are acknowledged at once. sshd leaves Nagle's
/// algorithm on while it sets a session up, and each delayed acknowledgement of ours costs 40 ms.
const EAGER_READS: u32 = 60;
/// How long one address has before the next one is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// A TCP connection that is tuned for short exchanges.
#[derive(Debug)]
pub(crate) struct Link {
    tcp: TcpStream,
    eager_reads: u32,
    /// How many bytes the kernel has taken.
    sent: Arc<AtomicU64>,
}

impl Link {
    fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let link = Self { tcp, eager_reads: EAGER_READS, sent: Arc::default() };
        #[cfg(target_os = "linux")]
        {
            let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
            rustix::net::sockopt::set_tcp_user_timeout(&link.tcp, millis)?;
        }
        link.acknowledge_at_once();
        Ok(link)
    }

    /// Returns the count of bytes that the kernel has taken, which goes on counting.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = &written {
            self.sent.fetch_add(*length as u64, Ordering::Relaxed);
        }
        written
    }

    /// Linux takes the setting back by itself, hence once per read.
    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::net::sockopt::set_tcp_quickack(&self.tcp, true) {
            tracing::debug!(%error, "quick acknowledgements are not to be had");
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if read.is_ready() && self.eager_reads > 0 {
            self.eager_reads -= 1;
            self.acknowledge_at_once();
        }
        read
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Which addresses of a name are used (`AddressFamily` of `ssh_config`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Family {
    #[default]
    Any,
    V4,
    V6,
}

/// Connects to the first address of `name` that answers: all of them are tried, each with a head
/// start on the next.
///
/// The error names every address that was tried and what it said.
pub(crate) async fn dial(
    name: &str,
    port: u16,
    family: Family,
    from: Option<&str>,
) -> io::Result<Link> {
    let found = tokio::net::lookup_host((name, port)).await.map_err(|error| {
        io::Error::new(error.kind(), format!("failed to look up name `{name}`: {error}"))
    })?;
    let mut addresses = in_turns(found.filter(|address| family.allows(*address)).collect());
    if addresses.is_empty() {
        let message =
            format!("name `{name}` has no address of the family that ssh_config asks for");
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    addresses.reverse();
    let source = match from {
        Some(from) => tokio::net::lookup_host((from, 0)).await?.collect(),
        None => Vec::new(),
    };
    let mut attempts = JoinSet::new();
    let mut failures: Vec<(io::ErrorKind, String)> = Vec::new();
    loop {
        if let Some(address) = addresses.pop() {
            attempts.spawn(attempt(address, source.clone()));
        } else if attempts.is_empty() {
            let kind = failures.first().map_or(io::ErrorKind::Other, |(kind, _)| *kind);
            let texts: Vec<String> = failures.into_iter().map(|(_, text)| text).collect();
            return Err(io::Error::new(kind, texts.join("; ")));
        }
        let ended = if addresses.is_empty() {
            attempts.join_next().await
        } else {
            tokio::select! {
                ended = attempts.join_next() => ended,
                () = tokio::time::sleep(STAGGER) => None,
            }
        };
        match ended {
            Some(Ok(Ok(tcp))) => return Link::new(tcp),
            Some(Ok(Err((address, error)))) => {
                failures.push((error.kind(), format!("{address}: {error}")));
            }
            Some(Err(panicked)) => return Err(io::Error::other(panicked)),
            None => {}
        }
    }
}

async fn attempt(
    address: SocketAddr,
    sources: Vec<SocketAddr>,
) -> Result<TcpStream, (SocketAddr, io::Error)> {
    let connect = async {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = sources.iter().find(|source| source.is_ipv4() == address.is_ipv4()) {
            socket.bind(*source)?;
        }
        socket.connect(address).await
    };
    connect.await.map_err(|error| (address, error))
}

impl Family {
    fn allows(self, address: SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Takes turns between the families, beginning with the one that the resolver put first.
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return addresses };
    let (a, b): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(a.next());
        turns.extend(b.next());
        if turns.len() == before {
            return turns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_keep_the_resolvers_order() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(parse);
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(parse);
        assert_eq!(in_turns(all.to_vec()), expected);
    }

    #[tokio::test]
    async fn a_refusal_names_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = dial("127.0.0.1", free.port(), Family::Any, None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&free.to_string()), "{error}");
    }
}
