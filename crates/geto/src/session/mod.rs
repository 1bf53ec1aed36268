//! A session: one channel to the host's side of geto, which reads requests and answers them.

mod pace;
mod purpose;
mod start_up;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use geto_core::wire::{self, Patience, Reply, ReplyParser};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

pub(crate) use purpose::Purpose;
pub(crate) use start_up::unread;
pub(crate) use writer::Writer;

use self::pace::{GivenUp, Pace};
use crate::text::printable_lines;
use crate::transport::{Channel, ChannelEvent, Transport};
use crate::{Error, ErrorKind};

/// How long the host's side may be silent before it is asked whether the login shell's start-up
/// files have read what was meant for it.
const SILENCE: Duration = Duration::from_secs(3);
/// How often it may be silent that long before its first answer.
const SILENCES: u32 = 10;
/// So much in one piece is output that flows: the next pieces gather for a moment, so that each does not
/// cost its own wake-ups and writes.
const FLOWING: usize = 16 << 10;
/// How long they gather. What gathers has its room in the channel.
const GATHERED: Duration = Duration::from_millis(1);
/// How much is taken in at once.
const FED_AT_ONCE: usize = 512 << 10;
/// How much of what the host's shell says on stderr is kept for an error.
const STDERR_KEPT: usize = 2048;

/// Whether a session is opened in one flight, or in steps because start-up files read our bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Program and requests are sent at once, without waiting for anything.
    AtOnce,
    /// Nothing is sent before the loader has said that it reads.
    Stepwise,
}

impl Opening {
    /// The ways to open a session, in the order in which they are tried.
    pub(crate) const ALL: [Self; 2] = [Self::AtOnce, Self::Stepwise];
}

/// What is next in a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The host's side answered.
    Reply(Reply),
    /// The start-up files of the login shell have read what was meant for geto. Nothing was run;
    /// the session is to be opened again, [`Stepwise`](Opening::Stepwise).
    Again,
    /// The channel ended, with the status of its command unless the link was lost.
    End(Option<u32>),
}

/// One channel to the host's side.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    host: String,
    purpose: Purpose,
    writer: Writer,
    /// What had been written when its present task began.
    written_before: u64,
    events: mpsc::Receiver<ChannelEvent>,
    parser: ReplyParser,
    pace: Pace,
    status: Option<u32>,
    greeted: bool,
    asked: bool,
    silences: u32,
    /// Until when start-up files of the login shell may take, and how long that is.
    start_up: (Option<Instant>, Duration),
    /// The host took longer than it may.
    slow: bool,
    received: u64,
    /// Output flows.
    gathers: bool,
    stderr: Vec<u8>,
    /// Its program knows of dependencies that the host keeps.
    keeps: bool,
    /// What the host's clock showed, and when that was heard.
    clock: Option<(Instant, Duration)>,
}

/// How many sessions this process has opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

impl Session {
    /// Opens a channel and sends the program. The requests may follow without waiting.
    pub(crate) async fn open(
        transport: &dyn Transport,
        host: &str,
        opening: Opening,
        purpose: Purpose,
    ) -> Result<Self, Error> {
        let Channel { stdin, events } = transport.open(wire::loader()).await?;
        let nonce = format!("{:016x}{:016x}", random()?, random()?);
        let start_up = transport.start_up_timeout();
        let mut session = Self {
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            host: host.to_owned(),
            purpose,
            written_before: 0,
            writer: Writer::start(stdin),
            events,
            parser: ReplyParser::new(&nonce),
            pace: Pace::new(),
            status: None,
            greeted: false,
            asked: false,
            silences: 0,
            start_up: (Instant::now().checked_add(start_up), start_up),
            slow: false,
            received: 0,
            gathers: false,
            stderr: Vec::new(),
            keeps: false,
            clock: None,
        };
        if opening == Opening::Stepwise {
            session.await_loader().await?;
            session.pace = Pace::new();
        }
        session.writer.send(wire::begin(purpose.program(), &nonce)).await;
        Ok(session)
    }

    /// The way in for requests and what follows them.
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// A number that no other session of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What its program can do.
    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Begins to count bytes and time anew, for the next task that is sent in it.
    pub(crate) fn renew(&mut self) {
        self.pace = Pace::new();
        self.written_before = self.writer.written();
        self.received = 0;
    }

    /// What the host's clock will show after `time`, or somewhat more, in whole seconds; none before it
    /// has shown anything.
    pub(crate) fn host_clock_after(&self, time: Duration) -> Option<u64> {
        let (heard, clock) = self.clock?;
        // It has gone on at least for as long as that is known here.
        Some(clock.saturating_add(heard.elapsed()).saturating_add(time).as_secs())
    }

    /// How many bytes went to the host.
    pub(crate) fn sent(&self) -> u64 {
        self.writer.written().saturating_sub(self.written_before)
    }

    /// Sends a request.
    pub(crate) async fn request<W: AsRef<[u8]>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.send(wire::request(words)).await;
    }

    /// Lets the program know of dependencies that the host keeps.
    pub(crate) async fn learn_to_keep(&mut self) {
        if !std::mem::replace(&mut self.keeps, true) {
            self.writer.send(wire::more(purpose::cache())).await;
        }
    }

    /// Sends a request that is written already.
    pub(crate) async fn send(&mut self, line: Vec<u8>) {
        self.pace.asked(self.greeted);
        self.writer.send(line).await;
    }

    /// Asks for all tasks. How many come is for who asks to limit.
    pub(crate) async fn list(&mut self) {
        self.pace.asked_to_list();
        self.request(["list"]).await;
    }

    /// Tells how long the task waits for a slot at most, and how long it runs: a host that exceeds
    /// both by far is given up.
    pub(crate) fn of_task(&mut self, patience: Patience, timeout: Option<Duration>) {
        self.pace.of_task(patience, timeout);
    }

    /// The host has said that it goes on with what it was asked for.
    pub(crate) fn is_busy(&mut self) {
        self.pace.asked(self.greeted);
    }

    /// Asks for the end of the task that runs.
    pub(crate) async fn cancel(&mut self) {
        self.pace.cancelled();
        self.writer.send(b"cancel\n".to_vec()).await;
    }

    /// Waits for what is next, as long as a host may take for it: for the end of a task any time,
    /// for all else some minutes.
    ///
    /// # Cancel safety
    /// Nothing is lost when the call is dropped.
    pub(crate) async fn next(&mut self) -> Result<Next, Error> {
        loop {
            if let Some(reply) = self.parser.next().map_err(|error| self.garbled(error))? {
                self.pace.answered(&reply).map_err(|given_up| self.given_up(given_up))?;
                self.greeted |= reply == Reply::Hello;
                if let Reply::Boot(boot) = &reply {
                    self.clock = Some((Instant::now(), boot.uptime));
                }
                return Ok(Next::Reply(reply));
            }
            if !self.greeted && self.parser.must_repeat() {
                return Ok(Next::Again);
            }
            if std::mem::take(&mut self.gathers) {
                sleep(GATHERED).await;
            }
            // What has come already came in time.
            if self.feed_what_has_come() {
                continue;
            }
            let left = self.left()?;
            let left = match self.status {
                // Something else holds the channel of a shell that has ended.
                Some(_) => left.min(SILENCE),
                None if self.greeted => left,
                None => left.min(SILENCE).min(self.left_to_start_up()?),
            };
            match timeout(left, self.events.recv()).await {
                Ok(None) => return Ok(Next::End(self.status)),
                Err(_elapsed) if self.status.is_some() => return Ok(Next::End(self.status)),
                Ok(Some(event)) => {
                    if let Some(bytes) = self.take(event) {
                        self.gathers = bytes.len() >= FLOWING;
                        self.parser.feed(&bytes);
                    }
                }
                Err(_elapsed) if self.greeted => {}
                Err(_elapsed) => {
                    self.be_patient()?;
                    self.ask().await;
                }
            }
        }
    }

    /// Takes in what waits to be read, up to a bound; false when nothing does.
    fn feed_what_has_come(&mut self) -> bool {
        let mut fed = 0;
        let mut any = false;
        while fed < FED_AT_ONCE {
            let Ok(event) = self.events.try_recv() else { break };
            any = true;
            if let Some(bytes) = self.take(event) {
                fed += bytes.len();
                self.parser.feed(&bytes);
            }
        }
        self.gathers = fed >= FLOWING && self.events.is_empty();
        any
    }

    /// Waits for bytes that are no frames: the rest of the channel after the request `files`.
    ///
    /// # Errors
    /// When a host is too slow.
    pub(crate) async fn raw(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(rest) = self.parser.take_rest() {
            return Ok(Some(rest));
        }
        loop {
            let left = self.left()?;
            let Ok(event) = timeout(left, self.events.recv()).await else { continue };
            let Some(event) = event else { return Ok(None) };
            if let Some(bytes) = self.take(event) {
                self.pace.received(bytes.len());
                return Ok(Some(bytes));
            }
        }
    }

    /// How long the host may be silent from now on.
    fn left(&mut self) -> Result<Duration, Error> {
        let left = self.pace.left(self.writer.written());
        self.slow |= matches!(left, Err(GivenUp::Slow(_)));
        left.map_err(|given_up| self.given_up(given_up))
    }

    /// The status of the channel's command, when it ended and the link was there to tell.
    pub(crate) fn status(&self) -> Option<u32> {
        self.status
    }

    /// Whether it failed because the host took too long.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow
    }

    /// Whether start-up files have read, and printed, what was meant for the program: it was not run.
    pub(crate) fn is_swallowed(&self) -> bool {
        self.parser.is_echoed() && !self.greeted
    }

    /// Whether the program has begun. When the channel's command ended before, nothing that was sent
    /// has been read by it.
    pub(crate) fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// How many bytes came from the host.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// What start-up files printed, for a person.
    pub(crate) fn noise(&self) -> String {
        printable_lines(&self.parser.noise())
    }

    /// What the host's shell said on stderr, for a person.
    pub(crate) fn stderr(&self) -> String {
        printable_lines(&self.stderr)
    }

    /// Makes an error of this host's shell; what it said itself is the cause.
    pub(crate) fn error(&self, kind: ErrorKind, message: &str) -> Error {
        let error = Error::new(kind, message).on_host(&self.host);
        let said = [self.stderr(), self.noise()].join(" ");
        match said.trim() {
            "" => error,
            said => error.caused_by(format!("its shell said `{said}`")),
        }
    }

    fn garbled(&self, cause: wire::WireError) -> Error {
        Error::new(ErrorKind::Host, "failed to understand the answer")
            .on_host(&self.host)
            .caused_by(cause)
    }

    fn given_up(&self, cause: GivenUp) -> Error {
        let error = match cause {
            // What it said tells more than the time.
            GivenUp::Slow(_) if !self.greeted => return self.no_answer(),
            GivenUp::Slow(_) => self.error(ErrorKind::Host, "failed to get an answer"),
            GivenUp::Flood(_) => self.error(ErrorKind::Host, "failed to understand the answer"),
        };
        error.caused_by(cause)
    }

    /// Returns the bytes of standard output in `event`, after counting and keeping the others.
    fn take(&mut self, event: ChannelEvent) -> Option<Bytes> {
        match event {
            ChannelEvent::Stdout(bytes) => {
                self.received += bytes.len() as u64;
                return Some(bytes);
            }
            ChannelEvent::Stderr(bytes) => {
                self.received += bytes.len() as u64;
                let room = STDERR_KEPT.saturating_sub(self.stderr.len());
                self.stderr.extend(bytes.iter().take(room));
            }
            ChannelEvent::Exit(status) => self.status = Some(status),
        }
        None
    }

    /// How long start-up files of the login shell may still take, if they have not ended.
    fn left_to_start_up(&mut self) -> Result<Duration, Error> {
        let Some(end) = self.start_up.0.filter(|_| !self.parser.loader_reads()) else {
            return Ok(Duration::MAX);
        };
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => {
                self.slow = true;
                Err(self.no_answer())
            }
            left => Ok(left),
        }
    }

    fn be_patient(&mut self) -> Result<(), Error> {
        self.silences += 1;
        if self.silences <= SILENCES {
            return Ok(());
        }
        self.slow = true;
        Err(self.no_answer())
    }

    /// Asks the loader, if it still waits for the program, to say so. To a program that runs this
    /// is a line that it ignores.
    async fn ask(&mut self) {
        if !self.asked && self.writer.is_idle() && self.parser.loader_reads() {
            self.asked = true;
            self.writer.send(b"geto-ping\n".to_vec()).await;
        }
    }

    /// Feeds start-up files that read with ever more empty lines until the loader says that it
    /// reads.
    async fn await_loader(&mut self) -> Result<(), Error> {
        let mut lines = 16;
        while self.start_up.0.is_none_or(|end| Instant::now() < end) {
            drop(self.parser.next().map_err(|error| self.garbled(error))?);
            if self.parser.loader_reads() {
                return Ok(());
            }
            match timeout(SILENCE / 10, self.events.recv()).await {
                Ok(Some(event)) => {
                    if let Some(bytes) = self.take(event) {
                        self.parser.feed(&bytes);
                    }
                }
                Ok(None) => break,
                Err(_elapsed) => {
                    self.writer.send(vec![b'\n'; lines]).await;
                    lines = (lines * 4).min(16 << 10);
                }
            }
        }
        Err(self.no_answer())
    }
}

/// Takes 64 bits from the system's source of randomness.
pub(crate) fn random() -> Result<u64, Error> {
    getrandom::u64()
        .map_err(|error| Error::new(ErrorKind::Local, "failed to get random bits").caused_by(error))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    const PIECE: usize = 32 << 10;
    const PIECES: usize = 32;

    /// A host whose output waits to be read as soon as it has said anything.
    #[derive(Debug)]
    struct Flood;

    #[async_trait]
    impl Transport for Flood {
        async fn open(&self, _command: &str) -> Result<Channel, Error> {
            let (stdin, mut heard) = tokio::io::duplex(1 << 20);
            let (events, receiver) = mpsc::channel(PIECES + 1);
            tokio::spawn(async move {
                let mut text = Vec::new();
                let nonce = loop {
                    let at = text.windows(8).position(|window| window == b"g_nonce=");
                    if let Some(nonce) = at.and_then(|at| text.get(at + 8..at + 40)) {
                        break String::from_utf8(nonce.to_vec()).unwrap();
                    }
                    heard.read_buf(&mut text).await.unwrap();
                };
                let header = format!("{nonce} hello 1\n1{nonce} out {}\n", PIECE * PIECES);
                events.send(ChannelEvent::Stdout(header.into())).await.unwrap();
                for _ in 0..PIECES {
                    let piece = Bytes::from_static(&[0; PIECE]);
                    events.send(ChannelEvent::Stdout(piece)).await.unwrap();
                }
            });
            Ok(Channel { stdin: Box::pin(stdin), events: receiver })
        }
    }

    #[tokio::test]
    async fn output_that_flows_is_handled_in_large_pieces() {
        let opened = Session::open(&Flood, "h", Opening::AtOnce, Purpose::Task).await;
        let mut session = opened.unwrap();
        let mut lengths = Vec::new();
        while let Next::Reply(reply) = session.next().await.unwrap() {
            if let Reply::Stdout(bytes) = reply {
                lengths.push(bytes.len());
            }
        }
        assert_eq!(lengths.iter().sum::<usize>(), PIECE * PIECES);
        assert!(lengths.len() <= 4, "{lengths:?}");
    }
}
