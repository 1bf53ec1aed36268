//! How an attempt ended, and the exit codes that tell of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// The script ended by itself.
    Exited {
        /// Its exit code.
        code: u8,
    },
    /// A signal ended the script. A script that exits with a code above 128 which is 128 plus a
    /// signal's number can't be told from it; the raw status in the results is the same, too.
    Signalled {
        /// The signal's number on the host.
        signal: u8,
    },
    /// The timeout ended it.
    TimedOut,
    /// The user ended it.
    Cancelled,
    /// It was started, and how it ended can't be known.
    Lost {
        /// What is known.
        reason: String,
    },
    /// Its host had all of it, and the script was never started: it is safe to run it again.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// It had not ended when these results were brought home.
    Running,
}

/// An exit code of `geto run`.
///
/// A script may use the same codes; `outcome.json` and `--json` always tell which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// Everything went well.
    pub const SUCCESS: Self = Self(0);
    /// The command line or the configuration is wrong.
    pub const USAGE: Self = Self(2);
    /// No free slot (with `--when-full fail`, or the wait timed out).
    pub const NO_SLOT: Self = Self(75);
    /// The task was started, and either its end is unknown or its results could not be brought
    /// home whole.
    pub const LOST: Self = Self(123);
    /// The task timed out, as timeout(1) says it.
    pub const TIMED_OUT: Self = Self(124);
    /// The task was not started: it is safe to run it again.
    pub const NOT_STARTED: Self = Self(125);
    /// The user ended the task with Ctrl-C.
    pub const INTERRUPTED: Self = Self(130);
}

impl Outcome {
    /// The exit code of `geto run` for a task that ended like this.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Exited { code } => ExitCode(*code),
            Self::Signalled { signal } => ExitCode(signal.saturating_add(128)),
            Self::TimedOut => ExitCode::TIMED_OUT,
            Self::Cancelled => ExitCode::INTERRUPTED,
            Self::Lost { .. } => ExitCode::LOST,
            Self::NotStarted { .. } => ExitCode::NOT_STARTED,
            Self::Running => ExitCode::SUCCESS,
        }
    }

    /// Its kind, as in `outcome.json`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::Lost { .. } => "lost",
            Self::NotStarted { .. } => "not-started",
            Self::Running => "running",
        }
    }

    /// Returns true when the script ended by itself with exit code 0.
    pub fn success(&self) -> bool {
        *self == Self::Exited { code: 0 }
    }

    /// Reads the status that a shell gave for the script (`$?`): above 128 with a valid signal
    /// number is a signal, since five of six shells give nothing that would tell more.
    /// ksh93 adds 256 to a signal's number instead.
    pub fn from_shell_status(status: u16) -> Self {
        match status {
            129..=192 | 257..=320 => {
                Self::Signalled { signal: u8::try_from(status & 127).unwrap_or_default() }
            }
            _ => Self::Exited { code: u8::try_from(status & 255).unwrap_or_default() },
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Signalled { signal } => write!(f, "ended by signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Lost { reason } => write!(f, "lost: {reason}"),
            Self::NotStarted { reason } => write!(f, "not started: {reason}"),
            Self::Running => f.write_str("still runs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let code = |outcome: Outcome| outcome.exit_code().0;
        assert_eq!(code(Outcome::Exited { code: 255 }), 255);
        assert_eq!(code(Outcome::Signalled { signal: 9 }), 137);
        assert_eq!(code(Outcome::TimedOut), 124);
        assert_eq!(code(Outcome::Cancelled), 130);
        assert_eq!(code(Outcome::Lost { reason: String::new() }), 123);
        assert_eq!(code(Outcome::NotStarted { reason: String::new() }), 125);
    }

    #[test]
    fn status_above_128_is_a_signal_when_one_has_that_number() {
        assert_eq!(Outcome::from_shell_status(128), Outcome::Exited { code: 128 });
        assert_eq!(Outcome::from_shell_status(137), Outcome::Signalled { signal: 9 });
        assert_eq!(Outcome::from_shell_status(192), Outcome::Signalled { signal: 64 });
        assert_eq!(Outcome::from_shell_status(256 + 9), Outcome::Signalled { signal: 9 });
        assert_eq!(Outcome::from_shell_status(255), Outcome::Exited { code: 255 });
    }
}
