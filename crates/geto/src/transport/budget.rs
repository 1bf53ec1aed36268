//! The time that connecting may take, which stands still while a person is asked something.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The time left to connect.
///
/// Clones share one clock.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    total: Duration,
    clock: watch::Sender<Clock>,
}

#[derive(Debug, Clone, Copy)]
enum Clock {
    Until(Instant),
    Stopped { left: Duration },
}

/// The time was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {} s", total.as_secs_f64())]
pub(crate) struct Exhausted {
    total: Duration,
}

impl Budget {
    pub(crate) fn new(total: Duration) -> Self {
        Self { total, clock: watch::Sender::new(Clock::Until(Instant::now() + total)) }
    }

    /// Awaits `work` while there is time.
    ///
    /// # Cancel safety
    /// That of `work`.
    pub(crate) async fn spend<T>(&self, work: impl Future<Output = T>) -> Result<T, Exhausted> {
        let mut clock = self.clock.subscribe();
        tokio::pin!(work);
        loop {
            let now = *clock.borrow_and_update();
            let expired = async {
                match now {
                    Clock::Until(end) => tokio::time::sleep_until(end).await,
                    Clock::Stopped { .. } => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                changed = clock.changed() => drop(changed),
                () = expired => return Err(Exhausted { total: self.total }),
            }
        }
    }

    /// Awaits `answer` with the clock stopped.
    pub(crate) async fn while_stopped<T>(&self, answer: impl Future<Output = T>) -> T {
        self.clock.send_modify(|clock| {
            if let Clock::Until(end) = *clock {
                *clock = Clock::Stopped { left: end.saturating_duration_since(Instant::now()) };
            }
        });
        let answer = answer.await;
        self.clock.send_modify(|clock| {
            if let Clock::Stopped { left } = *clock {
                *clock = Clock::Until(Instant::now() + left);
            }
        });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ends_what_takes_too_long() {
        let budget = Budget::new(Duration::from_secs(15));
        assert!(budget.spend(std::future::pending::<()>()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn time_of_a_prompt_does_not_count() {
        let budget = Budget::new(Duration::from_secs(15));
        let inner = budget.clone();
        let slow_person = async {
            inner.while_stopped(tokio::time::sleep(Duration::from_secs(300))).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        };
        assert_eq!(budget.spend(slow_person).await, Ok(()));
        assert!(budget.spend(tokio::time::sleep(Duration::from_secs(10))).await.is_err());
    }
}
