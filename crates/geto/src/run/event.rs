//! What one may learn while a task runs.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use geto_core::wire::Busy;
use geto_core::{Outcome, TaskId};

/// Something that happened to a task, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The host is being connected to.
    Connecting {
        /// The host's name.
        host: String,
    },
    /// The host's shell has answered.
    Connected {
        /// The host's name.
        host: String,
        /// From the first packet to the answer.
        login: Duration,
    },
    /// A host was chosen among several.
    Chosen {
        /// The host's name.
        host: String,
        /// How many there were.
        among: usize,
    },
    /// The task waits for a slot. Told again when the reason changes.
    Waiting {
        /// The host's name; several when the task waits on each for the first that comes free.
        host: String,
        /// Why.
        busy: Busy,
    },
    /// The task was let in.
    Slot {
        /// The numbers of its slots, with commas in between.
        slots: String,
        /// The numbers of its GPUs, likewise.
        gpus: String,
    },
    /// Another task brings to the host what this one needs, too, and is waited for. Told again when it is
    /// another one's turn.
    Awaiting {
        /// The host's name.
        host: String,
        /// The dependency, where it is here.
        path: PathBuf,
        /// Whose task it is, as `user@host`; `None` for one of this process.
        by: Option<String>,
    },
    /// Bytes of script, input and dependencies have been sent.
    Sending {
        /// How many so far.
        bytes: u64,
        /// How many there are.
        total: u64,
    },
    /// The script runs.
    Started {
        /// The task.
        id: TaskId,
        /// The host's name.
        host: String,
        /// The task's directory on the host.
        directory: String,
    },
    /// The script's standard output grew.
    Stdout(Bytes),
    /// The script's standard error grew.
    Stderr(Bytes),
    /// The host has heard that the task is to be ended, and ends it with all its processes, whatever becomes
    /// of the link.
    Ending {
        /// The host's name.
        host: String,
    },
    /// The script ended; its files have not been brought yet.
    Ended {
        /// How.
        outcome: Outcome,
        /// How long it ran, measured on the host.
        run_time: Duration,
    },
    /// All that came home is here and on the disk, and the host forgets the task. Its files are about to be
    /// put where they are wanted.
    Home {
        /// Where it is.
        directory: PathBuf,
    },
    /// The link broke; it is made again. The task does not notice.
    LinkBroken {
        /// The host's name.
        host: String,
        /// Why.
        reason: String,
    },
    /// The link is there again, and goes on where it broke.
    LinkBack {
        /// The host's name.
        host: String,
        /// After how long.
        after: Duration,
    },
    /// Bytes of the files have been received.
    Receiving {
        /// How many so far.
        bytes: u64,
    },
    /// Something that the user should know; the run goes on.
    Warning(String),
}
