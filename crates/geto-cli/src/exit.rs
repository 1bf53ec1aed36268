//! What the process ends with. The policy for tasks is `geto`'s; here is what only a command has.

use geto::ExitCode;

/// The terminal is gone; the task goes on.
pub(crate) const HANGUP: ExitCode = ExitCode(129);
/// Ctrl-\ was pressed; the task goes on.
pub(crate) const QUIT: ExitCode = ExitCode(131);
/// Nobody reads stdout any more; the same that a shell says of a program that SIGPIPE ended.
pub(crate) const OUTPUT_GONE: ExitCode = ExitCode(141);
/// geto was asked to end; the task goes on.
pub(crate) const TERMINATED: ExitCode = ExitCode(143);
/// Something that was asked about is not as it should be.
pub(crate) const FAILURE: ExitCode = ExitCode(1);
