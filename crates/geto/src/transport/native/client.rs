//! The protocol crate's view of us: settings, and what the server tells by the way.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{Config, DisconnectReason, Handler, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Preferred, SshId, cipher, kex};

use super::trust::{Refusal, Trust};

/// What a host says may be long and hostile: no more than this of it is kept.
const KEPT: usize = 1000;

/// The settings of a connection to a host whose keys are judged by `trust`.
pub(super) fn config(keepalive: Duration, keepalive_max: usize, trust: &Trust) -> Config {
    let (keys, certificates) = trust.algorithms();
    Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-geto_",
            env!("CARGO_PKG_VERSION")
        ))),
        nodelay: true,
        // The receive window is opened again below its half, so that the default of 2 MiB halves
        // the throughput of a long link; sshd burns its processor over one that is larger.
        window_size: 4 << 20,
        maximum_packet_size: 32 << 10,
        keepalive_interval: Some(keepalive),
        keepalive_max,
        // Keepalives are not sent while a write is blocked. It must be longer than they need, or
        // it would end quiet commands.
        inactivity_timeout: Some(
            keepalive * u32::try_from(keepalive_max).unwrap_or(3).saturating_add(1),
        ),
        preferred: Preferred {
            kex: Cow::Owned(kex_order()),
            key: Cow::Owned(keys),
            host_key_certificates: Cow::Owned(certificates),
            // The fastest first; the default has no AES-128-GCM at all.
            cipher: Cow::Borrowed(&[
                cipher::AES_128_GCM,
                cipher::AES_256_GCM,
                cipher::CHACHA20_POLY1305,
                cipher::AES_128_CTR,
                cipher::AES_192_CTR,
                cipher::AES_256_CTR,
            ]),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}

/// The default, and the NIST curves behind Curve25519: some servers have nothing else that is
/// fast.
fn kex_order() -> Vec<kex::Name> {
    let mut order = Preferred::DEFAULT.kex.to_vec();
    let behind = order.iter().position(|name| *name == kex::DH_GEX_SHA256).unwrap_or(0);
    for name in [kex::ECDH_SHA2_NISTP521, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP256] {
        order.insert(behind, name);
    }
    order
}

/// What became known of a connection beside its data.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<Facts>);

#[derive(Debug, Default)]
struct Facts {
    refusal: Option<Refusal>,
    ending: Option<String>,
    banner: Option<String>,
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

    /// What the server said before it let anybody in.
    pub(super) fn banner(&self) -> Option<String> {
        self.facts().banner.clone()
    }
}

/// The callbacks of one connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) trust: Arc<Trust>,
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
        self.report.facts().ending = Some(text);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
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
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => {
            "the host did not answer any more".to_owned()
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let theirs = escaped(&theirs.join(","));
            format!("the server offers no {kind:?} algorithm that geto knows: {theirs}")
        }
        other => escaped(&other.to_string()),
    }
}

/// Makes text from a host harmless to a terminal, and short.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.trim_end();
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= KEPT {
            out.push('…');
            break;
        }
        match c {
            '\n' | ' '..='~' => out.push(c),
            c if c.is_control() || is_reordering(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that change how the text around them is shown.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_host_can_not_drive_a_terminal() {
        assert_eq!(
            escaped("a\x1b[2Jb\r\n\u{9b}c\u{202e}d\n"),
            "a\\u{1b}[2Jb\\r\n\\u{9b}c\\u{202e}d"
        );
        assert!(escaped(&"x".repeat(10_000)).len() < 2 * KEPT);
    }

    #[test]
    fn a_curve_of_nist_comes_after_curve25519() {
        let order = kex_order();
        let at = |name| order.iter().position(|known| *known == name).unwrap();
        assert!(at(kex::CURVE25519) < at(kex::ECDH_SHA2_NISTP256));
        assert!(at(kex::ECDH_SHA2_NISTP256) < at(kex::DH_GEX_SHA256));
    }
}
