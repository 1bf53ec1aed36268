//! What is executed on the host.

use std::path::{Path, PathBuf};

use crate::InvalidTask;

/// What is executed on the host: a name, a text (or a command), and a limit.
///
/// ```
/// use geto_core::Script;
/// let script = Script::from_commands("sleep", ["#!/bin/bash", "sleep 15"]).max_concurrent(2);
/// assert_eq!(script.name(), "sleep");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    name: String,
    body: ScriptBody,
    max_concurrent: Option<u32>,
}

/// What a [`Script`] consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScriptBody {
    /// A program text (any bytes). Its first line names the interpreter (`#!`); without one it is
    /// run by `/bin/sh`. A binary that the host can execute is a text, too.
    Text(Vec<u8>),
    /// A command and its first arguments, executed as they stand: the command is looked up in the
    /// `PATH` of the host, and no shell is in between.
    Command(Vec<Vec<u8>>),
    /// The text in this file, read when the task is run.
    File(PathBuf),
}

impl Script {
    /// Makes an empty script; add lines with [`command`](Self::command).
    pub fn new(name: impl Into<String>) -> Self {
        Self::from_text(name, Vec::new())
    }

    /// Makes a script of lines, each ended with a line feed.
    pub fn from_commands<L: AsRef<[u8]>>(
        name: impl Into<String>,
        lines: impl IntoIterator<Item = L>,
    ) -> Self {
        lines.into_iter().fold(Self::new(name), Self::command)
    }

    /// Makes a script of a program text, taken over byte by byte.
    pub fn from_text(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), body: ScriptBody::Text(text.into()), max_concurrent: None }
    }

    /// Makes a script that executes `argv` as it stands, without a shell.
    pub fn from_argv<A: Into<Vec<u8>>>(
        name: impl Into<String>,
        argv: impl IntoIterator<Item = A>,
    ) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { name: name.into(), body: ScriptBody::Command(argv), max_concurrent: None }
    }

    /// Makes a script of the file at `path`, which is read when the task is run. Its name is that of
    /// the file without suffix; characters that can't stand in a name become `_`.
    ///
    /// ```
    /// assert_eq!(geto_core::Script::from_path("jobs/train.v2.py").name(), "train.v2");
    /// ```
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: name_of(&path), body: ScriptBody::File(path), max_concurrent: None }
    }

    /// Gives the script another text, byte by byte.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.body = ScriptBody::Text(text.into());
        self
    }

    /// Adds a line. A script that executes a command takes it as one more argument; one that is a
    /// file stays as it is.
    #[must_use]
    pub fn command(mut self, line: impl AsRef<[u8]>) -> Self {
        match &mut self.body {
            ScriptBody::File(_) => {}
            ScriptBody::Text(text) => {
                text.extend_from_slice(line.as_ref());
                text.push(b'\n');
            }
            ScriptBody::Command(argv) => argv.push(line.as_ref().to_vec()),
        }
        self
    }

    /// Limits how many instances of this script's name run at once on a host, over all origins.
    /// The default is no limit.
    #[must_use]
    pub fn max_concurrent(mut self, limit: u32) -> Self {
        self.max_concurrent = Some(limit);
        self
    }

    /// Gives the script another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The name: need not be unique; instances of one name are counted together.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is executed.
    pub fn body(&self) -> &ScriptBody {
        &self.body
    }

    /// The limit, if there is one.
    pub fn limit(&self) -> Option<u32> {
        self.max_concurrent
    }

    /// Checks what no host could execute.
    ///
    /// # Errors
    /// When the name is empty or has a NUL or line feed, or when a command is empty or one of its
    /// words has a NUL.
    pub fn check(&self) -> Result<(), InvalidTask> {
        if self.name.is_empty() || self.name.contains(['\0', '\n']) {
            return Err(InvalidTask::ScriptName(self.name.clone()));
        }
        match &self.body {
            ScriptBody::Text(_) | ScriptBody::File(_) => Ok(()),
            ScriptBody::Command(argv) if argv.first().is_none_or(Vec::is_empty) => {
                Err(InvalidTask::EmptyCommand)
            }
            ScriptBody::Command(argv) => match argv.iter().any(|word| word.contains(&0)) {
                true => Err(InvalidTask::NulInArgument),
                false => Ok(()),
            },
        }
    }
}

/// The file name without suffix, fit for a name.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let fit = |c: char| if c.is_control() { '_' } else { c };
    stem.to_string_lossy().chars().map(fit).collect()
}
