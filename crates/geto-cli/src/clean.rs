//! `geto clean`.

use std::time::Duration;

use geto::units::{human_bytes, human_duration};
use geto::{Error, ErrorKind, ExitCode, Fleet, StaleResults};

use tokio::task::JoinSet;

use crate::app::{configured, fleet};
use crate::args::CleanArgs;
use crate::exit;
use crate::hosts::allow_many_connections;
use crate::printer::Printer;
use crate::tasks::hosts;

/// Removes local results that have had their time.
pub(crate) fn clean(args: &CleanArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = configured(&args.connect.config)?;
    let age = age(args, &fleet)?;
    let stale = fleet.stale_results(age)?;
    let place = fleet.local_work_path().display();
    if stale.count() + stale.leftovers() == 0 {
        printer.note(&format!("there is nothing older than {} in `{place}`", human_duration(age)));
    } else if args.dry_run {
        printer.note(&format!("would remove {} from `{place}`", describe(&stale)));
    } else {
        let described = describe(&stale);
        stale.remove()?;
        printer.note(&format!("removed {described} from `{place}`"));
    }
    if !args.dry_run
        && let Some(ledger) = fleet.ledger()?
    {
        ledger.drop_old_entries()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the dependencies that hosts keep; each host is told of as it answers.
pub(crate) async fn cache(args: &CleanArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    let hosts = hosts(&fleet, &args.hosts, printer).await?;
    allow_many_connections();
    let mut asked = JoinSet::new();
    for host in hosts {
        let fleet = fleet.clone();
        asked.spawn(async move {
            let freed = fleet.evict_cache(&host).await;
            (host, freed)
        });
    }
    let mut code = ExitCode::SUCCESS;
    while let Some(answer) = asked.join_next().await {
        let (host, freed) = answer.expect("invariant: nobody ends these");
        match freed {
            Ok(bytes) => {
                printer.note(&format!("freed {} on host `{}`", human_bytes(bytes), host.name));
            }
            Err(error) => {
                printer.error(&error);
                code = exit::FAILURE;
            }
        }
    }
    Ok(code)
}

fn age(args: &CleanArgs, fleet: &Fleet) -> Result<Duration, Error> {
    let kept = fleet.settings().keep_results;
    let age = if args.all { Some(Duration::ZERO) } else { args.older_than.or(kept) };
    age.ok_or_else(|| {
        Error::new(ErrorKind::Usage, "there is no age from which on results are removed")
            .caused_by("geto.ini says that they are kept for ever (keep_results=0)")
            .with_hint("pass `--older-than 30d`, or `--all`")
    })
}

fn describe(stale: &StaleResults) -> String {
    let results = match stale.count() {
        1 => "1 result".to_owned(),
        count => format!("{count} results"),
    };
    let leftovers = match stale.leftovers() {
        0 => String::new(),
        1 => " and 1 leftover".to_owned(),
        count => format!(" and {count} leftovers"),
    };
    format!("{results}{leftovers}, {},", human_bytes(stale.bytes()))
}
