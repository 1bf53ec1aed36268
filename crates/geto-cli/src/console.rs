//! A task that is followed to its end: its output, and what signals do meanwhile.

use std::io;

use geto::bytes::Bytes;
use geto::units::{human_bytes, human_duration};
use geto::{Canceller, Error, ErrorKind, ExitCode, Outcome, Results, TaskId};
use tokio::task::JoinHandle;

use crate::app::unwritten;
use crate::events::{Follower, Whereabouts, files_line, line, results_object};
use crate::exit;
use crate::output::{Output, Stream};
use crate::printer::{Form, Printer};
use crate::progress::{Progress, Waits};
use crate::signals::Signals;

/// Where a task is shown that somebody waits for.
#[derive(Debug)]
pub(crate) struct Console {
    printer: Printer,
    output: Output,
    whereabouts: Whereabouts,
    asked_to_end: JoinHandle<ExitCode>,
}

impl Console {
    /// Catches signals from now on, and makes who shows the events of the task `id` of `script` on
    /// `host`.
    ///
    /// # Errors
    /// When the system does not let geto catch signals.
    pub(crate) fn start(
        id: TaskId,
        host: &str,
        script: &str,
        canceller: Canceller,
        printer: Printer,
    ) -> Result<(Self, Follower), Error> {
        let whereabouts = Whereabouts::new(id, host);
        let output = Output::start();
        let signals = Signals::catch().map_err(|error| {
            Error::new(ErrorKind::Local, "failed to catch signals").caused_by(error)
        })?;
        // A task of its own: while the output waits for its reader, signals still count.
        let asked_to_end = tokio::spawn(signals.watch(
            canceller.clone(),
            output.clone(),
            true,
            {
                let whereabouts = whereabouts.clone();
                move || whereabouts.is_started()
            },
            printer,
        ));
        let follower = Follower {
            printer,
            output: output.clone(),
            canceller,
            whereabouts: whereabouts.clone(),
            progress: Progress::new(printer, host),
            script: script.to_owned(),
            waits: Waits::default(),
        };
        Ok((Self { printer, output, whereabouts, asked_to_end }, follower))
    }

    /// Waits for `running`. A signal that leaves the task is an error: what geto ends with.
    pub(crate) async fn wait_for<T>(
        &mut self,
        running: impl Future<Output = T>,
    ) -> Result<T, ExitCode> {
        tokio::select! {
            ended = running => Ok(ended),
            code = &mut self.asked_to_end => {
                self.whereabouts.tell(self.printer);
                Err(code.unwrap_or(exit::TERMINATED))
            }
        }
    }

    /// Prints what is asked for instead of output.
    pub(crate) fn print(&self, text: &str) -> Result<ExitCode, Error> {
        let text = Bytes::from(text.to_owned());
        let written = self.output.write(Stream::Stdout, text).and_then(|()| self.output.finish());
        written.map_err(unwritten)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Says what came of the task, and whether the host keeps it.
    pub(crate) fn conclude(
        &self,
        ended: Result<Results, Error>,
        keep: bool,
    ) -> Result<ExitCode, Error> {
        let Self { printer, output, whereabouts, .. } = self;
        if let Ok(results) = &ended {
            tell(results, *printer, output);
            if keep {
                whereabouts.tell_kept(*printer);
            }
        }
        match (output.finish(), ended) {
            // What the task ended with says nothing about output that nobody took.
            (Err(error), _) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OUTPUT_GONE),
            (Err(error), Ok(results)) => {
                let whole = results.directory.display();
                Err(Error::new(ErrorKind::Results, "failed to write to stdout")
                    .of_task(results.id)
                    .caused_by(error)
                    .with_hint(format!("all output is in `{whole}`")))
            }
            (_, ended) => ended.map(|results| results.outcome.exit_code()),
        }
    }
}

/// Says what came home.
fn tell(results: &Results, printer: Printer, output: &Output) {
    if printer.form() == Form::Json {
        // When it can't be written, `finish` tells.
        drop(output.write(Stream::Stdout, line(&results_object(results))));
        return;
    }
    // Behind all that the task wrote.
    drop(output.finish());
    printer.detail(&format!(
        "ran {} with {} of processor time; sent {}, received {}",
        human_duration(results.run_time),
        human_duration(results.cpu_time),
        human_bytes(results.bytes_sent),
        human_bytes(results.bytes_received),
    ));
    if let Outcome::Lost { reason } = &results.outcome {
        let message = format!("the end of the task on host `{}` is not known", results.host);
        let hint = format!("what came home is in `{}`", results.directory.display());
        printer.error_lines(&message, std::slice::from_ref(reason), Some(&hint));
    }
    match &results.files {
        Some(files) if files.count > 0 => printer.note(&files_line(files)),
        _ => printer.detail(&format!("output in `{}`", results.directory.display())),
    }
}
