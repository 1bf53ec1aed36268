//! What a client of `geto rpc` is still to be told of one task.
//!
//! A client may take its time, or not read at all. The link that its task's output comes by is shared with other
//! tasks, so nobody waits for the client there: what it has not taken waits in memory, and beyond that in a file
//! without a name.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use geto::bytes::Bytes;
use tokio::sync::{Notify, mpsc};

/// How much waits in memory, in bytes; a line may go beyond.
const MEMORY_MAX: usize = 256 << 10;

/// Lines in their order, from one who tells to one who hears.
#[derive(Debug)]
pub(super) struct Spool {
    /// Where the file is made.
    directory: PathBuf,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What comes before all that is in the file.
    first: VecDeque<Bytes>,
    first_bytes: usize,
    file: Option<File>,
    /// Lines in the file, each behind its length, are between these.
    read: u64,
    written: u64,
    is_whole: bool,
}

impl Spool {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, waiting: Mutex::default(), changed: Notify::new() }
    }

    /// Takes a line, without waiting for anybody.
    ///
    /// # Errors
    /// When the file can't be written; the line is not taken then.
    pub(super) fn put(&self, line: &Bytes) -> io::Result<()> {
        self.waiting().put(line, || tempfile::tempfile_in(&self.directory))?;
        self.changed.notify_one();
        Ok(())
    }

    /// Takes no more.
    pub(super) fn end(&self) {
        self.waiting().is_whole = true;
        self.changed.notify_one();
    }

    /// Passes on all lines to their end, or until nobody hears them any more.
    pub(super) async fn pass_on(&self, out: &mpsc::Sender<Bytes>) -> io::Result<()> {
        loop {
            let (next, is_whole) = {
                let mut waiting = self.waiting();
                (waiting.take()?, waiting.is_whole)
            };
            match next {
                Some(line) => {
                    if out.send(line).await.is_err() {
                        return Ok(());
                    }
                }
                None if is_whole => return Ok(()),
                None => self.changed.notified().await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn put(&mut self, line: &Bytes, make: impl FnOnce() -> io::Result<File>) -> io::Result<()> {
        if self.read == self.written && self.first_bytes < MEMORY_MAX {
            self.first_bytes += line.len();
            self.first.push_back(line.clone());
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(make()?),
        };
        let length = line.len() as u64;
        file.write_all_at(&length.to_le_bytes(), self.written)?;
        file.write_all_at(line, self.written + 8)?;
        self.written += 8 + length;
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(line) = self.first.pop_front() {
            self.first_bytes -= line.len();
            return Ok(Some(line));
        }
        let Some(file) = self.file.as_ref().filter(|_| self.read < self.written) else {
            return Ok(None);
        };
        let mut length = [0; 8];
        file.read_exact_at(&mut length, self.read)?;
        let length = u64::from_le_bytes(length);
        let mut line = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut line, self.read + 8)?;
        self.read += 8 + length;
        if self.read == self.written {
            (self.read, self.written) = (0, 0);
            file.set_len(0)?;
        }
        Ok(Some(line.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passes_on_in_order_what_nobody_has_waited_for() {
        let spool = Spool::new(std::env::temp_dir());
        let lines: Vec<Bytes> =
            (0..40u8).map(|n| vec![n; 20_000 + usize::from(n)].into()).collect();
        let (out, mut heard) = mpsc::channel(1);
        for round in 0..2 {
            for line in &lines {
                spool.put(line).unwrap();
            }
            assert!(spool.waiting().written > 0, "{round}");
            let hearing = async {
                for line in &lines {
                    assert_eq!(heard.recv().await.as_ref(), Some(line));
                }
            };
            tokio::select! {
                biased;
                _passed = spool.pass_on(&out) => panic!("it has no end"),
                () = hearing => {}
            }
            assert_eq!(spool.waiting().written, 0);
            assert_eq!(spool.waiting().file.as_ref().unwrap().metadata().unwrap().len(), 0);
        }
        spool.end();
        spool.pass_on(&out).await.unwrap();
    }

    #[test]
    fn says_that_it_has_no_room() {
        let spool = Spool::new("/nowhere".into());
        let line = Bytes::from(vec![0; MEMORY_MAX]);
        spool.put(&line).unwrap();
        assert_eq!(spool.put(&line).unwrap_err().kind(), io::ErrorKind::NotFound);
        spool.waiting().take().unwrap();
        spool.put(&line).unwrap();
    }
}
