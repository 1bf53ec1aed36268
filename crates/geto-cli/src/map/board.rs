//! What has happened in a batch, shown as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use geto::bytes::Bytes;
use geto::map::{
    Fate, Interrupter, Interruption, MapDone, MapEvent, MapPlace, MapReport, StopReason, Tried,
};
use geto::text::printable;
use geto::units::human_duration;
use geto::{Error, ErrorKind, Event, Outcome, TaskId};
use serde_json::{Value, json};

use super::bar::Bar;
use super::job::{Job, Recipe};
use super::kept;
use super::log::Log;
use super::summary::Summary;
use crate::args::MapArgs;
use crate::events::{files_line, line, merge, object, results_object};
use crate::lines::Lines;
use crate::output::{Output, Stream};
use crate::printer::{Form, Printer, error_object};

/// How much of a file is shown at a time.
const PIECE: usize = 64 << 10;

/// How output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Objects,
    /// Line by line, as it comes.
    Stream,
    /// Of each task when it has ended.
    Grouped,
    /// Likewise, in the order of the inputs.
    InOrder,
}

/// What has happened in a batch.
pub(super) struct Board<'a> {
    recipe: &'a Recipe,
    log: Option<Log>,
    /// Where outputs are kept, too.
    kept: Option<PathBuf>,
    show: Show,
    is_tagged: bool,
    printer: Printer,
    output: Output,
    interrupter: Interrupter,
    /// Tasks that have been begun and are not done with.
    live: BTreeMap<u64, Live>,
    /// Of those whose turn it is not: where their output is.
    waiting: BTreeMap<u64, (Vec<u8>, Option<PathBuf>)>,
    bar: Bar,
    summary: Summary,
    was_interrupted: bool,
    /// What was said of which host.
    warned: BTreeSet<(String, &'static str)>,
    broken: Option<io::Error>,
}

/// A task under way.
struct Live {
    host: String,
    id: TaskId,
    is_started: bool,
    streams: Option<[Lines; 2]>,
}

impl<'a> Board<'a> {
    pub(super) fn new(
        args: &MapArgs,
        recipe: &'a Recipe,
        log: Option<Log>,
        (printer, bar, output): (Printer, Bar, Output),
        interrupter: Interrupter,
    ) -> Self {
        let show = match printer.form() {
            Form::Json => Show::Objects,
            Form::Text if args.show.stream => Show::Stream,
            Form::Text if args.show.keep_order => Show::InOrder,
            Form::Text => Show::Grouped,
        };
        Self {
            recipe,
            log,
            kept: args.show.results.clone(),
            show,
            is_tagged: args.show.tag,
            printer,
            output,
            interrupter,
            live: BTreeMap::new(),
            waiting: BTreeMap::new(),
            bar,
            summary: Summary::new(args.home.into.as_deref()),
            was_interrupted: false,
            warned: BTreeSet::new(),
            broken: None,
        }
    }

    pub(super) fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }

    /// Shows what has happened.
    pub(super) fn take(&mut self, event: MapEvent<'_, Job>) {
        if self.show == Show::Objects
            && let Some(object) = event_object(&event)
        {
            self.write(Stream::Stdout, line(&object));
        }
        match event {
            MapEvent::Host { host, slots } => {
                self.detail(&format!("`{host}` takes {slots} tasks at once"));
            }
            MapEvent::Attempt { job, place, id } => self.begin(job, place, id),
            MapEvent::Event { place, event, .. } => self.event(place, event),
            MapEvent::Repeated { job, tried } => self.repeated(job, tried),
            MapEvent::Done(done) => self.done(done),
            MapEvent::Interrupted(step) => self.interrupted(step),
            MapEvent::Stopped(reason) => self.stopped(reason),
            MapEvent::Failed(error) => {
                self.say(|printer| printer.error(error));
                let running = self.live.len();
                self.say(|printer| {
                    printer
                        .note(&format!("no more tasks are started; {running} go on to their end"));
                });
            }
            MapEvent::Slow { host, rest } => {
                let rest = human_duration(rest);
                let text = format!(
                    "`{host}` takes far longer for its tasks than others do, and gets none for {rest}"
                );
                self.say(|printer| printer.note(&text));
            }
            MapEvent::Progress { counts, hosts } => self.bar.progress(&counts, hosts),
            _ => {}
        }
    }

    fn begin(&mut self, job: &Job, place: MapPlace<'_>, id: TaskId) {
        let streams = (self.show == Show::Stream).then(|| {
            let prefix = if self.is_tagged { tag(job) } else { Vec::new() };
            [Lines::behind(prefix.clone()), Lines::behind(prefix)]
        });
        if let Some(log) = &mut self.log {
            let command = self.recipe.command(job, Some(&place), place.sequence);
            log.begin(place.sequence, command);
        }
        let host = place.host.to_owned();
        self.live.insert(place.sequence, Live { host, id, is_started: false, streams });
    }

    fn event(&mut self, place: MapPlace<'_>, event: Event) {
        let Some(live) = self.live.get_mut(&place.sequence) else { return };
        let (stream, lines) = match event {
            Event::Started { .. } => {
                live.is_started = true;
                return;
            }
            Event::Stdout(bytes) => {
                let Some([lines, _]) = &mut live.streams else { return };
                (Stream::Stdout, lines.add(&bytes))
            }
            Event::Stderr(bytes) => {
                let Some([_, lines]) = &mut live.streams else { return };
                (Stream::Stderr, lines.add(&bytes))
            }
            Event::Waiting { host, busy } => {
                let reason = busy.describe(self.recipe.script().name(), &host);
                let text =
                    format!("task {} waits: {reason}; {} ahead", place.sequence, busy.ahead());
                return self.detail(&text);
            }
            Event::Awaiting { host, path, by } => {
                let by = by.unwrap_or_else(|| "another task here".to_owned());
                let (number, path) = (place.sequence, path.display());
                return self
                    .detail(&format!("task {number} waits: {by} brings `{path}` to `{host}`"));
            }
            Event::LinkBroken { host, reason } => {
                return self.detail(&format!("the link to `{host}` broke: {reason}"));
            }
            Event::Warning(text) => {
                return self.say(|printer| printer.warning(&format!("`{}`: {text}", place.host)));
            }
            _ => return,
        };
        self.write(stream, lines);
    }

    fn repeated(&mut self, job: &Job, tried: &Tried) {
        self.summary.repeated(tried);
        if let Err(error) = &tried.result {
            self.warn_of_host(&tried.host, error);
        }
        let what = match &tried.result {
            Ok(results) => results.outcome.to_string(),
            Err(error) => error.to_string(),
        };
        self.detail(&format!("`{}` is tried again: {what} on `{}`", label(job), tried.host));
    }

    /// Says once why a host gets no tasks: others may take them all, and nobody would know.
    fn warn_of_host(&mut self, host: &str, error: &Error) {
        let kind = error.kind();
        if !matches!(kind, ErrorKind::Full | ErrorKind::Cancelled)
            && self.warned.insert((host.to_owned(), kind.name()))
        {
            self.say(|printer| printer.warning_of(error));
        }
    }

    fn done(&mut self, done: &MapDone<'_, Job>) {
        let live = self.live.remove(&done.sequence);
        self.summary.add(done, &label(done.job));
        let results = done.tried.and_then(|tried| tried.result.as_ref().ok());
        let directory = results.map(|results| results.directory.as_path());
        if let (Some(kept), Some(directory)) = (&self.kept, directory)
            && let Err(error) = kept::keep(kept, &done.job.input, directory)
        {
            let kept = kept.display();
            let text = format!("output of `{}` is not in `{kept}`: {error}", label(done.job));
            self.say(|printer| printer.warning(&text));
        }
        if let Some(log) = &mut self.log {
            log.add(done);
        }
        match self.show {
            Show::Objects => {}
            Show::Stream => {
                if let Some([mut stdout, mut stderr]) = live.and_then(|live| live.streams) {
                    self.write(Stream::Stdout, stdout.finish());
                    self.write(Stream::Stderr, stderr.finish());
                }
            }
            Show::Grouped => self.show_output(&tag(done.job), directory),
            Show::InOrder => {
                let directory = directory.map(Path::to_owned);
                self.waiting.insert(done.sequence, (tag(done.job), directory));
                self.show_in_turn();
            }
        }
        if let Some(files) = results.and_then(|results| results.files.as_ref()) {
            self.detail(&format!("`{}`: {}", label(done.job), files_line(files)));
        }
    }

    /// Shows those before which no other is to come.
    fn show_in_turn(&mut self) {
        let first = self.live.keys().next().copied();
        while let Some(entry) = self.waiting.first_entry()
            && first.is_none_or(|first| *entry.key() < first)
        {
            let (tag, directory) = entry.remove();
            self.show_output(&tag, directory.as_deref());
        }
    }

    fn show_output(&mut self, tag: &[u8], directory: Option<&Path>) {
        let Some(directory) = directory else { return };
        for (name, stream) in [("stdout", Stream::Stdout), ("stderr", Stream::Stderr)] {
            let prefix = if self.is_tagged { Some(tag.to_vec()) } else { None };
            if let Err(error) = self.show_file(&directory.join(name), stream, prefix) {
                self.broken.get_or_insert(error);
            }
        }
    }

    fn show_file(&mut self, path: &Path, stream: Stream, tag: Option<Vec<u8>>) -> io::Result<()> {
        let mut file = fs_err::File::open(path)?;
        let mut lines = tag.map(Lines::alone);
        loop {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            let is_end = piece.is_empty();
            let bytes = match &mut lines {
                Some(lines) if is_end => lines.finish(),
                Some(lines) => lines.add(&piece),
                None => Bytes::from(piece),
            };
            self.write(stream, bytes);
            if is_end {
                return Ok(());
            }
        }
    }

    fn interrupted(&mut self, step: Interruption) {
        self.was_interrupted = true;
        let running = self.live.len();
        let text = match step {
            Interruption::NoMore => format!(
                "no more tasks are started; {running} run to their end: Ctrl-C once more ends them"
            ),
            Interruption::Kill => {
                format!("ending {running} tasks that run; Ctrl-C once more leaves them")
            }
            Interruption::Leave => format!("leaving {running} tasks as they run"),
        };
        self.say(|printer| printer.note(&text));
        if step == Interruption::Leave {
            self.tell_left();
            self.output.hurry();
        }
    }

    fn stopped(&mut self, reason: StopReason) {
        let text = match reason {
            StopReason::Halt(halt) => format!("no more tasks are started: {halt}"),
            StopReason::NoHost => "no more tasks are started: every host fails".to_owned(),
            _ => return,
        };
        self.say(|printer| printer.note(&text));
    }

    /// Says which tasks go on when geto leaves.
    pub(super) fn tell_left(&self) {
        let started: Vec<_> = self.live.values().filter(|live| live.is_started).collect();
        for Live { host, id, .. } in started.iter().take(LEFT_SHOWN) {
            let object = json!({ "event": "left", "task": id.to_string(), "host": host });
            let text = format!("task {id} goes on on host `{host}`");
            self.say(|printer| printer.insist(&text, &object));
        }
        if let Some(more) = started.len().checked_sub(LEFT_SHOWN).filter(|more| *more > 0) {
            self.say(|printer| printer.note(&format!("and {more} more: `geto ps` shows them")));
        }
    }

    /// Says which tasks have ended and are not in the log.
    fn tell_unwritten(&self) {
        let mut unwritten = self.log.as_ref().map(Log::unwritten).unwrap_or_default();
        if unwritten.is_empty() {
            return;
        }
        unwritten.sort_unstable();
        let shown: Vec<_> = unwritten.iter().take(LEFT_SHOWN).map(u64::to_string).collect();
        let more = match unwritten.len().checked_sub(LEFT_SHOWN).filter(|more| *more > 0) {
            Some(more) => format!(" and {more} more"),
            None => String::new(),
        };
        self.say(|printer| {
            printer.warning(&format!(
                "tasks that have ended and are not in the log: {}{more}; their hosts keep them for \
                 `--resume`",
                shown.join(", ")
            ));
        });
    }

    /// Shows what is left to be shown.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.live.clear();
        self.show_in_turn();
        self.bar.finish();
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Says what the batch came to.
    pub(super) fn summary(&self, report: &MapReport) {
        self.tell_unwritten();
        self.summary.tell(report, self.printer, &self.output);
    }

    fn write(&mut self, stream: Stream, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let output = &self.output;
        let is_shown = self.bar.is_shown();
        let written = self.bar.suspend(|| {
            let written = output.write(stream, bytes);
            // It would be drawn over otherwise.
            if is_shown { written.and_then(|()| output.finish()) } else { written }
        });
        if let Err(error) = written {
            // As processes here would be ended when nobody reads what they write.
            if error.kind() == io::ErrorKind::BrokenPipe && self.broken.is_none() {
                self.interrupter.interrupt();
                self.interrupter.interrupt();
            }
            self.broken.get_or_insert(error);
        }
    }

    fn detail(&self, text: &str) {
        if self.printer.is_verbose() {
            self.say(|printer| printer.detail(text));
        }
    }

    /// Says something without the bar in its way.
    fn say(&self, say: impl FnOnce(Printer)) {
        self.bar.suspend(|| say(self.printer));
    }
}

/// More tasks that are left are counted.
const LEFT_SHOWN: usize = 20;

/// What `--tag` puts in front of lines: the input and a tab, as GNU parallel does.
fn tag(job: &Job) -> Vec<u8> {
    let mut tag = job.input.values().join(&b' ');
    tag.push(b'\t');
    tag
}

/// What a job is called in messages.
pub(super) fn label(job: &Job) -> String {
    const LONGEST: usize = 60;
    let text = printable(&job.input.values().join(&b' '));
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An event as an object; `None` for those that are for a person's eyes only.
fn event_object(event: &MapEvent<'_, Job>) -> Option<Value> {
    let placed = |name: &str, place: &MapPlace<'_>| {
        json!({
            "event": name, "seq": place.sequence, "attempt": place.attempt, "host": place.host,
            "slot": place.slot,
        })
    };
    Some(match event {
        MapEvent::Host { host, slots } => json!({ "event": "host", "host": host, "slots": slots }),
        MapEvent::Attempt { place, id, job } => {
            let mut object = placed("attempt", place);
            merge(&mut object, &json!({ "task": id.to_string(), "input": values(job) }));
            object
        }
        MapEvent::Event { place, event, .. } => {
            let told = object(event.clone(), "")?;
            let mut object = placed(told["event"].as_str().unwrap_or_default(), place);
            merge(&mut object, &told);
            object["host"] = place.host.into();
            object
        }
        MapEvent::Repeated { tried, .. } => {
            let mut object = json!({
                "event": "repeated", "seq": tried.sequence, "attempt": tried.attempt,
                "host": tried.host,
            });
            merge(&mut object, &tried_object(tried));
            object
        }
        MapEvent::Done(done) => {
            let mut object = json!({
                "event": "done", "seq": done.sequence, "input": values(done.job),
                "fate": fate(done.fate), "host": done.host,
            });
            if let Some(tried) = done.tried {
                merge(&mut object, &tried_object(tried));
            }
            object
        }
        MapEvent::Slow { host, rest } => {
            json!({ "event": "slow", "host": host, "rest": rest.as_secs_f64() })
        }
        MapEvent::Interrupted(step) => {
            let step = match step {
                Interruption::NoMore => "no-more",
                Interruption::Kill => "kill",
                Interruption::Leave => "leave",
            };
            json!({ "event": "interrupted", "step": step })
        }
        MapEvent::Stopped(StopReason::Halt(halt)) => {
            json!({ "event": "stopped", "reason": halt.to_string() })
        }
        MapEvent::Stopped(StopReason::NoHost) => {
            json!({ "event": "stopped", "reason": "no-host" })
        }
        _ => return None,
    })
}

fn tried_object(tried: &Tried) -> Value {
    match &tried.result {
        Ok(results) => {
            let mut object = json!({ "results": results_object(results) });
            if let Some(results) = object["results"].as_object_mut() {
                results.remove("event");
            }
            object
        }
        Err(error) => {
            let mut error = serde_json::to_value(error_object(error)).unwrap_or_default();
            if let Some(error) = error.as_object_mut() {
                error.remove("event");
            }
            json!({ "error": error })
        }
    }
}

fn values(job: &Job) -> Vec<String> {
    job.input.values().iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Succeeded => "succeeded",
        Fate::Failed(_) => "failed",
        Fate::Cancelled => "cancelled",
        Fate::NotStarted => "not-started",
        Fate::Lost => "lost",
        Fate::Left => "left",
    }
}

/// What became of a task, for a person.
pub(super) fn way(done: &MapDone<'_, Job>) -> String {
    let result = done.tried.map(|tried| &tried.result);
    match (done.fate, result) {
        (Fate::Failed(_), Some(Ok(results))) => match &results.outcome {
            Outcome::Exited { code } => format!("exit code {code}"),
            outcome => outcome.to_string(),
        },
        (Fate::Failed(_), Some(Err(error))) => match error.kind() {
            ErrorKind::Results => "with results that did not get to their place".to_owned(),
            kind => kind.name().replace('-', " "),
        },
        (Fate::NotStarted, Some(Err(error))) => match error.kind().name() {
            "not-started" => "not started".to_owned(),
            kind => format!("not started ({})", kind.replace('-', " ")),
        },
        (other, _) => fate(other).replace('-', " "),
    }
}
