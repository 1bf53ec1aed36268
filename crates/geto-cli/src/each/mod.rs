//! `geto each`.

mod fold;
mod names;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use geto::bytes::Bytes;
use geto::units::human_duration;
use geto::{
    Canceller, EachEvent, Error, ErrorKind, Event, ExitCode, Fleet, Host, HostResult, Outcome,
    RunEach, Task,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use self::fold::{Digest, Folder};
use crate::app::{block_on, fleet, unwritten};
use crate::args::EachArgs;
use crate::events::{Whereabouts, files_line, line, merge, object, results_object};
use crate::exit;
use crate::hosts::allow_many_connections;
use crate::lines::Lines;
use crate::output::{Output, Stream};
use crate::printer::{Form, Printer, error_object};
use crate::prompt::is_asking;
use crate::signals::{Interrupted, Signals};
use crate::task::task;

/// After how long without news those that have ended are shown, when nothing runs and others still
/// don't answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the same task on each of several hosts.
pub(crate) fn each(args: &EachArgs, printer: Printer) -> Result<ExitCode, Error> {
    let task = task(&args.what, &args.task, &args.home, None)?;
    let fleet = fleet(&args.connect)?;
    block_on(async {
        let hosts = fleet.select(&args.hosts.hosts, &args.hosts.exclude_host).await?;
        if hosts.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "there are no hosts to run on")
                .caused_by("no host is named and there is no geto.ini")
                .with_hint("name some with `-H HOST,HOST`, or list them in geto.ini"));
        }
        Box::pin(execute(args, &fleet, &task, hosts, printer)).await
    })
}

async fn execute(
    args: &EachArgs,
    fleet: &Fleet,
    task: &Task,
    hosts: Vec<Host>,
    printer: Printer,
) -> Result<ExitCode, Error> {
    allow_many_connections();
    let form = match (printer.form(), args.live || (hosts.len() == 1 && !args.diff)) {
        (Form::Json, _) => Show::Objects,
        (Form::Text, true) => Show::Live,
        (Form::Text, false) => Show::Folded,
    };
    let run = fleet.run_on_each(task, hosts.clone()).fanout(args.fanout as usize);
    let mut run = into_dirs(run, args, hosts.len())?.keep(args.home.keep);
    if let Some(time) = args.link.reconnect {
        run = run.reconnect(time);
    }
    let output = Output::start();
    let signals = Signals::catch().map_err(|error| {
        Error::new(ErrorKind::Local, "failed to catch signals").caused_by(error)
    })?;
    let canceller = run.canceller();
    let board = Board::new(&hosts, form, printer, output.clone(), canceller.clone());
    let board = Arc::new(Mutex::new(board));
    // What is shown in the end has not been waiting for anybody.
    let is_streaming = form != Show::Folded;
    let task_there = Arc::clone(&board);
    let mut asked_to_end =
        tokio::spawn(signals.watch(canceller, output.clone(), is_streaming, task_there, printer));
    let script = task.script.name().to_owned();
    let begun = Instant::now();
    let running = {
        let board = Arc::clone(&board);
        async { run.follow(move |event| lock(&board).take(event, &script)).await }
    };
    tokio::pin!(running);
    let mut look = tokio::time::interval(PATIENCE / 4);
    let results = loop {
        tokio::select! {
            results = &mut running => break results?,
            _ = look.tick() => lock(&board).show_when_idle(args.diff),
            code = &mut asked_to_end => {
                lock(&board).tell_left();
                return Ok(code.unwrap_or(exit::TERMINATED));
            }
        }
    };
    let shown = lock(&board).finish(args.diff);
    let shown = shown.and_then(|()| output.finish());
    tell(&results, begun.elapsed(), printer);
    match shown {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OUTPUT_GONE),
        Err(error) => Err(unwritten(error)),
        Ok(()) if was_cancelled(&results) => Ok(ExitCode::INTERRUPTED),
        Ok(()) if results.iter().all(HostResult::success) => Ok(ExitCode::SUCCESS),
        Ok(()) => Ok(exit::FAILURE),
    }
}

fn was_cancelled(results: &[HostResult]) -> bool {
    results.iter().any(|one| match &one.result {
        Ok(results) => results.outcome == Outcome::Cancelled,
        Err(error) => error.kind() == ErrorKind::Cancelled,
    })
}

/// Says where the files go.
fn into_dirs<'a>(run: RunEach<'a>, args: &'a EachArgs, hosts: usize) -> Result<RunEach<'a>, Error> {
    let Some(into) = &args.home.into else { return Ok(run) };
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    let Some(into) = into.to_str() else {
        return Err(usage(format!("`{}` is no text in UTF-8", into.display())));
    };
    if hosts > 1 && !into.contains("{host}") {
        return Err(usage(format!("`{into}` would take the files of {hosts} hosts"))
            .with_hint(format!("`{into}/{{host}}` is a directory for each")));
    }
    let directory = |host: &Host| PathBuf::from(into.replace("{host}", &file_name(&host.name)));
    Ok(run.into_dirs(directory).overwrite(args.home.overwrite))
}

/// A host's name as one part of a path.
fn file_name(host: &str) -> String {
    match host {
        "." | ".." => host.replace('.', "_"),
        _ => host.replace(['/', '\0'], "_"),
    }
}

/// How output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// As objects.
    Objects,
    /// Each line with its host in front, as it comes.
    Live,
    /// When all have ended, what is equal once.
    Folded,
}

/// What has happened on all hosts.
struct Board {
    form: Show,
    printer: Printer,
    output: Output,
    canceller: Canceller,
    hosts: HashMap<String, Progress>,
    folder: Folder,
    latest: Instant,
    bar: Option<ProgressBar>,
    broken: Option<io::Error>,
    /// The user has asked for the end of all.
    is_asked: bool,
}

/// What has happened on one host.
struct Progress {
    connected: bool,
    started: Option<Whereabouts>,
    done: bool,
    digest: Digest,
    stdout: Lines,
    stderr: Lines,
}

impl Board {
    fn new(
        hosts: &[Host],
        form: Show,
        printer: Printer,
        output: Output,
        canceller: Canceller,
    ) -> Self {
        let progress = |host: &Host| Progress {
            connected: false,
            started: None,
            done: false,
            digest: Digest::default(),
            stdout: Lines::of(&host.name),
            stderr: Lines::of(&host.name),
        };
        let bar = (form == Show::Folded && printer.is_talking()).then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(hosts.len() as u64), target);
            match ProgressStyle::with_template("{pos} of {len} hosts {bar:30}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self {
            form,
            printer,
            output,
            canceller,
            hosts: hosts.iter().map(|host| (host.name.clone(), progress(host))).collect(),
            folder: Folder::default(),
            latest: Instant::now(),
            bar,
            broken: None,
            is_asked: false,
        }
    }

    fn take(&mut self, event: EachEvent<'_>, script: &str) {
        match event {
            EachEvent::Event { host, event } => self.event(host, event, script),
            EachEvent::Done(result) => self.done(result),
            _ => {}
        }
    }

    fn event(&mut self, host: &str, event: Event, script: &str) {
        let Some(progress) = self.hosts.get_mut(host) else { return };
        match &event {
            Event::Connected { .. } => progress.connected = true,
            Event::Started { id, directory, .. } => {
                let place = Whereabouts::new(*id, host);
                place.started(directory);
                if self.is_asked {
                    place.ask();
                }
                progress.started = Some(place);
            }
            Event::Ending { .. } => progress.started.iter().for_each(Whereabouts::ending),
            Event::Ended { .. } => progress.started.iter().for_each(Whereabouts::ended),
            Event::Home { directory } => {
                progress.started.iter().for_each(|place| place.home(directory));
            }
            _ => {}
        }
        if self.form == Show::Objects {
            if let Some(object) = object(event, script) {
                let mut named = json!({ "event": object["event"], "host": host });
                merge(&mut named, &object);
                self.write(Stream::Stdout, line(&named));
            }
            return;
        }
        match event {
            Event::Stdout(bytes) => self.grow(host, Stream::Stdout, &bytes),
            Event::Stderr(bytes) => self.grow(host, Stream::Stderr, &bytes),
            Event::Connected { login, .. } => {
                self.detail(&format!("logged into `{host}` after {}", human_duration(login)));
            }
            Event::Warning(text) => self.suspended(|printer| {
                printer.warning(&format!("`{host}`: {text}"));
            }),
            _ => {}
        }
    }

    fn grow(&mut self, host: &str, stream: Stream, bytes: &[u8]) {
        let Some(progress) = self.hosts.get_mut(host) else { return };
        if self.form == Show::Folded {
            progress.digest.add(stream, bytes);
            return;
        }
        let lines = match stream {
            Stream::Stdout => progress.stdout.add(bytes),
            Stream::Stderr => progress.stderr.add(bytes),
        };
        self.write(stream, lines);
    }

    fn done(&mut self, result: &HostResult) {
        let Some(progress) = self.hosts.get_mut(&result.host) else { return };
        progress.done = true;
        self.latest = Instant::now();
        let rest = [
            (Stream::Stdout, progress.stdout.finish()),
            (Stream::Stderr, progress.stderr.finish()),
        ];
        match self.form {
            Show::Folded => self.folder.add(result, &progress.digest),
            Show::Live => {
                rest.into_iter().for_each(|(stream, bytes)| self.write(stream, bytes));
                self.tell_end(result);
            }
            Show::Objects => {
                let object = match &result.result {
                    Ok(results) => results_object(results),
                    Err(error) => {
                        let mut object = json!({ "event": "error", "host": result.host });
                        let error = serde_json::to_value(error_object(error)).unwrap_or_default();
                        merge(&mut object, &error);
                        object["host"] = result.host.clone().into();
                        object
                    }
                };
                self.write(Stream::Stdout, line(&object));
            }
        }
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        if let Ok(results) = &result.result
            && let Some(files) = &results.files
        {
            self.detail(&format!("`{}`: {}", result.host, files_line(files)));
        }
    }

    /// Says how it ended on a host, in its place among the lines.
    fn tell_end(&mut self, result: &HostResult) {
        match &result.result {
            Ok(results) if results.outcome.success() => {}
            Ok(results) => {
                let text = format!("geto: `{}` {}\n", result.host, results.outcome);
                self.write(Stream::Stderr, Bytes::from(text));
            }
            Err(error) => {
                // Behind all that came before.
                drop(self.output.finish());
                self.printer.error_text(error);
            }
        }
    }

    /// Shows those that have ended when nothing else is going on but waiting for hosts that do not
    /// answer.
    fn show_when_idle(&mut self, diff: bool) {
        let runs = self.hosts.values().any(|host| host.connected && !host.done);
        let is_idle = !runs && self.latest.elapsed() >= PATIENCE && !is_asking();
        if self.form == Show::Folded && is_idle && !self.folder.is_empty() {
            self.show(diff);
        }
    }

    fn show(&mut self, diff: bool) {
        let (folder, output, printer) = (&mut self.folder, &self.output, self.printer);
        let mut show = || folder.show(output, printer, diff).and_then(|()| output.finish());
        let shown = match &self.bar {
            Some(bar) => bar.suspend(show),
            None => show(),
        };
        self.note_broken(shown);
    }

    /// Shows the rest.
    fn finish(&mut self, diff: bool) -> io::Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if self.form == Show::Folded {
            self.show(diff);
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, stream: Stream, bytes: Bytes) {
        if !bytes.is_empty() {
            let written = self.output.write(stream, bytes);
            self.note_broken(written);
        }
    }

    fn note_broken(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            // As processes here would be ended when nobody reads what they write.
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.canceller.cancel();
            }
            self.broken.get_or_insert(error);
        }
    }

    fn detail(&self, text: &str) {
        self.suspended(|printer| printer.detail(text));
    }

    /// Says something without a moving line in its way.
    fn suspended(&self, say: impl FnOnce(Printer)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(self.printer)),
            None => say(self.printer),
        }
    }

    /// Says that geto leaves the tasks, and how to find them.
    fn tell_left(&self) {
        let mut left: Vec<_> = self.hosts.iter().filter(|(_, host)| !host.done).collect();
        left.sort_by_key(|(name, _)| *name);
        for place in left.iter().filter_map(|(_, host)| host.started.as_ref()) {
            place.tell(self.printer);
        }
    }
}

impl Interrupted for Arc<Mutex<Board>> {
    fn ask(&self) -> bool {
        let mut board = lock(self);
        board.is_asked = true;
        let mut any = false;
        for place in
            board.hosts.values().filter(|host| !host.done).filter_map(|h| h.started.as_ref())
        {
            any |= place.ask();
        }
        any
    }

    fn is_told(&self) -> bool {
        let board = lock(self);
        let mut there = board.hosts.values().filter(|host| host.connected && !host.done);
        there.all(|host| host.started.as_ref().is_some_and(Interrupted::is_told))
    }

    fn is_placing(&self) -> bool {
        let board = lock(self);
        let mut there = board.hosts.values().filter(|host| !host.done);
        there.any(|host| host.started.as_ref().is_some_and(Interrupted::is_placing))
    }
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says how many ended in which way.
fn tell(results: &[HostResult], time: Duration, printer: Printer) {
    let mut ways: BTreeMap<String, usize> = BTreeMap::new();
    for one in results {
        let way = match &one.result {
            Ok(results) => match &results.outcome {
                Outcome::Exited { code: 0 } => "ok".to_owned(),
                Outcome::Exited { code } => format!("exit code {code}"),
                outcome => outcome.to_string(),
            },
            Err(error) => error.kind().name().replace('-', " "),
        };
        *ways.entry(way).or_default() += 1;
    }
    let ok = ways.remove("ok").unwrap_or_default();
    if printer.form() == Form::Json {
        let object = json!({
            "event": "summary", "hosts": results.len(), "ok": ok, "others": ways,
            "time": time.as_secs_f64(),
        });
        // When it can't be written, the end of the output has told.
        drop(printer.object(&object));
        return;
    }
    let mut ways: Vec<_> = ways.into_iter().collect();
    ways.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut parts = vec![format!("{ok} ok")];
    parts.extend(ways.into_iter().map(|(way, count)| format!("{count} {way}")));
    let hosts = match results.len() {
        1 => "1 host".to_owned(),
        count => format!("{count} hosts"),
    };
    printer.note(&format!("{hosts}: {}; {}", parts.join(", "), human_duration(time)));
    let files: u64 = results
        .iter()
        .flat_map(|one| &one.result)
        .flat_map(|results| &results.files)
        .map(|files| files.count)
        .sum();
    if files > 0 {
        printer.note(&format!("{files} files came home; `-v` tells where"));
    }
}
