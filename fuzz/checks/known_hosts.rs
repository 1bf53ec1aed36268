//! known_hosts: a key that was written down is known from then on, unless it is revoked.

use geto_core::known_hosts::{
    CertificateRules, HostIdentity, HostKeyVerdict, KnownHosts, OfferedCertificate, OfferedKey,
    line_for,
};

/// An ed25519 key in wire form, of which the corpus speaks; it is all that is proved here.
const BLOB: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0 geto geto geto geto geto geto ge";
const KEY_TYPE: &str = "ssh-ed25519";

/// Judges a key by the bytes as a file.
pub(crate) fn check(input: &[u8]) {
    for (host, port, alias) in
        [("host", 22, None), ("10.0.0.1", 2222, None), ("x", 1, Some("host"))]
    {
        let host = HostIdentity { host, port, alias };
        judge(input, &host, None);
        let principals = ["host".to_owned()];
        let certificate = OfferedCertificate {
            authority: BLOB,
            is_host: true,
            principals: &principals,
            valid_after: 0,
            valid_before: 2,
            has_critical_options: false,
            signature_algorithm: KEY_TYPE,
        };
        judge(input, &host, Some(certificate));
    }
}

fn judge(input: &[u8], host: &HostIdentity<'_>, certificate: Option<OfferedCertificate<'_>>) {
    let algorithms = ["rsa-sha2-512".to_owned(), KEY_TYPE.to_owned()];
    let rules = CertificateRules { now: 1, signature_algorithms: &algorithms };
    let key = OfferedKey { key_type: KEY_TYPE, blob: BLOB, certificate };
    let mut known = KnownHosts::default();
    known.add_file("known_hosts", input);
    let before = known.verify(host, &key, &rules);
    let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
    if let HostKeyVerdict::Known { line, .. }
    | HostKeyVerdict::Changed { line, .. }
    | HostKeyVerdict::Revoked { line, .. } = &before
    {
        assert!((1..=lines).contains(line), "{line} of {lines}");
    }
    let mut ordered = known.order_algorithms(host, &algorithms);
    ordered.sort();
    assert_eq!(ordered, algorithms);
    for salt in [None, Some([7; 20])] {
        let line = line_for(host, salt, KEY_TYPE, BLOB);
        let mut learnt = known.clone();
        learnt.add_file("learnt", line.as_bytes());
        let after = learnt.verify(host, &key, &rules);
        match before {
            HostKeyVerdict::Revoked { .. } | HostKeyVerdict::Known { .. } => {
                assert_eq!(after, before);
            }
            _ => {
                let known = matches!(&after, HostKeyVerdict::Known { path, .. }
                    if path.as_os_str() == "learnt");
                let revoked = matches!(after, HostKeyVerdict::Revoked { .. });
                assert!(known || revoked, "{after:?}");
            }
        }
    }
}
