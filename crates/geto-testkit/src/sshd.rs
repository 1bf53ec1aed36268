//! The machine's OpenSSH server.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::keys::{self, KeyKind, Keyring, UserKey};
use crate::machine::{Machine, Prepared, Shells, make_dir, set_mode};
use crate::program::program;
use crate::server::{Server, Start, Trust};

/// An OpenSSH server to be started.
///
/// Default: an ed25519 host key, login with one ed25519 key, no password, no PAM, no limit that a
/// test could hit unawares.
#[derive(Clone, Debug)]
pub struct Sshd {
    name: String,
    machine: Machine,
    host_keys: Vec<KeyKind>,
    host_certificate: bool,
    user_keys: Vec<UserKey>,
    password: Option<(Password, String)>,
    environment: Vec<(String, String)>,
    config: String,
    everywhere: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Password {
    /// Method `password`, checked against shadow by sshd itself.
    Shadow,
    /// Method `keyboard-interactive`, checked by PAM.
    Pam,
}

impl Sshd {
    /// A server with the defaults.
    #[must_use]
    pub fn builder() -> Self {
        Self {
            name: "server".to_owned(),
            machine: Machine::new(),
            host_keys: vec![KeyKind::Ed25519],
            host_certificate: false,
            user_keys: Vec::new(),
            password: None,
            environment: Vec::new(),
            config: String::new(),
            everywhere: false,
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

    /// Sets the host keys. Default: ed25519.
    #[must_use]
    pub fn host_keys(mut self, kinds: &[KeyKind]) -> Self {
        self.host_keys = kinds.to_vec();
        self
    }

    /// Gives the host keys certificates; clients then know only the authority.
    #[must_use]
    pub fn host_certificate(mut self) -> Self {
        self.host_certificate = true;
        self
    }

    /// Adds a key that is let in. Without any there is one of ed25519, unless there is a password.
    #[must_use]
    pub fn user_key(mut self, key: UserKey) -> Self {
        self.user_keys.push(key);
        self
    }

    /// Lets in by method `password`. Needs a mount namespace.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some((Password::Shadow, password.to_owned()));
        self
    }

    /// Lets in by method `keyboard-interactive`, with PAM. Needs a mount namespace.
    #[must_use]
    pub fn keyboard_interactive(mut self, password: &str) -> Self {
        self.password = Some((Password::Pam, password.to_owned()));
        self
    }

    /// Sets a variable in the environment of sessions. The value can't hold double quotes.
    #[must_use]
    pub fn set_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds lines of sshd_config, which come before the kit's own and thereby win over them.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Lets it listen on every address of this machine, so that all of 127.0.0.0/8 are hosts. Clients
    /// know its key at each of `127.*`.
    #[must_use]
    pub fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// Starts it; returns when it listens.
    ///
    /// # Panics
    ///
    /// When it can't be started, or a program or right is missing that the builder's wishes need.
    #[must_use]
    pub fn start(mut self) -> Server {
        let program = program("sshd", "openssh-server");
        if rustix::process::geteuid().is_root() {
            // Made by the service's unit otherwise; sshd refuses to start without.
            make_dir(Path::new("/run/sshd"), 0o755);
        }
        let dir = tempfile::Builder::new().prefix("sshd-").tempdir().expect("a writable TMPDIR");
        set_mode(dir.path(), 0o755);
        if self.user_keys.is_empty() && self.password.is_none() {
            self.user_keys.push(UserKey::new(KeyKind::Ed25519));
        }
        let password = self.password.as_ref().map(|(_, password)| password.as_str());
        let machine = self.machine.prepare(dir.path(), password, Shells::Plain);
        let ring = Keyring::generate(dir.path(), &self.user_keys, &machine.user.name);
        fs_err::write(dir.path().join("authorized_keys"), &ring.authorized).expect("own directory");
        fs_err::write(dir.path().join("authorities"), &ring.authorities).expect("own directory");
        let (host_keys, trust) = self.make_host_keys(dir.path());
        let config = self.sshd_config(&program, dir.path(), &machine, &host_keys);
        let everywhere = self.everywhere;
        let start = Start {
            name: self.name,
            dir,
            machine,
            keys: ring.files,
            trust,
            ready: "Server listening on",
        };
        let server = Server::start(start, move |start, address| {
            let address = match everywhere {
                true => SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())),
                false => address,
            };
            let file = start.dir.path().join("sshd_config");
            let text = format!("{}{config}", listen(address));
            fs_err::write(&file, text).expect("own directory");
            let mut command = start.machine.command(&program);
            // In the foreground and with its log on stderr, so that both end with it.
            command.args(["-D", "-e", "-f"]).arg(file);
            command
        });
        if everywhere {
            server.trust_everywhere();
        }
        server
    }

    fn make_host_keys(&self, dir: &Path) -> (Vec<PathBuf>, Trust) {
        let files = self.host_keys.iter().map(|kind| dir.join(format!("host_{}", kind.name())));
        let files: Vec<_> = files.collect();
        let lines = files.iter().zip(&self.host_keys);
        let lines = lines.map(|(file, kind)| keys::generate(file, *kind, "")).collect();
        if !self.host_certificate {
            return (files, Trust::Keys(lines));
        }
        let authority = dir.join("host_authority");
        let line = keys::generate(&authority, KeyKind::Ed25519, "");
        for file in &files {
            // Without principals it is valid for every name, the proxy's included.
            keys::sign(&authority, &["-h"], file);
        }
        (files, Trust::Authority(line))
    }

    fn sshd_config(
        &self,
        program: &Path,
        dir: &Path,
        machine: &Prepared,
        host_keys: &[PathBuf],
    ) -> String {
        // The first value counts, and a Match block reaches to the end of the file.
        let (wishes, matches) = match self.config.find("Match ") {
            Some(place) => self.config.split_at(place),
            None => (self.config.as_str(), ""),
        };
        let method = self.password.as_ref().map(|(method, _)| *method);
        let yes = |wanted| if wanted { "yes" } else { "no" };
        let mut text = wishes.to_owned();
        for file in host_keys {
            writeln!(text, "HostKey {}", file.display()).expect("writing to memory");
            if self.host_certificate {
                writeln!(text, "HostCertificate {}-cert.pub", file.display())
                    .expect("writing to memory");
            }
        }
        write!(
            text,
            "AuthorizedKeysFile {dir}/authorized_keys\nTrustedUserCAKeys {dir}/authorities\n\
             PubkeyAuthentication {keys}\nPasswordAuthentication {password}\n\
             KbdInteractiveAuthentication {pam}\nUsePAM {pam}\nPermitRootLogin yes\n\
             StrictModes no\nPidFile none\nPrintMotd no\nPrintLastLog no\nUseDNS no\n\
             LogLevel VERBOSE\nMaxSessions 1000\n\
             Subsystem sftp internal-sftp\n",
            dir = dir.display(),
            keys = yes(!self.user_keys.is_empty()),
            password = yes(method == Some(Password::Shadow)),
            pam = yes(method == Some(Password::Pam)),
        )
        .expect("writing to memory");
        if !wishes.contains("MaxStartups") {
            // Of this option alone the last value counts.
            text.push_str("MaxStartups 1000\n");
        }
        if has_penalties(program) {
            // A client whose logins failed on purpose would be locked out for the next test.
            text.push_str("PerSourcePenalties no\n");
        }
        text.push_str(&self.set_env_line(machine));
        text.push_str(matches);
        text
    }

    /// Returns the one SetEnv line: sshd takes only the first.
    fn set_env_line(&self, machine: &Prepared) -> String {
        let mut variables = self.environment.clone();
        if !machine.has_namespace() {
            variables.push(("HOME".to_owned(), machine.home.display().to_string()));
        }
        if let Some(path) = &machine.path {
            variables.push(("PATH".to_owned(), path.display().to_string()));
        }
        if variables.is_empty() {
            return String::new();
        }
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
        format!("SetEnv {}\n", variables.join(" "))
    }
}

fn listen(address: SocketAddr) -> String {
    format!("ListenAddress {}\nPort {}\n", address.ip(), address.port())
}

/// Whether this sshd knows PerSourcePenalties (9.8), of which an older one would not start.
fn has_penalties(program: &Path) -> bool {
    let output = Command::new(program).arg("-V").output().expect("sshd starts");
    // Before 9.2 the option is unknown, but the usage names the version as well.
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = text.split("OpenSSH_").nth(1).unwrap_or_default();
    let mut numbers = version.split(|character: char| !character.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
    (next(), next()) >= (9, 8)
}
