//! The machine's dropbear server.

use std::process::Command;

use crate::keys::{KeyKind, Keyring, UserKey};
use crate::machine::{Machine, Shells, make_dir, set_mode};
use crate::program::{program, run};
use crate::server::{Server, Start, Trust};

/// A dropbear server to be started. It always needs a mount namespace.
///
/// Default: ed25519 host key and user key, no password. The home holds `.ssh/authorized_keys`.
#[derive(Clone, Debug)]
pub struct Dropbear {
    name: String,
    machine: Machine,
    user_keys: Vec<UserKey>,
    password: Option<String>,
}

impl Dropbear {
    /// A server with the defaults.
    #[must_use]
    pub fn builder() -> Self {
        Self {
            name: "server".to_owned(),
            machine: Machine::new(),
            user_keys: Vec::new(),
            password: None,
        }
    }

    /// Sets the `Host` alias in its ssh_config. Default: `server`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sets what sessions see.
    #[must_use]
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// Adds a key that is let in. Without any there is one of ed25519, unless there is a password.
    #[must_use]
    pub fn user_key(mut self, key: UserKey) -> Self {
        self.user_keys.push(key);
        self
    }

    /// Lets in by method `password`.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Starts it; returns when it listens.
    ///
    /// # Panics
    ///
    /// When it can't be started, or a program or right is missing.
    #[must_use]
    pub fn start(mut self) -> Server {
        let dropbear = program("dropbear", "dropbear-bin");
        let dir =
            tempfile::Builder::new().prefix("dropbear-").tempdir().expect("a writable TMPDIR");
        set_mode(dir.path(), 0o755);
        if self.user_keys.is_empty() && self.password.is_none() {
            self.user_keys.push(UserKey::new(KeyKind::Ed25519));
        }
        let machine = self.machine.prepare(dir.path(), self.password.as_deref(), Shells::Wrapped);
        let ring = Keyring::generate(dir.path(), &self.user_keys, &machine.user.name);
        let ssh = machine.home.join(".ssh");
        make_dir(&ssh, 0o700);
        fs_err::write(ssh.join("authorized_keys"), &ring.authorized).expect("own directory");
        machine.own(&ssh);
        let host_key = dir.path().join("host_ed25519");
        let mut dropbearkey = Command::new(program("dropbearkey", "dropbear-bin"));
        let output = run(dropbearkey.args(["-t", "ed25519", "-f"]).arg(&host_key));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = printed.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let line = format!("{}\n", line.expect("dropbearkey prints the public key"));
        let passwords = self.password.is_some();
        let start = Start {
            name: self.name,
            dir,
            machine,
            keys: ring.files,
            trust: Trust::Keys(vec![line]),
            ready: "Not backgrounding",
        };
        Server::start(start, |start, address| {
            let mut command = start.machine.command(&dropbear);
            command.args(["-F", "-E", "-p", &address.to_string(), "-r"]).arg(&host_key);
            // Without a file of its own it would write the system's.
            command.arg("-P").arg(start.dir.path().join("pid"));
            if !passwords {
                command.arg("-s");
            }
            command
        })
    }
}
