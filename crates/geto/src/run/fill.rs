//! Dependencies that hosts keep, on their way there, in front of the task that needs them.

use std::io::{self, Write as _};
use std::time::Duration;

use geto_core::wire::Reply;

use super::Event;
use super::execute::{Execution, Failure, Said, cancelled};
use super::hear::{SENDING_SHOWN, Upload, joined};
use super::link::Link;
use super::send::{Rest, origin};
use crate::cache::{Memory, SIZE};
use crate::session::{Next, Session};
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
    /// There is no room, or no way, to keep it. The session may have ended over it.
    Refused {
        reason: String,
        is_over: bool,
    },
    Again,
    /// The task is to be ended, and an earlier request may still be on its way.
    CalledOff,
}

impl Execution<'_> {
    /// Brings those trees to the host that it does not have, in the session in which the task is sent behind
    /// them. Where they can't be kept there, they go with the task. Returns what the session has come to, when
    /// it can't be sent in it.
    pub(super) async fn fill(
        &mut self,
        session: &mut Session,
        link: &Link<'_>,
    ) -> Result<Option<Said>, Failure> {
        let trees = match &self.order {
            Some(order) => order.staged.trees.clone(),
            None => return Ok(None),
        };
        if trees.is_empty() {
            return Ok(None);
        }
        let limit = link.fleet().settings().remote_cache_size.unwrap_or(SIZE);
        if limit == 0 {
            self.keep_nothing("nothing is to be kept");
            return Ok(None);
        }
        session.learn_to_keep().await;
        for tree in &trees {
            let filled = link.fleet().caches().of(self.host, tree.digest());
            if filled.try_lock().is_err() {
                self.await_tree(tree, None);
            }
            let mut filled = tokio::select! {
                biased;
                filled = filled.lock() => filled,
                () = cancelled(&mut self.cancel) => return self.call_off().map(|_| Some(Said::Claimed)),
            };
            if *filled {
                continue;
            }
            match Box::pin(self.bring(session, tree, limit, link)).await? {
                Held::Filled => *filled = true,
                Held::Again => return Ok(Some(Said::Again)),
                Held::CalledOff => return Ok(Some(Said::Claimed)),
                Held::Refused { reason, is_over } => {
                    self.keep_nothing(&reason);
                    if link.fleet().caches().refuses(self.host) {
                        self.event(Event::Warning(format!(
                            "host `{}` can't keep dependencies, which go with each task: {reason}",
                            self.host.name
                        )));
                    }
                    return Ok(is_over.then_some(Said::Resend { spooled: 0 }));
                }
                Held::Fill { .. } => {}
            }
        }
        Ok(None)
    }

    /// What an interrupt comes to before the task is sent.
    fn call_off(&mut self) -> Result<Held, Failure> {
        self.progress.cancelled = true;
        match self.progress.sent {
            true => Ok(Held::CalledOff),
            false => Err(self.cancelled().into()),
        }
    }

    /// Tells who brings a tree.
    fn await_tree(&mut self, tree: &Tree, by: Option<&str>) {
        let by = by.map(|origin| printable(origin.as_bytes()));
        let (host, path) = (self.host.name.clone(), tree.root().to_owned());
        self.event(Event::Awaiting { host, path, by });
    }

    /// All dependencies go with the task.
    pub(super) fn keep_nothing(&mut self, reason: &str) {
        tracing::debug!(host = self.host.name, reason, "no cache");
        if let Some(order) = &mut self.order {
            order.staged = order.staged.clone().without_trees();
        }
    }

    /// The host has lost trees that it had.
    pub(super) async fn forget_trees(&mut self, link: &Link<'_>) {
        let trees = self.order.iter().flat_map(|order| &order.staged.trees);
        for tree in trees {
            *link.fleet().caches().of(self.host, tree.digest()).lock().await = false;
        }
    }

    /// Brings one.
    async fn bring(
        &mut self,
        session: &mut Session,
        tree: &Tree,
        limit: u64,
        link: &Link<'_>,
    ) -> Result<Held, Failure> {
        let place = link.fleet().local_work_path().to_owned();
        let mut bases = {
            let (place, tree) = (place.clone(), tree.clone());
            let read = tokio::task::spawn_blocking(move || Memory::open(&place).bases(&tree)).await;
            read.unwrap_or_default()
        };
        let held = match self.bring_in(session, tree, &mut bases, limit).await {
            // Another link would end in the same login shell.
            Err(Failure::Link(error))
                if session.is_swallowed()
                    || session.is_slow() && !session.is_greeted() && link.answers().await =>
            {
                return Err(error.of_task(self.id).into());
            }
            held => held?,
        };
        if let Held::Filled = held {
            let tree = tree.clone();
            let note = move || Memory::open(&place).sent(&tree);
            drop(tokio::task::spawn_blocking(note).await);
        }
        Ok(held)
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
        let (base, spooled) = match self.held(session, tree, None).await? {
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
        let mut words = vec!["fill", &length_word, &spooled_word, &size, &limit, "plain"];
        if tree.share() {
            words.push("shut");
        }
        session.request(words).await;
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
        self.held(session, tree, Some(upload)).await
    }

    /// Waits for what the host says.
    async fn held(
        &mut self,
        session: &mut Session,
        tree: &Tree,
        mut upload: Option<Upload>,
    ) -> Result<Held, Failure> {
        let mut tick = tokio::time::interval(SENDING_SHOWN);
        let is_over = upload.is_some();
        let mut bringer = String::new();
        loop {
            let is_uploading = upload.is_some();
            let next = tokio::select! {
                biased;
                () = cancelled(&mut self.cancel) => return self.call_off(),
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
                    let reason = printable(text.as_bytes());
                    return Ok(Held::Refused { reason, is_over });
                }
                Next::Reply(Reply::Fact { name, value }) if name == "held" => {
                    let words: Vec<&str> = value.split(' ').collect();
                    match words.as_slice() {
                        ["filled"] => return Ok(Held::Filled),
                        // Another one brings it, for as long as that takes.
                        ["wait", id, origin @ ..] => {
                            session.is_busy();
                            if bringer != *id {
                                (*id).clone_into(&mut bringer);
                                self.await_tree(tree, Some(&origin.join(" ")));
                            }
                        }
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
