//! The log of a batch, in the columns of GNU parallel, and what a later run takes from it.
//!
//! parallel(1), `--joblog`: `Seq Host Starttime JobRuntime Send Receive Exitval Signal Command`, set
//! apart by tabs, a line for each task that has ended. `Command` is a line that a shell can run
//! again; behind it, as a comment of the shell, stands the task's [`Key`](super::key::Key):
//! `render.sh 'a b' # geto:9f3c…`. So whatever reads or reruns such logs goes on working, a
//! tenth column isn't taken for a part of the command, and no file beside the log can get lost.

mod command;
mod entry;
mod read;
mod resume;
#[cfg(test)]
mod tests;

pub use command::command_line;
pub use entry::{Entry, HEADER, exit_and_signal};
pub use read::{JoblogError, Reading, Warning, read};
pub use resume::{Before, Resume, ResumeMode};
