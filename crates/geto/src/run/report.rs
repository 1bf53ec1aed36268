//! What a task brought home.

use std::path::PathBuf;
use std::time::Duration;

use geto_core::{Outcome, TaskId};

use crate::Error;

/// What a task brought home. Everything it names is complete and on disk here.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Results {
    /// The task.
    pub id: TaskId,
    /// The script's name.
    pub script: String,
    /// The host's name.
    pub host: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The status that the host's shell gave for the script (`$?`): 128 plus the number for a
    /// signal (ksh93: 256 plus).
    pub raw_status: u16,
    /// When the script started, by the clock of this machine: seconds since 1970.
    pub started: Duration,
    /// How long the script ran, measured on the host.
    pub run_time: Duration,
    /// Processor time of the script and of its children that it waited for.
    pub cpu_time: Duration,
    /// Bytes sent to the host for this task.
    pub bytes_sent: u64,
    /// Bytes received from the host for this task.
    pub bytes_received: u64,
    /// Where `stdout`, `stderr` and `outcome.json` are; it is removed when its time
    /// is over ([`keep_results`](crate::Settings::keep_results)), or by the user.
    pub directory: PathBuf,
    /// The files, when the script left any that were to come home.
    pub files: Option<FilesHome>,
    /// What the user should know: processes that could not be ended, files that could not be
    /// sent, a disk that ran full.
    pub warnings: Vec<String>,
}

/// Files that came home.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilesHome {
    /// The directory they are in.
    pub directory: PathBuf,
    /// How many files and symlinks.
    pub count: u64,
    /// How many bytes are in them.
    pub bytes: u64,
}

impl Results {
    /// Reads the script's standard output.
    ///
    /// # Errors
    /// When the file in [`directory`](Self::directory) can't be read any more.
    pub fn stdout(&self) -> Result<Vec<u8>, Error> {
        self.read("stdout")
    }

    /// Reads the script's standard error.
    ///
    /// # Errors
    /// When the file in [`directory`](Self::directory) can't be read any more.
    pub fn stderr(&self) -> Result<Vec<u8>, Error> {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        fs_err::read(self.directory.join(name)).map_err(|error| {
            Error::new(crate::ErrorKind::Local, format!("failed to read `{name}` of the task"))
                .of_task(self.id)
                .caused_by(error)
        })
    }
}
