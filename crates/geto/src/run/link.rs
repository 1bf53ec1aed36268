//! The way to a task's host, which is found again when it breaks.

use std::sync::Arc;
use std::time::Duration;

use geto_core::Host;
use tokio::time::Instant;

use super::Event;
use super::execute::Follow;
use super::wake::Wake;
use crate::session::random;
use crate::transport::{ChannelRefused, Transport};
use crate::{Error, ErrorKind, Fleet};

/// The pause before the second try; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long a link may take to show that it works, when its host has been silent.
const LOOK: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The way to a task's host.
#[derive(Debug)]
pub(super) struct Link<'a> {
    fleet: &'a Fleet,
    host: &'a Host,
    transport: Arc<dyn Transport>,
    /// The caller's own transport is all there is; another one can't be made.
    is_own: bool,
    /// For how long a broken link is tried again.
    reconnect: Duration,
    /// When it was found broken.
    broken: Option<Instant>,
    /// When the first try failed, and whether this machine has slept since.
    failing: Option<(Instant, Wake)>,
    pause: Duration,
    /// Something new has come since the last break, so that the next one is no reason to wait.
    has_progressed: bool,
    /// When it was found to work last.
    works_since: Option<Instant>,
}

impl<'a> Link<'a> {
    pub(super) fn new(
        fleet: &'a Fleet,
        host: &'a Host,
        transport: Arc<dyn Transport>,
        is_own: bool,
        reconnect: Duration,
    ) -> Self {
        Self {
            fleet,
            host,
            transport,
            is_own,
            reconnect,
            broken: None,
            failing: None,
            pause: FIRST_PAUSE,
            has_progressed: true,
            works_since: None,
        }
    }

    pub(super) fn fleet(&self) -> &'a Fleet {
        self.fleet
    }

    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Whether it has not been found broken since it was found to work.
    pub(super) fn is_whole(&self) -> bool {
        self.broken.is_none()
    }

    /// The host has told how far the task has come.
    pub(super) fn works(&mut self, follow: &mut Follow<'_>) {
        self.works_since.get_or_insert_with(Instant::now);
        if let Some(broken) = self.broken.take() {
            follow(Event::LinkBack { host: self.host.name.clone(), after: broken.elapsed() });
        }
    }

    /// Something new has come. A link that breaks each time before that is tried no more often than
    /// one that can't be made.
    pub(super) fn progresses(&mut self) {
        self.has_progressed = true;
        self.failing = None;
        self.pause = FIRST_PAUSE;
    }

    /// Finds a new way after `error` has ended the last one: at once, and with growing pauses when
    /// that fails, too.
    ///
    /// # Errors
    /// The last failure, when the time is over, or one that trying again won't mend.
    pub(super) async fn again(
        &mut self,
        error: Error,
        follow: &mut Follow<'_>,
    ) -> Result<(), Error> {
        if self.reconnect.is_zero() {
            return Err(error);
        }
        let mut last = error;
        if self.works_since.take().is_some_and(|since| since.elapsed() > LONGEST_PAUSE) {
            self.progresses();
        }
        if self.broken.is_none() {
            self.broken = Some(Instant::now());
            let reason = super::candidate::reason(&last);
            follow(Event::LinkBroken { host: self.host.name.clone(), reason });
        }
        if !std::mem::take(&mut self.has_progressed) {
            self.rest(&last).await?;
        }
        loop {
            if self.is_own {
                return Ok(());
            }
            match self.fleet.connect(self.host).await {
                Ok(transport) => {
                    self.transport = transport;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Unreachable => last = error,
                Err(error) => return Err(error),
            }
            self.rest(&last).await?;
        }
    }

    /// Whether the host takes one more command: who is silent then is its login shell, not the link.
    pub(super) async fn answers(&self) -> bool {
        match tokio::time::timeout(LOOK, self.transport.open("exit")).await {
            Ok(Ok(_channel)) => true,
            Ok(Err(error)) => ChannelRefused::is_cause_of(&error),
            Err(_elapsed) => false,
        }
    }

    /// Finds a new way at once, or not at all: for what is not worth waiting.
    pub(super) async fn once(&mut self) -> Result<(), Error> {
        if !self.is_own {
            self.transport = self.fleet.connect(self.host).await?;
        }
        Ok(())
    }

    /// Waits after a try that failed.
    pub(super) async fn rest(&mut self, error: &Error) -> Result<(), Error> {
        let (failing, wake) = self.failing.get_or_insert_with(|| (Instant::now(), Wake::begin()));
        // What failed before a sleep says nothing of the network after it.
        if wake.woke().is_some_and(|woke| woke > *failing) {
            *failing = Instant::now();
            self.pause = FIRST_PAUSE;
        }
        let left = self.reconnect.saturating_sub(failing.elapsed());
        if left.is_zero() {
            return Err(error.repeat());
        }
        // Many tasks that lost the same host don't come back at the same moment.
        let jitter = f64::from(u32::try_from(random()? >> 32).unwrap_or_default());
        let part = 0.5 + jitter / f64::from(u32::MAX);
        tokio::time::sleep(self.pause.mul_f64(part).min(left)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
