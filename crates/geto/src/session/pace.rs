//! How long a host may take and how much it may say before it is given up.
//!
//! A task may be silent for hours, and may wait for its turn as long. All else is answered in
//! bounded time: a host that sends one byte a minute, or answers without end, ends in an error.

use std::time::Duration;

use geto_core::wire::{Patience, Reply, TaskState};
use tokio::time::Instant;

/// From the beginning of a session to its first answer. Start-up files take most of it.
const GREETING: Duration = Duration::from_secs(60);
/// For the answer to a request: a host may have to remove what earlier tasks left, first.
pub(super) const ANSWER: Duration = Duration::from_secs(300);
/// For the files after the end of a task, which a host may have to look for among millions.
const FILES: Duration = Duration::from_secs(600);
/// What has to be sent or received for such a time to begin anew.
const PROGRESS: u64 = 64 << 10;
/// How many answers may come at once, and each second beyond: more than any host of geto has to
/// say. Output and files are not counted.
const ANSWERS_AT_ONCE: u64 = 10_000;
const ANSWERS_PER_SECOND: u64 = 20;
/// And for each request, of which there may be many in a session.
const ANSWERS_PER_REQUEST: u64 = 20;

/// Why a host is given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum GivenUp {
    /// Nothing, or next to nothing, came.
    #[error("it gave no answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// More came than anybody asked for.
    #[error("it gave {0} answers, more than anybody asked for")]
    Flood(u64),
}

/// What the host is about, as far as its answers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To answer a request, the first one too.
    Answering,
    /// To wait for a slot.
    Waiting,
    Running,
    Ended,
}

/// Keeps watch over the answers of a host.
#[derive(Debug)]
pub(super) struct Pace {
    stage: Stage,
    begun: Instant,
    /// When the time is over, and how long it was; none where the host may take any time.
    limit: Option<(Instant, Duration)>,
    /// How many bytes had passed when that time began.
    passed_then: u64,
    /// How many bytes of output and files were received.
    received: u64,
    answers: u64,
    /// How many of them are to be expected, apart from those of the first moment and each second.
    expected: u64,
    /// It tells of tasks, of which there may be any number: who asked counts them.
    lists: bool,
    /// The longest that the task waits for a slot, and that it runs.
    patience: Patience,
    timeout: Option<Duration>,
}

impl Pace {
    /// Begins to wait for the first answer.
    pub(super) fn new() -> Self {
        let mut pace = Self {
            stage: Stage::Answering,
            begun: Instant::now(),
            limit: None,
            passed_then: 0,
            received: 0,
            answers: 0,
            expected: 0,
            lists: false,
            patience: Patience::Forever,
            timeout: None,
        };
        pace.allow(GREETING);
        pace
    }

    /// Tells how long the task waits for a slot at most, and how long it runs.
    pub(super) fn of_task(&mut self, patience: Patience, timeout: Option<Duration>) {
        self.patience = patience;
        self.timeout = timeout;
    }

    /// The host is asked for all tasks.
    pub(super) fn asked_to_list(&mut self) {
        self.lists = true;
    }

    /// The host is asked for something.
    pub(super) fn asked(&mut self, is_greeted: bool) {
        self.expected += ANSWERS_PER_REQUEST;
        match self.stage {
            // The first answer is awaited in any case.
            _ if !is_greeted => {}
            Stage::Ended => self.allow(FILES),
            _ => {
                self.stage = Stage::Answering;
                self.allow(ANSWER);
            }
        }
    }

    /// The host is to end the task now.
    pub(super) fn cancelled(&mut self) {
        if self.stage != Stage::Ended {
            self.allow(ANSWER);
        }
    }

    /// Takes note of an answer.
    pub(super) fn answered(&mut self, reply: &Reply) -> Result<(), GivenUp> {
        if let Reply::Stdout(bytes) | Reply::Stderr(bytes) | Reply::Files(bytes) = reply {
            self.received(bytes.len());
            return Ok(());
        }
        if self.lists && matches!(reply, Reply::Task(_)) {
            return Ok(());
        }
        self.answers += 1;
        let seconds = self.begun.elapsed().as_secs();
        if self.answers > ANSWERS_AT_ONCE + ANSWERS_PER_SECOND * seconds + self.expected {
            return Err(GivenUp::Flood(self.answers));
        }
        match (self.stage, reply) {
            (Stage::Answering, Reply::Hello) => self.allow(ANSWER),
            (Stage::Answering, Reply::Waiting(_)) => {
                self.stage = Stage::Waiting;
                match self.patience {
                    Patience::AtMost(time) => self.allow(time.saturating_add(ANSWER)),
                    _ => self.limit = None,
                }
            }
            // Of a task that another session has started.
            (Stage::Answering, Reply::State(TaskState::Waiting)) => {
                self.stage = Stage::Waiting;
                self.limit = None;
            }
            (Stage::Answering | Stage::Running, Reply::SoFar) => {
                self.stage = Stage::Ended;
                self.allow(FILES);
            }
            (Stage::Waiting, Reply::Slot { .. }) => {
                self.stage = Stage::Answering;
                self.allow(ANSWER);
            }
            (Stage::Answering | Stage::Waiting, Reply::Started(_)) => {
                self.stage = Stage::Running;
                match self.timeout {
                    Some(time) => self.allow(time.saturating_add(ANSWER)),
                    None => self.limit = None,
                }
            }
            (Stage::Answering | Stage::Waiting | Stage::Running, Reply::Ended(_)) => {
                self.stage = Stage::Ended;
                self.allow(FILES);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes note of bytes of output and files.
    pub(super) fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// Returns how long to wait at most for the next bytes, `sent` having gone to the host.
    pub(super) fn left(&mut self, sent: u64) -> Result<Duration, GivenUp> {
        let Some((end, span)) = self.limit else { return Ok(Duration::MAX) };
        let now = Instant::now();
        if now < end {
            return Ok(end - now);
        }
        let passed = self.received.saturating_add(sent);
        if passed.saturating_sub(self.passed_then) < PROGRESS {
            return Err(GivenUp::Slow(span));
        }
        self.passed_then = passed;
        self.allow(span.min(FILES));
        Ok(span)
    }

    fn allow(&mut self, span: Duration) {
        self.limit = Instant::now().checked_add(span).map(|end| (end, span));
    }
}
