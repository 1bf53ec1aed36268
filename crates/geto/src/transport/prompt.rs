//! Asking a person: for a password, a passphrase, or whether a host key is right.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use geto_core::Secret;

use super::budget::Budget;

/// Somebody who can be asked while a connection is made.
///
/// The calls block; geto makes them on threads of their own, one at a time in a process. The
/// questions are free of control characters.
pub trait Prompter: Send + Sync + fmt::Debug {
    /// Asks for a password, a passphrase, or an answer that the host wants to have; `echo` tells
    /// whether it may be seen while it is typed. `None` when there is nobody, or nobody who knows.
    fn secret(&self, prompt: &str, echo: bool) -> Option<Secret>;

    /// Asks a question that takes a yes; everything else is a no.
    fn confirm(&self, question: &str) -> bool;

    /// Whether nobody is there, so that what would ask is not even started.
    fn is_nobody(&self) -> bool {
        false
    }
}

/// Nobody: every question goes unanswered.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompter;

impl Prompter for NoPrompter {
    fn secret(&self, _prompt: &str, _echo: bool) -> Option<Secret> {
        None
    }

    fn confirm(&self, _question: &str) -> bool {
        false
    }

    fn is_nobody(&self) -> bool {
        true
    }
}

/// What was answered in this process. A fleet opens many connections to a host, and to a bastion
/// in front of many: each is asked about once.
static ANSWERS: LazyLock<Mutex<HashMap<String, Secret>>> = LazyLock::new(Mutex::default);
/// One question at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Puts questions to a [`Prompter`], without blocking and with the clock of the connection
/// stopped.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    prompter: Arc<dyn Prompter>,
    budget: Budget,
    batch: bool,
}

/// Where an answer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was given before in this process.
    Known(Secret),
    /// It was given now.
    New(Secret),
}

impl Answer {
    pub(crate) fn secret(&self) -> &Secret {
        match self {
            Self::Known(secret) | Self::New(secret) => secret,
        }
    }
}

impl Asker {
    /// With `batch` (ssh's `BatchMode`), nobody is asked.
    pub(crate) fn new(prompter: Arc<dyn Prompter>, budget: Budget, batch: bool) -> Self {
        Self { prompter, budget, batch }
    }

    /// Whether there is somebody to ask.
    pub(crate) fn has_person(&self) -> bool {
        !self.batch && !self.prompter.is_nobody()
    }

    /// Asks for a secret that is the same each time, like a password: `topic` says what it is of.
    ///
    /// Whoever waited for their turn while somebody else asked for the same gets that answer. The
    /// answer is remembered by [`remember`](Self::remember), once it proved right.
    pub(crate) async fn lasting(&self, topic: &str, prompt: &str) -> Option<Answer> {
        if !self.has_person() {
            return known(topic).map(Answer::Known);
        }
        self.budget
            .while_stopped(async {
                let turn = TURN.lock().await;
                if let Some(secret) = known(topic) {
                    return Some(Answer::Known(secret));
                }
                let secret = self.ask(prompt.to_owned(), false).await;
                if let Some(secret) = &secret {
                    // At once, since others wait for this turn; a wrong one is taken back.
                    self.remember(topic, secret);
                }
                drop(turn);
                secret.map(Answer::New)
            })
            .await
    }

    /// Asks for something that is good once, like the code of a token.
    pub(crate) async fn passing(&self, prompt: &str, echo: bool) -> Option<Secret> {
        if !self.has_person() {
            return None;
        }
        self.budget
            .while_stopped(async {
                let _turn = TURN.lock().await;
                self.ask(prompt.to_owned(), echo).await
            })
            .await
    }

    /// Asks for a yes; `settled` tells whether the question is void by the time of its turn.
    pub(crate) async fn confirm(&self, question: String, settled: impl Fn() -> bool) -> bool {
        if !self.has_person() {
            return false;
        }
        let prompter = Arc::clone(&self.prompter);
        self.budget
            .while_stopped(async {
                let _turn = TURN.lock().await;
                if settled() {
                    return true;
                }
                let asked = tokio::task::spawn_blocking(move || prompter.confirm(&question));
                asked.await.unwrap_or(false)
            })
            .await
    }

    /// Keeps an answer for the rest of the process.
    pub(crate) fn remember(&self, topic: &str, secret: &Secret) {
        let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(topic.to_owned(), secret.clone());
    }

    /// Takes an answer back that proved wrong.
    pub(crate) fn forget(&self, topic: &str, wrong: &Secret) {
        let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.get(topic) == Some(wrong) {
            answers.remove(topic);
        }
    }

    async fn ask(&self, prompt: String, echo: bool) -> Option<Secret> {
        let prompter = Arc::clone(&self.prompter);
        let asked = tokio::task::spawn_blocking(move || prompter.secret(&prompt, echo));
        asked.await.unwrap_or(None)
    }
}

fn known(topic: &str) -> Option<Secret> {
    ANSWERS.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(AtomicU32);

    impl Prompter for Counting {
        fn secret(&self, _prompt: &str, _echo: bool) -> Option<Secret> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Some("s".into())
        }
        fn confirm(&self, _question: &str) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_question_is_asked_once_until_its_answer_proves_wrong() {
        let prompter = Arc::new(Counting::default());
        let asker =
            Asker::new(Arc::clone(&prompter) as _, Budget::new(Duration::from_secs(60)), false);
        let topic = "test: once";
        assert_eq!(asker.lasting(topic, "?").await, Some(Answer::New("s".into())));
        assert_eq!(asker.lasting(topic, "?").await, Some(Answer::Known("s".into())));
        asker.forget(topic, &"s".into());
        assert_eq!(asker.lasting(topic, "?").await, Some(Answer::New("s".into())));
        assert_eq!(prompter.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn nobody_is_asked_in_batch_mode() {
        let prompter = Arc::new(Counting::default());
        let asker =
            Asker::new(Arc::clone(&prompter) as _, Budget::new(Duration::from_secs(60)), true);
        assert_eq!(asker.lasting("test: batch", "?").await, None);
        assert!(!asker.confirm("?".to_owned(), || false).await);
        assert_eq!(prompter.0.load(Ordering::Relaxed), 0);
    }
}
