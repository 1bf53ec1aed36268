//! Lines of known_hosts: reading and writing.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::{HostIdentity, key, pattern};

/// OpenSSH's decoder wants the padding, and doesn't look at the bits that it leaves over.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// One line that says something about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it stands in its file, from 1.
    pub(super) line: usize,
    pub(super) marker: Marker,
    pub(super) key_type: String,
    pub(super) blob: Vec<u8>,
    hosts: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Plain,
    Authority,
    Revoked,
}

impl Entry {
    /// Whether the entry is for the host of this name (in lower case, with port if not 22).
    pub(super) fn is_for(&self, name: &str) -> bool {
        if self.hosts.starts_with(b"|") {
            return salt_of(&self.hosts)
                .is_some_and(|salt| hashed(name, &salt).as_bytes() == self.hosts);
        }
        pattern::list_matches(name.as_bytes(), &self.hosts)
    }
}

/// Reads the entries of a file; what OpenSSH skips is skipped.
pub(super) fn parse(text: &[u8]) -> impl Iterator<Item = Entry> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.enumerate().filter_map(|(index, line)| entry(index + 1, line))
}

/// Returns the line that makes the key known, with its end of line.
///
/// With a `salt` (20 random bytes) the name is hashed, as under `HashKnownHosts yes`.
pub fn line_for(
    host: &HostIdentity<'_>,
    salt: Option<[u8; 20]>,
    key_type: &str,
    blob: &[u8],
) -> String {
    let name = host.name();
    let name = salt.map_or_else(|| name.clone(), |salt| hashed(&name, &salt));
    format!("{name} {key_type} {}\n", STANDARD.encode(blob))
}

fn entry(line: usize, text: &[u8]) -> Option<Entry> {
    // To OpenSSH a NUL ends the line.
    let text = text.split(|byte| *byte == 0).next()?;
    let text = skip_blanks(text);
    if text.is_empty() || text.starts_with(b"#") {
        return None;
    }
    let (marker, text) = marker(text)?;
    let (hosts, text) = word(text)?;
    let (label, text) = word(skip_blanks(text))?;
    let label = str::from_utf8(label).ok()?;
    let text = skip_blanks(text);
    let encoded = text.split(|byte| is_blank(*byte)).next()?;
    // OpenSSH's decoder skips white space, so a carriage return at the end does no harm.
    let encoded: Vec<u8> =
        encoded.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0x0b | 0x0c)).collect();
    let blob = KEY_BASE64.decode(encoded).ok()?;
    let key_type = key::readable_type(label, &blob)?.to_owned();
    Some(Entry { line, marker, key_type, blob, hosts: hosts.to_owned() })
}

/// Splits off `@cert-authority` or `@revoked`; any other marker spoils the line.
///
/// A marker ends at the next space, at the next tab only when the line has no space: that is how
/// OpenSSH looks for it.
fn marker(text: &[u8]) -> Option<(Marker, &[u8])> {
    if !text.starts_with(b"@") {
        return Some((Marker::Plain, text));
    }
    let find = |wanted: u8| text.iter().position(|byte| *byte == wanted);
    let (name, rest) = text.split_at_checked(find(b' ').or_else(|| find(b'\t'))?)?;
    let marker = match name {
        b"@cert-authority" => Marker::Authority,
        b"@revoked" => Marker::Revoked,
        _ => return None,
    };
    let rest = skip_blanks(rest);
    (!rest.starts_with(b"@")).then_some((marker, rest))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    text.get(blanks..).unwrap_or_default()
}

/// Splits off a word that is followed by a blank.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    text.split_at_checked(text.iter().position(|byte| is_blank(*byte))?)
}

/// Reads the salt of `|1|salt|hash`.
fn salt_of(hosts: &[u8]) -> Option<[u8; 20]> {
    let rest = hosts.strip_prefix(b"|1|")?;
    let salt = rest.split(|byte| *byte == b'|').next()?;
    KEY_BASE64.decode(salt).ok()?.try_into().ok()
}

/// Writes `name` as `|1|salt|hash`.
fn hashed(name: &str, salt: &[u8; 20]) -> String {
    // A key of any length will do for an HMAC: there is no error to report.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else { return String::new() };
    mac.update(name.as_bytes());
    let hash = mac.finalize().into_bytes();
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_nul_ends_the_line() {
        let text = format!("a\0b ssh-ed25519 {KEY}\na ssh-ed25519 {KEY}\0!\n");
        let lines: Vec<_> = parse(text.as_bytes()).map(|entry| entry.line).collect();
        assert_eq!(lines, [2]);
    }

    #[test]
    fn a_hashed_line_is_as_ssh_keygen_writes_it() {
        let host = HostIdentity { host: "N1.lab", port: 2222, alias: None };
        let line = line_for(&host, None, "ssh-ed25519", b"key");
        assert_eq!(line, "[n1.lab]:2222 ssh-ed25519 a2V5\n");
        let line = line_for(&host, Some([0; 20]), "ssh-ed25519", b"key");
        let (name, rest) = line.split_once(' ').unwrap();
        assert!(name.starts_with("|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|"), "{name}");
        assert_eq!(rest, "ssh-ed25519 a2V5\n");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: Vec<u8>) {
            prop_assert!(parse(&text).count() <= text.len());
        }

        #[test]
        fn any_words_are_read(words in "(@revoked|\\|1\\||[a-z*?!,| \t\r\n=]|ssh-rsa|AAAA){0,40}") {
            for entry in parse(words.as_bytes()) {
                entry.is_for("host");
            }
        }

        #[test]
        fn a_written_line_is_read_back(host in "[a-z0-9.:-]{1,20}", port: u16, salt: Option<[u8; 20]>) {
            let host = HostIdentity { host: &host, port, alias: None };
            let blob = STANDARD.decode(KEY).unwrap();
            let line = line_for(&host, salt, "ssh-ed25519", &blob);
            let entries: Vec<_> = parse(line.as_bytes()).collect();
            prop_assert_eq!(entries.len(), 1);
            prop_assert!(entries.iter().all(|entry| entry.is_for(&host.name())));
            prop_assert!(entries.iter().all(|entry| !entry.is_for("other host")));
        }
    }
}
