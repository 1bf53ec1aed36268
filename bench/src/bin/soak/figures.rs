//! What a soak has counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::task::{Came, End, Task};

/// What is left on the host in the end.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Tasks whose results are home and that `geto ps` still lists, for `geto rm`.
    pub(crate) listed: usize,
    /// Those of tasks, and what is in them.
    pub(crate) directories: Vec<String>,
    pub(crate) processes: usize,
    /// Tickets of slots.
    pub(crate) locks: usize,
    /// What `geto rm` said when it failed.
    pub(crate) said: String,
}

impl Left {
    pub(crate) fn is_nothing(&self) -> bool {
        self.directories.len() + self.processes + self.locks == 0
    }
}

/// What came of the tasks with one kind of fault.
#[derive(Debug, Default, Clone, Copy)]
struct Row {
    tasks: usize,
    home: usize,
    later: usize,
    not_started: usize,
    lost: usize,
    wrong: usize,
    twice: usize,
}

/// Counts.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: BTreeMap<&'static str, Row>,
    total: Row,
    reasons: BTreeMap<String, usize>,
    wrong: Vec<String>,
    pub(crate) left: Left,
}

impl Figures {
    pub(crate) fn tasks(&self) -> usize {
        self.total.tasks
    }

    pub(crate) fn add(&mut self, task: &Task, came: &Came) {
        for row in [self.rows.entry(task.fault.kind()).or_default(), &mut self.total] {
            row.tasks += 1;
            row.twice += usize::from(came.starts > 1);
            match &came.end {
                End::Home => row.home += 1,
                End::HomeLater => row.later += 1,
                End::NotStarted => row.not_started += 1,
                End::Lost(_) => row.lost += 1,
                End::Wrong(_) => row.wrong += 1,
            }
        }
        match &came.end {
            End::Lost(reason) => *self.reasons.entry(reason.clone()).or_default() += 1,
            End::Wrong(why) => self.wrong.push(format!("{task:?}: {why}")),
            _ if came.starts > 1 => self.wrong.push(format!("{task:?}: {} starts", came.starts)),
            _ => {}
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.total.wrong + self.total.twice == 0 && self.left.is_nothing()
    }

    /// A table of all, and what is wrong.
    pub(crate) fn report(&self, took: Duration) -> String {
        let mut text = format!(
            "\n| fault ({:.0} s) | tasks | home at once | home by `geto attach` | not started, and said so \
             | lost, with a reason | lost without | run twice |\n|---|---|---|---|---|---|---|---|\n",
            took.as_secs_f64()
        );
        let rows = self.rows.iter().map(|(kind, row)| (*kind, row));
        for (kind, row) in rows.chain([("all", &self.total)]) {
            let Row { tasks, home, later, not_started, lost, wrong, twice } = row;
            writeln!(
                text,
                "| {kind} | {tasks} | {home} | {later} | {not_started} | {lost} | {wrong} | {twice} |"
            )
            .expect("writing to memory");
        }
        let Left { listed, directories, processes, locks, said } = &self.left;
        writeln!(
            text,
            "\nleft on the host: {} directories, {processes} processes, {locks} locks \
             (and before `geto rm --finished` {listed} tasks that were home) {said}",
            directories.len()
        )
        .expect("writing to memory");
        for directory in directories {
            writeln!(text, "left: {directory}").expect("writing to memory");
        }
        for (reason, count) in &self.reasons {
            writeln!(text, "lost: {count} times `{reason}`").expect("writing to memory");
        }
        for wrong in &self.wrong {
            writeln!(text, "wrong: {wrong}").expect("writing to memory");
        }
        text
    }
}
