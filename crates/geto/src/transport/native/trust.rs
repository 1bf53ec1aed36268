//! Whether a host's key is the right one.

use std::path::PathBuf;

use russh::Preferred;
use russh::keys::{Algorithm, HashAlg, PublicKeyOrCertificate};

/// What known_hosts says of one host.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) files: Vec<PathBuf>,
}

/// Why a host's key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Unknown { fingerprint: String },
}

impl Trust {
    pub(super) fn algorithms(&self) -> (Vec<Algorithm>, Vec<Algorithm>) {
        (Preferred::DEFAULT.key.to_vec(), Vec::new())
    }

    pub(super) fn judge(&self, key: &PublicKeyOrCertificate) -> Result<(), Refusal> {
        let public = key.public_key();
        let known = self.files.iter().any(|file| {
            russh::keys::check_known_hosts_path(&self.host, self.port, &public, file)
                .unwrap_or(false)
        });
        if known {
            return Ok(());
        }
        Err(Refusal::Unknown { fingerprint: public.fingerprint(HashAlg::Sha256).to_string() })
    }
}
