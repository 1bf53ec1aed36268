//! What `ssh_config` says of a host: asked of `ssh` itself, where there is one.

use std::path::{Path, PathBuf};

use geto_core::Host;
use geto_core::ssh_config::{SshOptions, Tokens, of_user};

use super::account::Account;
use super::asking::{Answer, ask};
use super::text::escaped;
use crate::{Error, ErrorKind};

/// A host, as the user names it, and what `ssh` would do to reach it.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// As typed.
    pub(crate) original: String,
    /// What names it on geto's command line, user and port included that it was asked about with.
    pub(crate) word: String,
    /// The options of `ssh` that it was asked about with.
    pub(crate) arguments: Vec<String>,
    pub(crate) options: SshOptions,
    pub(crate) account: Account,
}

/// What is given to `ssh` on its command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) address: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) port: Option<u16>,
    pub(crate) config: Option<&'a Path>,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(host: &'a Host) -> Self {
        Self {
            address: &host.address,
            user: host.user.as_deref(),
            port: host.port,
            config: host.ssh_config_path.as_deref(),
        }
    }

    /// The options of `ssh` that say so, without the address.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(config) = self.config {
            arguments.extend(["-F".to_owned(), config.display().to_string()]);
        }
        if let Some(user) = self.user {
            arguments.extend(["-l".to_owned(), user.to_owned()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments
    }

    /// What names the host on geto's command line; `hostname` is what ssh_config calls it.
    fn word(&self, hostname: &str) -> String {
        let Self { address, user, port, .. } = self;
        let place = match (address.contains(':'), port) {
            (true, Some(port)) => format!("[{address}]:{port}"),
            (false, Some(port)) => format!("{address}:{port}"),
            (_, None) => (*address).to_owned(),
        };
        match user {
            Some(user) => format!("{user}@{place}"),
            // A bare word has to be one that ssh_config knows.
            None if port.is_none()
                && !address.contains(['.', ':'])
                && address.eq_ignore_ascii_case(hostname) =>
            {
                format!("ssh://{place}")
            }
            None => place,
        }
    }
}

/// Asks `ssh` about a host; without an `ssh` on this machine its built-in defaults hold.
pub(crate) async fn resolve(asked: Asked<'_>, host_name: &str) -> Result<Resolved, Error> {
    let account = Account::current();
    let failed = |why: String| {
        let message = format!("failed to read ssh_config for `{}`", escaped(asked.address));
        Error::new(ErrorKind::Usage, message).on_host(host_name).caused_by(why)
    };
    let original = asked.address.to_owned();
    let arguments = asked.arguments();
    let Some(Answer { text, users_file }) = ask(asked).await.map_err(failed)? else {
        let mut options = SshOptions::defaults(&account.home, &account.user, asked.address);
        if let Some(user) = asked.user {
            user.clone_into(&mut options.user);
        }
        options.port = asked.port.unwrap_or(options.port);
        let word = asked.word(&options.hostname);
        return Ok(Resolved { original, word, arguments, options, account });
    };
    let mut options = SshOptions::parse(&text, None).map_err(|error| failed(error.to_string()))?;
    if options.needs_ssh.is_none() {
        // Distributions ask for Kerberos on behalf of everybody: only what the user asked for
        // himself is a reason to start a process per connection.
        let of_users = match (asked.config, &users_file) {
            // Then `ssh` reads no other file.
            (Some(_), _) => Some(text),
            (None, Some(file)) => {
                let by_itself = ask(Asked { config: Some(file), ..asked }).await.map_err(failed)?;
                by_itself.map(|answer| answer.text)
            }
            (None, None) => None,
        };
        options.needs_ssh = of_users.and_then(|text| of_user(&text));
    }
    let word = asked.word(&options.hostname);
    Ok(Resolved { original, word, arguments, options, account })
}

impl Resolved {
    /// `user@host:port`, as prompts say it.
    pub(crate) fn login_place(&self) -> String {
        let ssh = &self.options;
        match ssh.port {
            22 => format!("{}@{}", ssh.user, ssh.hostname),
            port => format!("{}@{}:{port}", ssh.user, ssh.hostname),
        }
    }

    /// Runs `work` with the values of `ssh_config`'s tokens (`%h`, `%r`, …).
    pub(crate) fn with_tokens<T>(&self, work: impl FnOnce(&Tokens<'_>) -> T) -> T {
        let environment = |name: &str| std::env::var(name).ok();
        let home_of = |user: &str| Account::home_of(user);
        let node = rustix::system::uname();
        let local_host = node.nodename().to_string_lossy();
        work(&Tokens {
            original: &self.original,
            hostname: &self.options.hostname,
            port: self.options.port,
            remote_user: &self.options.user,
            host_key_alias: self.options.host_key_alias.as_deref(),
            jump: "",
            local_user: &self.account.user,
            home: &self.account.home,
            uid: self.account.uid,
            local_host: &local_host,
            environment: &environment,
            home_of: &home_of,
        })
    }

    /// Expands paths of `ssh_config`, dropping those that say `none`.
    pub(crate) fn paths(&self, values: &[String]) -> Result<Vec<PathBuf>, String> {
        let named = values.iter().filter(|value| !value.eq_ignore_ascii_case("none"));
        named.map(|value| self.path(value)).collect()
    }

    fn path(&self, value: &str) -> Result<PathBuf, String> {
        self.with_tokens(|tokens| tokens.expand_path(value))
            .map(PathBuf::from)
            .map_err(|error| format!("`{value}`: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_as_the_command_line_takes_it() {
        for (user, address, port, hostname, expected) in [
            (None, "gate", None, "10.0.0.1", "gate"),
            (None, "gate", None, "gate", "ssh://gate"),
            (None, "gate.example", None, "gate.example", "gate.example"),
            (None, "gate", Some(2222), "gate", "gate:2222"),
            (Some("me"), "gate", None, "gate", "me@gate"),
            (Some("me"), "::1", Some(22), "::1", "me@[::1]:22"),
            (None, "::1", None, "::1", "::1"),
        ] {
            let asked = Asked { address, user, port, config: None };
            let word = asked.word(hostname);
            assert_eq!(word, expected);
            assert!(geto_core::select::parse(&word).is_ok(), "{word}");
        }
    }
}
