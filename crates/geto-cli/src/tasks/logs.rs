//! `geto logs`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use geto::bytes::Bytes;
use geto::{Error, ErrorKind, Event, ExitCode, Fleet, OutputFrom};
use tokio::sync::Notify;

use super::find::{Finder, Found};
use super::until_signal;
use crate::app::{fleet, unwritten};
use crate::args::LogsArgs;
use crate::exit;
use crate::output::{Output, Stream};
use crate::printer::Printer;

/// Prints what a task has written.
pub(crate) async fn logs(args: &LogsArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    until_signal(async {
        let found = args.task.find(&mut Finder::new(&fleet, &args.task.hosts, printer)).await?;
        let output = Output::start();
        match home(args, &found) {
            Some(path) => print_file(args, &path, &output)?,
            None => follow(args, &fleet, found, &output, printer).await?,
        }
        match output.finish() {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OUTPUT_GONE),
            Err(error) => Err(unwritten(error)),
        }
    })
    .await
}

async fn follow(
    args: &LogsArgs,
    fleet: &Fleet,
    found: Found,
    output: &Output,
    printer: Printer,
) -> Result<(), Error> {
    let from = args.lines.map_or(OutputFrom::Beginning, OutputFrom::Tail);
    let (stdout, stderr) = match args.stderr {
        true => (OutputFrom::Nowhere, from),
        false => (from, OutputFrom::Nowhere),
    };
    let gone = Arc::new(Notify::new());
    let nobody_reads = Arc::clone(&gone);
    let mut attach = fleet.attach(found.host, found.id).stdout(stdout).stderr(stderr);
    if !args.follow {
        attach = attach.so_far();
    }
    let attach = attach.follow(move |event| match event {
        Event::Stdout(bytes) | Event::Stderr(bytes) => {
            let written = output.write(Stream::Stdout, bytes);
            written.unwrap_or_else(|_| nobody_reads.notify_one());
        }
        Event::Warning(text) => printer.warning(&text),
        _ => {}
    });
    tokio::select! {
        ended = attach.watch() => ended.map(drop),
        () = gone.notified() => Ok(()),
    }
}

/// The file here, when the host does not have the task any more.
fn home(args: &LogsArgs, found: &Found) -> Option<PathBuf> {
    let entry = found.entry.as_ref()?;
    if entry.on_host != Some(false) || entry.results_removed {
        return None;
    }
    let name = if args.stderr { "stderr" } else { "stdout" };
    entry.results.as_ref().map(|results| results.join(name)).filter(|path| path.is_file())
}

fn print_file(args: &LogsArgs, path: &std::path::Path, output: &Output) -> Result<(), Error> {
    let text = fs_err::read(path).map_err(|error| {
        Error::new(ErrorKind::Local, "failed to read the results").caused_by(error)
    })?;
    let from = args.lines.map_or(0, |lines| start_of_tail(&text, lines));
    // `finish` tells when it can't be written.
    drop(output.write(Stream::Stdout, Bytes::from(text).slice(from..)));
    Ok(())
}

/// Where the last `lines` lines begin.
fn start_of_tail(text: &[u8], lines: u64) -> usize {
    if lines == 0 {
        return text.len();
    }
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let before = usize::try_from(lines - 1).unwrap_or(usize::MAX);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(before).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_those_that_tail_prints() {
        for (lines, expected) in [(0, ""), (1, "c\n"), (2, "b\nc\n"), (9, "a\nb\nc\n")] {
            let text = "a\nb\nc\n";
            assert_eq!(&text[start_of_tail(text.as_bytes(), lines)..], expected);
        }
        assert_eq!(start_of_tail(b"a\nb", 1), 2);
        assert_eq!(start_of_tail(b"", 3), 0);
    }
}
