//! `geto wait`, `kill` and `fetch`: what is done to any number of tasks at once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use geto::{
    Attach, Bring, Error, ErrorKind, Event, ExitCode, Fleet, LedgerEnd, Outcome, OutputFrom, TaskId,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::find::{Finder, Found};
use super::{record, until_signal};
use crate::app::fleet;
use crate::args::{FetchArgs, KillArgs, ManyArgs, WaitArgs};
use crate::events::files_line;
use crate::exit;
use crate::printer::Printer;
use crate::run::check_into;

/// Waits until tasks have ended.
pub(crate) async fn wait(args: &WaitArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let mut finder = Finder::new(&fleet, &args.tasks.hosts, printer);
        let tasks = args.tasks.find(&mut finder).await?;
        let reconnect = args.link.reconnect;
        let ended = at_once(&fleet, tasks, move |fleet, found| async move {
            if let Some(outcome) = found.home() {
                return Ok(Some(outcome));
            }
            let mut attach = fleet.attach(found.host.clone(), found.id);
            if let Some(time) = reconnect {
                attach = attach.reconnect(time);
            }
            watch(attach, &fleet, &found, printer).await
        });
        codes(ended.await, is_partial(&args.tasks, &finder), printer, |_, outcome| {
            outcome.map_or(exit::FAILURE, |outcome| outcome.exit_code())
        })
    })
    .await
}

/// Ends tasks.
pub(crate) async fn kill(args: &KillArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let mut finder = Finder::new(&fleet, &args.tasks.hosts, printer);
        let tasks = args.tasks.find(&mut finder).await?;
        // Those that have ended need not be told of when all are meant.
        let tasks = tasks.into_iter().filter(|found| !args.tasks.all || !found.has_ended());
        let tasks = tasks.filter(|found| !tell_home(found, printer));
        let ended = at_once(&fleet, tasks.collect(), move |fleet, found| async move {
            let attach = fleet.attach(found.host.clone(), found.id);
            attach.canceller().cancel();
            watch(attach, &fleet, &found, printer).await
        });
        codes(ended.await, is_partial(&args.tasks, &finder), printer, |found, outcome| {
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
    until_signal(async {
        let mut finder = Finder::new(&fleet, &args.tasks.hosts, printer);
        let mut tasks = args.tasks.find(&mut finder).await?;
        if args.into.is_none() && bring.is_none() {
            tasks.retain(|found| !tell_home(found, printer));
        }
        let directories = directories(args, &tasks)?;
        let (overwrite, max_results) = (args.overwrite, args.max_results);
        let fetched = at_once(&fleet, tasks, |fleet, found| {
            let (bring, into) = (bring.clone(), directories.get(&found.id).cloned());
            async move {
                let mut attach = fleet.attach(found.host.clone(), found.id).so_far();
                attach = attach.overwrite(overwrite);
                let said = found.entry.as_ref().and_then(|entry| entry.max_results);
                if let Some(bytes) = max_results.or(said) {
                    attach = attach.max_results(bytes);
                }
                if let Some(bring) = bring {
                    attach = attach.bring(bring);
                }
                if let Some(into) = into {
                    attach = attach.into_dir(into);
                }
                attach.await.map_err(|error| found.hinted(error))
            }
        });
        codes(fetched.await, is_partial(&args.tasks, &finder), printer, |found, results| {
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

/// Says of a task whose results are home where they are; false when they are not.
fn tell_home(found: &Found, printer: Printer) -> bool {
    let told = found.told_home();
    if let Some((_, text)) = &told {
        printer.note(text);
    }
    told.is_some()
}

/// Where the files of each task go when `--into` says it.
fn directories(args: &FetchArgs, tasks: &[Found]) -> Result<HashMap<TaskId, PathBuf>, Error> {
    let Some(into) = &args.into else { return Ok(HashMap::new()) };
    let bytes = into.as_os_str().as_encoded_bytes();
    if tasks.len() > 1 && !contains(bytes, b"{task}") {
        let message = "failed to put the files of several tasks into one directory";
        return Err(Error::new(ErrorKind::Usage, message)
            .with_hint("`{task}` in the name of the directory stands for the id"));
    }
    let directory = |found: &Found| {
        let name = into.to_string_lossy();
        let directory = match contains(bytes, b"{task}") {
            true => PathBuf::from(name.replace("{task}", &found.id.to_string())),
            false => into.clone(),
        };
        check_into(&directory).map(|()| (found.id, directory))
    };
    tasks.iter().map(directory).collect()
}

/// Follows a task to its end; the ledger learns of it.
pub(crate) async fn watch(
    attach: Attach<'_>,
    fleet: &Fleet,
    found: &Found,
    printer: Printer,
) -> Result<Option<Outcome>, Error> {
    let mut run_time = Duration::ZERO;
    let attach = attach.stdout(OutputFrom::Nowhere).stderr(OutputFrom::Nowhere);
    let attach = attach.follow(|event| match event {
        Event::Ended { run_time: time, .. } => run_time = time,
        Event::Warning(text) => printer.warning(&format!("{}: {text}", found.described())),
        _ => {}
    });
    let ended = match attach.watch().await {
        // It was not started, and nothing is left of it.
        Err(error) if error.kind() == ErrorKind::Cancelled => Ok(Some(Outcome::Cancelled)),
        ended => ended,
    };
    if let (Ok(Some(outcome)), true) = (&ended, found.entry.is_some()) {
        let mut end = LedgerEnd::default();
        (end.outcome, end.run_time) = (Some(outcome.clone()), Some(run_time));
        record(fleet, found.id, &end, printer);
    }
    ended
}

/// Whether there may be more tasks than were found.
pub(super) fn is_partial(args: &ManyArgs, finder: &Finder<'_>) -> bool {
    (args.all || args.finished) && finder.has_missed()
}

/// How many tasks of a host something is done to at once: no more than fit into one connection of a
/// stock server.
const AT_ONCE: usize = 8;

/// Does something to all tasks at the same time, to some of each host; what came of it stands in their
/// order.
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
    let mut turns: HashMap<String, Arc<Semaphore>> = HashMap::new();
    for (index, found) in tasks.into_iter().enumerate() {
        let done = work(fleet.clone(), found.clone());
        let turns = turns.entry(found.host.name.clone());
        let turns = Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))));
        working.spawn(async move {
            // Nobody closes it.
            let _turn = turns.acquire_owned().await;
            (index, found, done.await)
        });
    }
    let mut done = working.join_all().await;
    done.sort_by_key(|(index, ..)| *index);
    done.into_iter().map(|(_, found, done)| (found, done)).collect()
}

/// What to end with: the code of the only task, else 0 when it is that for all, else 1. Errors of
/// several are told here. When tasks may have been missed, 1.
pub(super) fn codes<T>(
    mut done: Vec<(Found, Result<T, Error>)>,
    is_partial: bool,
    printer: Printer,
    mut code: impl FnMut(&Found, T) -> ExitCode,
) -> Result<ExitCode, Error> {
    if done.len() == 1
        && !is_partial
        && let Some((found, done)) = done.pop()
    {
        return done.map(|done| code(&found, done));
    }
    let mut all = if is_partial { exit::FAILURE } else { ExitCode::SUCCESS };
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

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
