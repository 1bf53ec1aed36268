//! Several hosts → one of them, on which the task has a slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use geto_core::select::{Pick, rank};
use geto_core::wire::{Busy, Patience, SlotRequest};
use geto_core::{Host, Task, TaskId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Event;
use super::candidate::{Answers, Candidate, Ticket, candidate, reason};
use super::execute::Follow;
use crate::session::{Session, random};
use crate::transport::Transport;
use crate::{Error, ErrorKind, Fleet};

/// How often each host is asked again whether a slot has come free.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A host that fails sooner keeps nobody waiting, and is asked each time.
const SILENT: Duration = Duration::from_secs(1);

/// A choice to be made.
pub(super) struct Choice<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) task: &'a Task,
    pub(super) id: TaskId,
    pub(super) patience: Patience,
}

/// The host for a task.
pub(super) struct Chosen {
    pub(super) host: Host,
    pub(super) transport: Arc<dyn Transport>,
    /// The session in which the task has been given its slot; none when it has to ask for one.
    pub(super) session: Option<Session>,
}

impl Choice<'_> {
    /// Connects to the only host, or chooses one and gets a slot there.
    pub(super) async fn make(
        &self,
        hosts: Vec<Host>,
        pick: Pick,
        transport: Option<Arc<dyn Transport>>,
        follow: &mut Follow<'_>,
    ) -> Result<Chosen, Error> {
        let host = match <[Host; 1]>::try_from(hosts) {
            Ok([host]) => host,
            Err(hosts) => return self.among(hosts, pick, follow).await,
        };
        if let Some(transport) = transport {
            return Ok(Chosen { host, transport, session: None });
        }
        follow(Event::Connecting { host: host.name.clone() });
        let begun = Instant::now();
        let transport = self.fleet.connect(&host).await?;
        follow(Event::Connected { host: host.name.clone(), login: begun.elapsed() });
        Ok(Chosen { host, transport, session: None })
    }

    /// Asks all hosts at once, tries them in the order of `pick`, and waits on all of them for the
    /// first slot when none has one.
    async fn among(
        &self,
        hosts: Vec<Host>,
        pick: Pick,
        follow: &mut Follow<'_>,
    ) -> Result<Chosen, Error> {
        let among = hosts.len();
        let begun = Instant::now();
        let mut candidates = self.ask(hosts, follow).await?;
        let mut numbers = (0..candidates.len()).map(|_| random()).collect::<Result<Vec<_>, _>>()?;
        rank(
            pick,
            &mut candidates,
            |candidate| (candidate.load, candidate.load.has_room(self.task)),
            || numbers.pop().unwrap_or_default(),
        );
        if self.task.slots == 0 {
            candidates.truncate(1);
        }
        let candidate = self.admitted(candidates, follow).await?;
        let host = candidate.host.name.clone();
        follow(Event::Chosen { host: host.clone(), among });
        follow(Event::Connected { host, login: begun.elapsed() });
        let Candidate { host, transport, session, .. } = candidate;
        Ok(Chosen { host, transport, session: Some(session) })
    }

    /// Returns the hosts that answer, in the order of `hosts`. Those that kept somebody waiting
    /// before keep nobody waiting again, unless no other answers.
    async fn ask(
        &self,
        hosts: Vec<Host>,
        follow: &mut Follow<'_>,
    ) -> Result<Vec<Candidate>, Error> {
        let among = hosts.len();
        let pool = self.fleet.pool();
        let (silent, others): (Vec<_>, Vec<_>) =
            hosts.into_iter().enumerate().partition(|(_, host)| pool.is_silent(host));
        let mut answers = Answers::default();
        self.ask_at_once(others, &mut answers, follow).await?;
        if answers.candidates.is_empty() {
            self.ask_at_once(silent, &mut answers, follow).await?;
        } else {
            for (_, host) in silent {
                follow(Event::Warning(format!(
                    "host `{}` is left out: it did not answer in time before, and is asked again \
                     meanwhile",
                    host.name
                )));
                self.look_again(host);
            }
        }
        answers.finish(among)
    }

    /// Asks a silent host beside the task: it comes into question again once it answers.
    fn look_again(&self, host: Host) {
        if !self.fleet.pool().is_look_due(&host) {
            return;
        }
        let (fleet, line) = (self.fleet.clone(), self.question(&host));
        tokio::spawn(async move {
            let answer = Box::pin(candidate(&fleet, host.clone(), line)).await;
            fleet.pool().set_silent(&host, answer.is_err());
        });
    }

    fn question(&self, host: &Host) -> Vec<u8> {
        SlotRequest { host, task: self.task, patience: self.patience }.status()
    }

    async fn ask_at_once(
        &self,
        hosts: Vec<(usize, Host)>,
        answers: &mut Answers,
        follow: &mut Follow<'_>,
    ) -> Result<(), Error> {
        let mut asked = JoinSet::new();
        for (index, host) in hosts {
            follow(Event::Connecting { host: host.name.clone() });
            let (fleet, line) = (self.fleet.clone(), self.question(&host));
            asked.spawn(async move {
                let name = host.name.clone();
                let begun = Instant::now();
                let answer = Box::pin(candidate(&fleet, host.clone(), line)).await;
                let is_silent = |error: &Error| error.kind() == ErrorKind::Unreachable;
                let waited = begun.elapsed() >= SILENT;
                fleet.pool().set_silent(&host, waited && answer.as_ref().is_err_and(is_silent));
                (index, name, answer)
            });
        }
        while let Some(answer) = asked.join_next().await {
            let (index, name, answer) = answer.map_err(|panicked| {
                Error::new(ErrorKind::Local, "failed to ask a host").caused_by(panicked)
            })?;
            match answer {
                Ok(candidate) => answers.candidates.push((index, candidate)),
                Err(error) => {
                    let reason = reason(&error);
                    follow(Event::Warning(format!("host `{name}` is left out: {reason}")));
                    answers.failures.push((index, format!("`{name}`: {reason}"), error.kind()));
                }
            }
        }
        Ok(())
    }

    /// Returns the first of `candidates` that lets the task in.
    async fn admitted(
        &self,
        candidates: Vec<Candidate>,
        follow: &mut Follow<'_>,
    ) -> Result<Candidate, Error> {
        let mut queue = Vec::new();
        for mut candidate in candidates {
            if self.task.slots == 0 {
                return Ok(candidate);
            }
            let request =
                SlotRequest { host: &candidate.host, task: self.task, patience: self.patience };
            candidate.session.send(request.ticket(self.id)).await;
            match candidate.ticket().await {
                Ok(Ticket::LetIn { slots, gpus }) => {
                    follow(Event::Slot { slots, gpus });
                    return Ok(candidate);
                }
                Ok(Ticket::Waiting(busy)) => queue.push((candidate, busy)),
                Err(error) => {
                    let (name, reason) = (&candidate.host.name, reason(&error));
                    follow(Event::Warning(format!("host `{name}` is left out: {reason}")));
                }
            }
        }
        let Some(first) = queue
            .first()
            .map(|(candidate, busy)| full(self.task.script.name(), &candidate.host.name, busy))
        else {
            return Err(Error::new(ErrorKind::Unreachable, "no host is left to take the task"));
        };
        let full = match queue.len() {
            1 => first,
            count => {
                let mut all: Vec<_> = queue
                    .iter()
                    .map(|(candidate, busy)| self.describe(&candidate.host.name, busy))
                    .collect();
                all.sort_unstable();
                Error::new(ErrorKind::Full, format!("none of {count} hosts has room for the task"))
                    .caused_by(all.join("; "))
            }
        };
        match self.patience {
            Patience::Forever => self.wait(queue, follow).await,
            Patience::AtMost(Duration::ZERO) => Err(full),
            Patience::AtMost(time) => {
                tokio::time::timeout(time, self.wait(queue, follow)).await.unwrap_or(Err(full))
            }
        }
    }

    fn describe(&self, host: &str, busy: &Busy) -> String {
        busy.describe(self.task.script.name(), host).to_string()
    }

    /// Waits on all hosts for the first slot. The others' tickets end with their sessions.
    async fn wait(
        &self,
        queue: Vec<(Candidate, Busy)>,
        follow: &mut Follow<'_>,
    ) -> Result<Candidate, Error> {
        let (told, mut news) = mpsc::channel(16);
        let mut waiting = JoinSet::new();
        for (mut candidate, busy) in queue {
            follow(Event::Waiting { host: candidate.host.name.clone(), busy: busy.clone() });
            let told = told.clone();
            waiting.spawn(async move {
                let mut last = busy;
                loop {
                    tokio::time::sleep(ASK_AGAIN).await;
                    candidate.session.request(["try"]).await;
                    match candidate.ticket().await? {
                        Ticket::LetIn { slots, gpus } => return Ok((candidate, slots, gpus)),
                        Ticket::Waiting(busy) if busy == last => {}
                        Ticket::Waiting(busy) => {
                            last = busy.clone();
                            let host = candidate.host.name.clone();
                            // Nobody who follows is no reason to stop.
                            drop(told.send(Event::Waiting { host, busy }).await);
                        }
                    }
                }
            });
        }
        drop(told);
        let mut last = None;
        loop {
            tokio::select! {
                Some(event) = news.recv() => follow(event),
                ended = waiting.join_next() => match ended {
                    Some(Ok(Ok((candidate, slots, gpus)))) => {
                        follow(Event::Slot { slots, gpus });
                        return Ok(candidate);
                    }
                    Some(Ok(Err(error))) => {
                        let error: Error = error;
                        let host = error.host().unwrap_or_default();
                        let text = format!("host `{host}` is left out: {}", reason(&error));
                        follow(Event::Warning(text));
                        last = Some(error);
                    }
                    Some(Err(panicked)) => {
                        return Err(Error::new(ErrorKind::Local, "failed to wait for a slot")
                            .caused_by(panicked));
                    }
                    None => {
                        return Err(last.unwrap_or_else(|| {
                            Error::new(ErrorKind::Unreachable, "no host is left to take the task")
                        }));
                    }
                },
            }
        }
    }
}

/// What to say of a host without room.
pub(super) fn full(script: &str, host: &str, busy: &Busy) -> Error {
    Error::new(ErrorKind::Full, busy.describe(script, host).to_string())
        .with_hint("without `--when-full fail` and `--wait-timeout` the task waits for its turn")
}
