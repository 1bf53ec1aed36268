//! Tasks that a run before this one has left on hosts, for `--resume`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use geto::map::key::Key;
use geto::{Error, Fleet, Host, TaskId, TaskState};

use crate::printer::Printer;

/// How long a host may take to be done with what it was being sent when geto ended.
const SENDING: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(200);

/// Tasks of an earlier run with the same log, by their tags.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    found: Mutex<HashMap<String, Vec<Found>>>,
    /// Those that are in the log already: geto was ended before it told their hosts.
    logged: Mutex<Vec<Found>>,
}

#[derive(Debug)]
struct Found {
    host: Host,
    id: TaskId,
    has_ended: bool,
}

/// What hosts recognise the task of this key and log by.
pub(super) fn tag(key: Key, log: &Path) -> String {
    key.with_content([&b"log"[..], log.as_os_str().as_encoded_bytes()]).to_string()
}

impl Earlier {
    /// Asks all hosts for tasks.
    ///
    /// # Errors
    /// When a host can't be asked: what runs there must not run elsewhere, too.
    pub(super) async fn find(&self, fleet: &Fleet, hosts: &[Host]) -> Result<(), Error> {
        let mut found: HashMap<String, Vec<Found>> = HashMap::new();
        for host in hosts {
            let begun = tokio::time::Instant::now();
            loop {
                let tasks = fleet.tasks(host).await.map_err(|error| {
                    error.with_hint(
                        "tasks of the last run may go on there: when they are over, by \
                         their `--lease`, leave the host out with `-x`",
                    )
                })?;
                let tagged = || tasks.iter().filter(|task| task.tag.is_some());
                // Its session has ended, or is about to.
                if tagged().any(|task| task.state == TaskState::Sending)
                    && begun.elapsed() < SENDING
                {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                for task in tagged().filter(|task| task.state != TaskState::Sending) {
                    let has_ended = task.state == TaskState::Ended;
                    let one = Found { host: host.clone(), id: task.id, has_ended };
                    found.entry(task.tag.clone().unwrap_or_default()).or_default().push(one);
                }
                break;
            }
        }
        *lock(&self.found) = found;
        Ok(())
    }

    /// Takes one of these, for a job of that tag.
    pub(super) fn take(&self, tag: &str) -> Option<(Host, TaskId)> {
        let found = lock(&self.found).get_mut(tag)?.pop()?;
        Some((found.host, found.id))
    }

    /// Whether there is one for a job of that tag.
    pub(super) fn has(&self, tag: &str) -> bool {
        lock(&self.found).get(tag).is_some_and(|found| !found.is_empty())
    }

    /// A job of that tag is done, as the log says.
    pub(super) fn is_logged(&self, tag: &str) {
        let mut all = lock(&self.found);
        let Some(found) = all.get_mut(tag) else { return };
        if let Some(at) = found.iter().position(|found| found.has_ended) {
            lock(&self.logged).push(found.swap_remove(at));
        }
    }

    /// Removes those that are in the log from their hosts.
    pub(super) async fn clear(&self, fleet: &Fleet, printer: Printer) {
        let logged = std::mem::take(&mut *lock(&self.logged));
        for Found { host, id, .. } in logged {
            if let Err(error) = fleet.remove(&host, id).await {
                printer.warning_of(&error);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
