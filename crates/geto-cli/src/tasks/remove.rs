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
        codes(removed, is_partial(&args.tasks, &finder), printer, |found, ()| {
            if found.entry.is_some()
                && let Ok(Some(ledger)) = fleet.ledger()
                && let Err(error) = ledger.record_removed(found.id)
            {
                printer.warning_of(&error);
            }
            printer.note(&format!("removed {}", found.described()));
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

/// Removes tasks, in one session of each host. What came of each is told, host by host.
async fn from_hosts(
    fleet: &Fleet,
    tasks: Vec<Found>,
    removal: Removal,
) -> Vec<(Found, Result<(), Error>)> {
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
            let removed = fleet.remove_all(&host, &ids, removal).await;
            let one = |(found, removed): (Found, Result<(), Error>)| {
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
