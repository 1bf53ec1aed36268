//! One client: its requests, and what it is told.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use geto::bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::envelope::{Message, Request, Unfit, answer};
use super::service::{Caller, REQUESTS_MAX, Service};
use crate::events::line;
use crate::streams::write_stdout;

/// The longest line that is read, in bytes.
const LINE_MAX: usize = 64 << 20;
/// How many lines of one client are served at once, those included whose answers wait for it: no more are
/// read meanwhile. More than the tasks that may run, which somebody has to be able to end.
const LINES_SERVED: usize = 2 * REQUESTS_MAX;
/// How many lines wait for a client that takes its time; tasks wait for room.
const LINES_WAITING: usize = 16;

/// Where a client reads.
pub(super) enum Outlet {
    Stdout,
    Socket(OwnedWriteHalf),
}

impl Outlet {
    async fn write(&mut self, line: Bytes) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.write_all(&line).await,
            Self::Stdout => tokio::task::spawn_blocking(move || write_stdout(&line))
                .await
                .unwrap_or_else(|panicked| Err(io::Error::other(panicked))),
        }
    }
}

/// Serves a client until all that it asked for is answered and it asks for nothing more, or until it is
/// gone: `end`, the same as `outlet`, then has nobody at its other end. What it waits for then is
/// left as it is. Returns how many lines were not answered.
pub(super) async fn serve(
    service: &Arc<Service>,
    requests: impl AsyncRead + Unpin,
    mut outlet: Outlet,
    end: OwnedFd,
) -> usize {
    let (out, mut lines) = mpsc::channel::<Bytes>(LINES_WAITING);
    let mut writing = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            outlet.write(line).await?;
        }
        match outlet {
            Outlet::Socket(mut socket) => socket.shutdown().await,
            Outlet::Stdout => Ok(()),
        }
    });
    // Dropped in the end: nobody is there any more who wants answers.
    let mut serving = JoinSet::new();
    let answering = async {
        let mut lines = Lines::new(requests);
        loop {
            tokio::select! {
                next = lines.next(), if serving.len() < LINES_SERVED => match next {
                    Ok(Line::Whole(text)) => {
                        serving.spawn(serve_line(Arc::clone(service), text, out.clone()));
                    }
                    Ok(Line::Long) => tell(&out, &Unfit::long(LINE_MAX).answer()).await,
                    Ok(Line::End) | Err(_) => break,
                },
                Some(_served) = serving.join_next() => {}
            }
        }
        let gone = gone(end);
        tokio::pin!(gone);
        loop {
            tokio::select! {
                served = serving.join_next() => if served.is_none() { break },
                () = &mut gone => return,
            }
        }
        // The writer ends when all have told what they had to.
        drop(out);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = answering => writing.abort(),
        _written = &mut writing => {}
    }
    while serving.try_join_next().is_some() {}
    serving.len()
}

/// Returns when nobody can read any more what is written to `end`.
async fn gone(end: OwnedFd) {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut asked = [PollFd::from_borrowed_fd(end.as_fd(), PollFlags::empty())];
        while matches!(poll(&mut asked, None), Err(rustix::io::Errno::INTR)) {}
        tell.send(()).ok();
    });
    told.await.ok();
}

/// Serves what stands on a line.
async fn serve_line(service: Arc<Service>, line: Vec<u8>, out: mpsc::Sender<Bytes>) {
    let message = Message::read(&line);
    drop(line);
    let answer = match message {
        Message::One(request) => serve_one(service, request, out.clone()).await,
        Message::Batch(batch) => {
            let mut serving = JoinSet::new();
            for request in batch {
                serving.spawn(serve_one(Arc::clone(&service), request, out.clone()));
            }
            let answers: Vec<Value> = serving.join_all().await.into_iter().flatten().collect();
            (!answers.is_empty()).then(|| answers.into())
        }
    };
    if let Some(answer) = answer {
        tell(&out, &answer).await;
    }
}

/// Returns the answer, if one is wanted.
async fn serve_one(
    service: Arc<Service>,
    request: Result<Request, Unfit>,
    out: mpsc::Sender<Bytes>,
) -> Option<Value> {
    let request = match request {
        Ok(request) => request,
        Err(unfit) => return Some(unfit.answer()),
    };
    let id = request.id.clone();
    let caller = Caller { out, id: id.clone().unwrap_or_default() };
    let result = service.call(caller, request).await;
    id.map(|id| answer(&id, result))
}

/// Tells a client something. One that is gone hears nothing.
async fn tell(out: &mpsc::Sender<Bytes>, object: &Value) {
    out.send(line(object)).await.ok();
}

/// Lines of bounded length.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    is_long: bool,
}

enum Line {
    /// One that is not empty, without its end.
    Whole(Vec<u8>),
    /// One that is too long; its bytes were dropped.
    Long,
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), is_long: false }
    }

    /// Returns the next line.
    ///
    /// # Cancel safety
    /// What has been read of a line stays.
    async fn next(&mut self) -> io::Result<Line> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            let is_end = bytes.is_empty();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.is_long |= self.line.len() + part.len() > LINE_MAX;
            if self.is_long {
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(part);
            }
            let read = part.len() + usize::from(end.is_some());
            self.reader.consume(read);
            if end.is_none() && !is_end {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            match std::mem::take(&mut self.is_long) {
                true => return Ok(Line::Long),
                false if !line.trim_ascii().is_empty() => return Ok(Line::Whole(line)),
                false if is_end => return Ok(Line::End),
                false => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_lines_and_drops_those_that_are_too_long() {
        let long = vec![b'x'; LINE_MAX + 1];
        let text = [b"a\r\n\n", &*long, b"\nb"].concat();
        let mut lines = Lines::new(&*text);
        assert!(matches!(lines.next().await.unwrap(), Line::Whole(line) if line == b"a\r"));
        assert!(matches!(lines.next().await.unwrap(), Line::Long));
        assert!(matches!(lines.next().await.unwrap(), Line::Whole(line) if line == b"b"));
        assert!(matches!(lines.next().await.unwrap(), Line::End));
    }
}
