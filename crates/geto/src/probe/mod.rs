//! What a host is like, for `geto hosts`.

mod advice;
mod faults;
mod logind;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use geto_core::Host;
use geto_core::wire::{Reply, SlotRequest};

use self::faults::Finding;
pub use self::faults::{Checkup, Fault, FaultKind};
pub use self::status::HostStatus;
use crate::session::{Next, Opening, Purpose, Session, unread};
use crate::text::printable;
use crate::transport::Transport;
use crate::{Error, ErrorKind, Fleet};

/// A host that geto is logged into, to be asked again and again what it is like.
///
/// Dropping it ends the connection. Nothing is left on the host but work path and lock path.
#[derive(Debug)]
pub struct Observer {
    session: Session,
    /// The request for what its slots are at.
    question: Vec<u8>,
    opening: Opening,
    login: Duration,
    /// What was told once, before all facts.
    known: HostStatus,
    /// How long the host has for an answer.
    patience: Duration,
    /// Whether facts were asked for that have not been read.
    asked: bool,
    _transport: Arc<dyn Transport>,
}

/// What is asked in the flight that opens a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Questions {
    Facts,
    FactsAndCheck,
}

/// How many channels a check asks a server for: what sshd takes by itself.
const CHANNELS: usize = 10;

/// Connects to `host`, asks what it is like, and leaves nothing there but work path and lock path.
pub(crate) async fn probe(host: &Host, fleet: &Fleet) -> Result<HostStatus, Error> {
    observe(host, fleet).await?.status().await
}

/// Connects to `host`, to ask more than once.
pub(crate) async fn observe(host: &Host, fleet: &Fleet) -> Result<Observer, Error> {
    Observer::open(host, fleet, Questions::Facts).await
}

/// Does what [`probe`] does, and looks for what may harm tasks later. Errors have a hint.
pub(crate) async fn check(host: &Host, fleet: &Fleet) -> Result<Checkup, Error> {
    let checking = async {
        let mut observer = Observer::open(host, fleet, Questions::FactsAndCheck).await?;
        let status = observer.status().await?;
        let mut finding = observer.finding().await?;
        // One is the session's own.
        let more = fleet.count_channels(host, CHANNELS - 1).await;
        finding.max_sessions = more.map(|more| more + 1);
        Ok(Checkup::of(status, &finding))
    };
    Box::pin(checking).await.map_err(|error| advice::advise(error, host))
}

impl Observer {
    async fn open(host: &Host, fleet: &Fleet, questions: Questions) -> Result<Self, Error> {
        let begun = Instant::now();
        let transport = fleet.connect(host).await?;
        for opening in Opening::ALL {
            let mut session =
                Session::open(&*transport, &host.name, opening, Purpose::Questions).await?;
            session.request(["work", &host.remote_work_path]).await;
            let question = SlotRequest::question(host);
            session.send(question.clone()).await;
            session.request(["facts"]).await;
            if questions == Questions::FactsAndCheck {
                session.request(["check"]).await;
            }
            match session.next().await? {
                Next::Again => {}
                Next::Reply(Reply::Hello) => {
                    return Ok(Self {
                        session,
                        question,
                        opening,
                        login: begun.elapsed(),
                        known: HostStatus::default(),
                        patience: fleet.connect_options().connect_timeout,
                        asked: true,
                        _transport: transport,
                    });
                }
                Next::Reply(_) | Next::End(_) => return Err(no_answer(&session)),
            }
        }
        Err(unread(&host.name))
    }

    /// Asks what the host is like now.
    ///
    /// # Errors
    /// When the link is lost, the work path can't be used, or the host takes longer for its answer
    /// than it may take to connect. The connection is of no use afterwards.
    ///
    /// # Cancel safety
    /// What was answered is lost when the call is dropped; the next one waits for all of it again.
    pub async fn status(&mut self) -> Result<HostStatus, Error> {
        if !self.asked {
            self.session.send(self.question.clone()).await;
            self.session.request(["facts"]).await;
            self.asked = true;
        }
        let mut status = self.known.clone();
        status.login = self.login;
        status.noise = self.session.noise();
        self.listen("facts", |reply| status.hear(reply)).await?;
        self.asked = false;
        self.known.work_path.clone_from(&status.work_path);
        Ok(status)
    }

    /// Reads what the request `check` has found.
    async fn finding(&mut self) -> Result<Finding, Error> {
        let mut finding = Finding::new(self.opening == Opening::Stepwise);
        let learn = |reply| {
            if let Reply::Fact { name, value } = reply {
                finding.learn(&name, &value);
            }
        };
        self.listen("checked", learn).await?;
        Ok(finding)
    }

    /// Hands replies to `learn` until the fact that is the `last`.
    async fn listen(&mut self, last: &str, mut learn: impl FnMut(Reply)) -> Result<(), Error> {
        let mut latest = "hello".to_owned();
        let patience = self.patience;
        let listening = async {
            loop {
                match self.session.next().await? {
                    Next::Reply(Reply::FactsEnd) if last == "facts" => return Ok(()),
                    Next::Reply(Reply::Fact { name, .. }) if name == last => return Ok(()),
                    // A host where nobody can count is good for tasks that take no slot.
                    Next::Reply(Reply::Error { kind, text }) if kind != "lock" => {
                        return Err(self
                            .session
                            .error(ErrorKind::Host, "failed to use the work path")
                            .caused_by(printable(text.as_bytes()))
                            .with_hint("set `remote_work_path` in geto.ini"));
                    }
                    Next::Reply(reply) => {
                        if let Reply::Fact { name, .. } = &reply {
                            latest.clone_from(name);
                        }
                        learn(reply);
                    }
                    Next::Again | Next::End(_) => return Err(no_answer(&self.session)),
                }
            }
        };
        let heard = tokio::time::timeout(patience, listening).await;
        heard.unwrap_or_else(|_elapsed| {
            let seconds = patience.as_secs_f64();
            let latest = printable(latest.as_bytes());
            let why = format!("it was silent for {seconds} s after it had told its `{latest}`");
            let hint = "see whether `df` at the work path, and `nvidia-smi -L`, end on the host";
            Err(no_answer(&self.session).caused_by(why).with_hint(hint))
        })
    }
}

fn no_answer(session: &Session) -> Error {
    session.ended(ErrorKind::Host, "failed to get an answer")
}
