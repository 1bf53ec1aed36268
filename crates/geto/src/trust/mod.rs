//! Learning the keys of a host, for `geto trust`.

mod known_hosts;
mod shown;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, Config, Handler};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Preferred, kex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub use self::known_hosts::add_to_known_hosts;
pub(crate) use self::known_hosts::learn;
pub use self::shown::{ShownKeys, fetch};
use crate::{Error, ErrorKind};

/// A public key that a server has proved to hold.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey {
    key_type: String,
    blob: Vec<u8>,
    fingerprint: String,
}

impl HostKey {
    /// Returns the type, `ssh-ed25519` for instance.
    pub fn key_type(&self) -> &str {
        &self.key_type
    }

    /// Returns the key in wire form.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Returns the fingerprint as `ssh-keygen -l` prints it: `SHA256:` and base64.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({} {})", self.key_type, self.fingerprint)
    }
}

/// Fetches the keys of the server at `address` and `port`, one of each type that it has.
///
/// A server shows one key a connection, so there is one for each type, one after the other, each
/// given `connect_timeout` and closed before anybody is authenticated. That proves who holds the
/// keys, not that it is the host that was meant: somebody must compare the fingerprints. DSA keys
/// and host certificates are not asked for. The address is connected to as it is; for a host
/// behind others or behind a command see [`fetch_host_keys_over`].
///
/// # Errors
/// [`ErrorKind::Unreachable`] when the server can't be connected to, is no SSH server, or has no
/// key of a type that geto knows.
///
/// # Cancel safety
/// A call that is dropped closes its connection.
pub async fn fetch_host_keys(
    address: &str,
    port: u16,
    connect_timeout: Duration,
) -> Result<Vec<HostKey>, Error> {
    let connect = || async move {
        let stream = TcpStream::connect((address, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    fetch_host_keys_over(connect, connect_timeout).await.map_err(|error| match error {
        FetchError::Connect(cause) => failed(address, port).caused_by(cause),
        FetchError::Handshake(cause) => failed(address, port).caused_by(cause),
        FetchError::TimedOut => {
            let seconds = connect_timeout.as_secs_f64();
            let cause = format!("no answer within {seconds} s");
            failed(address, port).caused_by(cause).with_hint("pass a longer `--connect-timeout`")
        }
        FetchError::NoKey => failed(address, port).caused_by("it has no key of a usual type"),
    })
}

/// Fetches the keys of the server that `connect` leads to, one of each type that it has.
///
/// `connect` is called once for each type, and must give a new stream to the server each time: a
/// channel through the hosts in between, the input and output of a command, or a socket.
/// Connecting and key exchange together may take `timeout` each time. What
/// [`fetch_host_keys`] says of its limits holds here too.
///
/// # Errors
/// When `connect` fails or takes too long, or what it leads to is no SSH server with a key of a
/// type that geto knows.
///
/// # Cancel safety
/// A call that is dropped closes its stream.
pub async fn fetch_host_keys_over<S, C, F>(
    mut connect: C,
    timeout: Duration,
) -> Result<Vec<HostKey>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: FnMut() -> F,
    F: Future<Output = io::Result<S>>,
{
    let mut keys: Vec<HostKey> = Vec::new();
    let mut offered: Option<Vec<String>> = None;
    let mut broken = None;
    for family in families() {
        let has = |list: &Vec<String>| {
            family.iter().any(|algorithm| list.iter().any(|name| name == algorithm.as_ref()))
        };
        if !offered.as_ref().is_none_or(has) {
            continue;
        }
        let attempt = async {
            let stream = connect().await.map_err(FetchError::Connect)?;
            fetch_one(stream, family).await
        };
        let found = tokio::time::timeout(timeout, attempt).await;
        match found.map_err(|_elapsed| FetchError::TimedOut)? {
            Ok(Found::Key(key)) if !keys.contains(&key) => keys.push(key),
            Ok(Found::Key(_)) => {}
            Ok(Found::OtherAlgorithms(list)) => offered = Some(list),
            // dropbear offers every algorithm that it was built with, and ends when it is asked
            // for a key that it has not.
            Err(FetchError::Handshake(error)) => broken = Some(error),
            Err(error) => return Err(error),
        }
    }
    if keys.is_empty() {
        return Err(broken.map_or(FetchError::NoKey, FetchError::Handshake));
    }
    keys.sort_by_key(|key| SHOWN.iter().position(|shown| *shown == key.key_type));
    Ok(keys)
}

/// The order in which keys are shown.
const SHOWN: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];

/// Why no keys could be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No stream to the server.
    #[error("failed to connect")]
    Connect(#[source] io::Error),
    /// The server does not speak SSH, or not in a way that geto knows.
    #[error("failed to exchange keys")]
    Handshake(#[source] russh::Error),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The server has no key of a type that geto knows.
    #[error("the server has no key of a usual type")]
    NoKey,
}

fn failed(address: &str, port: u16) -> Error {
    let message = format!("failed to fetch the host keys of `{}:{port}`", address.escape_debug());
    Error::new(ErrorKind::Unreachable, message)
}

/// The algorithms of each type of key.
///
/// The rarest comes first: a server without it answers with the list of those that it has, which
/// spares connections. dropbear takes no more than five at a time from an address.
fn families() -> [Vec<Algorithm>; 5] {
    let rsa = |hash| Algorithm::Rsa { hash };
    let ecdsa = |curve| vec![Algorithm::Ecdsa { curve }];
    [
        ecdsa(EcdsaCurve::NistP521),
        vec![Algorithm::Ed25519],
        ecdsa(EcdsaCurve::NistP256),
        ecdsa(EcdsaCurve::NistP384),
        // With SHA-1 at last: the key is the same, and old servers can do nothing else.
        vec![rsa(Some(HashAlg::Sha512)), rsa(Some(HashAlg::Sha256)), rsa(None)],
    ]
}

/// What one connection brought.
enum Found {
    Key(HostKey),
    /// None: the server has keys for these algorithms.
    OtherAlgorithms(Vec<String>),
}

/// Exchanges keys over `stream` and returns the server's, if it has one of the `family`.
async fn fetch_one<S>(stream: S, family: Vec<Algorithm>) -> Result<Found, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut kex = Preferred::DEFAULT.kex.to_vec();
    kex.extend([kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521]);
    let preferred =
        Preferred { key: Cow::Owned(family), kex: Cow::Owned(kex), ..Preferred::DEFAULT };
    let config = Config { preferred, ..Config::default() };
    let seen = Arc::new(Mutex::new(None));
    let onlooker = Onlooker(Arc::clone(&seen));
    let ended = client::connect_stream(Arc::new(config), stream, onlooker).await;
    let key = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (key, ended) {
        (Some(key), _) => Ok(Found::Key(key)),
        (None, Err(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, theirs, .. })) => {
            Ok(Found::OtherAlgorithms(theirs))
        }
        (None, Err(error)) => Err(FetchError::Handshake(error)),
        // It can't go on without a look at the key.
        (None, Ok(_)) => Err(FetchError::NoKey),
    }
}

/// Looks at the server's key and goes no further.
struct Onlooker(Arc<Mutex<Option<HostKey>>>);

impl Handler for Onlooker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let key = shown.public_key();
        let key_type = match key.algorithm() {
            // The type of the key, whatever hash its signatures have.
            Algorithm::Rsa { .. } => "ssh-rsa".to_owned(),
            other => other.to_string(),
        };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let blob = key.to_bytes()?;
        let seen = HostKey { key_type, blob, fingerprint };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(false)
    }
}
