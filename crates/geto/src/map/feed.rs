//! Jobs, read ahead on a thread of their own.

use std::collections::VecDeque;
use std::sync::Arc;

use geto_core::map::plan::More;
use tokio::sync::mpsc;

use crate::{Error, ErrorKind};

/// How many jobs are read before they are needed: one that comes through a pipe takes its time.
const AHEAD: usize = 64;

/// Jobs on their way to the plan. Reading them may wait for a pipe or a disk, and nothing else waits
/// with it.
pub(super) struct Feed<J> {
    jobs: mpsc::Receiver<Result<(u64, J), Error>>,
    next: VecDeque<(u64, Arc<J>)>,
    ended: bool,
    /// Why there are no more.
    failure: Option<Error>,
}

impl<J: Send + 'static> Feed<J> {
    pub(super) fn start(
        jobs: impl Iterator<Item = Result<(u64, J), Error>> + Send + 'static,
    ) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let read = move || {
            for job in jobs {
                // Nobody wants more of them.
                if sender.blocking_send(job).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("geto-inputs".to_owned()).spawn(read).map_err(
            |error| {
                Error::new(ErrorKind::Local, "failed to start reading the inputs").caused_by(error)
            },
        )?;
        Ok(Self { jobs: receiver, next: VecDeque::new(), ended: false, failure: None })
    }

    /// The next job, if it is there.
    pub(super) fn take(&mut self) -> More<Arc<J>> {
        if self.next.is_empty()
            && !self.ended
            && let Ok(job) = self.jobs.try_recv()
        {
            self.receive(Some(job));
        }
        match self.next.pop_front() {
            Some((sequence, job)) => More::Task(sequence, job),
            None if self.ended => More::End,
            None => More::Later,
        }
    }

    /// Waits until there is a job, or none will come.
    ///
    /// # Cancel safety
    /// Nothing is lost when the call is dropped.
    pub(super) async fn wait(&mut self) {
        if self.ended || !self.next.is_empty() {
            return std::future::pending().await;
        }
        let job = self.jobs.recv().await;
        self.receive(job);
    }

    fn receive(&mut self, job: Option<Result<(u64, J), Error>>) {
        match job {
            Some(Ok((sequence, job))) => self.next.push_back((sequence, Arc::new(job))),
            Some(Err(error)) => {
                self.failure = Some(error);
                self.ended = true;
            }
            None => self.ended = true,
        }
    }

    /// Why there are no more jobs, if it is not that all were given; told once.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }
}
