//! One line of the log.

use std::time::Duration;

use crate::Outcome;
use crate::map::key::Key;

/// The first line of a log, with its end.
pub const HEADER: &str =
    "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

const KEY_MARK: &str = " # geto:";

/// A task that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Its number in its run, from 1.
    pub sequence: u64,
    /// The name of the host; `:` is this machine in logs of GNU parallel.
    pub host: String,
    /// When it was started, since the epoch; milliseconds are kept.
    pub started: Duration,
    /// How long it ran; milliseconds are kept.
    pub ran: Duration,
    /// Bytes of files that were sent.
    pub sent: u64,
    /// Bytes of files that came home.
    pub received: u64,
    /// Its exit code; -1 in logs of GNU parallel for a timeout.
    pub exit_value: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// The command, a line for a shell.
    pub command: String,
    /// What it is recognised by; none in logs of GNU parallel.
    pub key: Option<Key>,
}

/// What stands for an outcome in the columns `Exitval` and `Signal`; none for a task that was
/// cancelled, was not started or still runs, which must not be in the log: a run that resumes it would take it for
/// done.
///
/// A timeout is 124 and a lost task 123, as of `geto run`; a signal has, as in GNU parallel, the
/// exit value 0.
pub fn exit_and_signal(outcome: &Outcome) -> Option<(i32, i32)> {
    match outcome {
        Outcome::Cancelled | Outcome::NotStarted { .. } | Outcome::Running => None,
        Outcome::Signalled { signal } => Some((0, i32::from(*signal))),
        Outcome::Exited { .. } | Outcome::TimedOut | Outcome::Lost { .. } => {
            Some((i32::from(outcome.exit_code().0), 0))
        }
    }
}

impl Entry {
    /// Whether the task succeeded, as GNU parallel's `--resume-failed` judges it.
    pub fn success(&self) -> bool {
        self.exit_value == 0 && self.signal == 0
    }

    /// Writes it as a line, with its end. Control characters and white space in the host's name, and
    /// control characters in the command, become `_`, which those of
    /// [`command_line`](super::command_line) don't have.
    pub fn line(&self) -> String {
        let host = match self.host.as_str() {
            "" => ":".to_owned(),
            host => host.replace(|c: char| c.is_whitespace() || c.is_control(), "_"),
        };
        let mut line = format!(
            "{}\t{host}\t{}\t{:>10}\t{}\t{}\t{}\t{}\t{}",
            self.sequence,
            written(self.started),
            written(self.ran),
            self.sent,
            self.received,
            self.exit_value,
            self.signal,
            self.command.replace(char::is_control, "_"),
        );
        if let Some(key) = self.key {
            line.push_str(KEY_MARK);
            line.push_str(&key.to_string());
        }
        line.push('\n');
        line
    }

    /// Reads a line without its end.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let mut columns = line.splitn(9, '\t');
        let mut column = || columns.next().map(str::trim);
        let entry = Self {
            sequence: column()?.parse().ok()?,
            host: column()?.to_owned(),
            started: seconds(column()?)?,
            ran: seconds(column()?)?,
            sent: column()?.parse().ok()?,
            received: column()?.parse().ok()?,
            exit_value: column()?.parse().ok()?,
            signal: column()?.parse().ok()?,
            command: String::new(),
            key: None,
        };
        let command = columns.next()?;
        // What GNU parallel writes for a line feed.
        let (command, key) = match command.rsplit_once(KEY_MARK) {
            Some((command, key)) if let Ok(key) = key.parse() => (command, Some(key)),
            _ => (command, None),
        };
        Some(Self { command: command.replace('\0', "\n"), key, ..entry })
    }
}

/// To the nearest millisecond. A clock that was set back makes negative run times.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    let rounded = duration.checked_add(Duration::from_micros(500))?;
    Some(Duration::from_millis(u64::try_from(rounded.as_millis()).ok()?))
}

fn written(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_secs(), duration.subsec_millis())
}
