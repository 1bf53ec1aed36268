//! The protocol crate's view of us: settings, and what the server tells by the way.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use geto_core::ssh_config::SshOptions;
use russh::client::{Config, DisconnectReason, Handler, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Preferred, SshId, cipher, compression, kex};

use super::trust::{Refusal, Trust};
use crate::transport::text::escaped;

/// The settings of a connection.
///
/// The error says which algorithms `ssh_config` asks for that are not to be had here.
pub(super) fn config(
    keepalive_interval: Duration,
    trust: &Trust,
    options: &SshOptions,
) -> Result<Config, String> {
    let (key, certificates) = trust.algorithms();
    let compression: &[compression::Name] = match options.compression {
        true => &[compression::ZLIB_LEGACY, compression::ZLIB, compression::NONE],
        false => &[compression::NONE, compression::ZLIB_LEGACY, compression::ZLIB],
    };
    Ok(Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-geto_",
            env!("CARGO_PKG_VERSION")
        ))),
        nodelay: true,
        // The receive window is opened again below its half, so that the default of 2 MiB halves
        // the throughput of a long link; sshd burns its processor over one that is larger.
        window_size: 4 << 20,
        maximum_packet_size: 32 << 10,
        keepalive_interval: Some(keepalive_interval),
        // What comes of them is judged in `alive`.
        keepalive_max: 0,
        preferred: Preferred {
            kex: Cow::Owned(kex_order(&options.kex_algorithms)?),
            key: Cow::Owned(key),
            host_key_certificates: Cow::Owned(certificates),
            cipher: Cow::Owned(chosen("Ciphers", &CIPHERS, &options.ciphers)?),
            mac: Cow::Owned(chosen("MACs", &Preferred::DEFAULT.mac, &options.macs)?),
            compression: Cow::Borrowed(compression),
        },
        ..Config::default()
    })
}

/// What `ssh_config` asks for that is not to be had here.
pub(super) fn lacks(options: &SshOptions) -> Option<String> {
    let ciphers = chosen("Ciphers", &CIPHERS, &options.ciphers).map(drop);
    let macs = chosen("MACs", &Preferred::DEFAULT.mac, &options.macs).map(drop);
    kex_order(&options.kex_algorithms).map(drop).and(ciphers).and(macs).err()
}

/// The fastest first; the protocol crate's list has no AES-128-GCM at all.
const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_CTR,
    cipher::AES_192_CTR,
    cipher::AES_256_CTR,
];

/// Our order of what `wanted` allows, and then what else it names: `ssh_config` may ask for old
/// algorithms for the sake of old servers. An empty `wanted` allows all.
fn chosen<N>(option: &str, ours: &[N], wanted: &[String]) -> Result<Vec<N>, String>
where
    N: AsRef<str> + PartialEq + Copy + for<'a> TryFrom<&'a str>,
{
    if wanted.is_empty() {
        return Ok(ours.to_vec());
    }
    let allowed = |name: &N| wanted.iter().any(|wanted| wanted == name.as_ref());
    let mut names: Vec<N> = ours.iter().copied().filter(allowed).collect();
    for name in wanted.iter().filter_map(|name| N::try_from(name.as_str()).ok()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.is_empty() {
        true => Err(format!("{option} {}", wanted.join(","))),
        false => Ok(names),
    }
}

/// The default with the NIST curves behind Curve25519 (some servers have nothing else that is
/// fast), and the markers of extensions, which are no algorithms.
fn kex_order(wanted: &[String]) -> Result<Vec<kex::Name>, String> {
    let (markers, mut ours): (Vec<kex::Name>, Vec<kex::Name>) =
        Preferred::DEFAULT.kex.iter().copied().partition(|name| {
            let name = name.as_ref();
            name.starts_with("ext-info-") || name.starts_with("kex-strict-")
        });
    let behind = ours.iter().position(|name| *name == kex::DH_GEX_SHA256).unwrap_or(0);
    for name in [kex::ECDH_SHA2_NISTP521, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP256] {
        ours.insert(behind, name);
    }
    let mut order = chosen("KexAlgorithms", &ours, wanted)?;
    order.extend(markers);
    Ok(order)
}

/// What became known of a connection beside its data.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<Facts>);

#[derive(Debug, Default)]
struct Facts {
    refusal: Option<Refusal>,
    /// Whether the server gave a reason for the end.
    explained: bool,
    ending: Option<String>,
    banner: Option<String>,
    /// Whether an agent owes an answer.
    is_agent_asked: bool,
}

/// A question to an agent, until it is dropped.
#[derive(Debug)]
pub(super) struct AgentWait<'a>(&'a Report);

impl Drop for AgentWait<'_> {
    fn drop(&mut self) {
        self.0.facts().is_agent_asked = false;
    }
}

impl Report {
    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the host's key was not accepted.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        self.facts().refusal.take()
    }

    /// Why the connection ended, if it did.
    pub(super) fn ending(&self) -> Option<String> {
        self.facts().ending.clone()
    }

    /// Whether the server gave a reason for the end.
    pub(super) fn is_explained(&self) -> bool {
        self.facts().explained
    }

    /// Notes that an agent is asked for something.
    pub(super) fn wait_for_agent(&self) -> AgentWait<'_> {
        self.facts().is_agent_asked = true;
        AgentWait(self)
    }

    /// Whether an agent owes an answer.
    pub(super) fn is_agent_asked(&self) -> bool {
        self.facts().is_agent_asked
    }

    /// What the server said before it let anybody in.
    pub(super) fn banner(&self) -> Option<String> {
        self.facts().banner.clone()
    }
}

/// The callbacks of one connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) trust: Trust,
    pub(super) report: Arc<Report>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        match self.trust.judge(key) {
            Ok(()) => Ok(true),
            // Nobody is asked from here: the server's patience would run out meanwhile.
            Err(refusal) => {
                self.report.facts().refusal = Some(refusal);
                Ok(false)
            }
        }
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Self::Error> {
        self.report.facts().banner = Some(escaped(banner));
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let text = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("the server ended the connection: {}", escaped(&info.message))
            }
            DisconnectReason::Error(error) => describe(error),
        };
        {
            let mut facts = self.report.facts();
            facts.ending = Some(text);
            facts.explained = matches!(reason, DisconnectReason::ReceivedDisconnect(_));
        }
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// Whether it says no more than that the other side has hung up.
pub(super) fn is_hang_up(error: &russh::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        russh::Error::HUP | russh::Error::Disconnect => true,
        russh::Error::IO(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}

/// Says an error of the protocol crate in words of a user.
pub(super) fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::HUP | russh::Error::Disconnect => {
            "the connection was closed by the other side".to_owned()
        }
        russh::Error::IO(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the connection was closed by the other side".to_owned()
        }
        russh::Error::IO(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            "the host did not answer any more".to_owned()
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let theirs = escaped(&theirs.join(","));
            format!("the server offers no {kind:?} algorithm that geto knows: {theirs}")
        }
        other => escaped(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_of_nist_comes_after_curve25519() {
        let order = kex_order(&[]).unwrap();
        let at = |name| order.iter().position(|known| *known == name).unwrap();
        assert!(at(kex::CURVE25519) < at(kex::ECDH_SHA2_NISTP256));
        assert!(at(kex::ECDH_SHA2_NISTP256) < at(kex::DH_GEX_SHA256));
    }

    #[test]
    fn ssh_config_restricts_and_adds_algorithms() {
        let wanted = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let names = chosen("Ciphers", &CIPHERS, &wanted("aes256-ctr,aes128-cbc,unheard-of"));
        assert_eq!(names, Ok(vec![cipher::AES_256_CTR, cipher::AES_128_CBC]));
        assert!(chosen("Ciphers", &CIPHERS, &wanted("unheard-of")).is_err());
        assert!(kex_order(&wanted("sntrup761x25519-sha512@openssh.com")).is_err());
    }
}
