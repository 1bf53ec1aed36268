//! A world of its own for each run of the geto binary.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use crate::machine::{make_dir, set_mode};
use crate::redact::redact;
use crate::server::Server;

/// Directories that a program under test sees instead of the user's.
#[derive(Debug)]
pub struct TestEnv {
    dir: TempDir,
}

/// What a program did.
#[derive(Clone)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout, unchanged.
    pub stdout: Vec<u8>,
    /// Its stderr as [`TestEnv::redact`] leaves it.
    pub stderr: String,
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "{status}\nstdout: {}\nstderr: {stderr}", stdout.escape_ascii())
    }
}

impl Ran {
    /// Returns stdout as text, as [`TestEnv::redact`] does not touch it.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the exit code.
    ///
    /// # Panics
    ///
    /// When a signal ended it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }
}

impl TestEnv {
    /// Makes an empty world.
    ///
    /// # Panics
    ///
    /// When the temporary directory can't be written.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("env-").tempdir().expect("a writable TMPDIR");
        // Open to other users, as hosts that are this machine share the lock path.
        set_mode(dir.path(), 0o755);
        let world = Self { dir };
        for (place, mode) in [
            ("home", 0o700),
            ("config", 0o700),
            ("state", 0o700),
            ("cache", 0o700),
            ("data", 0o700),
            ("run", 0o700),
            ("tmp", 0o1777),
            ("cwd", 0o755),
        ] {
            make_dir(&world.place(place), mode);
        }
        world
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `HOME`.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.place("home")
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> PathBuf {
        self.place("cwd")
    }

    /// `XDG_CONFIG_HOME`.
    #[must_use]
    pub fn config_home(&self) -> PathBuf {
        self.place("config")
    }

    /// `XDG_STATE_HOME`.
    #[must_use]
    pub fn state_home(&self) -> PathBuf {
        self.place("state")
    }

    /// `TMPDIR`.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.place("tmp")
    }

    /// Writes a file below the working directory and returns its path.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.cwd().join(path);
        fs_err::create_dir_all(path.parent().expect("it lies in a directory"))
            .and_then(|()| fs_err::write(&path, content))
            .expect("own directory");
        path
    }

    /// Returns a command that sees nothing but this world: only `PATH`, `LANG`, `TZ` and the
    /// directories are set, and stdin is /dev/null.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().current_dir(self.cwd()).stdin(Stdio::null());
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command.env("LANG", "C.UTF-8").env("TZ", "UTC");
        for (variable, place) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_RUNTIME_DIR", "run"),
            ("TMPDIR", "tmp"),
        ] {
            command.env(variable, self.place(place));
        }
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn run(&self, command: &mut Command) -> Ran {
        let output = command.output();
        let Output { status, stdout, stderr } =
            output.unwrap_or_else(|cause| panic!("failed to start {command:?}: {cause}"));
        Ran { status, stdout, stderr: self.redact(&String::from_utf8_lossy(&stderr)) }
    }

    /// Returns a text that is the same in every run: the directories are `$HOME`, `$CWD` and so
    /// on, task ids `<id>`, loopback addresses `<address>`, spans of time `<time>`, dates `<date>`.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, name) in [
            ("home", "$HOME"),
            ("cwd", "$CWD"),
            ("config", "$XDG_CONFIG_HOME"),
            ("state", "$XDG_STATE_HOME"),
            ("cache", "$XDG_CACHE_HOME"),
            ("data", "$XDG_DATA_HOME"),
            ("run", "$XDG_RUNTIME_DIR"),
            ("tmp", "$TMPDIR"),
        ] {
            text = text.replace(&self.place(place).display().to_string(), name);
        }
        redact(&text)
    }

    /// Writes `$XDG_CONFIG_HOME/geto/geto.ini`, readable by its owner only, and returns its path.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub fn write_geto_ini(&self, text: &str) -> PathBuf {
        let dir = self.config_home().join("geto");
        make_dir(&dir, 0o700);
        let file = dir.join("geto.ini");
        fs_err::write(&file, text).expect("own directory");
        set_mode(&file, 0o600);
        file
    }

    /// Makes the servers the fleet, each under its name, and returns the text of geto.ini.
    ///
    /// User, keys and known hosts come from an ssh_config that is written too. A test that needs
    /// sections of hosts appends them to the text and calls [`Self::write_geto_ini`].
    ///
    /// # Panics
    ///
    /// When the files can't be written.
    pub fn use_servers(&self, servers: &[&Server]) -> String {
        let servers: Vec<_> = servers.iter().map(|server| (*server, server.address())).collect();
        self.use_servers_at(&servers)
    }

    /// Does [`Self::use_servers`] with other addresses: those of proxies.
    ///
    /// # Panics
    ///
    /// When the files can't be written.
    pub fn use_servers_at(&self, servers: &[(&Server, SocketAddr)]) -> String {
        let file = self.place("ssh_config");
        let mut config = String::new();
        let mut hosts = String::new();
        for (server, address) in servers {
            // What it writes is not used, but clients know the server's key by that address now.
            let _config = server.ssh_config_via(*address);
            config.push_str(&server.ssh_config_section(*address));
            hosts.push_str(&[server.name(), "=", server.name(), "\n"].concat());
        }
        fs_err::write(&file, config).expect("own directory");
        // The lock path is a sticky directory's, as on real hosts, but not the one that all share.
        let text = format!(
            "[geto]\nssh_config_path={}\nremote_lock_path={}/geto_lock\n\n[hosts]\n{hosts}\n",
            file.display(),
            self.tmp().display(),
        );
        self.write_geto_ini(&text);
        text
    }
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}
