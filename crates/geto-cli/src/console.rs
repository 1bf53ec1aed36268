//! A task that is followed to its end: its output, and what signals do meanwhile.

use std::io;

use geto::bytes::Bytes;
use geto::units::{human_bytes, human_duration};
use geto::{Canceller, Detached, Error, ErrorKind, ExitCode, Outcome, Results, TaskId};
use tokio::task::JoinHandle;

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
        Self::of(Whereabouts::new(id, host), host, script, canceller, printer)
    }

    /// The same, of a task that was started before.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn attached(
        id: TaskId,
        host: &str,
        script: &str,
        canceller: Canceller,
        printer: Printer,
    ) -> Result<(Self, Follower), Error> {
        Self::of(Whereabouts::of_started(id, host), host, script, canceller, printer)
    }

    fn of(
        whereabouts: Whereabouts,
        host: &str,
        script: &str,
        canceller: Canceller,
        printer: Printer,
    ) -> Result<(Self, Follower), Error> {
        let output = Output::start();
        let signals = Signals::catch().map_err(|error| {
            Error::new(ErrorKind::Local, "failed to catch signals").caused_by(error)
        })?;
        // A task of its own: while the output waits for its reader, signals still count.
        let asked_to_end = tokio::spawn(signals.watch(
            canceller.clone(),
            output.clone(),
            true,
            whereabouts.clone(),
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

    /// Prints the id of a task that runs and is left.
    ///
    /// # Errors
    /// Of kind [`Lost`](ErrorKind::Lost), when stdout takes nothing: nobody else knows of the task.
    pub(crate) fn print_left(&self, detached: &Detached) -> Result<ExitCode, Error> {
        let Detached { id, host, .. } = detached;
        let text = Bytes::from(format!("{id}\n"));
        let written = self.output.write(Stream::Stdout, text).and_then(|()| self.output.finish());
        match written {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(Error::new(ErrorKind::Lost, "failed to write the id of the task")
                .of_task(*id)
                .caused_by(error)
                .with_hint(format!(
                    "task {id} runs on host `{host}`: `geto attach -H {host} {id}` goes on with it"
                ))),
        }
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
