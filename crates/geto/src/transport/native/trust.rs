//! Whether a host's key is the right one: known_hosts, as `ssh` reads it.

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use geto_core::Host;
use geto_core::known_hosts::{
    CertificateRules, HostIdentity, HostKeyVerdict, KnownHosts, OfferedCertificate, OfferedKey,
};
use geto_core::ssh_config::StrictHostKeyChecking;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::transport::connect::WayToKeys;
use crate::transport::resolve::Resolved;
use crate::trust::{FetchError, HostKey, learn};

/// What known_hosts says of one host.
#[derive(Debug)]
pub(super) struct Trust {
    known: KnownHosts,
    host: String,
    port: u16,
    alias: Option<String>,
    /// Where a new key is written.
    learn_in: Option<PathBuf>,
    hashed: bool,
    strict: StrictHostKeyChecking,
    authority_algorithms: Vec<String>,
    order: Vec<String>,
}

/// Why a host's key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No line is about this host.
    Unknown(Unknown),
    /// Lines are about this host, and have another key.
    Changed { fingerprint: String, key_type: String, path: PathBuf, line: usize },
    /// The key is marked as revoked.
    Revoked { fingerprint: String, path: PathBuf, line: usize },
}

/// A key that nobody has seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) key_type: String,
    pub(super) fingerprint: String,
    /// Why its certificate was of no use.
    pub(super) certificate_problem: Option<&'static str>,
    blob: Vec<u8>,
}

impl Trust {
    /// Reads the files that count for a host. `fleet_host` is the host of geto.ini, whose own
    /// known_hosts replaces the others; hosts in between have none.
    pub(super) fn of(resolved: &Resolved, fleet_host: Option<&Host>) -> Result<Self, String> {
        let options = &resolved.options;
        let (user_files, global_files) =
            match fleet_host.and_then(|host| host.known_hosts_path.clone()) {
                Some(only) => (vec![only], Vec::new()),
                None => (
                    resolved.paths(&options.user_known_hosts_files)?,
                    resolved.paths(&options.global_known_hosts_files)?,
                ),
            };
        let mut known = KnownHosts::default();
        for path in user_files.iter().chain(&global_files) {
            match fs_err::read(path) {
                Ok(bytes) => known.add_file(path, &bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let mut trust = Self {
            known,
            host: options.hostname.clone(),
            port: options.port,
            alias: options.host_key_alias.clone(),
            learn_in: user_files.into_iter().next(),
            hashed: options.hash_known_hosts,
            strict: options.strict_host_key_checking,
            authority_algorithms: options.ca_signature_algorithms.clone(),
            order: options.host_key_algorithms.clone(),
        };
        if options.order_host_key_algorithms {
            trust.order = trust.known.order_algorithms(&trust.name(), &trust.order);
        }
        Ok(trust)
    }

    fn name(&self) -> HostIdentity<'_> {
        HostIdentity { host: &self.host, port: self.port, alias: self.alias.as_deref() }
    }

    /// The host key algorithms to offer, those that known_hosts has a key for first: bare keys,
    /// and certificates if some authority is known.
    pub(super) fn algorithms(&self) -> (Vec<Algorithm>, Vec<Algorithm>) {
        let mut bare = Vec::new();
        let mut certified = Vec::new();
        for name in &self.order {
            let (list, name) = match name.strip_suffix("-cert-v01@openssh.com") {
                Some(name) => (&mut certified, name),
                None => (&mut bare, name.as_str()),
            };
            if let Ok(known) = name.parse()
                && matches!(
                    known,
                    Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. }
                )
            {
                list.push(known);
            }
        }
        if bare.is_empty() {
            bare = russh::Preferred::DEFAULT.key.to_vec();
        }
        if !self.known.has_cert_authority(&self.name()) {
            certified.clear();
        }
        (bare, certified)
    }

    /// Judges the key that a host has shown (and proved to have).
    pub(super) fn judge(&self, shown: &PublicKeyOrCertificate) -> Result<(), Refusal> {
        let public = shown.public_key();
        let fingerprint = public.fingerprint(HashAlg::Sha256).to_string();
        // `ssh-rsa` names the key, whatever hash its signatures have.
        let key_type = match public.algorithm() {
            Algorithm::Rsa { .. } => "ssh-rsa".to_owned(),
            other => other.to_string(),
        };
        let blob = public.to_bytes().unwrap_or_default();
        let certificate = shown.certificate();
        let authority = certificate.map(|shown| PublicKey::from(shown.signature_key().clone()));
        let authority = authority.and_then(|key| key.to_bytes().ok()).unwrap_or_default();
        let algorithm = certificate.map(|shown| shown.signature().algorithm().to_string());
        let certificate = match (certificate, &algorithm) {
            (Some(shown), Some(algorithm)) if is_signed(shown) => Some(OfferedCertificate {
                authority: &authority,
                is_host: shown.cert_type() == CertType::Host,
                principals: shown.valid_principals(),
                valid_after: shown.valid_after(),
                valid_before: shown.valid_before(),
                has_critical_options: !shown.critical_options().is_empty(),
                signature_algorithm: algorithm,
            }),
            _ => None,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let rules = CertificateRules { now, signature_algorithms: &self.authority_algorithms };
        let key = OfferedKey { key_type: &key_type, blob: &blob, certificate };
        match self.known.verify(&self.name(), &key, &rules) {
            HostKeyVerdict::Known { .. } => Ok(()),
            HostKeyVerdict::Changed { path, line, .. } => {
                Err(Refusal::Changed { fingerprint, key_type, path, line })
            }
            HostKeyVerdict::Revoked { path, line } => {
                Err(Refusal::Revoked { fingerprint, path, line })
            }
            HostKeyVerdict::Unknown { certificate_problem } => {
                self.meet(Unknown { key_type, fingerprint, certificate_problem, blob })
            }
            // Not accepted by itself, whatever it is.
            _ => Err(Refusal::Unknown(Unknown {
                key_type,
                fingerprint,
                certificate_problem: None,
                blob,
            })),
        }
    }

    /// An unknown key is taken as it is where `ssh_config` says so, and is a question otherwise.
    fn meet(&self, unknown: Unknown) -> Result<(), Refusal> {
        match self.strict {
            StrictHostKeyChecking::No | StrictHostKeyChecking::AcceptNew
                if unknown.certificate_problem.is_none() =>
            {
                if let Err(error) = self.learn(&unknown) {
                    // As `ssh`: the user said that he does not care.
                    tracing::warn!(%error, "a new host key was not written to known_hosts");
                }
                Ok(())
            }
            _ => Err(Refusal::Unknown(unknown)),
        }
    }

    /// Whether a person may be asked about an unknown key.
    pub(super) fn may_ask(&self) -> bool {
        self.strict == StrictHostKeyChecking::Ask
    }

    /// Whether a key was learned meanwhile.
    pub(super) fn knows(&self, unknown: &Unknown) -> bool {
        let key =
            OfferedKey { key_type: &unknown.key_type, blob: &unknown.blob, certificate: None };
        let rules = CertificateRules { now: 0, signature_algorithms: &[] };
        matches!(self.known.verify(&self.name(), &key, &rules), HostKeyVerdict::Known { .. })
    }

    /// Whether any key of the host is known.
    pub(super) fn has_keys(&self) -> bool {
        !self.known.key_types_for(&self.name()).is_empty()
            || self.known.has_cert_authority(&self.name())
    }

    /// Writes a key to known_hosts.
    pub(super) fn learn(&self, unknown: &Unknown) -> io::Result<()> {
        let Some(path) = &self.learn_in else {
            return Err(io::Error::other("there is no known_hosts file to write to"));
        };
        learn(path, &self.name(), self.hashed, &unknown.key_type, &unknown.blob)
    }

    /// Where a new key of this host is written, and under which name.
    pub(super) fn way_to_keys(
        self,
        fetched: Result<Vec<HostKey>, FetchError>,
        complaint: Option<String>,
    ) -> Option<WayToKeys> {
        let Self { host: hostname, port, alias, learn_in, hashed, .. } = self;
        let known_hosts = learn_in?;
        Some(WayToKeys { fetched, complaint, hostname, port, alias, known_hosts, hashed })
    }
}

/// Whether the authority that a certificate names has signed it. Its dates are judged elsewhere,
/// hence a time at which it is good.
fn is_signed(certificate: &Certificate) -> bool {
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    certificate.validate_at(certificate.valid_after(), [&authority]).is_ok()
}
