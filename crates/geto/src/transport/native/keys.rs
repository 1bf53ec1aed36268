//! Keys that may log geto in: files, certificates, and what an agent holds.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PublicKey, decode_secret_key, signature};
use zeroize::Zeroizing;

use crate::transport::prompt::{Answer, Asker, passphrase_topic};
use crate::transport::text::escaped;
use crate::transport::turns::Turns;

/// A key that a server can be offered.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// What to call it in messages: a path, or the agent's comment.
    pub(super) label: String,
    /// Unknown only of an encrypted file in an old format without its `.pub` file.
    pub(super) public: Option<PublicKey>,
    pub(super) certificate: Option<Box<Certificate>>,
    pub(super) source: Source,
}

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Agent,
    File(PathBuf),
}

/// A file that was looked at and is no use, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("`{0}`: no such file")]
    Missing(String),
    #[error("`{0}`: {1}")]
    Unreadable(String, String),
    #[error("`{0}`: its permissions {1:03o} let others in, so it is not used")]
    TooOpen(String, u32),
    #[error("`{0}`: no passphrase")]
    NoPassphrase(String),
    #[error("`{0}`: wrong passphrase")]
    WrongPassphrase(String),
    #[error("`{0}`: its public part differs from the file beside it")]
    Mismatch(String),
}

impl Identity {
    /// The identity in a private key file, or in a public one whose private part is elsewhere.
    pub(super) fn from_file(path: &Path) -> Result<Self, Unusable> {
        let label = path.display().to_string();
        let beside = with_suffix(path, ".pub");
        let text = read(path);
        let public = match (&text, read(&beside)) {
            (Err(Unusable::Missing(_)), Err(_)) => return Err(Unusable::Missing(label)),
            (Err(error), Err(_)) => return Err(error.clone()),
            (_, Ok(public)) => public_key(&public),
            (Ok(text), Err(_)) => public_key(text).or_else(|| public_part(text)),
        };
        Ok(Self { label, public, certificate: None, source: Source::File(path.to_owned()) })
    }

    /// The same key, shown by a certificate.
    pub(super) fn certified(&self, certificate: Certificate) -> Self {
        Self { certificate: Some(Box::new(certificate)), ..self.clone() }
    }

    /// What an agent holds.
    pub(super) fn of_agent(held: AgentIdentity) -> Self {
        let public = Some(held.public_key().into_owned());
        let (certificate, comment) = match held {
            AgentIdentity::PublicKey { comment, .. } => (None, comment),
            AgentIdentity::Certificate { certificate, comment } => {
                (Some(Box::new(certificate)), comment)
            }
        };
        let label = format!("agent: {}", escaped(&comment));
        Self { label, public, certificate, source: Source::Agent }
    }

    pub(super) fn labelled(self, label: &str) -> Self {
        Self { label: label.to_owned(), ..self }
    }

    /// The key without its comment.
    pub(super) fn public_data(&self) -> Option<&KeyData> {
        self.public.as_ref().map(PublicKey::key_data)
    }

    /// Whether both are offered to a server as the same. A certificate is what was signed, whatever
    /// comment its file has.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let signed = |identity: &Self| {
            identity.certificate.as_ref().map(|certificate| certificate.signature().clone())
        };
        self.public.is_some()
            && self.public_data() == other.public_data()
            && signed(self) == signed(other)
    }

    /// What to call it where it was tried.
    pub(super) fn describe(&self) -> String {
        let kind = if self.certificate.is_some() { " with its certificate" } else { "" };
        match &self.public {
            Some(public) => {
                format!("`{}`{kind} ({})", self.label, public.fingerprint(HashAlg::Sha256))
            }
            None => format!("`{}`{kind}", self.label),
        }
    }
}

/// Reads a certificate file; `None` when there is none.
pub(super) fn certificate(path: &Path) -> Option<Result<Certificate, Unusable>> {
    let text = match read(path) {
        Ok(text) => text,
        Err(Unusable::Missing(_)) => return None,
        Err(error) => return Some(Err(error)),
    };
    Some(
        Certificate::from_openssh(&text)
            .map_err(|error| Unusable::Unreadable(path.display().to_string(), error.to_string())),
    )
}

/// Where `ssh-keygen` puts the certificate of a key.
pub(super) fn certificate_path(key: &Path) -> PathBuf {
    with_suffix(key, "-cert.pub")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<Zeroizing<String>, Unusable> {
    let label = || path.display().to_string();
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unusable::Missing(label())),
        Err(error) => Err(Unusable::Unreadable(label(), error.to_string())),
    }
}

fn public_key(text: &str) -> Option<PublicKey> {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#'))?;
    PublicKey::from_openssh(line).ok()
}

/// The public part of a private key, as far as no passphrase is needed.
fn public_part(text: &str) -> Option<PublicKey> {
    if let Ok(key) = PrivateKey::from_openssh(text) {
        return Some(key.public_key().clone());
    }
    if is_encrypted(text) {
        return None;
    }
    decode_secret_key(text, None).ok().map(|key| key.public_key().clone())
}

/// By its headers, since a missing passphrase shows as all kinds of errors.
fn is_encrypted(text: &str) -> bool {
    text.contains("BEGIN ENCRYPTED PRIVATE KEY")
        || text.contains("Proc-Type: 4,ENCRYPTED")
        || PrivateKey::from_openssh(text).is_ok_and(|key| key.is_encrypted())
}

/// Whether it is encrypted in a way that only OpenSSL knows: what `ssh-keygen -m PEM` makes of
/// other keys than RSA, or made long ago.
fn is_outdated(text: &str) -> bool {
    text.contains("Proc-Type: 4,ENCRYPTED")
        && !(text.contains("BEGIN RSA PRIVATE KEY") && text.contains("DEK-Info: AES-128-CBC,"))
}

/// Decrypted keys by the text of their files: a passphrase costs 0.1 s of processor time, and a
/// fleet opens hundreds of connections with one key.
static UNLOCKED: Mutex<Vec<(Zeroizing<String>, Arc<PrivateKey>)>> = Mutex::new(Vec::new());

/// Loads a private key, asking for its passphrase up to `tries` times.
pub(super) async fn load(
    path: &Path,
    asker: &Asker,
    tries: u32,
) -> Result<Arc<PrivateKey>, Unusable> {
    let label = path.display().to_string();
    check_permissions(path)?;
    let text = read(path)?;
    if !is_encrypted(&text) {
        return decode_secret_key(&text, None)
            .map(Arc::new)
            .map_err(|error| Unusable::Unreadable(label, error.to_string()));
    }
    if let Some(key) = unlocked(&text) {
        return Ok(key);
    }
    if is_outdated(&text) {
        let why = "its encryption is out of date; renew it with `ssh-keygen -p -f`".to_owned();
        return Err(Unusable::Unreadable(label, why));
    }
    let topic = passphrase_topic(&label);
    let mut asked = 0;
    let mut turns = Turns::default();
    while asked < tries {
        let prompt = format!("passphrase of key `{label}`: ");
        let Some(answer) = asker.lasting(&topic, &prompt, &mut turns).await else {
            turns.give_up();
            return Err(Unusable::NoPassphrase(label));
        };
        if let Some(key) = unlocked(&text) {
            return Ok(key);
        }
        match unlock(text.clone(), &answer).await {
            Ok(key) => {
                turns.prove();
                return Ok(key);
            }
            Err(error) => tracing::debug!(key = label, %error, "the key was not decrypted"),
        }
        asker.forget(&topic, answer.secret());
        asked += u32::from(matches!(answer, Answer::New(_)));
    }
    turns.give_up();
    Err(Unusable::WrongPassphrase(label))
}

fn unlocked(text: &Zeroizing<String>) -> Option<Arc<PrivateKey>> {
    let unlocked = UNLOCKED.lock().unwrap_or_else(PoisonError::into_inner);
    unlocked.iter().find(|(known, _)| **known == **text).map(|(_, key)| Arc::clone(key))
}

async fn unlock(
    text: Zeroizing<String>,
    answer: &Answer,
) -> Result<Arc<PrivateKey>, Box<dyn std::error::Error + Send + Sync>> {
    let passphrase = Zeroizing::new(String::from_utf8(answer.secret().expose().to_vec())?);
    let decoding = tokio::task::spawn_blocking(move || {
        let key = decode_secret_key(&text, Some(&passphrase)).map(Arc::new)?;
        let mut unlocked = UNLOCKED.lock().unwrap_or_else(PoisonError::into_inner);
        unlocked.push((text, Arc::clone(&key)));
        Ok::<_, russh::keys::Error>(key)
    });
    Ok(decoding.await??)
}

/// As `ssh`: a key of one's own that others can read may have been read.
fn check_permissions(path: &Path) -> Result<(), Unusable> {
    let label = path.display().to_string();
    let meta = fs_err::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unusable::Missing(label.clone()),
        _ => Unusable::Unreadable(label.clone(), error.to_string()),
    })?;
    let ours = meta.uid() == rustix::process::getuid().as_raw();
    match meta.mode() & 0o777 {
        mode if ours && meta.is_file() && mode & 0o077 != 0 => Err(Unusable::TooOpen(label, mode)),
        _ => Ok(()),
    }
}

/// Appends the signature of `data` to it, as the protocol wants it.
pub(super) fn sign(
    key: &PrivateKey,
    hash: Option<HashAlg>,
    mut data: Vec<u8>,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    use signature::Signer as _;
    let signature = match key.key_data() {
        // The key's own method would take SHA-1 for what a certificate says is `ssh-rsa`.
        KeypairData::Rsa(pair) => (pair, Some(hash.unwrap_or(HashAlg::Sha512))).try_sign(&data)?,
        pair => pair.try_sign(&data)?,
    };
    let signature = signature.encode_vec()?;
    data.extend_from_slice(&u32::try_from(signature.len())?.to_be_bytes());
    data.extend_from_slice(&signature);
    Ok(data)
}
