//! `geto logs`.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;
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

/// How much of a file is read at once.
const PIECE: usize = 64 << 10;

fn print_file(args: &LogsArgs, path: &Path, output: &Output) -> Result<(), Error> {
    let unread = |error: io::Error| {
        Error::new(ErrorKind::Local, "failed to read the results").caused_by(error)
    };
    let mut file = File::open(path).map_err(unread)?;
    if let Some(lines) = args.lines {
        let from = start_of_tail(&mut file, lines).map_err(unread)?;
        file.seek(SeekFrom::Start(from)).map_err(unread)?;
    }
    loop {
        let mut piece = vec![0; PIECE];
        let length = file.read(&mut piece).map_err(unread)?;
        piece.truncate(length);
        // `finish` tells when it can't be written.
        if length == 0 || output.write(Stream::Stdout, Bytes::from(piece)).is_err() {
            return Ok(());
        }
    }
}

/// Where the last `lines` lines begin.
fn start_of_tail(file: &mut (impl Read + Seek), lines: u64) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut end = size;
    let mut left = lines;
    while left > 0 && end > 0 {
        let from = end.saturating_sub(PIECE as u64);
        let mut piece = vec![0; usize::try_from(end - from).unwrap_or(PIECE)];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut piece)?;
        let feeds = piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        for (at, _) in feeds {
            let next = from + at as u64 + 1;
            // The last one ends the last line.
            if next == size {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(next);
            }
        }
        end = from;
    }
    Ok(if lines == 0 { size } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn the_last_lines_are_those_that_tail_prints() {
        for (lines, expected) in [(0, ""), (1, "c\n"), (2, "b\nc\n"), (9, "a\nb\nc\n")] {
            let text = "a\nb\nc\n";
            let start = start_of_tail(&mut Cursor::new(text), lines).unwrap();
            assert_eq!(&text[usize::try_from(start).unwrap()..], expected);
        }
        let start = |text: &[u8], lines| start_of_tail(&mut Cursor::new(text), lines).unwrap();
        assert_eq!((start(b"a\nb", 1), start(b"", 3), start(b"\n\n", 1)), (2, 0, 1));
        // Over several pieces.
        let text = [vec![b'x'; PIECE], b"\n".to_vec(), vec![b'y'; PIECE]].concat();
        assert_eq!((start(&text, 1), start(&text, 2)), (PIECE as u64 + 1, 0));
    }
}
