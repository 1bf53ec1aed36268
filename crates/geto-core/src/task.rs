//! A task: a script and all that belongs to one execution of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Script, Secret};

/// A script, its arguments, environment, dependencies and timeout.
///
/// A task is a plan: running it twice makes two instances, each with an id of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// What is executed.
    pub script: Script,
    /// The arguments of the script (`$1`, `$2`, …), any bytes but NUL.
    pub args: Vec<Vec<u8>>,
    /// Variables of the script, later ones winning. The values are treated as secrets.
    pub env: Vec<(String, Secret)>,
    /// Files and directories that appear as `DEPS/<name>`.
    pub dependencies: Vec<Dependency>,
    /// What the script reads on its standard input; nothing by default.
    pub stdin: Stdin,
    /// How long the script may run, from its start; no limit by default. Whole seconds.
    pub timeout: Option<Duration>,
    /// Whether the script runs under the profile of the user's login shell. What is said here and in
    /// `env` of the host is set after it, and `setup` of the host comes after both.
    pub login: bool,
    /// Whether processes that the script leaves behind are left alone when it ends.
    pub leave: bool,
    /// How many of the host's slots it takes; 1 by default. A task that takes none waits for
    /// nothing.
    pub slots: u32,
    /// How many of the host's GPUs it has to itself; none by default.
    pub gpus: u32,
    /// Which files come home.
    pub bring: Bring,
    /// The most bytes of files that may come home, and of each output; no limit by default.
    pub max_results: Option<u64>,
}

/// A file or directory that the task needs, seen by its script as `DEPS/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Dependency {
    /// Where it is here.
    pub path: PathBuf,
    /// Its name under `DEPS`; the last part of its resolved path when `None`.
    pub name: Option<String>,
    /// What of a directory is left out: patterns in the syntax of gitignore.
    pub exclude: Vec<String>,
    /// Whether what `.gitignore` files in a directory name is left out, too.
    pub gitignore: bool,
    /// Whether the task gets a link to what its host keeps, instead of a copy of its own: nobody but
    /// root can write to it.
    pub share: bool,
}

impl<P: Into<PathBuf>> From<P> for Dependency {
    fn from(path: P) -> Self {
        Self::new(path)
    }
}

impl Dependency {
    /// Makes a dependency of the file or directory at `path`, sent whole.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Gives it another name under `DEPS`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Leaves out what `pattern` (gitignore syntax) matches in a directory.
    #[must_use]
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.exclude.push(pattern.into());
        self
    }

    /// Says whether the task gets a link to what its host keeps, instead of a copy of its own. What is
    /// too small to be kept is copied all the same, without the right to write.
    #[must_use]
    pub fn share(mut self, share: bool) -> Self {
        self.share = share;
        self
    }

    /// Says whether what `.gitignore` files name is left out, too.
    #[must_use]
    pub fn gitignore(mut self, gitignore: bool) -> Self {
        self.gitignore = gitignore;
        self
    }
}

/// What a script reads on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    Null,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of this file, read when the task is sent.
    File(PathBuf),
}

/// Which files come home of those that the script left in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Bring {
    /// Everything, `DEPS` apart.
    #[default]
    All,
    /// Nothing.
    Nothing,
    /// What these patterns of the shell (`*`, `?`, `[…]`) match on the host, directories whole. A
    /// pattern is relative to the task's directory and may reach into `DEPS`.
    Globs(Vec<String>),
}

/// Why a [`Task`] can't be run anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTask {
    /// See [`Script::check`].
    #[error("`{0}` is no name for a script: it is empty or has a line feed or NUL")]
    ScriptName(String),
    /// See [`Script::check`].
    #[error("the command is empty")]
    EmptyCommand,
    /// An operating system can't pass it.
    #[error("an argument has a NUL byte, which no program can be given")]
    NulInArgument,
    /// A shell would drop it in silence.
    #[error("`{0}` is no name for a variable: it takes letters, digits and `_`, not a digit first")]
    VariableName(String),
    /// geto sets it on hosts, or needs it there to find the processes of the task.
    #[error("`{0}` is a variable of geto's own on hosts: give it another name")]
    OwnVariable(String),
    /// An operating system can't pass it.
    #[error("the value of variable `{0}` has a NUL byte, which no program can be given")]
    NulInVariable(String),
    /// It could reach out of the task's directory, or can't be written down.
    #[error(
        "`{0}` is no pattern for files to bring: it is empty, absolute, or has `..`, a line feed or NUL"
    )]
    BringPattern(String),
    /// Limits are kept by slots.
    #[error("a task that takes no slot can't have a limit or GPUs")]
    NoSlot,
    /// See the text.
    #[error("{0} is beyond what a host has: at most 65535 slots, GPUs, or tasks of a name")]
    TooMany(u32),
    /// No instance of the script could ever run.
    #[error("the limit of the script is 0")]
    NoneAtOnce,
    /// A timeout is kept by `sleep` on the host.
    #[error("a timeout is a whole number of seconds, at least one")]
    Timeout,
}

impl Task {
    /// Makes a task that executes `script` without arguments, dependencies or a timeout.
    pub fn new(script: Script) -> Self {
        Self {
            script,
            args: Vec::new(),
            env: Vec::new(),
            dependencies: Vec::new(),
            stdin: Stdin::Null,
            timeout: None,
            login: false,
            leave: false,
            slots: 1,
            gpus: 0,
            bring: Bring::All,
            max_results: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds a file or directory: a path, seen as `DEPS/<last part of its resolved path>`, or a
    /// [`Dependency`] with more to say.
    #[must_use]
    pub fn dependency(mut self, dependency: impl Into<Dependency>) -> Self {
        self.dependencies.push(dependency.into());
        self
    }

    /// Limits how long the script may run, from its start: whole seconds, at least one.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says what the script reads on its standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Says how many of the host's slots it takes, at most 65,535. 0 is none: such a task waits for
    /// nothing and is not counted.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Says how many of the host's GPUs it has to itself, at most 65,535.
    #[must_use]
    pub fn gpus(mut self, gpus: u32) -> Self {
        self.gpus = gpus;
        self
    }

    /// Says which files come home.
    #[must_use]
    pub fn bring(mut self, bring: Bring) -> Self {
        self.bring = bring;
        self
    }

    /// Checks what no host could execute.
    ///
    /// # Errors
    /// Names the first part that is unsound.
    pub fn check(&self) -> Result<(), InvalidTask> {
        self.script.check()?;
        if self.args.iter().any(|arg| arg.contains(&0)) {
            return Err(InvalidTask::NulInArgument);
        }
        for (name, value) in &self.env {
            if !is_variable_name(name) {
                return Err(InvalidTask::VariableName(name.clone()));
            }
            if is_own_variable(name) || (self.gpus > 0 && name == "CUDA_VISIBLE_DEVICES") {
                return Err(InvalidTask::OwnVariable(name.clone()));
            }
            if value.expose().contains(&0) {
                return Err(InvalidTask::NulInVariable(name.clone()));
            }
        }
        if let Bring::Globs(globs) = &self.bring
            && let Some(glob) = globs.iter().find(|glob| !is_bring_pattern(glob))
        {
            return Err(InvalidTask::BringPattern(glob.clone()));
        }
        let limit = self.script.limit();
        if let Some(&number) =
            [self.slots, self.gpus, limit.unwrap_or(1)].iter().find(|&&number| number > 65_535)
        {
            return Err(InvalidTask::TooMany(number));
        }
        match limit {
            Some(0) => return Err(InvalidTask::NoneAtOnce),
            _ if self.slots == 0 && (limit.is_some() || self.gpus > 0) => {
                return Err(InvalidTask::NoSlot);
            }
            _ => {}
        }
        match self.timeout {
            Some(timeout) if timeout.as_secs() == 0 || timeout.subsec_nanos() != 0 => {
                Err(InvalidTask::Timeout)
            }
            _ => Ok(()),
        }
    }
}

/// Shells drop variables of other names in silence when they start a program.
pub(crate) fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What a task is told by geto, and what the program on hosts remembers of it.
pub(crate) fn is_own_variable(name: &str) -> bool {
    let told = ["GETO_TASK_ID", "GETO_HOST", "GETO_SCRIPT", "GETO_SLOT", "GETO_CPUS"];
    told.contains(&name) || name.starts_with("g_")
}

fn is_bring_pattern(glob: &str) -> bool {
    !glob.is_empty()
        && !glob.starts_with('/')
        && !glob.contains(['\0', '\n'])
        && glob.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Task::new(Script::from_commands("t", ["true"]))
    }

    #[test]
    fn accepts_any_bytes_but_nul() {
        assert_eq!(task().arg("a b\n$(x)").arg(vec![0xff, 1]).env("A_1", "'").check(), Ok(()));
        assert_eq!(task().arg(vec![0]).check(), Err(InvalidTask::NulInArgument));
    }

    #[test]
    fn refuses_variables_that_a_shell_would_drop() {
        for name in ["", "1A", "A-B", "A=B", "Ä"] {
            let refused = Err(InvalidTask::VariableName(name.to_owned()));
            assert_eq!(task().env(name, "x").check(), refused);
        }
    }

    #[test]
    fn refuses_variables_of_getos_own() {
        for name in ["GETO_TASK_ID", "GETO_SLOT", "g_task"] {
            let refused = Err(InvalidTask::OwnVariable(name.to_owned()));
            assert_eq!(task().env(name, "x").check(), refused);
        }
        assert_eq!(task().env("GETO_CONFIG", "x").env("G_", "x").check(), Ok(()));
        let devices = task().env("CUDA_VISIBLE_DEVICES", "3");
        assert_eq!(devices.check(), Ok(()));
        assert!(devices.gpus(1).check().is_err());
    }

    #[test]
    fn refuses_limits_that_nothing_keeps() {
        assert_eq!(task().slots(0).check(), Ok(()));
        assert_eq!(task().slots(0).gpus(1).check(), Err(InvalidTask::NoSlot));
        let limited = |limit| Task::new(Script::from_commands("t", ["true"]).max_concurrent(limit));
        assert_eq!(limited(2).check(), Ok(()));
        assert_eq!(limited(2).slots(0).check(), Err(InvalidTask::NoSlot));
        assert_eq!(limited(0).check(), Err(InvalidTask::NoneAtOnce));
        assert_eq!(task().gpus(70_000).check(), Err(InvalidTask::TooMany(70_000)));
    }

    #[test]
    fn refuses_patterns_that_reach_out() {
        for glob in ["", "/etc/passwd", "../x", "a/../../x", "a\nb"] {
            let task = task().bring(Bring::Globs(vec![glob.to_owned()]));
            assert_eq!(task.check(), Err(InvalidTask::BringPattern(glob.to_owned())));
        }
        assert_eq!(task().bring(Bring::Globs(vec!["DEPS/a*/[x]..".to_owned()])).check(), Ok(()));
    }
}
