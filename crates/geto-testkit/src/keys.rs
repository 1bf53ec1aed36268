//! Key pairs and certificates, made by ssh-keygen.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{program, run};

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ssh-ed25519
    Ed25519,
    /// ecdsa-sha2-nistp256
    Ecdsa,
    /// RSA of 2048 bits: larger ones take seconds to make.
    Rsa,
}

impl KeyKind {
    /// Returns the name as `ssh-keygen -t` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// A key that a server lets in.
#[derive(Clone, Debug)]
pub struct UserKey {
    pub(crate) kind: KeyKind,
    passphrase: String,
    certificate: Option<KeyKind>,
}

impl UserKey {
    /// A key without passphrase, listed in authorized_keys.
    #[must_use]
    pub fn new(kind: KeyKind) -> Self {
        Self { kind, passphrase: String::new(), certificate: None }
    }

    /// Encrypts the key file.
    #[must_use]
    pub fn passphrase(mut self, passphrase: &str) -> Self {
        passphrase.clone_into(&mut self.passphrase);
        self
    }

    /// Lets the key in by a certificate (`<key>-cert.pub`) of an authority of that kind, instead of
    /// listing it in authorized_keys. OpenSSH only.
    #[must_use]
    pub fn certificate(mut self, authority: KeyKind) -> Self {
        self.certificate = Some(authority);
        self
    }
}

/// What a server needs to know of its users' keys.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    /// Private key files.
    pub(crate) files: Vec<PathBuf>,
    /// Text of authorized_keys.
    pub(crate) authorized: String,
    /// Public keys of authorities, one a line.
    pub(crate) authorities: String,
}

impl Keyring {
    pub(crate) fn generate(dir: &Path, keys: &[UserKey], user: &str) -> Self {
        let mut ring = Self::default();
        for (number, key) in keys.iter().enumerate() {
            let file = dir.join(format!("id_{}_{number}", key.kind.name()));
            let public = generate(&file, key.kind, &key.passphrase);
            if let Some(kind) = key.certificate {
                let authority = dir.join(format!("user_authority_{number}"));
                ring.authorities.push_str(&generate(&authority, kind, ""));
                sign(&authority, &["-n", user], &file);
            } else {
                ring.authorized.push_str(&public);
            }
            ring.files.push(file);
        }
        ring
    }
}

/// Makes a key pair and returns the public line, newline included.
pub(crate) fn generate(file: &Path, kind: KeyKind, passphrase: &str) -> String {
    let mut keygen = Command::new(program("ssh-keygen", "openssh-client"));
    keygen.args(["-q", "-t", kind.name(), "-N", passphrase, "-C", "testkit", "-f"]).arg(file);
    if kind == KeyKind::Rsa {
        keygen.args(["-b", "2048"]);
    }
    run(&mut keygen);
    fs_err::read_to_string(file.with_extension("pub")).expect("ssh-keygen writes the public key")
}

/// Signs the public half of `key`; the certificate is `<key>-cert.pub`.
pub(crate) fn sign(authority: &Path, arguments: &[&str], key: &Path) {
    let mut keygen = Command::new(program("ssh-keygen", "openssh-client"));
    keygen.args(["-q", "-I", "testkit", "-s"]).arg(authority).args(arguments);
    run(keygen.arg(key.with_extension("pub")));
}
