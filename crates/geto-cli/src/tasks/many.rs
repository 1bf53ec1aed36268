//! `geto wait`, `kill`, `fetch` and `rm`: what is done to any number of tasks at once.

use std::time::{Duration, SystemTime};

use geto::{Bring, Error, ErrorKind, ExitCode, Fleet, LedgerEnd, Outcome, OutputFrom};
use tokio::task::JoinSet;

use super::find::{Finder, Found};
use super::{record, until_signal};
use crate::app::fleet;
use crate::args::{FetchArgs, KillArgs, RemoveArgs, WaitArgs};
use crate::events::files_line;
use crate::exit;
use crate::printer::Printer;
use crate::run::check_into;

/// Waits until tasks have ended.
pub(crate) async fn wait(args: &WaitArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let tasks = args.tasks.find(&mut Finder::new(&fleet, &args.tasks.hosts, printer)).await?;
        let reconnect = args.link.reconnect;
        let ended = at_once(&fleet, tasks, move |fleet, found| async move {
            if let Some(outcome) = found.home() {
                return Ok(Some(outcome));
            }
            let mut attach = fleet.attach(found.host, found.id);
            if let Some(time) = reconnect {
                attach = attach.reconnect(time);
            }
            attach.stdout(OutputFrom::Nowhere).stderr(OutputFrom::Nowhere).watch().await
        });
        codes(ended.await, printer, |_, outcome| {
            outcome.map_or(exit::FAILURE, |outcome| outcome.exit_code())
        })
    })
    .await
}

/// Ends tasks.
pub(crate) async fn kill(args: &KillArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let tasks = args.tasks.find(&mut Finder::new(&fleet, &args.tasks.hosts, printer)).await?;
        // Those that have ended need not be told of when all are meant.
        let tasks = tasks.into_iter().filter(|found| !args.tasks.all || !found.has_ended());
        let ended = at_once(&fleet, tasks.collect(), |fleet, found| async move {
            let attach = fleet.attach(found.host, found.id);
            attach.canceller().cancel();
            let attach = attach.stdout(OutputFrom::Nowhere).stderr(OutputFrom::Nowhere);
            match attach.watch().await {
                Err(error) if error.kind() == ErrorKind::Cancelled => Ok(Some(Outcome::Cancelled)),
                ended => ended,
            }
        });
        codes(ended.await, printer, |found, outcome| {
            if let Some(outcome) = outcome {
                printer.note(&format!("{}: {outcome}", found.described()));
            }
            ExitCode::SUCCESS
        })
    })
    .await
}

/// Brings home what there is of tasks.
pub(crate) async fn fetch(args: &FetchArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    let bring = match &args.bring[..] {
        [] => None,
        globs => Some(Bring::Globs(globs.to_vec())),
    };
    if let Some(into) = &args.into {
        check_into(into)?;
    }
    until_signal(async {
        let tasks = args.tasks.find(&mut Finder::new(&fleet, &args.tasks.hosts, printer)).await?;
        let (into, overwrite) = (args.into.clone(), args.overwrite);
        let fetched = at_once(&fleet, tasks, move |fleet, found| {
            let (bring, into) = (bring.clone(), into.clone());
            async move {
                let mut attach = fleet.attach(found.host, found.id).so_far().overwrite(overwrite);
                if let Some(bring) = bring {
                    attach = attach.bring(bring);
                }
                if let Some(into) = into {
                    attach = attach.into_dir(into);
                }
                attach.await
            }
        });
        codes(fetched.await, printer, |found, results| {
            if results.outcome == Outcome::Running {
                printer.note(&format!("{} still runs: this is what there is", found.described()));
            } else if found.entry.is_some() {
                record(&fleet, found.id, &LedgerEnd::of(&Ok(results.clone()), true), printer);
            }
            match &results.files {
                Some(files) if files.count > 0 => printer.note(&files_line(files)),
                _ => printer.note(&format!("output in `{}`", results.directory.display())),
            }
            ExitCode::SUCCESS
        })
    })
    .await
}

/// Removes tasks from their hosts.
pub(crate) async fn remove(args: &RemoveArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let mut tasks =
            args.tasks.find(&mut Finder::new(&fleet, &args.tasks.hosts, printer)).await?;
        if let Some(age) = args.older_than {
            tasks.retain(|found| is_older(found, age));
        }
        if tasks.is_empty() {
            printer.note("there is no such task to remove");
        }
        let removed = at_once(&fleet, tasks, |fleet, found| async move {
            fleet.remove(&found.host, found.id).await.map_err(|error| {
                // Only a task that lives is not removed by a host that answers.
                match error.kind() {
                    ErrorKind::Host => {
                        let id = found.id;
                        error.with_hint(format!("`geto kill {id}` ends it when it still runs"))
                    }
                    _ => error,
                }
            })
        });
        codes(removed.await, printer, |found, ()| {
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

/// Does something to all tasks at the same time; what came of it stands in their order.
async fn at_once<T, F>(
    fleet: &Fleet,
    tasks: Vec<Found>,
    work: impl Fn(Fleet, Found) -> F,
) -> Vec<(Found, Result<T, Error>)>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut working = JoinSet::new();
    for (index, found) in tasks.into_iter().enumerate() {
        let done = work(fleet.clone(), found.clone());
        working.spawn(async move { (index, found, done.await) });
    }
    let mut done = working.join_all().await;
    done.sort_by_key(|(index, ..)| *index);
    done.into_iter().map(|(_, found, done)| (found, done)).collect()
}

/// What to end with: the code of the only task, else 0 when it is that for all, else 1. Errors of
/// several are told here.
fn codes<T>(
    mut done: Vec<(Found, Result<T, Error>)>,
    printer: Printer,
    mut code: impl FnMut(&Found, T) -> ExitCode,
) -> Result<ExitCode, Error> {
    if done.len() == 1
        && let Some((found, done)) = done.pop()
    {
        return done.map(|done| code(&found, done));
    }
    let mut all = ExitCode::SUCCESS;
    for (found, done) in done {
        let one = done.map(|done| code(&found, done)).unwrap_or_else(|error| {
            printer.error(&error);
            exit::FAILURE
        });
        if one != ExitCode::SUCCESS {
            all = exit::FAILURE;
        }
    }
    Ok(all)
}
