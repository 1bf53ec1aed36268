//! Tokens (`%h`), `~` and `${VARIABLE}` in the values that `ssh -G` prints as they were written.

use std::fmt::{self, Write as _};

use hmac::digest::Digest as _;
use sha1::Sha1;

/// What the tokens of ssh_config stand for, for one connection.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// The host's name as the user wrote it (`%n`).
    pub original: &'a str,
    /// The name or address to connect to (`%h`).
    pub hostname: &'a str,
    /// The port to connect to (`%p`).
    pub port: u16,
    /// The user to log in as (`%r`).
    pub remote_user: &'a str,
    /// `HostKeyAlias` (`%k`, else that is the original name).
    pub host_key_alias: Option<&'a str>,
    /// The `ProxyJump` chain as written, or nothing (`%j`).
    pub jump: &'a str,
    /// The user on this machine (`%u`).
    pub local_user: &'a str,
    /// That user's home directory (`%d`, `~`).
    pub home: &'a str,
    /// That user's number (`%i`).
    pub uid: u32,
    /// This machine's name with its domain (`%l`; `%L` is its first part).
    pub local_host: &'a str,
    /// Looks up a variable of the environment (`${NAME}`).
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Looks up another user's home directory (`~user`).
    pub home_of: &'a dyn Fn(&str) -> Option<String>,
}

/// Where the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// No agent is to be asked.
    None,
    /// Where `SSH_AUTH_SOCK` says.
    Environment,
    /// At this socket.
    Socket(String),
}

/// A value that can't be expanded; `ssh` ends with an error there too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// No such token, or none that is allowed in this place.
    #[error("unknown token `%{}` in `{}`", token.escape_debug(), value.escape_debug())]
    Token {
        /// The letter.
        token: char,
        /// The value that has it.
        value: String,
    },
    /// The value ends with a single `%`.
    #[error("`{}` ends with a single `%`", .0.escape_debug())]
    Percent(String),
    /// A `${` has no `}`, or nothing between them.
    #[error("`{}` has a `${{` without a name and `}}`", .0.escape_debug())]
    Brace(String),
    /// The environment has no such variable.
    #[error("environment variable `{}` is not set", .0.escape_debug())]
    Variable(String),
    /// Nobody knows that user.
    #[error("no home directory is known for user `{}`", .0.escape_debug())]
    User(String),
}

impl Tokens<'_> {
    /// Expands a value of `IdentityFile` or `CertificateFile`.
    ///
    /// # Errors
    /// When a token, variable or user in it is unknown.
    pub fn expand_path(&self, value: &str) -> Result<String, ExpandError> {
        let (home, path) = self.split_home(value)?;
        Ok(home + &self.substitute(path, Kind::Path)?)
    }

    /// Expands the `~` of a known_hosts file; its tokens are expanded by `ssh -G` already.
    ///
    /// # Errors
    /// When the user is unknown.
    pub fn expand_tilde(&self, value: &str) -> Result<String, ExpandError> {
        let (home, path) = self.split_home(value)?;
        Ok(home + path)
    }

    /// Reads a value of `IdentityAgent`; its tokens are expanded by `ssh -G` already.
    ///
    /// # Errors
    /// When a variable or user in it is unknown.
    pub fn expand_agent(&self, value: &str) -> Result<Agent, ExpandError> {
        if value.eq_ignore_ascii_case("none") {
            return Ok(Agent::None);
        }
        if value == "SSH_AUTH_SOCK" {
            return Ok(Agent::Environment);
        }
        // Only here is a variable allowed without braces, as the whole value.
        match value.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => {
                let socket = (self.environment)(name);
                socket.map(Agent::Socket).ok_or_else(|| ExpandError::Variable(name.to_owned()))
            }
            _ => self.expand_tilde(value).map(Agent::Socket),
        }
    }

    /// Expands a value of `ProxyCommand`, for the user's shell to run: `exec` and this.
    ///
    /// `~` and `$` are the shell's business there.
    ///
    /// # Errors
    /// When a token in it is unknown.
    pub fn expand_proxy_command(&self, value: &str) -> Result<String, ExpandError> {
        self.substitute(value, Kind::Command)
    }

    /// Splits `~/path` or `~user/path` into the home directory and the rest of the path.
    fn split_home<'v>(&self, value: &'v str) -> Result<(String, &'v str), ExpandError> {
        let Some(rest) = value.strip_prefix('~') else { return Ok((String::new(), value)) };
        let (user, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut home = if user.is_empty() {
            self.home.to_owned()
        } else {
            (self.home_of)(user).ok_or_else(|| ExpandError::User(user.to_owned()))?
        };
        if !home.ends_with('/') {
            home.push('/');
        }
        Ok((home, path.trim_start_matches('/')))
    }

    fn substitute(&self, value: &str, kind: Kind) -> Result<String, ExpandError> {
        let mut expanded = String::new();
        let mut rest = value;
        while let Some(at) = rest.find(['%', '$']) {
            let (before, from) = rest.split_at(at);
            expanded.push_str(before);
            let mut letters = from.chars();
            if letters.next() == Some('%') {
                let token = letters.next().ok_or_else(|| ExpandError::Percent(value.to_owned()))?;
                let meaning = self.token(token, kind);
                expanded.push_str(
                    &meaning
                        .ok_or_else(|| ExpandError::Token { token, value: value.to_owned() })?,
                );
                rest = letters.as_str();
            } else if let (Kind::Path, Some(braced)) = (kind, from.strip_prefix("${")) {
                let (name, after) = braced
                    .split_once('}')
                    .filter(|(name, _)| !name.is_empty())
                    .ok_or_else(|| ExpandError::Brace(value.to_owned()))?;
                let meaning = (self.environment)(name);
                expanded.push_str(&meaning.ok_or_else(|| ExpandError::Variable(name.to_owned()))?);
                rest = after;
            } else {
                expanded.push('$');
                rest = letters.as_str();
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn token(&self, token: char, kind: Kind) -> Option<String> {
        Some(match (token, kind) {
            ('%', _) => "%".to_owned(),
            ('h', _) => self.hostname.to_owned(),
            ('n', _) => self.original.to_owned(),
            ('p', _) => self.port.to_string(),
            ('r', _) => self.remote_user.to_owned(),
            ('C', Kind::Path) => self.connection_hash(),
            ('d', Kind::Path) => self.home.to_owned(),
            ('i', Kind::Path) => self.uid.to_string(),
            ('j', Kind::Path) => self.jump.to_owned(),
            ('k', Kind::Path) => self.host_key_alias.unwrap_or(self.original).to_owned(),
            ('l', Kind::Path) => self.local_host.to_owned(),
            ('L', Kind::Path) => self.local_host.split('.').next().unwrap_or_default().to_owned(),
            ('u', Kind::Path) => self.local_user.to_owned(),
            _ => return None,
        })
    }

    /// `%C`: a name for the connection that is safe in paths.
    fn connection_hash(&self) -> String {
        let mut hash = Sha1::new();
        hash.update(self.local_host);
        hash.update(self.hostname);
        hash.update(self.port.to_string());
        hash.update(self.remote_user);
        // Part of it since OpenSSH 9.6; it is empty where `%j` is unknown.
        hash.update(self.jump);
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _: fmt::Result = write!(text, "{byte:02x}");
            text
        })
    }
}

impl fmt::Debug for Tokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("original", &self.original).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Path,
    Command,
}
