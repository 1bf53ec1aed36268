//! The files that a task left, on their way home.

use std::io::{self, Read};

use bytes::Bytes;
use geto_core::Bring;
use geto_core::wire::Reply;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Event;
use super::execute::{Execution, Failure};
use crate::results::{self, Limits, Unpacked};
use crate::session::{Next, Session};
use crate::{Error, ErrorKind};

/// How many pieces of the archive wait to be unpacked.
const QUEUE: usize = 16;

/// The most that comes in frames: hosts ask what to do with more than 256 KiB.
const SMALL_MAX: u64 = 1 << 20;

/// The most padding that is read after the end of an archive.
const PADDING_MAX: u64 = 1 << 20;

/// Files that have arrived and stand aside.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) unpacked: Unpacked,
}

/// Receives the files after the end of the task; `None` when there are none to bring. Of large ones,
/// what came before the link broke is kept, and the next session goes on from there.
pub(super) async fn receive(
    execution: &mut Execution<'_>,
    session: &mut Session,
) -> Result<Option<Files>, Failure> {
    let received = match small(execution, session).await {
        Ok(true) => large(execution, session).await,
        Ok(false) => Ok(()),
        Err(failure) => Err(failure),
    };
    if let Err(Failure::Link(_)) = received {
        if execution.unpacking.as_ref().is_some_and(|unpacking| !unpacking.is_large) {
            drop_partial(execution).await;
        }
        return received.map(|()| None);
    }
    // Also after an error, so that nothing is written any more when what was written is removed.
    let files = match execution.unpacking.take() {
        Some(unpacking) => Some(unpacking.finish(execution).await),
        None => None,
    };
    received?;
    Ok(files.transpose()?)
}

/// Forgets what has come of the files.
pub(super) async fn drop_partial(execution: &mut Execution<'_>) {
    if let Some(unpacking) = execution.unpacking.take() {
        // That the archive ends here is known.
        drop(unpacking.finish(execution).await);
    }
    if let Some(store) = &execution.store {
        store.drop_files();
    }
}

/// Receives files that come in frames; true when they are too large for that.
async fn small(execution: &mut Execution<'_>, session: &mut Session) -> Result<bool, Failure> {
    loop {
        let next = session.next().await.map_err(|error| execution.results_error(error))?;
        match next {
            Next::Reply(Reply::NoFiles) => return Ok(false),
            Next::Reply(Reply::LargeFiles) => return Ok(true),
            Next::Reply(Reply::Changed) => drop_partial(execution).await,
            Next::Reply(Reply::Files(bytes)) => {
                let mut unpacking = match execution.unpacking.take() {
                    Some(unpacking) => unpacking,
                    None => Unpacking::start(execution, false)?,
                };
                // When it has failed, `finish` tells; the host still has a few frames to get through.
                unpacking.feed(bytes, execution).await;
                let is_flood = !unpacking.is_large && unpacking.bytes > SMALL_MAX;
                execution.unpacking = Some(unpacking);
                if is_flood {
                    let error = session.error(ErrorKind::Results, "failed to receive the files");
                    let what = "more than 1 MiB came where small files were announced";
                    return Err(execution.results_error(error.caused_by(what)).into());
                }
            }
            Next::Reply(Reply::FilesEnd) => return Ok(false),
            Next::Reply(reply) => execution.take(reply)?,
            Next::Again | Next::End(_) => {
                return Err(Failure::Link(session.error(ErrorKind::Results, "the link broke")));
            }
        }
        // A host without tar says so instead of sending.
        if execution.unpacking.is_none() && execution.is_damaged() {
            return Ok(false);
        }
    }
}

/// Asks for files and receives them to the end of the channel.
async fn large(execution: &mut Execution<'_>, session: &mut Session) -> Result<(), Failure> {
    let mut unpacking = match execution.unpacking.take() {
        Some(unpacking) => unpacking,
        None => Unpacking::start(execution, true)?,
    };
    session.request(["files", &unpacking.bytes.to_string()]).await;
    let mut wanted = true;
    let received = loop {
        match session.raw().await {
            Ok(Some(bytes)) => wanted = unpacking.feed(bytes, execution).await,
            Ok(None) => break Ok(()),
            Err(error) if session.is_slow() && execution.progress.sessions > 1 => {
                break Err(Failure::Link(error));
            }
            Err(error) => break Err(execution.results_error(error).into()),
        }
        if !wanted {
            break Ok(());
        }
    };
    execution.unpacking = Some(unpacking);
    received?;
    match session.status() {
        Some(0) => {}
        // Also a session that was killed is no end of the archive.
        status if wanted && status.is_none_or(|status| status >= KILLED) => {
            let message = "the link broke while files were received";
            return Err(Failure::Link(session.error(ErrorKind::Results, message)));
        }
        Some(GONE) => {
            execution.progress.is_gone = true;
            execution.set_damaged("they were removed meanwhile".to_owned());
        }
        Some(_) => execution.set_damaged(session.stderr()),
        // It is told only when the unpacking has not failed: that is the reason for stopping then.
        None => {
            if let Some(unpacking) = &mut execution.unpacking {
                unpacking.was_cut = true;
            }
        }
    }
    Ok(())
}

/// The status of a channel whose files were removed while they were sent.
const GONE: u32 = 120;
/// The first status of a shell that a signal ended.
const KILLED: u32 = 129;

/// An archive that is unpacked as it arrives, on a thread of its own.
#[derive(Debug)]
pub(super) struct Unpacking {
    pieces: mpsc::Sender<Bytes>,
    thread: JoinHandle<Result<Unpacked, Error>>,
    bytes: u64,
    /// It can be gone on with from any byte.
    is_large: bool,
    /// More came than it took.
    was_cut: bool,
}

impl Unpacking {
    /// How much of the archive has come.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn start(execution: &Execution<'_>, is_large: bool) -> Result<Self, Error> {
        let Some(store) = &execution.store else {
            return Err(execution.results_error(
                Error::new(ErrorKind::Host, "the host sent files that nobody wants")
                    .on_host(&execution.host.name),
            ));
        };
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let partial = store.partial();
        // What others said when they sent it is not known here.
        let may_repeat = match execution.wanted() {
            Some(Bring::Globs(globs)) => globs.len() > 1,
            Some(_) => false,
            None => true,
        };
        let limits = Limits { may_repeat, ..store.limits() };
        let thread = tokio::task::spawn_blocking(move || {
            // Kept to the end of this thread: the directory is not removed before.
            let into = partial.files();
            fs_err::create_dir(&into).map_err(|error| {
                Error::new(ErrorKind::Local, "failed to make room").caused_by(error)
            })?;
            let mut archive = Pieces { receiver, piece: Bytes::new() };
            let unpacked = results::unpack(&mut archive, &into, &limits)?;
            // What follows the archive's end is padding, up to the size of a tar's record.
            drop(io::copy(&mut archive.by_ref().take(PADDING_MAX), &mut io::sink()));
            Ok(unpacked)
        });
        Ok(Self { pieces, thread, bytes: 0, is_large, was_cut: false })
    }

    /// Passes a piece on; false when no more is wanted, since unpacking has ended or failed.
    async fn feed(&mut self, bytes: Bytes, execution: &mut Execution<'_>) -> bool {
        self.bytes += bytes.len() as u64;
        execution.event(Event::Receiving { bytes: self.bytes });
        self.pieces.send(bytes).await.is_ok()
    }

    async fn finish(self, execution: &mut Execution<'_>) -> Result<Files, Error> {
        drop(self.pieces);
        let unpacked = self.thread.await.map_err(|panicked| {
            Error::new(ErrorKind::Results, "failed to unpack the files").caused_by(panicked)
        });
        match unpacked.and_then(|unpacked| unpacked) {
            Ok(unpacked) => {
                if self.was_cut {
                    execution.set_damaged("the host sent more than the files".to_owned());
                }
                Ok(Files { unpacked })
            }
            // What could not be written here is not the host's fault.
            Err(error) if error.kind() == ErrorKind::Local => Err(execution.results_error(error)),
            Err(error) => Err(execution.results_error(error.on_host(&execution.host.name))),
        }
    }
}

/// The pieces of an archive as one stream.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let take = buffer.len().min(self.piece.len());
        self.piece.split_to(take).as_ref().read(buffer)
    }
}
