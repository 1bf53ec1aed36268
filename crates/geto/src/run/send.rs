//! What is sent of a task.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use geto_core::wire::{Patience, Program, RunRequest, TreeUse};
use geto_core::{Host, Task, TaskId};
use tokio::task::JoinHandle;

use super::input::Input;
use super::warm::Batch;
use crate::cache::Staged;
use crate::session::Session;
use crate::transport::Account;
use crate::{Error, ErrorKind};

/// What the host needs to run a task under the profile of the login shell. Few tasks ask for that, so it is no
/// part of the program.
static LOGIN: LazyLock<Program> = LazyLock::new(|| Program::strip(include_str!("login.sh")));

/// A task that is to be sent.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) task: &'a Task,
    pub(super) input: Input,
    pub(super) staged: Staged,
    pub(super) patience: Patience,
    /// Whether it is left once it has started.
    pub(super) detached: bool,
    /// A session in which the task has been given its slot.
    pub(super) session: Option<Session>,
}

/// One sending of it.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Another one for each, so that a request that comes late is told from its repetition.
    pub(super) nonce: String,
    /// How much of the archive of dependencies the host has.
    pub(super) spooled: u64,
    /// Whether the run had another session before.
    pub(super) again: bool,
}

impl Order<'_> {
    /// Queues all of the request but what [`upload`](Self::upload) sends.
    pub(super) async fn request(
        &self,
        session: &mut Session,
        host: &Host,
        id: TaskId,
        attempt: &Attempt,
        batch: Option<&Batch>,
    ) {
        session.request(["work", &host.remote_work_path]).await;
        let dependencies_len = Some(self.staged.rest.tar_len()).filter(|&len| len > 0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = RunRequest {
            id,
            attempt: &attempt.nonce,
            host,
            task: self.task,
            text: self.input.text.as_deref(),
            stdin_len: self.input.stdin.as_ref().map(|bytes| bytes.len() as u64),
            dependencies_len,
            trees: self.trees(),
            spooled: attempt.spooled,
            origin: &origin(),
            now,
            patience: self.patience,
            lease: batch.and_then(|batch| session.host_clock_after(batch.lease)),
            tag: batch.and_then(|batch| batch.tag.as_deref()),
            detached: self.detached,
            again: attempt.again,
            login: LOGIN.text(),
        };
        session.writer().send(request.line()).await;
    }

    fn trees(&self) -> Vec<TreeUse<'_>> {
        let trees = self.staged.trees.iter();
        trees
            .map(|tree| TreeUse { digest: tree.digest(), name: tree.name(), share: tree.share() })
            .collect()
    }

    /// Sends script, input and dependencies, from a thread of their own, without the beginning of the
    /// dependencies that the host has.
    pub(super) fn upload(
        &self,
        session: &Session,
        host: &Host,
        spooled: u64,
    ) -> JoinHandle<Result<(), Error>> {
        let script = self.input.text.clone().unwrap_or_default();
        let stdin = self.input.stdin.clone().unwrap_or_default();
        let plan = self.staged.rest.clone();
        let length = (script.len() + stdin.len()) as u64 + plan.tar_len();
        session.writer().count(length.saturating_sub(spooled));
        let mut writer = session.writer().blocking();
        let host = host.name.clone();
        tokio::task::spawn_blocking(move || {
            let failed = |error: io::Error| {
                Error::new(ErrorKind::NotStarted, "failed to send the task")
                    .on_host(&host)
                    .caused_by(error)
            };
            if spooled > 0 {
                plan.check_unchanged()?;
            }
            writer.write_all(&script).map_err(failed)?;
            writer.write_all(&stdin).map_err(failed)?;
            plan.write_tar(&mut Rest { skip: spooled, sink: &mut writer })?;
            writer.flush().map_err(failed)
        })
    }
}

/// What comes after the first bytes.
pub(super) struct Rest<'a> {
    pub(super) skip: u64,
    pub(super) sink: &'a mut dyn Write,
}

impl Write for Rest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match usize::try_from(self.skip) {
            Ok(0) => self.sink.write(bytes),
            skip => {
                let skipped = skip.unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= skipped as u64;
                Ok(skipped)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Who runs tasks from here, as `user@host`, for those who list them on a host.
pub(super) fn origin() -> String {
    let user = Account::current().user;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A line of its own is what it gets there.
    format!("{user}@{host}").replace(|c: char| c.is_control(), "_")
}
