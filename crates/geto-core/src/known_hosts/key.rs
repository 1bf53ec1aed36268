//! Public keys in wire form: which ones OpenSSH would read from a known_hosts line.

/// A certificate's algorithm name is that of its key and this.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// OpenSSH takes no RSA key that is shorter.
const RSA_MINIMUM_BITS: usize = 1024;

/// Returns the type of key by which `algorithm` (of `HostKeyAlgorithms`) signs.
pub(super) fn plain_type(algorithm: &str) -> &str {
    match algorithm.strip_suffix(CERTIFICATE).unwrap_or(algorithm) {
        "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
        // The name of a hardware key ends in the domain, that of its certificate too, once.
        "sk-ssh-ed25519" => "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256" => "sk-ecdsa-sha2-nistp256@openssh.com",
        plain => plain,
    }
}

/// Whether `algorithm` is one of a certificate.
pub(super) fn is_certificate(algorithm: &str) -> bool {
    algorithm.ends_with(CERTIFICATE)
}

/// Returns the type of the key `blob` when a line that names `label` may have it.
///
/// Certificates are not told apart from unreadable keys: known_hosts names keys.
pub(super) fn readable_type(label: &str, blob: &[u8]) -> Option<&'static str> {
    let mut parts = Parts(blob);
    let name = parts.next()?;
    let key_type = match plain_type(label) {
        "ssh-ed25519" => "ssh-ed25519",
        "ssh-rsa" => "ssh-rsa",
        "ssh-dss" => "ssh-dss",
        "ecdsa-sha2-nistp256" => "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384" => "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521" => "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com" => "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com" => "sk-ecdsa-sha2-nistp256@openssh.com",
        _ => return None,
    };
    if is_certificate(label) || name != key_type.as_bytes() {
        return None;
    }
    let sound = match key_type {
        "ssh-ed25519" => parts.next()?.len() == 32,
        "sk-ssh-ed25519@openssh.com" => parts.next()?.len() == 32 && parts.next().is_some(),
        "ecdsa-sha2-nistp256" => parts.curve_point(b"nistp256", 32)?,
        "ecdsa-sha2-nistp384" => parts.curve_point(b"nistp384", 48)?,
        "ecdsa-sha2-nistp521" => parts.curve_point(b"nistp521", 66)?,
        "sk-ecdsa-sha2-nistp256@openssh.com" => {
            parts.curve_point(b"nistp256", 32)? && parts.next().is_some()
        }
        "ssh-rsa" => parts.number()? > 0 && parts.number()? >= RSA_MINIMUM_BITS,
        _ => (0..4).all(|_| parts.number().is_some()),
    };
    (sound && parts.0.is_empty()).then_some(key_type)
}

/// The length-prefixed parts of a key.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (part, rest) =
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(part)
    }

    /// Reads a curve's name and an uncompressed point on it.
    fn curve_point(&mut self, curve: &[u8], coordinate: usize) -> Option<bool> {
        let (name, point) = (self.next()?, self.next()?);
        Some(name == curve && point.len() == 1 + 2 * coordinate && point.first() == Some(&4))
    }

    /// Reads a number that is not negative and returns how many bits it has.
    fn number(&mut self) -> Option<usize> {
        let bytes = self.next()?;
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            return None;
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let first = bytes.get(zeros).map_or(8, |byte| byte.leading_zeros() as usize);
        Some(
            (bytes.len() - zeros.min(bytes.len())) * 8
                - if zeros < bytes.len() { first } else { 0 },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(*part);
        }
        bytes
    }

    #[test]
    fn an_algorithm_names_the_type_of_its_key() {
        for (algorithm, expected) in [
            ("ssh-ed25519", "ssh-ed25519"),
            ("ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"),
            ("rsa-sha2-256", "ssh-rsa"),
            ("rsa-sha2-512-cert-v01@openssh.com", "ssh-rsa"),
            ("ecdsa-sha2-nistp384-cert-v01@openssh.com", "ecdsa-sha2-nistp384"),
            ("sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com"),
            ("sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com"),
            ("sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
        ] {
            assert_eq!(plain_type(algorithm), expected);
        }
    }

    #[test]
    fn only_whole_keys_of_the_named_type_are_read() {
        let ed25519 = blob(&[b"ssh-ed25519", &[7; 32]]);
        assert_eq!(readable_type("ssh-ed25519", &ed25519), Some("ssh-ed25519"));
        assert_eq!(readable_type("ssh-rsa", &ed25519), None);
        assert_eq!(readable_type("ssh-ed25519", &blob(&[b"ssh-ed25519", &[7; 31]])), None);
        assert_eq!(readable_type("ssh-ed25519", &blob(&[b"ssh-ed25519", &[7; 32], b""])), None);
        assert_eq!(readable_type("ssh-ed25519", ed25519.split_at(20).0), None);
        assert_eq!(readable_type("ssh-ed25519", b"\xff\xff\xff\xffssh"), None);
        assert_eq!(readable_type("ssh-quantum", &blob(&[b"ssh-quantum"])), None);
        let rsa = |bytes: usize| {
            let modulus: Vec<u8> =
                [0].into_iter().chain(std::iter::repeat_n(0xc3, bytes)).collect();
            blob(&[b"ssh-rsa", &[1, 0, 1], &modulus])
        };
        assert_eq!(readable_type("ssh-rsa", &rsa(128)), Some("ssh-rsa"));
        assert_eq!(readable_type("rsa-sha2-512", &rsa(128)), Some("ssh-rsa"));
        assert_eq!(readable_type("ssh-rsa", &rsa(127)), None);
        assert_eq!(readable_type("ssh-rsa", &blob(&[b"ssh-rsa", &[3], &[0xc3; 128]])), None);
        let point = [&[4][..], &[1; 64]].concat();
        let ecdsa = blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]);
        assert_eq!(readable_type("ecdsa-sha2-nistp256", &ecdsa), Some("ecdsa-sha2-nistp256"));
        assert_eq!(readable_type("ecdsa-sha2-nistp384", &ecdsa), None);
    }
}
