//! The table of tasks on hosts.

use geto::units::human_duration;
use geto::{HostTask, TaskState};

use crate::history::{date, ended, lines};

const TITLES: [&str; 9] =
    ["TASK", "SCRIPT", "HOST", "STATE", "SLOT", "STARTED", "RUN TIME", "CPU TIME", "ORIGIN"];

/// Writes tasks as a table for people.
pub(super) fn table(tasks: &[&HostTask]) -> String {
    lines(
        TITLES,
        tasks.iter().map(|task| {
            let outcome = task.outcome.as_ref();
            [
                task.id.to_string(),
                task.script.clone(),
                task.host.clone(),
                outcome.map_or_else(|| state(task).to_owned(), ended),
                task.slots.clone(),
                task.started.map(date).unwrap_or_default(),
                task.run_time.map(human_duration).unwrap_or_default(),
                task.cpu_time.map(human_duration).unwrap_or_default(),
                task.origin.clone(),
            ]
        }),
    )
}

/// How far a task has come, in a word.
pub(super) fn state(task: &HostTask) -> &'static str {
    match task.state {
        TaskState::Sending => "sending",
        TaskState::Waiting => "waiting",
        TaskState::Running => "running",
        TaskState::Ended => "ended",
        TaskState::Gone => "removed",
        _ => "unknown",
    }
}
