//! `geto history`.

mod object;
mod table;

use std::time::SystemTime;

use geto::{Error, ExitCode, Fleet, LedgerEntry, LedgerFilter};

use self::object::object;
pub(crate) use self::object::rfc3339;
use self::table::table;
pub(crate) use self::table::{date, ended, lines};
use crate::app::{configured, unwritten};
use crate::args::HistoryArgs;
use crate::exit;
use crate::printer::{Form, Printer};
use crate::streams::write_stdout;

/// Lists what was started from here, newest first.
pub(crate) fn history(args: &HistoryArgs, printer: Printer) -> Result<ExitCode, Error> {
    let entries = entries(args, &configured(&args.config)?)?;
    let written = match printer.form() {
        Form::Json => entries.iter().try_for_each(|entry| printer.object(&object(entry))),
        Form::Text if entries.is_empty() => {
            printer.note("there is no such task in the ledger");
            Ok(())
        }
        Form::Text => write_stdout(table(&entries).as_bytes()),
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(exit::OUTPUT_GONE),
        Err(error) => Err(unwritten(error)),
        // Who names a task wants to know whether there is one.
        Ok(()) if entries.is_empty() && !args.tasks.is_empty() => Ok(exit::FAILURE),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn entries(args: &HistoryArgs, fleet: &Fleet) -> Result<Vec<LedgerEntry>, Error> {
    let Some(ledger) = fleet.ledger()? else { return Ok(Vec::new()) };
    let mut filter = LedgerFilter::default();
    filter.tasks.clone_from(&args.tasks);
    filter.hosts.clone_from(&args.hosts);
    filter.scripts.clone_from(&args.scripts);
    filter.states.clone_from(&args.outcomes);
    filter.since = args.since.map(|since| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(since)
    });
    filter.limit = Some(args.lines).filter(|&lines| lines > 0);
    ledger.list(&filter)
}
