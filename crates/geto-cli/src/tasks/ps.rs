//! `geto ps`.

use std::io;

use geto::{Error, ExitCode, HostTask};

use super::find::{ask, hosts, tell_dead};
use super::object::object;
use super::table::table;
use super::until_signal;
use crate::app::{fleet, unwritten};
use crate::args::PsArgs;
use crate::exit;
use crate::printer::{Form, Printer};
use crate::streams::write_stdout;

/// Lists the tasks of the login user on the hosts.
pub(crate) async fn ps(args: &PsArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let hosts = hosts(&fleet, &args.hosts, printer).await?;
        let answers = ask(&fleet, hosts).await;
        let tasks: Vec<&HostTask> =
            answers.iter().filter_map(|(_, tasks)| tasks.as_ref().ok()).flatten().collect();
        let written = match printer.form() {
            Form::Json => tasks.iter().try_for_each(|task| printer.object(&object(task))),
            Form::Text if tasks.is_empty() => {
                printer.note("there are no tasks");
                Ok(())
            }
            Form::Text => write_stdout(table(&tasks).as_bytes()),
        };
        match written.and_then(|()| tell_dead(&answers, printer)) {
            Ok(true) => Ok(exit::FAILURE),
            Ok(false) => Ok(ExitCode::SUCCESS),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OUTPUT_GONE),
            Err(error) => Err(unwritten(error)),
        }
    })
    .await
}
