//! What the tests share.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use geto_testkit::{Ran, TestEnv};

/// A world in which `geto` is run, by default on the built-in host `local`.
pub(crate) struct World {
    pub(crate) env: TestEnv,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { env: TestEnv::new() }
    }

    /// `geto` with these arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        // Tasks on `local` are counted in /var/tmp, which is another one for each world.
        let mut command = self.env.command("/usr/bin/unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /var/tmp && exec \"$@\""]);
        command.arg(self.env.tmp()).arg(env!("CARGO_BIN_EXE_geto")).args(args);
        command
    }

    /// Runs `geto` with these arguments to its end.
    pub(crate) fn geto(&self, args: &[&str]) -> Ran {
        self.env.run(&mut self.command(args))
    }

    /// Starts `geto` with its streams at hand.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The directories of tasks on the host `local`.
    pub(crate) fn tasks(&self) -> Vec<PathBuf> {
        let machines = entries(&self.env.home().join(".cache/geto"));
        machines.iter().flat_map(|machine| entries(&machine.join("tasks"))).collect()
    }

    /// The directories of results.
    pub(crate) fn results(&self) -> Vec<PathBuf> {
        let mut paths = entries(&self.local_work_path());
        paths.retain(|path| path.is_dir());
        paths
    }

    /// Where results and the ledger are.
    pub(crate) fn local_work_path(&self) -> PathBuf {
        self.env.state_home().join("geto")
    }

    /// The only directory of results.
    pub(crate) fn result(&self) -> PathBuf {
        let results = self.results();
        let [result] = &results[..] else { panic!("{results:?}") };
        result.clone()
    }
}

/// What stands in a directory; nothing where there is none.
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = match fs_err::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    paths.sort();
    paths
}

/// The names of all below a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for path in entries(directory) {
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        if path.is_dir() && !path.is_symlink() {
            let last = names.last().unwrap().clone();
            names.extend(self::names(&path).iter().map(|name| format!("{last}/{name}")));
        }
    }
    names
}
