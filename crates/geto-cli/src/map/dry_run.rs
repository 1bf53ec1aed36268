//! `--dry-run`: what would be done, for each task.

use std::io;
use std::time::Duration;

use geto::bytes::Bytes;
use geto::map::plan::{Decision, End, Plan};
use geto::map::{MapPlace, Policy};
use geto::{Error, ExitCode, Fleet, Host};
use serde_json::json;

use super::job::{Job, Recipe};
use crate::app::unwritten;
use crate::args::MapArgs;
use crate::events::line;
use crate::exit;
use crate::output::{Output, Stream};
use crate::printer::{Form, Printer};

/// Prints command, files and bytes of each task, and the host that it would go to.
pub(super) async fn dry_run(
    args: &MapArgs,
    fleet: &Fleet,
    recipe: &Recipe,
    hosts: Vec<Host>,
    mut jobs: impl Iterator<Item = Result<(u64, Job), Error>>,
    printer: Printer,
) -> Result<ExitCode, Error> {
    let mut plan = Plan::new(Policy::default());
    let mut names = Vec::new();
    for host in hosts {
        if let Some(slots) = slots(args, fleet, recipe, &host, printer).await {
            plan.add_host(slots, slots);
            names.push(host.name);
        }
    }
    let output = Output::start();
    let mut failure = None;
    let mut running = std::collections::VecDeque::new();
    let mut more = std::iter::from_fn(|| match jobs.next()? {
        Ok(job) => Some(job),
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let shown = loop {
        match plan.next(Duration::ZERO, &mut more) {
            Decision::Start(attempt) => {
                running.push_back(attempt);
                let (Some(job), Some(host)) =
                    (plan.task(attempt.sequence), names.get(attempt.host.index()))
                else {
                    continue;
                };
                let place = MapPlace::new(attempt.sequence, host, attempt.slot);
                let text = described(fleet, recipe, job, &place, printer).await?;
                if let Err(error) = output.write(Stream::Stdout, text) {
                    break Err(error);
                }
            }
            // All slots are taken: those that came first have ended, let us say.
            Decision::Wait { .. } => match running.pop_front() {
                Some(attempt) => drop(plan.ended(attempt, End::Succeeded, Duration::ZERO)),
                None => break Ok(()),
            },
            Decision::Over => break Ok(()),
            _ => {}
        }
    };
    match (shown.and_then(|()| output.finish()), failure) {
        (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OUTPUT_GONE),
        (Err(error), _) => Err(unwritten(error)),
        (Ok(()), Some(failure)) => Err(failure),
        (Ok(()), None) => Ok(ExitCode::SUCCESS),
    }
}

/// How many tasks a host takes at once; it is asked where nothing here says so.
async fn slots(
    args: &MapArgs,
    fleet: &Fleet,
    recipe: &Recipe,
    host: &Host,
    printer: Printer,
) -> Option<u32> {
    let each = recipe.slots().max(1);
    if let Some(jobs) = args.jobs.into_iter().chain(recipe.limit()).min() {
        return Some(jobs);
    }
    let slots = match host.slots {
        Some(slots) => slots,
        None => match fleet.probe(host).await {
            Ok(status) => status.slots.unwrap_or(1),
            Err(error) => {
                printer.warning_of(&error);
                return None;
            }
        },
    };
    Some((slots / each).max(1))
}

async fn described(
    fleet: &Fleet,
    recipe: &Recipe,
    job: &Job,
    place: &MapPlace<'_>,
    printer: Printer,
) -> Result<Bytes, Error> {
    let order = recipe.order(job, place)?;
    let plan = match order.task.dependencies.is_empty() {
        true => Vec::new(),
        false => fleet.plan(&order.task).await?.dependencies,
    };
    let files: u64 = plan.iter().map(|dependency| dependency.files).sum();
    let bytes: u64 = plan.iter().map(|dependency| dependency.bytes).sum();
    let command = recipe.command(job, Some(place), place.sequence);
    if printer.form() == Form::Json {
        return Ok(line(&json!({
            "event": "plan", "seq": place.sequence, "host": place.host, "command": command,
            "files": files, "bytes": bytes, "into": order.into,
        })));
    }
    let host = geto::text::printable(place.host.as_bytes());
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    Ok(Bytes::from(format!("{host}\t{files}\t{bytes} bytes\t{command}\n")))
}
