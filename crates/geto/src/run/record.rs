//! What the ledger is told of a run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use geto_core::{Host, Task, TaskId};

use super::candidate::reason;
use super::execute::Follow;
use super::{Event, Results};
use crate::ledger::{LedgerEnd, LedgerEntry, LedgerWriter, Note, absolute};
use crate::results::is_of_ended;
use crate::text::printable;
use crate::{Error, ErrorKind, Fleet};

/// One run in the ledger. No failure of the ledger stops the run: it is told once.
pub(super) struct Record {
    id: TaskId,
    writer: Arc<LedgerWriter>,
    /// Where the results are, when there are any.
    directory: PathBuf,
}

impl Record {
    /// Opens the ledger, while other things are done.
    pub(super) fn of(id: TaskId, fleet: &Fleet) -> Self {
        let writer = fleet.ledger_writer();
        writer.open(fleet.settings());
        Self { id, writer, directory: fleet.local_work_path().join(id.to_string()) }
    }

    /// Notes where the task is about to be sent, and whether that is to keep it. Returns who follows the run in place of `follow`.
    pub(super) async fn start<'a>(
        &self,
        task: &Task,
        host: &Host,
        keep: bool,
        mut follow: Follow<'a>,
    ) -> Follow<'a> {
        let mut entry = LedgerEntry::new(self.id, task.script.name(), host);
        (entry.max_results, entry.keep) = (task.max_results, keep);
        warn(self.writer.start(entry).await, &mut follow);
        let writer = Arc::clone(&self.writer);
        let id = self.id;
        Box::new(move |event| {
            match &event {
                Event::Started { directory, .. } => {
                    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                    let directory = printable(directory.as_bytes());
                    writer.note(Note::Started { id, at: at.unwrap_or_default(), directory });
                }
                Event::Ended { outcome, run_time } => {
                    let (outcome, run_time) = (outcome.clone(), *run_time);
                    writer.note(Note::Outcome { id, outcome, run_time });
                }
                Event::Home { directory } => {
                    writer.note(Note::Home { id, directory: absolute(directory) });
                }
                _ => {}
            }
            follow(event);
        })
    }

    /// Waits until all is written of a task that is left to its host.
    pub(super) async fn leave(self, follow: &mut Follow<'_>) {
        warn(self.writer.settle().await, follow);
    }

    /// Notes what came of the task; `keep` is whether the host was to keep it.
    pub(super) async fn end(
        self,
        ended: &Result<Results, Error>,
        keep: bool,
        follow: &mut Follow<'_>,
    ) {
        let mut end = LedgerEnd::of(ended, keep);
        if ended.is_err() && self.directory.is_dir() {
            end.results = Some(absolute(&self.directory));
            // A geto that was ended while it put files into place has brought them home.
            let is_lost = end.error == Some(ErrorKind::Lost);
            end.error = end.error.filter(|_| !(is_lost && is_of_ended(&self.directory)));
        }
        warn(self.writer.end(self.id, end).await, follow);
    }
}

fn warn(failure: Option<Error>, follow: &mut Follow<'_>) {
    if let Some(error) = failure {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        let reason = reason(&error);
        follow(Event::Warning(format!("what runs is not recorded: {reason}{hint}")));
    }
}
