//! The table of what was started.

use std::time::Duration;

use comfy_table::{Table, presets};
use geto::text::printable;
use geto::units::human_duration;
use geto::{ErrorKind, LedgerEntry, Outcome};
use time::{OffsetDateTime, UtcOffset};

const TITLES: [&str; 7] = ["TASK", "SCRIPT", "HOST", "STARTED", "OUTCOME", "RUN TIME", "RESULTS"];

/// Writes entries as a table for people.
pub(super) fn table(entries: &[LedgerEntry]) -> String {
    lines(
        TITLES,
        entries.iter().map(|entry| {
            [
                entry.id.to_string(),
                printable(entry.script.as_bytes()),
                printable(entry.host.name.as_bytes()),
                entry.started.map(date).unwrap_or_default(),
                outcome(entry),
                entry.run_time.map(human_duration).unwrap_or_default(),
                results(entry),
            ]
        }),
    )
}

/// Lays out rows below their titles.
pub(crate) fn lines<const N: usize>(
    titles: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(titles);
    table.add_rows(rows);
    table.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// How a script ended, in short.
pub(crate) fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exited {code}"),
        Outcome::Signalled { signal } => format!("signal {signal}"),
        outcome => outcome.kind().replace('-', " "),
    }
}

fn outcome(entry: &LedgerEntry) -> String {
    let is_own =
        |outcome: &&Outcome| matches!(outcome, Outcome::Exited { .. } | Outcome::Signalled { .. });
    let ended = entry.outcome.as_ref().filter(is_own).map(ended);
    match (ended, entry.error) {
        (Some(ended), None) => ended,
        (Some(ended), Some(ErrorKind::Results)) => format!("{ended}, not whole"),
        (None, Some(ErrorKind::Results)) => "not whole".to_owned(),
        _ => entry.state().replace('-', " "),
    }
}

fn results(entry: &LedgerEntry) -> String {
    match (&entry.files, &entry.results) {
        // Files elsewhere are not removed with the rest.
        (Some(files), Some(results)) if !files.directory.starts_with(results) => {
            files.directory.display().to_string()
        }
        _ if entry.results_removed => "removed".to_owned(),
        (_, results) => results.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
    }
}

/// A time on the user's clock; of UTC, with a `Z`, where that can't be known.
pub(crate) fn date(time: Duration) -> String {
    let time = OffsetDateTime::UNIX_EPOCH + time;
    let (time, zone) = match UtcOffset::local_offset_at(time) {
        Ok(offset) => (time.to_offset(offset), ""),
        Err(_) => (time, "Z"),
    };
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}{zone}")
}
