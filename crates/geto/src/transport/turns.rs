//! Who may ask a person what: each thing once in a process, and one thing at a time.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use geto_core::Secret;
use tokio::sync::OwnedMutexGuard;

/// What was asked in this process. A fleet opens many connections to a host, and to a bastion in
/// front of many: each is asked about once.
static TOPICS: LazyLock<Mutex<HashMap<String, Arc<Topic>>>> = LazyLock::new(Mutex::default);

/// Something that a person can be asked.
#[derive(Debug, Default)]
pub(super) struct Topic {
    /// Held by the login that asks, until it is clear what the answer is worth.
    turn: Arc<tokio::sync::Mutex<()>>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    /// The answer that has proved right.
    secret: Option<Secret>,
    /// The answer to a question that takes a yes.
    yes: Option<bool>,
    /// How often asking has come to nothing.
    failures: u64,
}

impl Topic {
    pub(super) fn of(name: &str) -> Arc<Self> {
        let mut topics = TOPICS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(topics.entry(name.to_owned()).or_default())
    }

    /// The answer that has proved right.
    pub(super) fn secret(&self) -> Option<Secret> {
        self.facts().secret.clone()
    }

    /// Forgets an answer that was right once.
    pub(super) fn forget(&self, wrong: &Secret) {
        let mut facts = self.facts();
        if facts.secret.as_ref() == Some(wrong) {
            facts.secret = None;
        }
    }

    /// Waits for the turn to ask. Where there is an answer, or asking came to nothing meanwhile,
    /// nobody gets a turn.
    pub(super) async fn turn(self: &Arc<Self>) -> Result<Turn, Settled> {
        let before = self.facts().failures;
        let guard = Arc::clone(&self.turn).lock_owned().await;
        let facts = self.facts();
        match (&facts.secret, facts.yes) {
            (Some(secret), _) => Err(Settled::Secret(secret.clone())),
            (None, Some(yes)) => Err(Settled::Answer { yes }),
            (None, None) if facts.failures != before => Err(Settled::Nothing),
            (None, None) => Ok(Turn { topic: Arc::clone(self), given: None, _guard: guard }),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of another's turn.
#[derive(Debug)]
pub(super) enum Settled {
    Secret(Secret),
    Answer { yes: bool },
    Nothing,
}

/// The right to ask. Who waits for it has it next when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    topic: Arc<Topic>,
    given: Option<Secret>,
    _guard: OwnedMutexGuard<()>,
}

impl Turn {
    /// Lets others have the answer.
    fn prove(self) {
        if let Some(secret) = &self.given {
            self.topic.facts().secret = Some(secret.clone());
        }
    }

    /// Lets others have a yes or a no.
    pub(super) fn settle(self, yes: bool) {
        self.topic.facts().yes = Some(yes);
    }
}

/// The turns of one login.
#[derive(Debug, Default)]
pub(crate) struct Turns(Vec<Turn>);

impl Turns {
    /// Whether it has asked for this already.
    pub(super) fn has(&self, topic: &Arc<Topic>) -> bool {
        self.0.iter().any(|turn| Arc::ptr_eq(&turn.topic, topic))
    }

    pub(super) fn add(&mut self, turn: Turn) {
        self.0.push(turn);
    }

    /// Notes an answer, in the place of an earlier one.
    pub(super) fn give(&mut self, topic: &Arc<Topic>, secret: &Secret) {
        for turn in self.0.iter_mut().filter(|turn| Arc::ptr_eq(&turn.topic, topic)) {
            turn.given = Some(secret.clone());
        }
    }

    /// All answers were right: others can have them.
    pub(crate) fn prove(&mut self) {
        self.0.drain(..).for_each(Turn::prove);
    }

    /// All answers were right but the one to what is asked now.
    pub(crate) fn prove_all_but(&mut self, asked: &str) {
        let asked = Topic::of(asked);
        self.0.extract_if(.., |turn| !Arc::ptr_eq(&turn.topic, &asked)).for_each(Turn::prove);
    }

    /// No answer was right: those who wait need not ask the same person again.
    pub(crate) fn give_up(&mut self) {
        self.0.drain(..).for_each(|turn| turn.topic.facts().failures += 1);
    }
}
