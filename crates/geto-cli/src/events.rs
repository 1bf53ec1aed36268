//! What happens to a task, shown as it happens.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use geto::bytes::Bytes;
use geto::units::{human_bytes, human_duration};
use geto::{Canceller, Event, Outcome, TaskId};
use serde_json::json;

use crate::output::{Output, Stream};
use crate::printer::{Form, Printer};
use crate::progress::{Progress, Waits};
use crate::signals::Interrupted;

/// Where the task is, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts(Arc<Mutex<Place>>);

#[derive(Debug)]
struct Place {
    id: TaskId,
    host: String,
    connected: bool,
    /// It waits for a slot: no longer than somebody waits for it.
    waits: bool,
    /// It was started by another process, which has told its id.
    is_started: bool,
    directory: Option<String>,
    /// The user has asked for its end.
    is_asked: bool,
    /// The host has heard of that.
    is_ending: bool,
    /// The script has ended.
    has_ended: bool,
    /// Where its results are, once they are home.
    home: Option<PathBuf>,
}

impl Whereabouts {
    /// Makes those of a task that is to run on `host`.
    pub(crate) fn new(id: TaskId, host: &str) -> Self {
        Self::of(id, host, false)
    }

    /// Makes those of a task that was started before.
    pub(crate) fn of_started(id: TaskId, host: &str) -> Self {
        Self::of(id, host, true)
    }

    fn of(id: TaskId, host: &str, is_started: bool) -> Self {
        let host = host.to_owned();
        let place = Place {
            id,
            host,
            connected: false,
            waits: false,
            is_started,
            directory: None,
            is_asked: false,
            is_ending: false,
            has_ended: false,
            home: None,
        };
        Self(Arc::new(Mutex::new(place)))
    }

    /// Says that geto leaves the task, and how to find it.
    pub(crate) fn tell(&self, printer: Printer) {
        self.with(|place| {
            let Place { id, host, connected, waits, is_started, directory, .. } = &*place;
            let what = match place {
                Place { has_ended: true, .. } => "has ended on",
                Place { is_ending: true, .. } => "is being ended on",
                _ => "goes on on",
            };
            let untold = match place {
                Place { is_asked: true, is_ending: false, has_ended: false, .. } => format!(
                    "; the host has not said that it ends it: `geto kill -H {host} {id}` does"
                ),
                _ => String::new(),
            };
            let text = match (&place.home, directory) {
                (Some(home), _) => format!(
                    "the results of task {id} are in `{}`, and not all files were put into place",
                    home.display()
                ),
                (None, Some(directory)) => format!(
                    "task {id} {what} host `{host}`{untold}; its files are in `{directory}`, its \
                     output and outcome beside it; `geto attach -H {host} {id}` goes on with it"
                ),
                (None, None) if *is_started => format!(
                    "task {id} is left as it is on host `{host}`{untold}; `geto attach -H {host} {id}` \
                     goes on with it"
                ),
                (None, None) if *waits => format!(
                    "task {id} gives up its place in the queue on host `{host}`: it was not started"
                ),
                (None, None) if *connected => format!(
                    "task {id} was not seen to start on host `{host}`; `geto ps -H {host}` lists it \
                     if it did{untold}"
                ),
                (None, None) => "the task was not started".to_owned(),
            };
            let object = json!({
                "event": "left", "task": id.to_string(), "host": host, "directory": directory,
                "ending": place.is_ending, "results": place.home,
            });
            printer.insist(&text, &object);
        });
    }

    /// Says where the host keeps the task.
    pub(crate) fn tell_kept(&self, printer: Printer) {
        self.with(|Place { host, directory, .. }| {
            if let Some(directory) = directory {
                printer.note(&format!("kept on host `{host}`: `{directory}`"));
            }
        });
    }

    /// The host has heard that the task is to be ended.
    pub(crate) fn ending(&self) {
        self.with(|place| place.is_ending = true);
    }

    /// The script has ended.
    pub(crate) fn ended(&self) {
        self.with(|place| place.has_ended = true);
    }

    /// The results are home, and its files are about to be put into place.
    pub(crate) fn home(&self, directory: &Path) {
        self.with(|place| place.home = Some(directory.to_owned()));
    }

    /// The script runs in `directory`.
    pub(crate) fn started(&self, directory: &str) {
        self.with(|place| place.directory = Some(directory.to_owned()));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Place) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Interrupted for Whereabouts {
    fn ask(&self) -> bool {
        self.with(|place| {
            place.is_asked = true;
            place.directory.is_some() && place.home.is_none()
        })
    }

    fn is_told(&self) -> bool {
        self.with(|place| {
            let is_there = place.connected || place.is_started || place.directory.is_some();
            place.is_ending || place.has_ended || !is_there
        })
    }

    fn is_placing(&self) -> bool {
        self.with(|place| place.home.is_some())
    }
}

/// Shows events.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) printer: Printer,
    pub(crate) output: Output,
    pub(crate) canceller: Canceller,
    pub(crate) whereabouts: Whereabouts,
    pub(crate) progress: Progress,
    /// The script's name.
    pub(crate) script: String,
    pub(crate) waits: Waits,
}

impl Follower {
    /// Shows what has happened.
    pub(crate) fn take(&mut self, event: Event) {
        match &event {
            Event::Ending { .. } => self.whereabouts.ending(),
            Event::Home { directory } => self.whereabouts.home(directory),
            Event::Ended { .. } => self.whereabouts.ended(),
            _ => {}
        }
        match self.printer.form() {
            Form::Text => self.show(event),
            Form::Json => self.show_object(event),
        }
    }

    fn show(&mut self, event: Event) {
        let printer = self.printer;
        match event {
            Event::Connecting { host } => printer.detail(&format!("connecting to `{host}`")),
            Event::Connected { host, login } => {
                self.whereabouts.with(|place| place.connected = true);
                printer.detail(&format!("logged into `{host}` after {}", human_duration(login)));
            }
            Event::Chosen { host, among } => {
                self.whereabouts.with(|place| place.host.clone_from(&host));
                printer.note(&format!("`{host}` of {among}"));
            }
            Event::Waiting { host, busy } => {
                self.whereabouts.with(|place| place.waits = true);
                let reason = busy.describe(&self.script, &host).to_string();
                let ahead = match busy.ahead() {
                    0 => String::new(),
                    ahead => format!("; {ahead} ahead"),
                };
                self.waits.tell(printer, &host, &format!("waiting: {reason}{ahead}"));
            }
            Event::Awaiting { host, path, by } => {
                let by = by.unwrap_or_else(|| "another task here".to_owned());
                printer
                    .note(&format!("waiting: `{}` is brought to `{host}` by {by}", path.display()));
            }
            Event::Slot { slots, gpus } => {
                self.whereabouts.with(|place| place.waits = false);
                self.waits.done();
                let gpus = match &*gpus {
                    "" => String::new(),
                    gpus => format!(", GPU {gpus}"),
                };
                printer.detail(&format!("let in with slot {slots}{gpus}"));
            }
            Event::Sending { bytes, total } => self.progress.sending(bytes, total),
            Event::Started { host, directory, .. } => {
                self.progress.done();
                printer.detail(&format!("started on `{host}` in `{directory}`"));
                self.whereabouts.started(&directory);
            }
            Event::Stdout(bytes) => self.pass_on(Stream::Stdout, bytes),
            Event::Stderr(bytes) => self.pass_on(Stream::Stderr, bytes),
            Event::Ended { outcome, run_time } => {
                let text = format!("{outcome} after {}", human_duration(run_time));
                match outcome {
                    Outcome::Exited { .. } => printer.detail(&text),
                    _ => printer.note(&text),
                }
            }
            Event::LinkBroken { host, reason } => {
                printer.warning(&format!("the link to `{host}` broke, making it again: {reason}"));
            }
            Event::LinkBack { host, after } => {
                printer
                    .note(&format!("the link to `{host}` is back after {}", human_duration(after)));
            }
            Event::Receiving { bytes } => self.progress.receiving(bytes),
            Event::Warning(text) => printer.warning(&text),
            _ => {}
        }
    }

    fn show_object(&mut self, event: Event) {
        match &event {
            Event::Connected { .. } => self.whereabouts.with(|place| place.connected = true),
            Event::Chosen { host, .. } => {
                self.whereabouts.with(|place| place.host.clone_from(host));
            }
            Event::Waiting { .. } => self.whereabouts.with(|place| place.waits = true),
            Event::Slot { .. } => self.whereabouts.with(|place| place.waits = false),
            Event::Started { directory, .. } => self.whereabouts.started(directory),
            _ => {}
        }
        if let Some(object) = object(event, &self.script) {
            self.pass_on(Stream::Stdout, line(&object));
        }
    }

    fn pass_on(&self, stream: Stream, bytes: Bytes) {
        match self.output.write(stream, bytes) {
            // As a process here would be ended when nobody reads what it writes.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.canceller.cancel(),
            // Told in the end; the results have it all.
            _ => {}
        }
    }
}

/// An event as an object; `None` for those that are for a person's eyes only.
pub(crate) fn object(event: Event, script: &str) -> Option<serde_json::Value> {
    Some(match event {
        Event::Connecting { host } => json!({ "event": "connecting", "host": host }),
        Event::Connected { host, login } => {
            json!({ "event": "connected", "host": host, "login": login.as_secs_f64() })
        }
        Event::Chosen { host, among } => {
            json!({ "event": "chosen", "host": host, "among": among })
        }
        Event::Waiting { host, busy } => {
            let message = busy.describe(script, &host).to_string();
            let ahead = busy.ahead();
            json!({ "event": "waiting", "host": host, "message": message, "ahead": ahead })
        }
        Event::Awaiting { host, path, by } => {
            json!({ "event": "awaiting", "host": host, "path": path.to_string_lossy(), "by": by })
        }
        Event::Slot { slots, gpus } => {
            json!({ "event": "slot", "slots": numbers(&slots), "gpus": numbers(&gpus) })
        }
        Event::Started { id, host, directory } => {
            let task = id.to_string();
            json!({ "event": "started", "task": task, "host": host, "directory": directory })
        }
        Event::Stdout(bytes) => chunk("stdout", &bytes),
        Event::Stderr(bytes) => chunk("stderr", &bytes),
        Event::Ended { outcome, run_time } => {
            let mut object = json!({ "event": "ended", "run_time": run_time.as_secs_f64() });
            merge(&mut object, &serde_json::to_value(&outcome).unwrap_or_default());
            object
        }
        Event::Ending { host } => json!({ "event": "ending", "host": host }),
        Event::LinkBroken { host, reason } => {
            json!({ "event": "link-broken", "host": host, "message": reason })
        }
        Event::LinkBack { host, after } => {
            json!({ "event": "link-back", "host": host, "after": after.as_secs_f64() })
        }
        Event::Warning(text) => json!({ "event": "warning", "message": text }),
        _ => return None,
    })
}

/// The numbers of slots or GPUs, which commas part.
pub(crate) fn numbers(text: &str) -> Vec<u32> {
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

/// Output as an object: text where it is text, else base64.
fn chunk(event: &str, bytes: &[u8]) -> serde_json::Value {
    use base64::Engine as _;

    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "event": event, "text": text }),
        Err(_) => {
            let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
            json!({ "event": event, "base64": base64 })
        }
    }
}

/// Adds the members of another object.
pub(crate) fn merge(object: &mut serde_json::Value, other: &serde_json::Value) {
    if let (Some(object), Some(other)) = (object.as_object_mut(), other.as_object()) {
        object.extend(other.clone());
    }
}

/// What came home, as an object.
pub(crate) fn results_object(results: &geto::Results) -> serde_json::Value {
    let mut object = json!({
        "event": "results",
        "directory": results.directory,
        "files": results.files.as_ref().map(|files| json!({
            "directory": files.directory, "count": files.count, "bytes": files.bytes,
        })),
    });
    let outcome = fs_err::read(results.directory.join("outcome.json")).ok();
    if let Some(Ok(outcome)) = outcome.map(|text| serde_json::from_slice(&text)) {
        merge(&mut object, &outcome);
    }
    object
}

/// An object as a line.
pub(crate) fn line(object: &serde_json::Value) -> Bytes {
    Bytes::from(format!("{object}\n"))
}

/// Says how much came home and where to.
pub(crate) fn files_line(files: &geto::FilesHome) -> String {
    files_in(files.count, files.bytes, &files.directory)
}

/// The same, of so many files of so many bytes.
pub(crate) fn files_in(count: u64, bytes: u64, directory: &Path) -> String {
    let count = match count {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    format!("{count}, {} in `{}`", human_bytes(bytes), directory.display())
}
