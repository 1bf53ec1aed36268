//! What helps against an error, for who has asked to be told.

use std::error::Error as _;

use geto_core::Host;

use crate::text::printable;
use crate::{Error, ErrorKind};

/// Adds a hint to an error that has none.
pub(super) fn advise(error: Error, host: &Host) -> Error {
    if error.hint().is_some() {
        return error;
    }
    let mut why = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        why.push_str(&error.to_string());
        why.push('\n');
        cause = error.source();
    }
    match hint(error.kind(), &why, &printable(host.address.as_bytes())) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// What helps against an error of `kind` that came from `why`, in the words of the system, of
/// russh or of `ssh`.
fn hint(kind: ErrorKind, why: &str, address: &str) -> Option<String> {
    let has = |texts: &[&str]| texts.iter().any(|text| why.contains(text));
    Some(match kind {
        ErrorKind::Unreachable if has(&["look up name", "Could not resolve", "no address of"]) => {
            format!(
                "see what `getent hosts {address}` says, or write its IP address below `[hosts]`"
            )
        }
        ErrorKind::Unreachable if has(&["Connection refused"]) => {
            "see that sshd runs there (`systemctl status ssh`), and set `port` in geto.ini if it \
             listens elsewhere"
                .to_owned()
        }
        ErrorKind::Unreachable if has(&["no answer within", "timed out", "Timeout"]) => format!(
            "see whether `ping {address}` gets through and no firewall is in between; what is slow \
             needs a longer `--connect-timeout`"
        ),
        ErrorKind::Unreachable if has(&["No route to host", "Network is unreachable"]) => {
            format!("see what `ip route get {address}` says, and whether a VPN is down")
        }
        // Also what is said of a server that has too many connections, or bans this address.
        ErrorKind::Unreachable => format!(
            "see where `ssh -v {address}` ends; a server that closes connections may have reached \
             `MaxStartups` in its sshd_config, or bans this address"
        ),
        ErrorKind::HostKey => format!("see what `ssh -v {address}` says of the key"),
        ErrorKind::Authentication => format!("see what `ssh -v {address}` offers"),
        ErrorKind::Host => format!(
            "see what `ssh {address} 'echo it works'` prints: geto needs an account with a shell"
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_fits_the_words_of_each_transport() {
        let table = [
            ("failed to look up name `h`: Name or service not known", "getent"),
            ("ssh: Could not resolve hostname h: Name or service not known", "getent"),
            ("10.0.0.1:22: Connection refused (os error 111)", "systemctl"),
            ("ssh: connect to host h port 22: Connection refused", "systemctl"),
            ("no answer within 15 s", "--connect-timeout"),
            ("ssh: connect to host h port 22: Connection timed out", "--connect-timeout"),
            ("10.0.0.1:22: No route to host (os error 113)", "ip route"),
            ("kex_exchange_identification: Connection closed by remote host", "MaxStartups"),
        ];
        for (why, word) in table {
            let hint = hint(ErrorKind::Unreachable, why, "h").unwrap();
            assert!(hint.contains(word), "{why}: {hint}");
        }
        assert_eq!(hint(ErrorKind::Usage, "", "h"), None);
    }

    #[test]
    fn a_hint_that_is_there_stays() {
        let error = Error::new(ErrorKind::Unreachable, "x").with_hint("y");
        assert_eq!(advise(error, &Host::local()).hint(), Some("y"));
        let error = Error::new(ErrorKind::Unreachable, "x").caused_by("Connection refused");
        assert!(advise(error, &Host::local()).hint().unwrap().contains("sshd"));
    }
}
