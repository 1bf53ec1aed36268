//! Asking a person: for a password, a passphrase, or whether a host key is right.

use std::fmt;
use std::sync::Arc;

use geto_core::Secret;

use super::budget::Budget;
use super::resolve::Resolved;
use super::turns::{Settled, Topic, Turns};

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

/// What the password of a host is called, whoever asks for it.
pub(crate) fn password_topic(host: &Resolved) -> String {
    format!("password of {}", host.login_place())
}

/// What the passphrase of a key file is called.
pub(crate) fn passphrase_topic(path: &str) -> String {
    format!("passphrase of {path}")
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
    /// While one login asks, all others wait until its answer has proved right
    /// ([`Turns::prove`]), which they get then, or until it gives up ([`Turns::give_up`]), as they
    /// do then. A login that asks again was given a wrong answer.
    pub(crate) async fn lasting(
        &self,
        topic: &str,
        prompt: &str,
        turns: &mut Turns,
    ) -> Option<Answer> {
        let topic = Topic::of(topic);
        if let Some(secret) = topic.secret() {
            return Some(Answer::Known(secret));
        }
        if !self.has_person() {
            return None;
        }
        self.budget
            .while_stopped(async {
                if !turns.has(&topic) {
                    match topic.turn().await {
                        Ok(turn) => turns.add(turn),
                        Err(Settled::Secret(secret)) => return Some(Answer::Known(secret)),
                        Err(Settled::Answer { .. } | Settled::Nothing) => return None,
                    }
                }
                let _turn = TURN.lock().await;
                let secret = self.ask(prompt.to_owned(), false).await?;
                turns.give(&topic, &secret);
                Some(Answer::New(secret))
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
    /// The answer holds for the process, for all that is the same by its `topic`.
    pub(crate) async fn confirm(
        &self,
        topic: &str,
        question: String,
        settled: impl Fn() -> bool,
    ) -> bool {
        if !self.has_person() {
            return false;
        }
        let prompter = Arc::clone(&self.prompter);
        self.budget
            .while_stopped(async {
                let turn = match Topic::of(topic).turn().await {
                    Ok(turn) => turn,
                    Err(Settled::Answer { yes }) => return yes,
                    Err(Settled::Secret(_) | Settled::Nothing) => return false,
                };
                let _turn = TURN.lock().await;
                if settled() {
                    turn.settle(true);
                    return true;
                }
                let asked = tokio::task::spawn_blocking(move || prompter.confirm(&question));
                let yes = asked.await.unwrap_or(false);
                turn.settle(yes);
                yes
            })
            .await
    }

    /// Takes an answer back that was right once.
    pub(crate) fn forget(&self, topic: &str, wrong: &Secret) {
        Topic::of(topic).forget(wrong);
    }

    async fn ask(&self, prompt: String, echo: bool) -> Option<Secret> {
        let prompter = Arc::clone(&self.prompter);
        let asked = tokio::task::spawn_blocking(move || prompter.secret(&prompt, echo));
        asked.await.unwrap_or(None)
    }
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

    fn asker(prompter: &Arc<Counting>, batch: bool) -> Asker {
        Asker::new(Arc::clone(prompter) as _, Budget::new(Duration::from_secs(60)), batch)
    }

    #[tokio::test]
    async fn an_answer_that_proved_right_is_not_asked_for_again() {
        let prompter = Arc::new(Counting::default());
        let asker = asker(&prompter, false);
        let topic = "test: once";
        let mut turns = Turns::default();
        assert_eq!(asker.lasting(topic, "?", &mut turns).await, Some(Answer::New("s".into())));
        assert_eq!(asker.lasting(topic, "?", &mut turns).await, Some(Answer::New("s".into())));
        turns.prove();
        assert_eq!(asker.lasting(topic, "?", &mut turns).await, Some(Answer::Known("s".into())));
        asker.forget(topic, &"s".into());
        assert_eq!(asker.lasting(topic, "?", &mut turns).await, Some(Answer::New("s".into())));
        assert_eq!(prompter.0.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn who_waits_gets_the_right_answer_or_none() {
        for right in [true, false] {
            let prompter = Arc::new(Counting::default());
            let asker = asker(&prompter, false);
            let topic = format!("test: wait {right}");
            let (mut first, mut second) = (Turns::default(), Turns::default());
            asker.lasting(&topic, "?", &mut first).await.unwrap();
            let waiting = asker.lasting(&topic, "?", &mut second);
            tokio::pin!(waiting);
            let waits = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())
            });
            assert!(waits.await, "nobody knows yet what the answer is worth");
            match right {
                true => first.prove(),
                false => first.give_up(),
            }
            assert_eq!(waiting.await, right.then(|| Answer::Known("s".into())));
            assert_eq!(prompter.0.load(Ordering::Relaxed), 1);
        }
    }

    #[tokio::test]
    async fn nobody_is_asked_in_batch_mode() {
        let prompter = Arc::new(Counting::default());
        let asker = asker(&prompter, true);
        assert_eq!(asker.lasting("test: batch", "?", &mut Turns::default()).await, None);
        assert!(!asker.confirm("test: batch", "?".to_owned(), || false).await);
        assert_eq!(prompter.0.load(Ordering::Relaxed), 0);
    }
}
