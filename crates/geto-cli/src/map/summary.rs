//! What a batch came to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use geto::ErrorKind;
use geto::map::{Fate, MapDone, MapReport, Tried};
use geto::text::printable;
use geto::units::human_duration;
use serde_json::json;

use super::board::way;
use super::job::Job;
use crate::events::{files_in, line};
use crate::output::{Output, Stream};
use crate::printer::{Form, Printer, causes};

/// How many of the slowest tasks are named.
const SLOWEST: usize = 3;
/// More hosts than these are not listed.
const HOSTS_SHOWN: usize = 16;
/// How much of the end of stderr is looked at for its last line.
const TAIL: u64 = 4096;

/// Failures that are alike.
#[derive(Debug)]
struct Failure {
    count: u64,
    /// The first of them.
    example: String,
    /// Whether it is geto's own, and not the script's.
    is_error: bool,
}

/// What has become of tasks so far.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// By what they are called.
    failures: BTreeMap<String, Failure>,
    /// Those that took longest, longest first.
    slowest: Vec<(Duration, String, String)>,
    repeated: u64,
    files: u64,
    bytes: u64,
    /// Where the first of them are, and whether all are there.
    place: Option<(PathBuf, bool)>,
    /// Where they were to go.
    into: Option<PathBuf>,
}

impl Summary {
    /// Makes one for results that go into that directory.
    pub(super) fn new(into: Option<&Path>) -> Self {
        Self { into: into.map(Path::to_owned), ..Self::default() }
    }

    pub(super) fn add(&mut self, done: &MapDone<'_, Job>, label: &str) {
        if done.fate != Fate::Succeeded {
            let new = || Failure {
                count: 0,
                example: example(done, label),
                is_error: done.tried.is_some_and(|tried| tried.result.is_err()),
            };
            self.failures.entry(way(done)).or_insert_with(new).count += 1;
        }
        let results = done.tried.and_then(|tried| tried.result.as_ref().ok());
        let files = results.and_then(|results| results.files.as_ref());
        if let Some(files) = files.filter(|files| files.count > 0) {
            self.files += files.count;
            self.bytes += files.bytes;
            let first = || (files.directory.clone(), true);
            let (place, is_only) = self.place.get_or_insert_with(first);
            *is_only &= *place == files.directory;
        }
        let Some(time) = results.map(|results| results.run_time) else { return };
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|(t, ..)| time > *t) {
            let at = self.slowest.partition_point(|(other, ..)| *other >= time);
            self.slowest.insert(at, (time, label.to_owned(), done.host.to_owned()));
            self.slowest.truncate(SLOWEST);
        }
    }

    /// An attempt did not count. That a host had no room is no failure.
    pub(super) fn repeated(&mut self, tried: &Tried) {
        let is_full = matches!(&tried.result, Err(error) if error.kind() == ErrorKind::Full);
        self.repeated += u64::from(!is_full);
    }

    /// Says it.
    pub(super) fn tell(&self, report: &MapReport, printer: Printer, output: &Output) {
        if printer.form() == Form::Json {
            // When it can't be written, the end of the output has told.
            drop(output.write(Stream::Stdout, line(&self.object(report))));
            drop(output.finish());
            return;
        }
        let counts = report.counts;
        let mut ways = vec![format!("{} ok", counts.succeeded)];
        ways.extend(
            self.failures.iter().map(|(way, Failure { count, .. })| format!("{count} {way}")),
        );
        if self.repeated > 0 {
            ways.push(format!("{} tried again", self.repeated));
        }
        let tasks = match counts.done() {
            1 => "1 task".to_owned(),
            done => format!("{done} tasks"),
        };
        printer.note(&format!("{tasks}: {}; {}", ways.join(", "), human_duration(report.time)));
        if let Some(files) = self.files() {
            printer.note(&files);
        }
        for (way, Failure { count, example, is_error }) in &self.failures {
            let text = format!("{way} ({count}): {example}");
            match *is_error && !printer.is_talking() {
                true => printer.error_lines(&text, &[], None),
                false => printer.note(&text),
            }
        }
        if counts.done() < 2 {
            return;
        }
        let slowest = self
            .slowest
            .iter()
            .map(|(time, label, host)| format!("`{label}` {} on `{host}`", human_duration(*time)));
        let slowest: Vec<_> = slowest.collect();
        if !slowest.is_empty() {
            printer.note(&format!("slowest: {}", slowest.join(", ")));
        }
        for host in report.hosts.iter().take(HOSTS_SHOWN) {
            let name = printable(host.name.as_bytes());
            printer.note(&format!(
                "`{name}`: {} tasks, busy for {} on {} {}",
                host.ended,
                human_duration(host.busy),
                host.slots,
                if host.slots == 1 { "slot" } else { "slots" },
            ));
        }
        if let Some(efficiency) = efficiency(report) {
            printer.note(&format!("{:.0} % of the slots' time was used", 100.0 * efficiency));
        }
    }

    /// The files that came home, and where they are.
    fn files(&self) -> Option<String> {
        let (place, is_only) = self.place.as_ref()?;
        let directory = match (is_only, &self.into) {
            (true, _) => place.clone(),
            (false, Some(into)) => into.clone(),
            (false, None) => {
                let root = place.parent().and_then(Path::parent);
                root.unwrap_or(place).join("<task>").join("files")
            }
        };
        Some(files_in(self.files, self.bytes, &directory))
    }

    fn object(&self, report: &MapReport) -> serde_json::Value {
        let counts = report.counts;
        let hosts: Vec<_> = report
            .hosts
            .iter()
            .map(|host| {
                json!({
                    "host": host.name, "slots": host.slots, "tasks": host.ended,
                    "busy": host.busy.as_secs_f64(),
                })
            })
            .collect();
        let failures: BTreeMap<_, _> =
            self.failures.iter().map(|(way, failure)| (way, failure.count)).collect();
        json!({
            "event": "summary", "tasks": counts.done(), "ok": counts.succeeded,
            "others": failures, "repeated": self.repeated, "files": self.files,
            "bytes": self.bytes, "hosts": hosts,
            "time": report.time.as_secs_f64(), "efficiency": efficiency(report),
        })
    }
}

/// The share of the time of all slots in which a task had them.
fn efficiency(report: &MapReport) -> Option<f64> {
    let busy: Duration = report.hosts.iter().map(|host| host.busy).sum();
    let slots: u32 = report.hosts.iter().map(|host| host.slots).sum();
    let there = report.time * slots;
    (!there.is_zero()).then(|| (busy.as_secs_f64() / there.as_secs_f64()).min(1.0))
}

/// One failure, for a person.
fn example(done: &MapDone<'_, Job>, label: &str) -> String {
    let place = format!("`{label}` on `{}`", done.host);
    match done.tried.map(|tried| &tried.result) {
        Some(Ok(results)) => {
            let directory = results.directory.display();
            match last_line(&results.directory.join("stderr")) {
                Some(said) => format!("{place} said `{said}`; all of it is in `{directory}`"),
                None => format!("{place}; its output is in `{directory}`"),
            }
        }
        Some(Err(error)) => {
            let mut texts = vec![error.to_string()];
            texts.extend(causes(error));
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("`{label}`: {}{hint}", texts.join(": "))
        }
        None => place,
    }
}

/// The last line of a file that is not empty.
fn last_line(path: &Path) -> Option<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};

    let mut file = fs_err::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    let line = text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next()?;
    let line: String = printable(line.trim_ascii()).chars().take(200).collect();
    (!line.is_empty()).then_some(line)
}
