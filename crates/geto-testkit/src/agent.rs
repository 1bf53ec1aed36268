//! A private ssh-agent.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::ask_pass::AskPass;
use crate::program::{program, run, spawn};

/// An ssh-agent of its own, stopped on drop.
#[derive(Debug)]
pub struct Agent {
    dir: TempDir,
    child: Child,
}

impl Agent {
    /// Starts one that holds these keys.
    ///
    /// # Panics
    ///
    /// When it can't be started or refuses a key.
    #[must_use]
    pub fn start(keys: &[&Path]) -> Self {
        let dir = tempfile::Builder::new().prefix("agent-").tempdir().expect("a writable TMPDIR");
        // In the foreground, so that it ends with this process; it speaks when it listens.
        let mut command = Command::new(program("setpriv", "util-linux"));
        command.args(["--pdeathsig", "KILL", "--"]).arg(program("ssh-agent", "openssh-client"));
        command.arg("-D").arg("-a").arg(dir.path().join("socket"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            spawn(command).unwrap_or_else(|cause| panic!("failed to start ssh-agent: {cause}"));
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("ssh-agent prints text");
        let agent = Self { dir, child };
        assert!(line.contains("SSH_AUTH_SOCK"), "ssh-agent did not start: `{line}`");
        keys.iter().for_each(|key| agent.add(key));
        agent
    }

    /// Adds a key without passphrase, and its certificate if there is one.
    ///
    /// # Panics
    ///
    /// When the agent refuses it.
    pub fn add(&self, key: &Path) {
        run(self.ssh_add().arg(key));
    }

    /// Adds a key with this passphrase.
    ///
    /// # Panics
    ///
    /// When the agent refuses it.
    pub fn add_encrypted(&self, key: &Path, passphrase: &str) {
        run(AskPass::new(&[passphrase]).serve(self.ssh_add().arg(key)));
    }

    fn ssh_add(&self) -> Command {
        let mut command = Command::new(program("ssh-add", "openssh-client"));
        command.arg("-q").env("SSH_AUTH_SOCK", self.socket()).stdin(Stdio::null());
        command
    }

    /// The value for `SSH_AUTH_SOCK`.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
