//! `geto rm`.

use std::time::{Duration, SystemTime};

use geto::{Error, ErrorKind, ExitCode, Fleet, Host, Removal, TaskId};
use tokio::task::JoinSet;

use super::find::{Finder, Found};
use super::many::{codes, is_partial};
use super::until_signal;
use crate::app::fleet;
use crate::args::RemoveArgs;
use crate::printer::Printer;

/// Removes tasks from their hosts.
pub(crate) async fn remove(args: &RemoveArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        // A host says `removed` of what it never had, too.
        let mut finder = Finder::new(&fleet, &args.tasks.hosts, printer).looking();
        let mut tasks = args.tasks.find(&mut finder).await?;
        if let Some(age) = args.older_than {
            tasks.retain(|found| is_older(found, age));
        }
        if tasks.is_empty() {
            printer.note("there is no such task to remove");
        }
        let removal = if args.force { Removal::Unseen } else { Removal::Ended };
        let removed = from_hosts(&fleet, tasks, removal).await;
        codes(removed, is_partial(&args.tasks, &finder), printer, |found, was_there| {
            if found.entry.is_some()
                && let Ok(Some(ledger)) = fleet.ledger()
                && let Err(error) = ledger.record_removed(found.id)
            {
                printer.warning_of(&error);
            }
            printer.note(&match was_there {
                true => format!("removed {}", found.described()),
                false => format!("{} was not there any more", found.described()),
            });
            ExitCode::SUCCESS
        })
    })
    .await
}

fn is_older(found: &Found, age: Duration) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ended = found.listed.as_ref().and_then(geto::HostTask::ended);
    ended.is_some_and(|ended| now.saturating_sub(ended) >= age)
}

/// Removes tasks, in one session of each host. What came of each is told, host by host: whether it was
/// there before.
async fn from_hosts(
    fleet: &Fleet,
    tasks: Vec<Found>,
    removal: Removal,
) -> Vec<(Found, Result<bool, Error>)> {
    let mut hosts: Vec<(Host, Vec<Found>)> = Vec::new();
    for found in tasks {
        match hosts.iter_mut().find(|(host, _)| *host == found.host) {
            Some((_, same)) => same.push(found),
            None => hosts.push((found.host.clone(), vec![found])),
        }
    }
    let mut removing = JoinSet::new();
    for (index, (host, tasks)) in hosts.into_iter().enumerate() {
        let fleet = fleet.clone();
        removing.spawn(async move {
            let ids: Vec<TaskId> = tasks.iter().map(|found| found.id).collect();
            // A host says the same of what it has not, and the ledger does not know what others removed.
            let listed = match tasks.iter().all(|found| found.listed.is_some()) {
                true => None,
                false => fleet.tasks(&host).await.ok(),
            };
            let was_there = |id: TaskId| {
                listed.as_ref().is_none_or(|tasks| tasks.iter().any(|task| task.id == id))
            };
            let removed = fleet.remove_all(&host, &ids, removal).await;
            let one = |(found, removed): (Found, Result<(), Error>)| {
                let removed = removed.map(|()| was_there(found.id));
                let removed = removed.map_err(|error| hinted(error, found.id));
                (found, removed)
            };
            (index, tasks.into_iter().zip(removed).map(one).collect::<Vec<_>>())
        });
    }
    let mut removed = removing.join_all().await;
    removed.sort_by_key(|(index, _)| *index);
    removed.into_iter().flat_map(|(_, removed)| removed).collect()
}

fn hinted(error: Error, id: TaskId) -> Error {
    match error.kind() {
        // Only a task that lives is not removed by a host that answers.
        ErrorKind::Host if error.hint().is_none() => {
            error.with_hint(format!("`geto kill {id}` ends it when it still runs"))
        }
        _ => error,
    }
}
