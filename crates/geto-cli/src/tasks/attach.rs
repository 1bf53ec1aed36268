//! `geto attach`.

use geto::{Error, ErrorKind, ExitCode, LedgerEnd, OutputFrom};

use super::find::Finder;
use super::record;
use crate::app::fleet;
use crate::args::AttachArgs;
use crate::console::Console;
use crate::printer::Printer;
use crate::run::check_into;

/// Follows a task to its end, as if `geto run` had never stopped.
pub(crate) async fn attach(args: &AttachArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    let found = args.task.find(&mut Finder::new(&fleet, &args.task.hosts, printer)).await?;
    let is_own = found.entry.is_some();
    // Who started it removes it once its results are home; others leave it to them.
    let was_kept = found.entry.as_ref().is_none_or(|entry| entry.keep);
    let keep = !args.rm && (args.keep || was_kept);
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
        Ok(ended) => ended,
        Err(code) => return Ok(code),
    };
    let tells = match &ended {
        Ok(_) => true,
        // That a host can't be reached says nothing about the task.
        Err(error) => matches!(error.kind(), ErrorKind::Lost | ErrorKind::Results),
    };
    if is_own && tells {
        record(&fleet, found.id, &LedgerEnd::of(&ended, keep), printer);
    }
    console.conclude(ended, keep)
}
