//! What the host says. All of it is taken for hostile.
#![deny(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use bytes::{Buf as _, Bytes, BytesMut};

use super::EndReport;
use super::listing::{About, Boot, Clock, Listing, TaskState};
use super::slots::{Busy, HostLoad};

/// What the loader says once it reads, if its words were not changed.
const LOADER_READS: &[u8] = b"\ngeto-loader\n";
/// What stands in front of the nonce where it is told to the host.
const TOLD_BY: &[u8] = b"g_nonce=";
/// What start-up files may print before the session answers; more is an error.
const NOISE_LIMIT: usize = 1 << 20;
/// How much of that is kept, for a person.
const NOISE_KEPT: usize = 4096;
/// The longest header line.
const HEADER_LIMIT: usize = 128;
/// The longest text in a frame that is not output or files.
const TEXT_LIMIT: usize = 64 << 10;

/// Something that the host's side said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The program runs.
    Hello,
    /// A named text: a fact about the host.
    Fact {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// All facts were told.
    FactsEnd,
    /// What tells this start of the host from others.
    Boot(Boot),
    /// How far a task has come that was asked about.
    State(TaskState),
    /// What is known of a task that was asked about.
    About(About),
    /// A task of the login user. What can't be read is none.
    Task(Box<Listing>),
    /// All tasks were told.
    Listed(Clock),
    /// Where in the output what follows begins.
    From {
        /// The byte of standard output.
        stdout: u64,
        /// The byte of standard error.
        stderr: u64,
    },
    /// How much the task had written when it was attached to.
    Size {
        /// Bytes of standard output.
        stdout: u64,
        /// Bytes of standard error.
        stderr: u64,
    },
    /// All was sent that a task has written so far; it has not ended.
    SoFar,
    /// The files are not those that were sent in part before.
    Changed,
    /// The task waits for a slot.
    Waiting(Busy),
    /// The task was let in; its slots and GPUs, with commas in between.
    Slot {
        /// The slots' numbers.
        slots: String,
        /// The GPUs' numbers.
        gpus: String,
    },
    /// The task waited as long as it would, and was not started.
    Full(Busy),
    /// The names of the tasks that run.
    Running(Vec<String>),
    /// How much is used.
    Load(HostLoad),
    /// The task was started; its directory.
    Started(String),
    /// Bytes of the task's standard output.
    Stdout(Bytes),
    /// Bytes of the task's standard error.
    Stderr(Bytes),
    /// The task ended; `None` when the supervisor could not say how.
    Ended(Option<EndReport>),
    /// There are no files to bring.
    NoFiles,
    /// The files are large; they must be asked for.
    LargeFiles,
    /// Not all files could be read; the reason in the words of the host's tar.
    Damaged(String),
    /// Bytes of the archive of files.
    Files(Bytes),
    /// The archive is whole.
    FilesEnd,
    /// The task's directory was removed.
    Removed,
    /// The request failed.
    Error {
        /// What kind of thing failed: `exists`, `work-path`, `disk`, `tool`, `interpreter`,
        /// `remove`, `unseen`, `request`, `lock`, `demand`, `gone`, `missing`, `crowded`.
        kind: String,
        /// What the host says of it.
        text: String,
    },
}

/// An answer that no host of geto gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Too much came before the first answer.
    #[error("start-up files of its login shell printed more than 1 MiB before the first answer")]
    Noise,
    /// Something that is no frame.
    #[error("the host sent something that is no answer")]
    NoFrame,
    /// A text beyond all bounds.
    #[error("the host sent an answer of {0} bytes where a short text is expected")]
    TooLong(u64),
}

/// Cuts the bytes of a channel into replies. Output and files come in the pieces in which they
/// arrive; nothing is kept but at most one short frame.
#[derive(Debug)]
pub struct ReplyParser {
    nonce: Vec<u8>,
    buffer: BytesMut,
    noise: Vec<u8>,
    noise_len: usize,
    loader_reads: bool,
    must_repeat: bool,
    is_echoed: bool,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Noise,
    Header,
    Text { name: String, len: usize },
    Data { stream: Stream, left: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
    Files,
}

impl ReplyParser {
    /// Makes a parser for the session that was given `nonce`.
    pub fn new(nonce: &str) -> Self {
        Self {
            nonce: nonce.as_bytes().to_vec(),
            buffer: BytesMut::new(),
            noise: Vec::new(),
            noise_len: 0,
            loader_reads: false,
            must_repeat: false,
            is_echoed: false,
            state: State::Noise,
        }
    }

    /// What start-up files printed before the first answer, at most 4 KiB of it.
    pub fn noise(&self) -> Vec<u8> {
        let mut noise = self.noise.clone();
        if self.state == State::Noise {
            let room = NOISE_KEPT.saturating_sub(noise.len());
            noise.extend(self.buffer.iter().take(room));
        }
        // The loader's own line is the last before the answer.
        if noise.ends_with(LOADER_READS) {
            noise.truncate(noise.len() - LOADER_READS.len());
        }
        // What they have printed of the program is no news.
        let own = b"geto-begin ";
        if let Some(end) = noise.windows(own.len()).position(|window| window == own) {
            noise.truncate(end);
        }
        noise
    }

    /// Whether the host has printed the nonce as it was told: start-up files have read what was meant for
    /// the loader, and print it. The program does not run on this channel.
    pub fn is_echoed(&self) -> bool {
        self.is_echoed
    }

    /// Whether the loader has said that it reads.
    pub fn loader_reads(&self) -> bool {
        self.loader_reads
    }

    /// Whether the loader has said that it read something else than the beginning: start-up files
    /// have taken that. It drops all until a new channel begins.
    pub fn must_repeat(&self) -> bool {
        self.must_repeat
    }

    /// Takes out the bytes that have not been cut into replies; `None` when there are none.
    pub fn take_rest(&mut self) -> Option<Bytes> {
        let rest = self.buffer.split();
        (!rest.is_empty()).then(|| rest.freeze())
    }

    /// Takes bytes of the channel; call [`next`](Self::next) until it has no more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next reply, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the host sent what no host of geto sends. The parser is of no use afterwards.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends can't go on later")]
    pub fn next(&mut self) -> Result<Option<Reply>, WireError> {
        loop {
            match self.state.clone() {
                State::Noise if !self.skip_noise()? => return Ok(None),
                State::Noise => self.state = State::Header,
                State::Header => match self.header()? {
                    Some(state) => self.state = state,
                    None => return Ok(None),
                },
                State::Text { len, .. } if self.buffer.len() < len => return Ok(None),
                State::Text { name, len } => {
                    let text = String::from_utf8_lossy(&self.buffer.split_to(len)).into_owned();
                    self.state = State::Header;
                    return Ok(Some(reply(&name, text)));
                }
                State::Data { stream, left: 0 } => {
                    self.state = State::Header;
                    if stream == Stream::Files {
                        return Ok(Some(Reply::FilesEnd));
                    }
                }
                State::Data { .. } if self.buffer.is_empty() => return Ok(None),
                State::Data { stream, left } => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                    let data = self.buffer.split_to(take).freeze();
                    self.state = State::Data { stream, left: left - take as u64 };
                    return Ok(Some(match stream {
                        Stream::Out => Reply::Stdout(data),
                        Stream::Err => Reply::Stderr(data),
                        Stream::Files => Reply::Files(data),
                    }));
                }
            }
        }
    }

    /// Drops what comes before the nonce; returns whether it was found.
    fn skip_noise(&mut self) -> Result<bool, WireError> {
        let told =
            |at: usize| self.buffer.get(..at).is_some_and(|before| before.ends_with(TOLD_BY));
        let nonces = self.buffer.windows(self.nonce.len()).enumerate();
        let mut nonces = nonces.filter(|(_, window)| *window == self.nonce).map(|(at, _)| at);
        let mut echo_end = 0;
        let found = nonces.find(|&at| {
            let is_echo = told(at);
            if is_echo {
                echo_end = at.saturating_add(self.nonce.len());
            }
            !is_echo
        });
        self.is_echoed |= echo_end > 0;
        // Both words are shorter than a nonce, so that the part that stays has room for them. What
        // follows the nonce is no word of the loader, though it may look like one.
        let noise = self.buffer.get(..found.unwrap_or(self.buffer.len())).unwrap_or_default();
        self.loader_reads |= contains(noise, LOADER_READS);
        self.must_repeat |= contains(noise, b"\ngeto-again\n");
        // The end of the buffer may be the beginning of the nonce, or of what stands in front of it, without
        // which the nonce would be taken for an answer the next time.
        let kept = TOLD_BY.len() + self.nonce.len();
        let skip = found.unwrap_or(self.buffer.len().saturating_sub(kept).max(echo_end));
        let noise = self.buffer.split_to(skip);
        let room = NOISE_KEPT.saturating_sub(self.noise.len());
        self.noise.extend(noise.iter().take(room));
        self.noise_len += skip;
        match self.noise_len > NOISE_LIMIT {
            true => Err(WireError::Noise),
            false => Ok(found.is_some()),
        }
    }

    /// Reads a header when it is there.
    fn header(&mut self) -> Result<Option<State>, WireError> {
        let Some(end) = self.buffer.iter().take(HEADER_LIMIT).position(|&byte| byte == b'\n')
        else {
            return match self.buffer.len() < HEADER_LIMIT {
                true => Ok(None),
                false => Err(WireError::NoFrame),
            };
        };
        let line = self.buffer.split_to(end);
        self.buffer.advance(1);
        let line = std::str::from_utf8(&line).map_err(|_garbled| WireError::NoFrame)?;
        let mut words = line.split(' ');
        let (nonce, name, len) = (words.next(), words.next(), words.next());
        let (Some(nonce), Some(name), Some(len), None) = (nonce, name, len, words.next()) else {
            return Err(WireError::NoFrame);
        };
        if nonce.as_bytes() != self.nonce {
            return Err(WireError::NoFrame);
        }
        let left: u64 = len.parse().map_err(|_garbled| WireError::NoFrame)?;
        Ok(Some(match name {
            "out" => State::Data { stream: Stream::Out, left },
            "err" => State::Data { stream: Stream::Err, left },
            "files" => State::Data { stream: Stream::Files, left },
            _ => match usize::try_from(left) {
                Ok(len) if len <= TEXT_LIMIT => State::Text { name: name.to_owned(), len },
                _ => return Err(WireError::TooLong(left)),
            },
        }))
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn reply(name: &str, text: String) -> Reply {
    match name {
        "hello" => Reply::Hello,
        "facts" => Reply::FactsEnd,
        "started" => Reply::Started(text),
        "ended" => Reply::Ended(EndReport::parse(&text)),
        "nofiles" => Reply::NoFiles,
        "large" => Reply::LargeFiles,
        "damaged" => Reply::Damaged(text),
        "removed" => Reply::Removed,
        "boot" => Boot::parse(&text).map_or_else(|| fact(name, text), Reply::Boot),
        "state" => TaskState::parse(&text).map_or_else(|| fact(name, text), Reply::State),
        "about" => About::parse(&text).map_or_else(|| fact(name, text), Reply::About),
        "task" => Listing::parse(&text)
            .map_or_else(|| fact(name, text), |task| Reply::Task(Box::new(task))),
        "listed" => Clock::parse(&text).map_or_else(|| fact(name, text), Reply::Listed),
        "from" => match two(&text) {
            Some((stdout, stderr)) => Reply::From { stdout, stderr },
            None => fact(name, text),
        },
        "size" => match two(&text) {
            Some((stdout, stderr)) => Reply::Size { stdout, stderr },
            None => fact(name, text),
        },
        "so-far" => Reply::SoFar,
        "changed" => Reply::Changed,
        "waiting" => Busy::parse(&text).map_or_else(|| fact(name, text), Reply::Waiting),
        "full" => Busy::parse(&text).map_or_else(|| fact(name, text), Reply::Full),
        "load" => HostLoad::parse(&text).map_or_else(|| fact(name, text), Reply::Load),
        "running" => Reply::Running(text.lines().map(str::to_owned).collect()),
        "slot" => {
            let (slots, gpus) = text.split_once(' ').unwrap_or((&text, ""));
            Reply::Slot { slots: slots.to_owned(), gpus: gpus.replace('-', "") }
        }
        "error" => {
            let (kind, rest) = text.split_once(' ').unwrap_or((&text, ""));
            Reply::Error { kind: kind.to_owned(), text: rest.to_owned() }
        }
        _ => fact(name, text),
    }
}

/// Reads two numbers.
fn two(text: &str) -> Option<(u64, u64)> {
    let (one, other) = text.split_once(' ')?;
    Some((one.parse().ok()?, other.parse().ok()?))
}

fn fact(name: &str, value: String) -> Reply {
    Reply::Fact { name: name.to_owned(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"Welcome!\nN0NC N0NCE hello 2\n12N0NCE out 3\na\0bN0NCE files 2\nxyN0NCE nofiles 0\n";

    fn replies(pieces: &[&[u8]]) -> Result<Vec<Reply>, WireError> {
        let mut parser = ReplyParser::new("N0NCE");
        let mut replies = Vec::new();
        for piece in pieces {
            parser.feed(piece);
            while let Some(reply) = parser.next()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn every_split_gives_the_same_replies() {
        let joined = |pieces: &[&[u8]]| {
            let mut out = Vec::new();
            let mut others = Vec::new();
            for reply in replies(pieces).unwrap() {
                match reply {
                    Reply::Stdout(bytes) | Reply::Files(bytes) => out.extend_from_slice(&bytes),
                    other => others.push(other),
                }
            }
            (out, others)
        };
        let whole = joined(&[STREAM]);
        assert_eq!(whole.0, b"a\0bxy");
        assert_eq!(whole.1, [Reply::Hello, Reply::FilesEnd, Reply::NoFiles]);
        for split in 0..STREAM.len() {
            let (one, other) = STREAM.split_at(split);
            assert_eq!(joined(&[one, other]), whole, "{split}");
        }
    }

    /// Found by the fuzz target: it depended on how the bytes were cut.
    #[test]
    fn words_of_the_loader_are_looked_for_before_the_first_answer_only() {
        for piece in [1, 1000] {
            let mut parser = ReplyParser::new("N0NCEN0NCEN0NCE");
            let bytes = b"N0NCEN0NCEN0NCE out 25\n\ngeto-loader\n\ngeto-again\n";
            for piece in bytes.chunks(piece) {
                parser.feed(piece);
                while parser.next().unwrap().is_some() {}
            }
            assert!(!parser.loader_reads() && !parser.must_repeat(), "{piece}");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for bad in [
            &b"N0NCE hello\n"[..],
            b"N0NCE hello 0\nOTHER out 1\n",
            b"N0NCE hello -1\n",
            b"N0NCE hello 0 0\n",
            b"N0NCE \xff 0\n",
        ] {
            assert_eq!(replies(&[bad]), Err(WireError::NoFrame), "{bad:?}");
        }
        assert_eq!(replies(&[b"N0NCE hello 99999999\n"]), Err(WireError::TooLong(99_999_999)));
    }

    #[test]
    fn the_nonce_as_it_was_told_is_no_answer() {
        let echo = b"Hi\n\n\ngeto-begin 9\ng_nonce=N0NCE\nexec\n";
        let stream = [&echo[..], b"N0NCE hello 1\n1"].concat();
        for split in 0..stream.len() {
            let mut parser = ReplyParser::new("N0NCE");
            let mut heard = Vec::new();
            let (first, second) = stream.split_at(split);
            for piece in [first, second] {
                parser.feed(piece);
                heard.extend(std::iter::from_fn(|| parser.next().unwrap()));
            }
            assert_eq!(heard, [Reply::Hello], "{split}");
            assert!(parser.is_echoed() && parser.noise() == b"Hi\n\n\n", "{split}");
        }
    }

    #[test]
    fn noise_without_an_answer_is_kept_whole() {
        let mut parser = ReplyParser::new("N0NCE");
        parser.feed(b"no shell\n");
        assert_eq!(parser.next(), Ok(None));
        assert_eq!(parser.noise(), b"no shell\n");
    }

    #[test]
    fn noise_is_bounded() {
        assert_eq!(replies(&[&vec![b'x'; 2 << 20]]), Err(WireError::Noise));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(replies(&[b"N0NCE ", &bytes]));
            drop(replies(&[b"N0NCE hello 0\nN0NCE ", &bytes]));
        }
    }
}
