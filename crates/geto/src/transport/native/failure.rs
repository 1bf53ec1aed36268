//! What went wrong on the way to a host, in words that say what to do.

use std::io;
use std::path::Path;

use geto_core::known_hosts::HostIdentity;

use super::auth::Failure;
use super::client::{Report, describe};
use super::connection::Connection;
use super::trust::{Refusal, Unknown};
use crate::transport::ChannelRefused;
use crate::transport::budget::Exhausted;
use crate::transport::refusal::{AGENT_HINT, jump_hint, password_hint};
use crate::transport::resolve::Resolved;
use crate::transport::text::escaped;
use crate::{Error, ErrorKind};

/// The host that it is about.
pub(super) struct Place<'a> {
    /// The name of the host at the end of the way.
    pub(super) name: &'a str,
    pub(super) resolved: &'a Resolved,
    /// Whether it is a host on the way to that one.
    pub(super) is_between: bool,
}

impl Place<'_> {
    fn address(&self) -> String {
        let ssh = &self.resolved.options;
        match ssh.hostname.contains(':') {
            true => format!("[{}]:{}", ssh.hostname, ssh.port),
            false => format!("{}:{}", ssh.hostname, ssh.port),
        }
    }

    /// The name that known_hosts has for the host.
    fn known_name(&self) -> String {
        let ssh = &self.resolved.options;
        let alias = ssh.host_key_alias.as_deref();
        HostIdentity { host: &ssh.hostname, port: ssh.port, alias }.name()
    }

    /// What names it on geto's command line.
    fn word(&self) -> &str {
        match self.is_between {
            true => &self.resolved.word,
            false => self.name,
        }
    }

    fn error(&self, kind: ErrorKind, verb: &str) -> Error {
        let which = if self.is_between { "jump host " } else { "" };
        let message = format!("failed to {verb} {which}`{}`", self.address());
        Error::new(kind, message).on_host(self.name)
    }

    /// What that question is about, whoever of the hosts behind this one brings it up.
    pub(super) fn topic(&self, unknown: &Unknown) -> String {
        format!("key {} of {}", unknown.fingerprint, self.address())
    }

    /// What a person is asked about an unknown key.
    pub(super) fn question(&self, unknown: &Unknown) -> String {
        let mut text = format!(
            "the key of {} `{}` ({}) is not known: {} {}",
            if self.is_between { "jump host" } else { "host" },
            self.word(),
            self.address(),
            unknown.key_type,
            unknown.fingerprint
        );
        if let Some(problem) = unknown.certificate_problem {
            text.push_str("\nits certificate is of no use: ");
            text.push_str(problem);
        }
        text.push_str("\naccept it and write it to known_hosts?");
        text
    }
}

/// The host, or what is in between, could not be reached.
pub(super) fn of_way(why: String, place: &Place<'_>) -> Error {
    place.error(ErrorKind::Unreachable, "connect to").caused_by(why)
}

/// A file that ssh_config names, or a value of it, is no use.
pub(super) fn of_config(why: String, place: &Place<'_>) -> Error {
    place.error(ErrorKind::Usage, "follow ssh_config for").caused_by(why)
}

/// A key that was accepted could not be written down.
pub(super) fn of_learning(why: io::Error, place: &Place<'_>) -> Error {
    place.error(ErrorKind::Local, "learn the host key of").caused_by(why)
}

/// The signature of the key exchange was wrong.
pub(super) fn of_proof(place: &Place<'_>) -> Error {
    place
        .error(ErrorKind::HostKey, "verify the host key of")
        .caused_by("the host did not prove that it has the key that it shows")
}

/// The host's key is not the right one.
pub(super) fn of_key(refusal: Refusal, place: &Place<'_>) -> Error {
    let error = place.error(ErrorKind::HostKey, "verify the host key of");
    match refusal {
        Refusal::Unknown(unknown) => {
            let mut why = format!("key {} {} is unknown", unknown.key_type, unknown.fingerprint);
            if let Some(problem) = unknown.certificate_problem {
                why.push_str("; its certificate is of no use: ");
                why.push_str(problem);
            }
            error.caused_by(why).with_hint(format!(
                "compare the fingerprint with the host's own, then accept it with `geto trust {}`",
                place.word()
            ))
        }
        Refusal::Changed { fingerprint, key_type, path, line } => error
            .caused_by(format!(
                "the host shows key {key_type} {fingerprint}, but line {line} of `{}` has another: \
                 somebody may be in between",
                path.display()
            ))
            .with_hint(format!(
                "a changed key is always refused; if it was changed on purpose, run \
                 `ssh-keygen -R '{}' -f '{}'`",
                place.known_name(),
                path.display()
            )),
        Refusal::Revoked { fingerprint, path, line } => error
            .caused_by(format!(
                "key {fingerprint} is revoked by line {line} of `{}`",
                path.display()
            ))
            .with_hint("a revoked key is always refused; the host needs a new one"),
    }
}

/// Nobody was let in.
pub(super) fn of_login(failure: Failure, report: &Report, place: &Place<'_>) -> Error {
    let user = &place.resolved.options.user;
    let error = place.error(ErrorKind::Authentication, &format!("log in as `{user}` at"));
    let mut parts = Vec::new();
    match failure.tried.is_empty() {
        true => parts.push("there was nothing to try".to_owned()),
        false => parts.push(format!("tried {}", failure.tried.join(", "))),
    }
    if !failure.accepted.is_empty() {
        parts.push(format!("the server takes {}", failure.accepted.join(",")));
    }
    let ended = failure.ending.is_some();
    parts.extend(failure.ending);
    if let Some(banner) = report.banner().filter(|banner| !banner.is_empty()) {
        parts.push(format!("the server says: {banner}"));
    }
    let takes_keys = failure.accepted.iter().any(|method| method == "publickey");
    let hint = match place.is_between {
        // What geto.ini says is not about it.
        true if takes_keys => jump_hint(place.word()),
        true => "run geto on a terminal to be asked".to_owned(),
        false if failure.is_password_refused => password_hint(place.name),
        false if ended && failure.keys > 1 => {
            "too many keys may have been offered: name the right one with `privkey_path` in \
             geto.ini, or set `IdentitiesOnly yes` in ssh_config"
                .to_owned()
        }
        false if takes_keys => {
            "name a key with `privkey_path` in geto.ini, or load one with `ssh-add`".to_owned()
        }
        false => "run geto on a terminal to be asked, or set `password` in geto.ini".to_owned(),
    };
    error.caused_by(parts.join("; ")).with_hint(hint)
}

/// The agent took all the time that there was.
pub(super) fn of_agent(exhausted: &Exhausted, agent: &Path, place: &Place<'_>) -> Error {
    let user = &place.resolved.options.user;
    let error = place.error(ErrorKind::Local, &format!("log in as `{user}` at"));
    error
        .caused_by(format!("ssh-agent at `{}`: {exhausted}", agent.display()))
        .with_hint(AGENT_HINT)
}

/// A channel was not opened.
pub(super) fn of_channel(error: &russh::Error, connection: &Connection) -> Error {
    let failed = |kind| Error::new(kind, "failed to open a channel");
    match error {
        russh::Error::ChannelOpenFailure(reason) => failed(ErrorKind::Host)
            .caused_by(ChannelRefused::new(escaped(&format!("{reason:?}"))))
            .with_hint("the server may allow fewer channels at once (`MaxSessions`)"),
        other => {
            let why = connection.report.ending().unwrap_or_else(|| describe(other));
            failed(ErrorKind::Unreachable).caused_by(why)
        }
    }
}
