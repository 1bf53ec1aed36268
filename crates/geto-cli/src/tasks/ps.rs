//! `geto ps`.

use std::io;
use std::time::Duration;

use geto::{Error, ExitCode, Fleet, HostTask};
use tokio::time::{Instant, sleep_until};

use super::find::{Answer, ask, hosts, tell_dead};
use super::object::object;
use super::table::table;
use super::until_signal;
use crate::app::{fleet, unwritten};
use crate::args::PsArgs;
use crate::exit;
use crate::hosts::{Stop, draw};
use crate::printer::{Form, Printer};
use crate::streams::write_stdout;

/// Lists the tasks of the login user on the hosts.
pub(crate) async fn ps(args: &PsArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let shown = match args.watch {
            Some(interval) => watch(args, &fleet, interval, printer).await,
            None => once(args, &fleet, printer).await,
        };
        match shown {
            Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(exit::OUTPUT_GONE)
            }
            Err(Stop::Output(error)) => Err(unwritten(error)),
            Err(Stop::Failed(error)) => Err(error),
            Ok(code) => Ok(code),
        }
    })
    .await
}

async fn once(args: &PsArgs, fleet: &Fleet, printer: Printer) -> Result<ExitCode, Stop> {
    let hosts = hosts(fleet, &args.hosts, printer).await.map_err(Stop::Failed)?;
    let answers = ask(fleet, hosts, printer).await;
    let tasks = tasks(&answers);
    match printer.form() {
        Form::Json => tasks.iter().try_for_each(|task| printer.object(&object(task)))?,
        Form::Text if tasks.is_empty() => printer.note("there are no tasks"),
        Form::Text => write_stdout(table(&tasks).as_bytes())?,
    }
    Ok(match tell_dead(&answers, printer)? {
        true => exit::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Shows the tasks again and again. A round is over when all hosts have answered or failed.
async fn watch(
    args: &PsArgs,
    fleet: &Fleet,
    interval: Duration,
    printer: Printer,
) -> Result<ExitCode, Stop> {
    let mut drawn = false;
    loop {
        let next = Instant::now() + interval;
        if printer.form() == Form::Json {
            once(args, fleet, printer).await?;
        } else {
            let hosts = hosts(fleet, &args.hosts, printer).await.map_err(Stop::Failed)?;
            let answers = ask(fleet, hosts, printer).await;
            let mut text = table(&tasks(&answers));
            for (host, tasks) in &answers {
                if let Err(error) = tasks {
                    let state = error.kind().name().replace('-', " ");
                    text.extend(["`", &*host.name, "`: ", &*state, "\n"]);
                }
            }
            draw(&text, &mut drawn)?;
        }
        sleep_until(next).await;
    }
}

fn tasks(answers: &[Answer]) -> Vec<&HostTask> {
    answers.iter().filter_map(|(_, tasks)| tasks.as_ref().ok()).flatten().collect()
}
