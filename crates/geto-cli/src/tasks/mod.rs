//! Tasks that were started before: `geto ps`, `attach`, `logs`, `wait`, `kill`, `fetch` and `rm`.

mod attach;
mod find;
mod learn;
mod logs;
mod many;
mod object;
mod ps;
mod remove;
mod table;

use geto::{Error, ErrorKind, ExitCode, Fleet, LedgerEnd, LedgerEntry, Outcome, Results, TaskId};

pub(crate) use self::attach::attach;
pub(crate) use self::find::{Finder, Found, ask, hosts};
pub(crate) use self::logs::logs;
pub(crate) use self::many::{fetch, kill, wait, watch};
pub(crate) use self::object::object;
pub(crate) use self::ps::ps;
pub(crate) use self::remove::remove;
use crate::printer::Printer;
use crate::signals::Signals;

/// Does `work` until a signal asks geto to end.
pub(crate) async fn until_signal(
    work: impl Future<Output = Result<ExitCode, Error>>,
) -> Result<ExitCode, Error> {
    let signals = Signals::catch().map_err(|error| {
        Error::new(ErrorKind::Local, "failed to catch signals").caused_by(error)
    })?;
    tokio::select! {
        ended = Box::pin(work) => ended,
        code = signals.any() => Ok(code),
    }
}

/// Notes in the ledger what bringing a task home tells of it, if it was started from here.
pub(crate) fn record_home(
    fleet: &Fleet,
    found: &Found,
    ended: &Result<Results, Error>,
    keep: bool,
    printer: Printer,
) {
    let tells = match ended {
        Ok(_) => true,
        // That a host can't be reached says nothing about the task.
        Err(error) => matches!(error.kind(), ErrorKind::Lost | ErrorKind::Results),
    };
    // Of one that is home already its host knows nothing more.
    let is_home = |entry: &LedgerEntry| {
        let has_ended = entry.outcome.as_ref().is_some_and(|outcome| *outcome != Outcome::Running);
        has_ended && entry.results.is_some() && entry.error.is_none()
    };
    let is_lost = matches!(ended, Err(error) if error.kind() == ErrorKind::Lost);
    if tells && found.entry.as_ref().is_some_and(|entry| !is_lost || !is_home(entry)) {
        record(fleet, found.id, &LedgerEnd::of(ended, keep), printer);
    }
}

/// Notes in the ledger what became of a task. No failure of the ledger is one of the command.
fn record(fleet: &Fleet, id: TaskId, end: &LedgerEnd, printer: Printer) {
    let recorded = match fleet.ledger() {
        Ok(Some(ledger)) => ledger.record_end(id, end),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = recorded {
        printer.warning_of(&error);
    }
}
