//! Writing keys to known_hosts.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use geto_core::known_hosts::{
    CertificateRules, HostIdentity, HostKeyVerdict, KnownHosts, OfferedKey, line_for,
};

use super::HostKey;
use crate::{Error, ErrorKind};

/// Adds keys of `host` to the known_hosts file at `path`, and returns how many were new.
///
/// The file is created for the user alone, and so is its directory. Names are hashed when `hash`
/// says so. All lines are appended in one write, so that other programs may append to the file at
/// the same time; a key that the file has already for this host is not added again.
///
/// # Errors
/// [`ErrorKind::HostKey`] when the file has another key of the same type for the host, or one of
/// the keys is marked `@revoked`: nothing is written then. [`ErrorKind::Local`] when the file
/// can't be read or written.
pub fn add_to_known_hosts(
    path: &Path,
    host: &HostIdentity<'_>,
    hash: bool,
    keys: &[HostKey],
) -> Result<usize, Error> {
    let unwritten = |error: io::Error| {
        let message = format!("failed to add keys to `{}`", path.display());
        Error::new(ErrorKind::Local, message).caused_by(error)
    };
    let old = read(path).map_err(unwritten)?;
    let mut known = KnownHosts::default();
    known.add_file(path, &old);
    let mut text = String::new();
    let mut added = 0;
    for key in keys {
        if !is_new(&known, host, key)? {
            continue;
        }
        let line = line(host, hash, &key.key_type, &key.blob).map_err(unwritten)?;
        known.add_file(path, line.as_bytes());
        text.push_str(&line);
        added += 1;
    }
    if added > 0 {
        append(path, &old, text).map_err(unwritten)?;
    }
    Ok(added)
}

/// Adds one key, which somebody has accepted, without a look at what the file says of the host.
pub(crate) fn learn(
    path: &Path,
    host: &HostIdentity<'_>,
    hash: bool,
    key_type: &str,
    blob: &[u8],
) -> io::Result<()> {
    append(path, &read(path)?, line(host, hash, key_type, blob)?)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs_err::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn line(host: &HostIdentity<'_>, hash: bool, key_type: &str, blob: &[u8]) -> io::Result<String> {
    let mut salt = hash.then_some([0; 20]);
    if let Some(bytes) = &mut salt {
        getrandom::fill(bytes).map_err(io::Error::other)?;
    }
    Ok(line_for(host, salt, key_type, blob))
}

/// Whether the key is to be added.
pub(super) fn is_new(
    known: &KnownHosts,
    host: &HostIdentity<'_>,
    key: &HostKey,
) -> Result<bool, Error> {
    let offered = OfferedKey { key_type: &key.key_type, blob: &key.blob, certificate: None };
    let rules = CertificateRules { now: 0, signature_algorithms: &[] };
    let refused = |path: &Path, line: usize, why: &str| {
        let name = host.name();
        let message = format!("failed to trust {} key `{}`", key.key_type, key.fingerprint);
        let cause = format!("{}:{line} {why}", path.display());
        let error = Error::new(ErrorKind::HostKey, message).on_host(name).caused_by(cause);
        (error, path.display().to_string())
    };
    match known.verify(host, &offered, &rules) {
        HostKeyVerdict::Known { .. } => Ok(false),
        HostKeyVerdict::Revoked { path, line } => Err(refused(&path, line, "has it as revoked").0),
        HostKeyVerdict::Changed { path, line, .. }
            if known.key_types_for(host).contains(&key.key_type) =>
        {
            let (error, file) = refused(&path, line, "is the last of other keys for the host");
            let hint = format!(
                "if the host's key was changed on purpose, run `ssh-keygen -R '{}' -f '{file}'`",
                host.name()
            );
            Err(error.with_hint(hint))
        }
        _ => Ok(true),
    }
}

fn append(path: &Path, old: &[u8], mut text: String) -> io::Result<()> {
    // A last line without its end must not swallow the first new one.
    if old.last().is_some_and(|last| *last != b'\n') {
        text.insert(0, '\n');
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(path)?;
    // One write: other processes append to this file, too.
    file.write_all(text.as_bytes())
}
