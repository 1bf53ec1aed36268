//! A thread that writes to the ledger, so that no task waits for it longer than it has to.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use geto_core::config::Settings;
use geto_core::{Outcome, TaskId};
use tokio::sync::{mpsc, oneshot};

use super::database::Failing as _;
use super::{Ledger, LedgerEnd, LedgerEntry};
use crate::Error;

/// How many notes may wait to be written.
const WAITING: usize = 1024;
/// How many notes are written in one transaction at most.
const AT_ONCE: usize = 256;
/// How long a task waits for its start to be written, before it goes on without.
const START_PATIENCE: Duration = Duration::from_millis(100);
/// How long it waits for its end to be written.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is written after a failure.
const PAUSE: Duration = Duration::from_secs(60);
/// How often it is looked whether results have had their time.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// How many pages of the log are enough to write them back.
const LOG_PAGES: i64 = 100;

/// What is written of a task.
#[derive(Debug)]
pub(crate) enum Note {
    Start(Box<LedgerEntry>),
    Started {
        id: TaskId,
        at: Duration,
        directory: String,
    },
    Outcome {
        id: TaskId,
        outcome: Outcome,
        run_time: Duration,
    },
    Home {
        id: TaskId,
        directory: PathBuf,
    },
    End(TaskId, Box<LedgerEnd>),
    /// Nothing; who waits for it waits for all before it.
    Nothing,
}

#[derive(Debug)]
struct Letter {
    note: Note,
    /// Where the writer says that it is done, and what went wrong if that was not said before.
    done: Option<oneshot::Sender<Option<Error>>>,
}

/// The way to the thread, which starts at the first use and ends with this.
#[derive(Debug, Default)]
pub(crate) struct LedgerWriter {
    letters: OnceLock<mpsc::Sender<Letter>>,
}

impl LedgerWriter {
    /// Opens the ledger below `local_work_path`, unless that was done before. Does not wait for it.
    pub(crate) fn open(&self, settings: &Settings) {
        self.letters.get_or_init(|| {
            let (sender, letters) = mpsc::channel(WAITING);
            let writer = Writer::new(settings.clone());
            let thread = std::thread::Builder::new().name("geto-ledger".to_owned());
            if let Err(error) = thread.spawn(move || writer.write(letters)) {
                tracing::warn!(%error, "there is no thread for the ledger");
            }
            sender
        });
    }

    /// Hands over what can be said again later: when too much waits already, it is left out.
    pub(crate) fn note(&self, note: Note) {
        if let Some(letters) = self.letters.get() {
            // Whoever could not be told of a start or an outcome is told all of it at the end.
            drop(letters.try_send(Letter { note, done: None }));
        }
    }

    /// Hands over the start of a task. Returns what went wrong, if nobody was told yet.
    pub(crate) async fn start(&self, entry: LedgerEntry) -> Option<Error> {
        self.written(Note::Start(Box::new(entry)), START_PATIENCE).await
    }

    /// Hands over the end of a task, and waits until it is written. Returns what went wrong, if
    /// nobody was told yet.
    pub(crate) async fn end(&self, id: TaskId, end: LedgerEnd) -> Option<Error> {
        self.written(Note::End(id, Box::new(end)), END_PATIENCE).await
    }

    /// Waits until all is written that was handed over before. Returns what went wrong, if nobody was
    /// told yet.
    pub(crate) async fn settle(&self) -> Option<Error> {
        self.written(Note::Nothing, END_PATIENCE).await
    }

    async fn written(&self, note: Note, patience: Duration) -> Option<Error> {
        let letters = self.letters.get()?;
        let (done, written) = oneshot::channel();
        let letter = Letter { note, done: Some(done) };
        let sent = async {
            letters.send(letter).await.ok()?;
            written.await.ok()?
        };
        tokio::time::timeout(patience, sent).await.ok()?
    }
}

/// The thread's own.
struct Writer {
    settings: Settings,
    /// When it was last looked whether results have had their time.
    looked: Option<Instant>,
    ledger: Option<Ledger>,
    /// Since when nothing is written, because something went wrong.
    failed: Option<Instant>,
    /// What went wrong, until somebody is told. Only the first failure is told.
    untold: Option<Error>,
    has_failed: bool,
}

impl Writer {
    fn new(settings: Settings) -> Self {
        Self { settings, looked: None, ledger: None, failed: None, untold: None, has_failed: false }
    }

    fn write(mut self, mut letters: mpsc::Receiver<Letter>) {
        // While the host is connected to.
        self.attempt(|_| Ok(()));
        let mut batch = Vec::new();
        while letters.blocking_recv_many(&mut batch, AT_ONCE) > 0 {
            self.attempt(|ledger| ledger.write(&batch));
            let has_start = batch.iter().any(|letter| matches!(letter.note, Note::Start(_)));
            for done in batch.drain(..).filter_map(|letter| letter.done) {
                // Who does not wait any more leaves it for the next.
                self.untold = done.send(self.untold.take()).err().flatten();
            }
            // The task is on its way now, and nobody waits for this thread.
            if has_start {
                self.attempt(Ledger::write_back);
                self.keep_up();
            }
        }
    }

    /// Removes results that have had their time, on a thread for which nobody waits.
    fn keep_up(&mut self) {
        let Some(age) = self.settings.keep_results else { return };
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let place = self.settings.local_work_path.clone();
        self.attempt(|ledger| {
            if ledger.begin_upkeep()? {
                let work = move || Ledger::open(&place)?.keep_up(&place, age);
                let thread = std::thread::Builder::new().name("geto-upkeep".to_owned());
                let started = thread.spawn(move || {
                    if let Err(error) = work() {
                        tracing::debug!(?error, "old results are not removed");
                    }
                });
                drop(started);
            }
            Ok(())
        });
    }

    /// Does something with the ledger, unless that has failed a moment ago.
    fn attempt(&mut self, work: impl FnOnce(&Ledger) -> Result<(), Error>) {
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return;
        }
        let done = match &self.ledger {
            Some(ledger) => work(ledger),
            None => Ledger::open(&self.settings.local_work_path).and_then(|ledger| {
                let done = work(&ledger);
                self.ledger = Some(ledger);
                done
            }),
        };
        self.failed = None;
        if let Err(error) = done {
            tracing::debug!(?error, "the ledger is not written");
            self.failed = Some(Instant::now());
            self.ledger = None;
            if !self.has_failed {
                self.has_failed = true;
                self.untold = Some(error);
            }
        }
    }
}

impl Ledger {
    /// Writes all of them or none.
    fn write(&self, letters: &[Letter]) -> Result<(), Error> {
        let transaction = self.connection.unchecked_transaction();
        let transaction = transaction.failing("write to", &self.path)?;
        for letter in letters {
            match &letter.note {
                Note::Start(entry) => self.record_start(entry)?,
                Note::Started { id, at, directory } => self.record_started(*id, *at, directory)?,
                Note::Outcome { id, outcome, run_time } => {
                    self.record_outcome(*id, outcome, *run_time)?;
                }
                Note::Home { id, directory } => {
                    let results = Some(directory.clone());
                    self.record_end(*id, &LedgerEnd { results, ..LedgerEnd::default() })?;
                }
                Note::End(id, end) => self.record_end(*id, end)?,
                Note::Nothing => {}
            }
        }
        transaction.commit().failing("write to", &self.path)
    }

    /// Writes the log back when it has grown, without waiting for anybody.
    fn write_back(&self) -> Result<(), Error> {
        let pages = self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1));
        let pages: i64 = pages.failing("write to", &self.path)?;
        if pages >= LOG_PAGES {
            let written = self.connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)");
            written.failing("write to", &self.path)?;
        }
        Ok(())
    }
}
