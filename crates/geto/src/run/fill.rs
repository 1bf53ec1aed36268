//! Dependencies that hosts keep, on their way there, before the task that needs them.

use std::io::{self, Write as _};
use std::time::Duration;

use geto_core::wire::Reply;

use super::Event;
use super::execute::{Execution, Failure, cancelled};
use super::hear::{SENDING_SHOWN, Upload, joined};
use super::link::Link;
use super::send::{Rest, origin};
use crate::cache::{Memory, SIZE};
use crate::session::{Next, Opening, Purpose, Session};
use crate::stage::{Manifest, Tree};
use crate::text::printable;
use crate::{Error, ErrorKind};

/// How many bytes of names go in a line, at most, and somewhat more.
const NAMES: usize = 32 << 10;

/// Who has brought nothing more of a tree to its host for so long, and up to twice that, is not waited for.
const STALLED: Duration = Duration::from_secs(30);

/// The last word of an archive.
const WHOLE: &[u8] = b"whole\n";

/// What the host says to who wants to fill its cache.
enum Held {
    /// The tree is there.
    Filled,
    /// It is awaited, but for what of it this base has, and for the first bytes of that.
    Fill {
        base: String,
        spooled: u64,
    },
    /// There is no room, or no way, to keep it.
    Refused(String),
    Again,
}

impl Execution<'_> {
    /// Brings those trees to the host that it does not have. Where they can't be kept there, they go with
    /// the task.
    pub(super) async fn fill(&mut self, link: &mut Link<'_>) -> Result<(), Failure> {
        let limit = link.fleet().settings().remote_cache_size.unwrap_or(SIZE);
        let trees = match &self.order {
            Some(order) => order.staged.trees.clone(),
            None => return Ok(()),
        };
        for tree in &trees {
            let filled = link.fleet().caches().of(self.host, tree.digest());
            let mut filled = filled.lock().await;
            if *filled {
                continue;
            }
            match Box::pin(self.bring(tree, limit, link)).await? {
                None => *filled = true,
                Some(reason) => {
                    tracing::debug!(host = self.host.name, reason, "no cache");
                    let order = self.order.as_mut().expect("invariant: it has an order");
                    order.staged = order.staged.clone().without_trees();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The host has lost trees that it had.
    pub(super) async fn forget_trees(&mut self, link: &Link<'_>) {
        let trees = self.order.iter().flat_map(|order| &order.staged.trees);
        for tree in trees {
            *link.fleet().caches().of(self.host, tree.digest()).lock().await = false;
        }
    }

    /// Brings one; returns why the host can't keep it.
    async fn bring(
        &mut self,
        tree: &Tree,
        limit: u64,
        link: &mut Link<'_>,
    ) -> Result<Option<String>, Failure> {
        if limit == 0 {
            return Ok(Some("nothing is to be kept".to_owned()));
        }
        let place = link.fleet().local_work_path().to_owned();
        let mut bases = {
            let (place, tree) = (place.clone(), tree.clone());
            let read = tokio::task::spawn_blocking(move || Memory::open(&place).bases(&tree)).await;
            read.unwrap_or_default()
        };
        for opening in Opening::ALL {
            let transport = link.transport();
            let session = Session::open(&**transport, &self.host.name, opening, Purpose::Fill);
            let mut session = session.await.map_err(Failure::Link)?;
            let said = self.bring_in(&mut session, tree, &mut bases, limit).await;
            self.progress.bytes_sent += session.sent();
            self.progress.bytes_received += session.received();
            match said {
                // Another link would end in the same login shell.
                Err(Failure::Link(error))
                    if session.is_swallowed()
                        || session.is_slow() && !session.is_greeted() && link.answers().await =>
                {
                    return Err(error.of_task(self.id).into());
                }
                said => match said? {
                    Held::Again => {}
                    Held::Refused(reason) => return Ok(Some(reason)),
                    _ => {
                        let tree = tree.clone();
                        let note = move || Memory::open(&place).sent(&tree);
                        drop(tokio::task::spawn_blocking(note).await);
                        return Ok(None);
                    }
                },
            }
        }
        Ok(Some("its login shell reads what is sent".to_owned()))
    }

    async fn bring_in(
        &mut self,
        session: &mut Session,
        tree: &Tree,
        bases: &mut Vec<(String, Manifest)>,
        limit: u64,
    ) -> Result<Held, Failure> {
        session.request(["work", &self.host.remote_work_path]).await;
        let (id, patience) = (self.id.to_string(), STALLED.as_secs().to_string());
        let origin = origin();
        let mut words = vec!["hold", tree.digest(), &id, &patience, &origin];
        words.extend(bases.iter().map(|(digest, _)| digest.as_str()));
        session.request(words).await;
        let (base, spooled) = match self.held(session, None).await? {
            Held::Fill { base, spooled } => (base, spooled),
            held => return Ok(held),
        };
        let base = bases.iter().position(|(digest, _)| *digest == base);
        let manifest = base.map(|index| bases.swap_remove(index).1).unwrap_or_default();
        let (archive, drops) = tree.since(&manifest);
        if !manifest.is_empty() {
            for names in chunks(&drops) {
                let words = std::iter::once(b"drop".as_slice()).chain(names);
                session.request(words).await;
            }
        }
        let length = archive.tar_len();
        let [length_word, spooled_word, size, limit] =
            [length, spooled, tree.size().div_ceil(1024), limit / 1024].map(|n| n.to_string());
        session.request(["fill", &length_word, &spooled_word, &size, &limit, "plain"]).await;
        session.writer().count(length.saturating_sub(spooled) + WHOLE.len() as u64);
        let mut writer = session.writer().blocking();
        let (host, sent) = (self.host.name.clone(), tree.clone());
        let upload = tokio::task::spawn_blocking(move || {
            let failed = |error: io::Error| {
                Error::new(ErrorKind::NotStarted, "failed to send the dependencies")
                    .on_host(&host)
                    .caused_by(error)
            };
            archive.write_tar(&mut Rest { skip: spooled, sink: &mut writer })?;
            // Without this word the host keeps nothing.
            sent.check()?;
            writer.write_all(WHOLE).and_then(|()| writer.flush()).map_err(failed)
        });
        self.held(session, Some(upload)).await
    }

    /// Waits for what the host says.
    async fn held(
        &mut self,
        session: &mut Session,
        mut upload: Option<Upload>,
    ) -> Result<Held, Failure> {
        let mut tick = tokio::time::interval(SENDING_SHOWN);
        loop {
            let is_uploading = upload.is_some();
            let next = tokio::select! {
                biased;
                () = cancelled(&mut self.cancel), if !self.progress.sent => {
                    self.progress.cancelled = true;
                    return Err(self.cancelled().into());
                }
                sent = joined(&mut upload), if is_uploading => {
                    upload = None;
                    match sent {
                        // The host has closed the channel; what it says itself is better than this.
                        Ok(Err(error)) if error.kind() == ErrorKind::NotStarted => {}
                        Ok(sent) => sent?,
                        Err(panicked) => {
                            let message = "failed to read the dependencies";
                            return Err(Error::new(ErrorKind::Local, message).caused_by(panicked).into());
                        }
                    }
                    continue;
                }
                _ = tick.tick(), if is_uploading => {
                    let (bytes, total) = (session.writer().written(), session.writer().queued());
                    self.event(Event::Sending { bytes, total });
                    continue;
                }
                next = session.next() => next.map_err(Failure::Link)?,
            };
            match next {
                Next::Again => return Ok(Held::Again),
                Next::End(Some(_)) if !session.is_greeted() => {
                    return Err(Failure::Final(self.shut_out(session)));
                }
                Next::End(_) => {
                    let message = "the link broke while dependencies were sent";
                    return Err(Failure::Link(session.error(self.lost_kind(), message)));
                }
                Next::Reply(Reply::Boot(boot)) => self.meet(boot),
                Next::Reply(Reply::Error { text, .. }) => {
                    return Ok(Held::Refused(printable(text.as_bytes())));
                }
                Next::Reply(Reply::Fact { name, value }) if name == "held" => {
                    let words: Vec<&str> = value.split(' ').collect();
                    match words.as_slice() {
                        ["filled"] => return Ok(Held::Filled),
                        // Another one brings it, for as long as that takes.
                        ["wait", ..] => session.is_busy(),
                        ["fill", base, spooled, ..] => {
                            let spooled = match self.progress.rebooted {
                                // It was not synced: its length may be right and its end empty.
                                true => 0,
                                false => spooled.parse().unwrap_or_default(),
                            };
                            return Ok(Held::Fill { base: (*base).to_owned(), spooled });
                        }
                        _ => {}
                    }
                }
                Next::Reply(_) => {}
            }
        }
    }
}

/// Names in portions for a line.
fn chunks(names: &[Vec<u8>]) -> Vec<Vec<&[u8]>> {
    let mut chunks: Vec<Vec<&[u8]>> = Vec::new();
    let mut bytes = NAMES;
    for name in names {
        if bytes >= NAMES {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += name.len() + 1;
        chunks.last_mut().expect("invariant: there is one").push(name);
    }
    chunks
}
