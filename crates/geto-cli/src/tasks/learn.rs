//! What hosts say of their tasks, noted in the ledger.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use geto::{Error, Fleet, HostTask, LedgerEntry, LedgerHost, TaskId};

use super::find::Answer;
use crate::printer::Printer;

/// How long ago a task was sent that can't be on its way any more.
const SENT_BY: Duration = Duration::from_secs(3600);

/// The tasks of the ledger without a known end, before hosts are asked.
pub(super) struct Known<'a> {
    fleet: &'a Fleet,
    entries: Vec<LedgerEntry>,
}

impl<'a> Known<'a> {
    /// Reads them. A ledger that can't be read is a warning.
    pub(super) fn read(fleet: &'a Fleet, printer: Printer) -> Self {
        let entries = fleet.ledger().and_then(|ledger| match ledger {
            Some(ledger) => ledger.unfinished(),
            None => Ok(Vec::new()),
        });
        let entries = entries.unwrap_or_else(|error| {
            printer.warning_of(&error);
            Vec::new()
        });
        Self { fleet, entries }
    }

    /// Notes which of them have ended, and which are not on their hosts any more.
    pub(super) fn learn(self, answers: &[Answer], printer: Printer) {
        if let Err(error) = self.note(answers) {
            printer.warning_of(&error);
        }
    }

    fn note(self, answers: &[Answer]) -> Result<(), Error> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let Some(ledger) = self.fleet.ledger()? else { return Ok(()) };
        let answered: Vec<(LedgerHost, HashMap<TaskId, &HostTask>)> = answers
            .iter()
            .filter_map(|(host, tasks)| {
                let tasks = tasks.as_ref().ok()?;
                let by_id = tasks.iter().map(|task| (task.id, task)).collect();
                Some((LedgerHost::of(host), by_id))
            })
            .collect();
        for entry in &self.entries {
            let Some((_, tasks)) = answered.iter().find(|(host, _)| *host == entry.host) else {
                continue;
            };
            match tasks.get(&entry.id).map(|task| (&task.outcome, task.run_time)) {
                Some((Some(outcome), run_time)) => {
                    ledger.record_outcome(entry.id, outcome, run_time.unwrap_or_default())?;
                }
                Some((None, _)) => {}
                None if was_there(entry) => ledger.record_removed(entry.id)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Whether its host had the task before it was asked, if it ever had.
fn was_there(entry: &LedgerEntry) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    entry.started.is_some() || now.saturating_sub(entry.asked) > SENT_BY
}
