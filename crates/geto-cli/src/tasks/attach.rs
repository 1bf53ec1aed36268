//! `geto attach`.

use geto::{Error, ExitCode, OutputFrom};

use super::find::Finder;
use super::record_home;
use crate::app::fleet;
use crate::args::AttachArgs;
use crate::console::Console;
use crate::printer::Printer;
use crate::run::check_into;

/// Follows a task to its end, as if `geto run` had never stopped.
pub(crate) async fn attach(args: &AttachArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    let found = args.task.find(&mut Finder::new(&fleet, &args.task.hosts, printer)).await?;
    if let (Some((outcome, text)), None) = (found.told_home(), &args.into) {
        printer.note(&text);
        return Ok(outcome.exit_code());
    }
    let keep = !args.rm && (args.keep || found.is_kept());
    let mut attach = fleet.attach(found.host.clone(), found.id);
    attach = attach.keep(keep).overwrite(args.overwrite);
    if args.from_now {
        attach = attach.stdout(OutputFrom::Now).stderr(OutputFrom::Now);
    }
    let said = found.entry.as_ref().and_then(|entry| entry.max_results);
    if let Some(bytes) = args.max_results.or(said) {
        attach = attach.max_results(bytes);
    }
    if let Some(time) = args.link.reconnect {
        attach = attach.reconnect(time);
    }
    if let Some(into) = &args.into {
        check_into(into)?;
        attach = attach.into_dir(into);
    }
    let canceller = attach.canceller();
    let (mut console, mut follower) =
        Console::attached(found.id, &found.host.name, &found.script, canceller, printer)?;
    let running = attach.follow(move |event| follower.take(event));
    let ended = match console.wait_for(async { running.await }).await {
        Ok(ended) => ended.map_err(|error| found.hinted(error)),
        Err(code) => return Ok(code),
    };
    record_home(&fleet, &found, &ended, keep, printer);
    console.conclude(ended, keep)
}
