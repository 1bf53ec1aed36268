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
}

/// Asks `ssh` about a host; without an `ssh` on this machine its built-in defaults hold.
pub(crate) async fn resolve(asked: Asked<'_>, host_name: &str) -> Result<Resolved, Error> {
    let account = Account::current();
    let failed = |why: String| {
        let message = format!("failed to read ssh_config for `{}`", escaped(asked.address));
        Error::new(ErrorKind::Usage, message).on_host(host_name).caused_by(why)
    };
    let original = asked.address.to_owned();
    let Some(Answer { text, users_file }) = ask(asked).await.map_err(failed)? else {
        let mut options = SshOptions::defaults(&account.home, &account.user, asked.address);
        if let Some(user) = asked.user {
            user.clone_into(&mut options.user);
        }
        options.port = asked.port.unwrap_or(options.port);
        return Ok(Resolved { original, options, account });
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
    Ok(Resolved { original, options, account })
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
