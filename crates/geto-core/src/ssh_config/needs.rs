//! What only the system's `ssh` can do, and whether a user means it.

use super::parse::Lines;

/// Says what the configuration asks for that only `ssh` can do, whoever has written it there.
pub(super) fn of_anybody(lines: &Lines<'_>) -> Option<String> {
    let is_on = |keyword: &str| matches!(lines.first(keyword), Some("yes" | "true"));
    if is_on("hostbasedauthentication") {
        return Some("HostbasedAuthentication is on".to_owned());
    }
    if lines.text("pkcs11provider").is_some() {
        return Some("PKCS11Provider is set".to_owned());
    }
    // The second is the default of an `ssh` that is built without FIDO support, as on macOS.
    let provider = lines.text("securitykeyprovider");
    if provider.is_some_and(|value| !matches!(value, "internal" | "$SSH_SK_PROVIDER")) {
        return Some("SecurityKeyProvider is set".to_owned());
    }
    if lines.text("knownhostscommand").is_some() {
        return Some("KnownHostsCommand is set".to_owned());
    }
    if lines.text("revokedhostkeys").is_some() {
        return Some("RevokedHostKeys is set".to_owned());
    }
    if is_on("verifyhostkeydns") || lines.first("verifyhostkeydns") == Some("ask") {
        return Some("VerifyHostKeyDNS is on".to_owned());
    }
    if is_on("nohostauthenticationforlocalhost") {
        return Some("NoHostAuthenticationForLocalhost is on".to_owned());
    }
    if is_on("proxyusefdpass") {
        return Some("ProxyUseFdpass is on".to_owned());
    }
    let host_keys = lines.list("hostkeyalgorithms")?;
    let is_usual = |name: &String| USUAL.contains(&name.as_str()) || name == "ssh-rsa";
    (!host_keys.iter().any(is_usual)).then(|| "HostKeyAlgorithms has no usual one".to_owned())
}

/// The algorithms that keys have, as this process can use them.
const USUAL: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// The keywords, in lower case, that [`of_user`] looks at.
const OF_USER: [&str; 4] = [
    "gssapiauthentication",
    "pubkeyacceptedalgorithms",
    "pubkeyacceptedkeytypes",
    "requiredrsasize",
];

/// Says what a user's own configuration asks for that only `ssh` can do, and that distributions set
/// for everybody: `printed` is what `ssh -G -F <the user's file> <host>` prints.
///
/// Kerberos and rules for keys that stand in the machine's own file alone ask for nothing: hardly
/// any user of such a machine has a ticket, and a process for each connection costs all of them.
pub fn of_user(printed: &str) -> Option<String> {
    let lines = Lines::new(printed);
    if matches!(lines.first("gssapiauthentication"), Some("yes" | "true")) {
        return Some("GSSAPIAuthentication is on".to_owned());
    }
    // The second was its name until OpenSSH 8.4.
    for keyword in ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"] {
        let Some(list) = lines.list(keyword) else { continue };
        let has = |name: &str| list.iter().any(|other| other == name);
        let certified = |name: &str| has(&format!("{name}-cert-v01@openssh.com"));
        if !USUAL.iter().all(|name| has(name) && certified(name)) {
            return Some("PubkeyAcceptedAlgorithms leaves some out".to_owned());
        }
    }
    let size = lines.first("requiredrsasize")?;
    // The default of OpenSSH.
    (size != "1024").then(|| "RequiredRSASize is set".to_owned())
}

/// Whether the text of a configuration file has a word on anything that [`of_user`] looks at: where
/// none has, `ssh` need not be asked about the user's file by itself.
pub fn may_be_of_user(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    OF_USER.iter().any(|keyword| text.contains(keyword))
}
