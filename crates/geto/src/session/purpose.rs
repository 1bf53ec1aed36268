//! What a session is for → the program that its host is sent.

use std::sync::LazyLock;

use geto_core::wire::Program;

/// What a session is for. It decides which parts of the program are sent: each costs bytes of every
/// session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run a task that takes no slot, or to forget one.
    Task,
    /// To run a task that takes a slot, or to ask whether there is one.
    SlottedTask,
    /// To hear of tasks that other sessions have started, to end or to forget them.
    Attach,
    /// To remove dependencies that a host keeps.
    Evict,
    /// To ask what a host is like.
    Questions,
}

macro_rules! parts {
    ($($name:literal),*) => { &[$(include_str!(concat!("program/", $name, ".sh"))),*] };
}

const TASK: &[&str] = parts!["base", "claim", "run", "tree", "state", "results", "main"];
const SLOTTED_TASK: &[&str] =
    parts!["base", "lock", "slots", "claim", "run", "tree", "state", "results", "main"];
const ATTACH: &[&str] = parts!["base", "tree", "state", "results", "attach", "main"];
const EVICT: &[&str] = parts!["base", "state", "cache", "main"];
const CACHE: &[&str] = parts!["cache"];
const QUESTIONS: &[&str] = parts!["base", "lock", "slots", "facts", "main"];

impl Purpose {
    /// What a session is for that runs a task with so many slots.
    pub(crate) fn of_slots(slots: u32) -> Self {
        match slots {
            0 => Self::Task,
            _ => Self::SlottedTask,
        }
    }

    /// The program for it.
    pub(super) fn program(self) -> &'static Program {
        // To strip it takes longer than to send it.
        static PROGRAMS: [LazyLock<Program>; 5] = [
            LazyLock::new(|| Program::strip(&TASK.concat())),
            LazyLock::new(|| Program::strip(&SLOTTED_TASK.concat())),
            LazyLock::new(|| Program::strip(&ATTACH.concat())),
            LazyLock::new(|| Program::strip(&EVICT.concat())),
            LazyLock::new(|| Program::strip(&QUESTIONS.concat())),
        ];
        let [task, slotted_task, attach, evict, questions] = &PROGRAMS;
        match self {
            Self::Task => task,
            Self::SlottedTask => slotted_task,
            Self::Attach => attach,
            Self::Evict => evict,
            Self::Questions => questions,
        }
    }
}

/// What a session that runs tasks needs besides for those whose dependencies the host keeps.
pub(super) fn cache() -> &'static Program {
    static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program::strip(&CACHE.concat()));
    &PROGRAM
}
