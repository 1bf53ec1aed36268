//! How many logins a server has to bear from one process, and how often it is tried again.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::resolve::Resolved;
use crate::Error;

/// How many logins wait at one place at once. sshd begins to drop connections at random when ten
/// are waiting (`MaxStartups 10:30:100`), those of others included.
const PENDING: usize = 8;
/// The first pause after a connection was dropped, about; they double.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest one, about.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The places that this process logs in at; a server does not care which fleet it is.
static GATES: LazyLock<Mutex<HashMap<String, Weak<Semaphore>>>> = LazyLock::new(Mutex::default);

/// The way to a server, by the addresses on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Way(String);

impl Way {
    /// This way and one host more.
    pub(super) fn to(&self, host: &Resolved) -> Self {
        let Self(before) = self;
        Self(format!("{before}{}:{}/", host.options.hostname, host.options.port))
    }

    /// Where it counts to log in at its end: there, and at the host in front, for which every
    /// login behind it is a connection to make.
    pub(super) fn places(&self) -> Vec<String> {
        let Self(way) = self;
        let before = way.trim_end_matches('/').rfind('/').and_then(|end| way.get(..=end));
        let through = before.map(|before| format!("through {before}"));
        through.into_iter().chain([way.clone()]).collect()
    }
}

/// The places of all logins that lead over `hops`.
pub(super) fn places(hops: &[Resolved]) -> Vec<String> {
    let mut way = Way::default();
    hops.iter()
        .flat_map(|hop| {
            way = way.to(hop);
            way.places()
        })
        .collect()
}

/// Leave to log in, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass(
    #[expect(dead_code, reason = "it is there to be dropped")] Vec<OwnedSemaphorePermit>,
);

/// Waits for leave to log in at all of `places`.
pub(super) async fn enter(mut places: Vec<String>) -> Pass {
    // In one order for everybody, or two could wait for each other.
    places.sort();
    places.dedup();
    let mut permits = Vec::new();
    for place in &places {
        // It fails only once it is closed, which nobody does.
        permits.extend(gate(place).acquire_owned().await.ok());
    }
    Pass(permits)
}

fn gate(place: &str) -> Arc<Semaphore> {
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gate) = gates.get(place).and_then(Weak::upgrade) {
        return gate;
    }
    if gates.len() == gates.capacity() {
        gates.retain(|_, gate| gate.strong_count() > 0);
    }
    let gate = Arc::new(Semaphore::new(PENDING));
    gates.insert(place.to_owned(), Arc::downgrade(&gate));
    gate
}

/// How long to wait before each further try. Two processes that were dropped together don't come
/// back together.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    taken: u32,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self { next: FIRST_PAUSE, taken: 0 }
    }

    pub(super) fn next(&mut self) -> Duration {
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        let share = 0.5 + f64::from(random) / f64::from(u32::MAX);
        let pause = self.next.mul_f64(share);
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        self.taken += 1;
        pause
    }

    /// What came of the last try, where those before were dropped.
    pub(super) fn explain(&self, error: Error) -> Error {
        match self.taken {
            0 => error,
            _ => error.with_hint(
                "the server hangs up before any login: it may take fewer at once (`MaxStartups`), \
                 or none from here",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn eight_pass_and_the_next_when_one_is_gone() {
        let places = || vec!["test: eight".to_owned()];
        let mut passes = Vec::new();
        for _ in 0..PENDING {
            passes.push(enter(places()).await);
        }
        let ninth = enter(places());
        tokio::pin!(ninth);
        let waits =
            std::future::poll_fn(|cx| std::task::Poll::Ready(ninth.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(enter(vec!["test: elsewhere".to_owned()]).await);
        passes.pop();
        drop(ninth.await);
    }

    #[test]
    fn logins_count_at_the_host_in_front_too() {
        assert_eq!(Way("a:22/".to_owned()).places(), ["a:22/"]);
        assert_eq!(Way("a:22/b:22/".to_owned()).places(), ["through a:22/", "a:22/b:22/"]);
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let mut pauses = Pauses::new();
        let taken: Vec<Duration> = (0..20).map(|_| pauses.next()).collect();
        assert!(taken[0] < FIRST_PAUSE * 2 && taken[6] > taken[0]);
        assert!(taken.iter().all(|pause| *pause <= LONGEST_PAUSE * 2));
        assert!(taken[10..].windows(2).any(|two| two[0] != two[1]));
    }
}
