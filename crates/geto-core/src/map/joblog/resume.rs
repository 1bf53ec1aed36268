//! Which tasks of a new run are done already.

use std::collections::HashMap;

use super::entry::Entry;
use crate::ExitCode;
use crate::map::key::Key;

/// What a log knows of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: it is to be run.
    New,
    /// It is done, and not to be run again.
    Done,
    /// It failed, and is to be repeated.
    Failed,
    /// It was started, and its end or its results did not come home (exit code 123). When its host has
    /// them, they are to be brought.
    Kept {
        /// Whether it is to be run again when its host does not have them.
        repeats: bool,
    },
}

/// Which tasks are not run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeMode {
    /// `--resume`: those that have ended, in whatever way.
    Ended,
    /// `--resume-failed`: those that succeeded.
    Succeeded,
}

/// What a log knows of tasks, by their keys.
///
/// Of a task that the log tells of several times, the last counts. Tasks with equal keys are told
/// apart by their numbers: a list that has the same line twice makes two tasks, and when one of
/// them succeeded, one is skipped. Memory is some 50 bytes for each task in the log; what was
/// skipped is forgotten.
#[derive(Debug)]
pub struct Resume {
    mode: ResumeMode,
    first: HashMap<Key, Known>,
    more: HashMap<Key, Vec<Known>>,
    without_keys: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    sequence: u64,
    success: bool,
    is_kept: bool,
}

impl Resume {
    /// Makes one that knows nothing.
    pub fn new(mode: ResumeMode) -> Self {
        Self { mode, first: HashMap::new(), more: HashMap::new(), without_keys: false }
    }

    /// Takes note of an entry; to be called in the order of the log.
    pub fn add(&mut self, entry: &Entry) {
        self.without_keys |= entry.key.is_none();
        let key = entry.key.unwrap_or_else(|| Key::of_command(entry.command.as_bytes()));
        let is_kept = entry.exit_value == i32::from(ExitCode::LOST.0) && entry.signal == 0;
        let new = Known { sequence: entry.sequence, success: entry.success(), is_kept };
        let first = self.first.entry(key).or_insert(new);
        if first.sequence == new.sequence {
            *first = new;
            return;
        }
        let more = self.more.entry(key).or_default();
        match more.iter_mut().find(|known| known.sequence == new.sequence) {
            Some(known) => *known = new,
            None => more.push(new),
        }
    }

    /// What is known of the next task of this key; it is forgotten then. `command` is what its line
    /// in the log would say, for lines without keys: those of GNU parallel are recognised where their
    /// text is the same.
    pub fn take(&mut self, key: Key, command: &str) -> Before {
        let known = match self.known(key) {
            None if self.without_keys => self.known(Key::of_command(command.as_bytes())),
            known => known,
        };
        let repeats = self.mode == ResumeMode::Succeeded;
        match known {
            None => Before::New,
            Some(Known { is_kept: true, .. }) => Before::Kept { repeats },
            Some(Known { success: false, .. }) if repeats => Before::Failed,
            Some(_) => Before::Done,
        }
    }

    fn known(&mut self, key: Key) -> Option<Known> {
        let first = self.first.get_mut(&key)?;
        let Some(more) = self.more.get_mut(&key) else { return self.first.remove(&key) };
        // The successes go first, so that what is run again is what failed.
        let best = more.iter().position(|known| known.success && !first.success);
        if let Some(best) = best {
            std::mem::swap(first, &mut more[best]);
        }
        let known = *first;
        match more.pop() {
            Some(next) => *first = next,
            None => drop(self.first.remove(&key)),
        }
        if self.more.get(&key).is_some_and(Vec::is_empty) {
            self.more.remove(&key);
        }
        Some(known)
    }
}
