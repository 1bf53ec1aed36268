//! Whether a host's key is the one that known_hosts files promise, decided as OpenSSH decides it.
//!
//! ```text
//! files ──line──▶ entries ┐
//! name, port, alias ──────┼──verify──▶ Known | Unknown | Changed | Revoked
//! offered key, CA key ────┘
//! ```
//!
//! What geto does with the verdict is its own: it refuses a changed or revoked key also where
//! `StrictHostKeyChecking no` would let `ssh` go on.

#![deny(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod key;
mod line;
mod pattern;

pub(crate) use pattern::matches as matches_pattern;

use std::path::{Path, PathBuf};

pub use line::line_for;
use line::{Entry, Marker};

/// The entries of several known_hosts files, in the order in which they are asked.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    entries: Vec<(PathBuf, Entry)>,
}

/// The name by which a host is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostIdentity<'a> {
    /// The host's name or address as ssh_config resolves it (`HostName`), without brackets.
    pub host: &'a str,
    /// The port of the server.
    pub port: u16,
    /// `HostKeyAlias`, which is looked up instead, and without a port.
    pub alias: Option<&'a str>,
}

/// The key that a server has proved to hold.
#[derive(Debug, Clone, Copy)]
pub struct OfferedKey<'a> {
    /// The type of the plain key, `ssh-ed25519` for instance.
    pub key_type: &'a str,
    /// The plain public key in wire form. Of a certificate: the key that it certifies.
    pub blob: &'a [u8],
    /// What the certificate says, when the server offered one.
    pub certificate: Option<OfferedCertificate<'a>>,
}

/// A host certificate whose signature the caller has verified.
#[derive(Debug, Clone, Copy)]
pub struct OfferedCertificate<'a> {
    /// The public key of the certificate authority in wire form.
    pub authority: &'a [u8],
    /// Whether it is a host certificate; one for users is no proof of a host.
    pub is_host: bool,
    /// The names that it is for; none means any.
    pub principals: &'a [String],
    /// The first second of its validity, counted from 1970.
    pub valid_after: u64,
    /// The first second after its validity.
    pub valid_before: u64,
    /// Whether it has critical options; no such option is defined for hosts.
    pub has_critical_options: bool,
    /// The algorithm of the authority's signature, `rsa-sha2-512` for instance.
    pub signature_algorithm: &'a str,
}

/// By what a host certificate is judged.
#[derive(Debug, Clone, Copy)]
pub struct CertificateRules<'a> {
    /// The current time in seconds from 1970.
    pub now: u64,
    /// The signature algorithms that an authority may use (`CASignatureAlgorithms`).
    pub signature_algorithms: &'a [String],
}

/// What the known_hosts files say about an offered key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostKeyVerdict {
    /// This entry vouches for the key, or for the authority of its certificate.
    Known {
        /// The file that has the entry.
        path: PathBuf,
        /// The entry's line, from 1.
        line: usize,
    },
    /// No entry is for this host.
    Unknown {
        /// Why the certificate that the server offered was not enough, when a known authority had
        /// signed it.
        certificate_problem: Option<&'static str>,
    },
    /// The host is known, with another key, of whatever type.
    Changed {
        /// The file that has the last such entry.
        path: PathBuf,
        /// The entry's line, from 1.
        line: usize,
        /// The type of the key that was expected there.
        key_type: String,
    },
    /// The key, or the authority of its certificate, is marked `@revoked`.
    Revoked {
        /// The file that has the entry.
        path: PathBuf,
        /// The entry's line, from 1.
        line: usize,
    },
}

impl KnownHosts {
    /// Adds the entries of the file `path` whose content is `text`.
    ///
    /// Lines that OpenSSH can't read (and therefore skips) are skipped.
    pub fn add_file(&mut self, path: impl AsRef<Path>, text: &[u8]) {
        for entry in line::parse(text) {
            self.entries.push((path.as_ref().to_owned(), entry));
        }
    }

    /// Judges the key that `host` offers.
    ///
    /// A certificate that no known authority vouches for counts as the plain key in it. A host at
    /// another port than 22 is vouched for by an entry without port too, if that has this very
    /// key; any other entry without port says nothing about it, `@revoked` apart (there geto is
    /// stricter than `ssh`, which would ask).
    pub fn verify(
        &self,
        host: &HostIdentity<'_>,
        offered: &OfferedKey<'_>,
        rules: &CertificateRules<'_>,
    ) -> HostKeyVerdict {
        let mut problem = None;
        if let Some(certificate) = &offered.certificate {
            for name in host.lookups() {
                match self.check_certificate(&name, offered.blob, certificate) {
                    Found::Revoked(path, line) => return HostKeyVerdict::Revoked { path, line },
                    Found::Same(path, line) => {
                        match certificate.problem(&host.principal(), rules) {
                            None => return HostKeyVerdict::Known { path, line },
                            reason => problem = reason,
                        }
                    }
                    Found::Other(..) | Found::Nothing => {}
                }
            }
        }
        let mut lookups = host.lookups().into_iter();
        let first = lookups.next().map_or(Found::Nothing, |name| self.check_key(&name, offered));
        match first {
            Found::Same(path, line) => return HostKeyVerdict::Known { path, line },
            Found::Revoked(path, line) => return HostKeyVerdict::Revoked { path, line },
            Found::Other(path, line, key_type) => {
                return HostKeyVerdict::Changed { path, line, key_type };
            }
            Found::Nothing => {}
        }
        match lookups.next().map(|name| self.check_key(&name, offered)) {
            Some(Found::Same(path, line)) => HostKeyVerdict::Known { path, line },
            Some(Found::Revoked(path, line)) => HostKeyVerdict::Revoked { path, line },
            _ => HostKeyVerdict::Unknown { certificate_problem: problem },
        }
    }

    /// Returns the types of the keys that are known for `host`, each once, in the files' order.
    ///
    /// RSA keys have the type `ssh-rsa`, whatever the signature algorithm. Entries without port
    /// don't count for a host at another port than 22; revoked keys don't count.
    pub fn key_types_for(&self, host: &HostIdentity<'_>) -> Vec<String> {
        let name = host.name();
        let mut types: Vec<&Entry> = Vec::new();
        for entry in self.matching(&name).map(|(_, entry)| entry) {
            let plain = entry.marker == Marker::Plain;
            if plain && types.iter().all(|known| known.key_type != entry.key_type) {
                types.push(entry);
            }
        }
        // As in OpenSSH the first key of a type stands for all of them.
        types.retain(|entry| self.revocation(&name, &[&entry.blob]).is_none());
        types.into_iter().map(|entry| entry.key_type.clone()).collect()
    }

    /// Whether a certificate authority is known for `host`.
    pub fn has_cert_authority(&self, host: &HostIdentity<'_>) -> bool {
        let name = host.name();
        self.matching(&name).any(|(_, entry)| entry.marker == Marker::Authority)
    }

    /// Puts those of `algorithms` (`HostKeyAlgorithms`) first by which a known key can be proved.
    ///
    /// So a host that is known is not taken for a changed one because it has a second key. The
    /// order stays as it is within the two parts, and altogether when the first algorithm fits.
    pub fn order_algorithms(&self, host: &HostIdentity<'_>, algorithms: &[String]) -> Vec<String> {
        let types = self.key_types_for(host);
        let is_known = |algorithm: &str| types.iter().any(|t| t == key::plain_type(algorithm));
        if algorithms.first().is_some_and(|best| is_known(best)) {
            return algorithms.to_vec();
        }
        let authority = self.has_cert_authority(host);
        let (mut first, last): (Vec<_>, Vec<_>) =
            algorithms.iter().cloned().partition(|algorithm| {
                (authority && key::is_certificate(algorithm)) || is_known(algorithm)
            });
        first.extend(last);
        first
    }

    fn matching<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Path, &'a Entry)> {
        let entries = self.entries.iter().filter(|(_, entry)| entry.is_for(name));
        entries.map(|(path, entry)| (path.as_path(), entry))
    }

    fn revocation(&self, name: &str, blobs: &[&[u8]]) -> Option<(PathBuf, usize)> {
        let (path, entry) = self.matching(name).find(|(_, entry)| {
            entry.marker == Marker::Revoked && blobs.contains(&entry.blob.as_slice())
        })?;
        Some((path.to_owned(), entry.line))
    }

    fn check_certificate(
        &self,
        name: &str,
        blob: &[u8],
        certificate: &OfferedCertificate<'_>,
    ) -> Found {
        if let Some((path, line)) = self.revocation(name, &[blob, certificate.authority]) {
            return Found::Revoked(path, line);
        }
        let authority = self.matching(name).find(|(_, entry)| {
            entry.marker == Marker::Authority && entry.blob == certificate.authority
        });
        authority.map_or(Found::Nothing, |(path, entry)| Found::Same(path.to_owned(), entry.line))
    }

    fn check_key(&self, name: &str, offered: &OfferedKey<'_>) -> Found {
        if let Some((path, line)) = self.revocation(name, &[offered.blob]) {
            return Found::Revoked(path, line);
        }
        let mut found = Found::Nothing;
        for (path, entry) in self.matching(name) {
            if entry.marker != Marker::Plain {
                continue;
            }
            if entry.blob == offered.blob {
                return Found::Same(path.to_owned(), entry.line);
            }
            found = Found::Other(path.to_owned(), entry.line, entry.key_type.clone());
        }
        found
    }
}

/// What the entries for one name say about a key.
enum Found {
    Same(PathBuf, usize),
    Other(PathBuf, usize, String),
    Revoked(PathBuf, usize),
    Nothing,
}

impl HostIdentity<'_> {
    /// Returns the name under which the host's key is written down: `host`, `[host]:port`, or the
    /// alias.
    pub fn name(&self) -> String {
        match self.alias {
            Some(alias) => alias.to_owned(),
            None if self.port == 22 => self.host.to_ascii_lowercase(),
            None => format!("[{}]:{}", self.host.to_ascii_lowercase(), self.port),
        }
    }

    /// The names to look up, the one that counts first.
    fn lookups(&self) -> Vec<String> {
        let mut names = vec![self.name()];
        if self.alias.is_none() && self.port != 22 {
            names.push(self.host.to_ascii_lowercase());
        }
        names
    }

    /// The name that a certificate must list.
    fn principal(&self) -> String {
        self.alias.map_or_else(|| self.host.to_ascii_lowercase(), ToOwned::to_owned)
    }
}

impl OfferedCertificate<'_> {
    fn problem(&self, name: &str, rules: &CertificateRules<'_>) -> Option<&'static str> {
        if !self.is_host {
            return Some("certificate is not for hosts");
        }
        if rules.now < self.valid_after {
            return Some("certificate is not yet valid");
        }
        if rules.now >= self.valid_before {
            return Some("certificate has expired");
        }
        if !self.principals.is_empty() && self.principals.iter().all(|listed| listed != name) {
            return Some("certificate does not list the host's name");
        }
        if self.has_critical_options {
            return Some("certificate has critical options, which hosts have none of");
        }
        if rules.signature_algorithms.iter().all(|known| known != self.signature_algorithm) {
            return Some("certificate is signed with an algorithm that is not allowed");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CertificateRules<'_> = CertificateRules { now: 50, signature_algorithms: &[] };

    fn blob(number: u8) -> Vec<u8> {
        [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), &[number; 32]].concat()
    }

    fn line(hosts: &str, number: u8) -> String {
        let alias = HostIdentity { host: "", port: 22, alias: Some(hosts) };
        line_for(&alias, None, "ssh-ed25519", &blob(number))
    }

    fn known(text: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.add_file("/f", text.as_bytes());
        known
    }

    fn host(port: u16) -> HostIdentity<'static> {
        HostIdentity { host: "n1", port, alias: None }
    }

    #[test]
    fn a_key_that_is_revoked_without_port_is_revoked_at_every_port() {
        let known = known(&format!("@revoked {}", line("n1", 1)));
        let offered = OfferedKey { key_type: "ssh-ed25519", blob: &blob(1), certificate: None };
        let revoked = HostKeyVerdict::Revoked { path: "/f".into(), line: 1 };
        assert_eq!(known.verify(&host(22), &offered, &RULES), revoked);
        assert_eq!(known.verify(&host(2222), &offered, &RULES), revoked);
    }

    #[test]
    fn the_types_of_keys_that_count_are_listed_once() {
        let text = [
            line("[n1]:2222", 1),
            line("n1,[n1]:2222", 2),
            format!("@cert-authority {}", line("n1", 3)),
        ];
        let all = known(&text.concat());
        assert_eq!(all.key_types_for(&host(2222)), ["ssh-ed25519"]);
        assert!(all.has_cert_authority(&host(22)) && !all.has_cert_authority(&host(2222)));
        let revoked = known(&format!("{}@revoked {}", line("n1", 1), line("*", 1)));
        assert!(revoked.key_types_for(&host(22)).is_empty());
    }

    #[test]
    fn what_is_known_is_offered_first_and_certificates_with_it() {
        let list = |names: &str| -> Vec<String> {
            names.split_whitespace().map(ToOwned::to_owned).collect()
        };
        let all = list("ssh-rsa-cert-v01@openssh.com rsa-sha2-512 ssh-ed25519 ssh-rsa");
        let plain = known(&line("n1", 1));
        let first = list("ssh-ed25519 ssh-rsa-cert-v01@openssh.com rsa-sha2-512 ssh-rsa");
        assert_eq!(plain.order_algorithms(&host(22), &all), first);
        assert_eq!(plain.order_algorithms(&host(23), &all), all);
        let authority = known(&format!("@cert-authority {}{}", line("n1", 2), line("n1", 1)));
        let first = list("ssh-rsa-cert-v01@openssh.com ssh-ed25519 rsa-sha2-512 ssh-rsa");
        assert_eq!(authority.order_algorithms(&host(22), &all), first);
    }

    #[test]
    fn a_certificate_that_is_not_enough_says_why() {
        let known = known(&format!("@cert-authority {}", line("*", 9)));
        let (names, algorithms) = (["n1".to_owned()], ["ssh-ed25519".to_owned()]);
        let good = OfferedCertificate {
            authority: &blob(9),
            is_host: true,
            principals: &names,
            valid_after: 50,
            valid_before: 51,
            has_critical_options: false,
            signature_algorithm: "ssh-ed25519",
        };
        let rules = CertificateRules { signature_algorithms: &algorithms, ..RULES };
        let others = ["n2".to_owned()];
        for (certificate, expected) in [
            (good, None),
            (OfferedCertificate { is_host: false, ..good }, Some("not for hosts")),
            (OfferedCertificate { valid_after: 51, ..good }, Some("not yet valid")),
            (OfferedCertificate { valid_before: 50, ..good }, Some("expired")),
            (OfferedCertificate { principals: &others, ..good }, Some("host's name")),
            (OfferedCertificate { has_critical_options: true, ..good }, Some("critical")),
            (OfferedCertificate { signature_algorithm: "ssh-rsa", ..good }, Some("not allowed")),
        ] {
            let key = OfferedKey {
                key_type: "ssh-ed25519",
                blob: &blob(1),
                certificate: Some(certificate),
            };
            match (known.verify(&host(2222), &key, &rules), expected) {
                (HostKeyVerdict::Known { line: 1, .. }, None) => {}
                (HostKeyVerdict::Unknown { certificate_problem: Some(problem) }, Some(words)) => {
                    assert!(problem.contains(words), "{problem}");
                }
                other => assert_eq!(format!("{other:?}"), "", "neither known nor refused"),
            }
        }
    }
}
