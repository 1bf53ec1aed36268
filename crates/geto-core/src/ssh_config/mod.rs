//! What the user's ssh_config asks for, read from what `ssh -G` prints.
//!
//! `ssh` itself resolves Include, Match, negation and canonicalization; what it leaves to the
//! reader (tokens, `~`, `${VARIABLE}`) is [`Tokens`]' part.

#![deny(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod alike;
mod environment;
mod expand;
mod needs;
mod parse;

use std::time::Duration;

pub use alike::{HostPatterns, SharedAnswer, files_read};
pub use environment::LOCALE;
pub use expand::{Agent, ExpandError, Tokens};
pub use needs::{may_be_of_user, of_user};
pub use parse::SshConfigError;

use crate::Secret;

/// How to reach, check and log into one host, as ssh_config says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent yes or no of ssh_config")]
#[non_exhaustive]
pub struct SshOptions {
    /// The name or address to connect to, in lower case.
    pub hostname: String,
    /// The user to log in as.
    pub user: String,
    /// The port to connect to.
    pub port: u16,
    /// The private keys to try, in order, to be expanded by [`Tokens::expand_path`].
    pub identity_files: Vec<String>,
    /// Certificates beside those that lie next to a private key, to be expanded.
    pub certificate_files: Vec<String>,
    /// Whether keys of the agent that no identity file names stay unused.
    pub identities_only: bool,
    /// The agent's socket, for [`Tokens::expand_agent`]; none means the environment's.
    pub identity_agent: Option<String>,
    /// The user's known_hosts files, for [`Tokens::expand_tilde`].
    pub user_known_hosts_files: Vec<String>,
    /// The machine's known_hosts files.
    pub global_known_hosts_files: Vec<String>,
    /// The name under which the host's key is known instead of its own.
    pub host_key_alias: Option<String>,
    /// What to do about an unknown host key.
    pub strict_host_key_checking: StrictHostKeyChecking,
    /// Whether names are hashed when they are added to known_hosts.
    pub hash_known_hosts: bool,
    /// A file of keys that no host may have.
    pub revoked_host_keys: Option<String>,
    /// The hosts to go through, the nearest first; each has options of its own.
    pub proxy_jump: Vec<JumpHost>,
    /// The command whose input and output are the connection, to be expanded.
    pub proxy_command: Option<String>,
    /// The methods of authentication in the order in which they are tried.
    pub preferred_authentications: Vec<String>,
    /// Whether keys may be used.
    pub pubkey_authentication: bool,
    /// Whether a password may be sent.
    pub password_authentication: bool,
    /// Whether the server may ask questions.
    pub keyboard_interactive_authentication: bool,
    /// How often a password is asked for.
    pub number_of_password_prompts: u32,
    /// Whether nothing may be asked at all.
    pub batch_mode: bool,
    /// How long connecting may take; none leaves it to the caller.
    pub connect_timeout: Option<Duration>,
    /// How often connecting is tried.
    pub connection_attempts: u32,
    /// After how much silence the server is asked for a sign of life; none means never.
    pub server_alive_interval: Option<Duration>,
    /// How many such questions may stay without answer.
    pub server_alive_count_max: u32,
    /// Whether the kernel looks after the connection.
    pub tcp_keep_alive: bool,
    /// Whether to compress.
    pub compression: bool,
    /// Which kind of address to use.
    pub address_family: AddressFamily,
    /// The address to connect from.
    pub bind_address: Option<String>,
    /// The network interface to connect from.
    pub bind_interface: Option<String>,
    /// The algorithms by which the server may prove its key, in order; empty where there was no
    /// `ssh` to ask. So are the lists that follow.
    pub host_key_algorithms: Vec<String>,
    /// Whether that order gives way to the keys that are known of the host. A user's own list
    /// counts as it stands, one that begins with `+` or `-` does not.
    pub order_host_key_algorithms: bool,
    /// The key exchange methods, in order.
    pub kex_algorithms: Vec<String>,
    /// The ciphers, in order.
    pub ciphers: Vec<String>,
    /// The message authentication codes, in order.
    pub macs: Vec<String>,
    /// The algorithms by which a user's key may sign.
    pub pubkey_accepted_algorithms: Vec<String>,
    /// The algorithms by which a certificate authority may sign; never empty.
    pub ca_signature_algorithms: Vec<String>,
    /// Where a control master would listen. When something does listen there, the user means
    /// connections to go through it, which only `ssh` can do.
    pub control_path: Option<String>,
    /// What `ssh -o` must be told so that its input, output and end are those of a command: what
    /// the configuration may say of sessions (`StdinNull`, `SessionType`,
    /// `ForkAfterAuthentication`), taken back. Empty where there was no `ssh` to ask, and where it
    /// is too old to know them.
    pub channel_overrides: Vec<&'static str>,
    /// Variables that commands are given; a server takes those only that it is told to take
    /// (`AcceptEnv`). See [`Self::variables`].
    pub set_env: Vec<(String, Secret)>,
    /// Patterns of names: variables of geto's own environment that commands are given likewise.
    pub send_env: Vec<String>,
    /// Why the system's `ssh` must be used for this host, when it must. What a user's own file
    /// alone can ask for ([`of_user`]) is not in it.
    pub needs_ssh: Option<String>,
}

/// What `StrictHostKeyChecking` says about a host whose key is unknown.
///
/// A changed or revoked key is refused under any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrictHostKeyChecking {
    /// Refuse it.
    Yes,
    /// Take it, remember it.
    No,
    /// Take it, remember it. (In `ssh`, but for changed keys, the same as [`Self::No`].)
    AcceptNew,
    /// Ask the user.
    Ask,
}

/// Which kind of address to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// Whatever the name has.
    Any,
    /// IPv4 only.
    Inet,
    /// IPv6 only.
    Inet6,
}

/// One host of a `ProxyJump` chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JumpHost {
    /// The user to log in as there, when the chain says so.
    pub user: Option<String>,
    /// Its name, to be resolved by ssh_config like any other.
    pub host: String,
    /// Its port, when the chain says so.
    pub port: Option<u16>,
}

impl SshOptions {
    /// Reads what `ssh -G <host>` prints.
    ///
    /// `system_only` is what it prints with `-F /etc/ssh/ssh_config` (or with `-F none`): by the
    /// default lists in it a list of host key algorithms of the user's own is told from a default
    /// that was changed. Without it all are taken for the latter.
    ///
    /// # Errors
    /// When a line that matters here has a value that it can't have, or is missing.
    pub fn parse(printed: &str, system_only: Option<&str>) -> Result<Self, SshConfigError> {
        parse::parse(printed, system_only)
    }

    /// Returns what `ssh` does without any configuration, for a machine that has no `ssh`.
    pub fn defaults(home: &str, user: &str, host: &str) -> Self {
        Self {
            hostname: host.to_ascii_lowercase(),
            user: user.to_owned(),
            port: 22,
            identity_files: IDENTITIES.map(|name| format!("~/.ssh/{name}")).into(),
            certificate_files: Vec::new(),
            identities_only: false,
            identity_agent: None,
            user_known_hosts_files: ["known_hosts", "known_hosts2"]
                .map(|name| format!("{home}/.ssh/{name}"))
                .into(),
            global_known_hosts_files: ["ssh_known_hosts", "ssh_known_hosts2"]
                .map(|name| format!("/etc/ssh/{name}"))
                .into(),
            host_key_alias: None,
            strict_host_key_checking: StrictHostKeyChecking::Ask,
            hash_known_hosts: false,
            revoked_host_keys: None,
            proxy_jump: Vec::new(),
            proxy_command: None,
            preferred_authentications: AUTHENTICATIONS.map(ToOwned::to_owned).into(),
            pubkey_authentication: true,
            password_authentication: true,
            keyboard_interactive_authentication: true,
            number_of_password_prompts: 3,
            batch_mode: false,
            connect_timeout: None,
            connection_attempts: 1,
            server_alive_interval: None,
            server_alive_count_max: 3,
            tcp_keep_alive: true,
            compression: false,
            address_family: AddressFamily::Any,
            bind_address: None,
            bind_interface: None,
            host_key_algorithms: Vec::new(),
            order_host_key_algorithms: true,
            kex_algorithms: Vec::new(),
            ciphers: Vec::new(),
            macs: Vec::new(),
            pubkey_accepted_algorithms: Vec::new(),
            ca_signature_algorithms: CA_SIGNATURES.map(ToOwned::to_owned).into(),
            control_path: None,
            channel_overrides: Vec::new(),
            set_env: Vec::new(),
            send_env: Vec::new(),
            needs_ssh: None,
        }
    }
}

/// The default identities, as OpenSSH tries them. Those that need a device or an `ssh` of their
/// own are left out.
const IDENTITIES: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// OpenSSH's order of methods, those left out that geto does not have.
const AUTHENTICATIONS: [&str; 3] = ["publickey", "keyboard-interactive", "password"];

const CA_SIGNATURES: [&str; 8] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
];
