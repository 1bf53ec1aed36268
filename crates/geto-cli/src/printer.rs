//! What geto says, where, and in which form. Nothing else in the program writes to a terminal.

use std::error::Error as _;
use std::{fmt, io};

use geto::Error;
use geto::text::printable;
use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::args::OutputArgs;
use crate::streams::{write_stderr, write_stdout};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Volume {
    /// Errors only.
    Quiet,
    Normal,
    Verbose,
}

/// In which form it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: data on stdout, messages on stderr.
    Text,
    /// One object a line on stdout; only errors are on stderr, too.
    Json,
}

/// Says things in the way that the user has chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    form: Form,
    volume: Volume,
}

/// An error as an object.
#[derive(Serialize)]
struct ErrorObject<'a> {
    event: &'static str,
    kind: &'static str,
    message: String,
    host: Option<&'a str>,
    task: Option<String>,
    causes: Vec<String>,
    hint: Option<&'a str>,
    exit_code: u8,
}

impl Printer {
    /// Makes the printer that the options ask for.
    pub(crate) fn new(args: &OutputArgs) -> Self {
        let form = if args.json { Form::Json } else { Form::Text };
        let volume = match (args.quiet, args.verbose) {
            (true, _) => Volume::Quiet,
            (false, false) => Volume::Normal,
            (false, true) => Volume::Verbose,
        };
        Self { form, volume }
    }

    /// Makes the printer for programs that read objects.
    pub(crate) fn for_programs() -> Self {
        Self { form: Form::Json, volume: Volume::Quiet }
    }

    /// Makes the printer for commands that have no such options.
    pub(crate) fn plain() -> Self {
        Self { form: Form::Text, volume: Volume::Normal }
    }

    /// The form.
    pub(crate) fn form(self) -> Form {
        self.form
    }

    /// Whether messages beside errors are wanted on stderr.
    pub(crate) fn is_talking(self) -> bool {
        self.form == Form::Text && self.volume >= Volume::Normal
    }

    /// Whether details are wanted on stderr.
    pub(crate) fn is_verbose(self) -> bool {
        self.form == Form::Text && self.volume >= Volume::Verbose
    }

    /// Says what the user should know.
    pub(crate) fn note(self, message: &str) {
        if self.is_talking() {
            say(message);
        }
    }

    /// Says what only a curious user wants to know.
    pub(crate) fn detail(self, message: &str) {
        if self.is_verbose() {
            say(message);
        }
    }

    /// Says what may be wrong.
    pub(crate) fn warning(self, message: &str) {
        self.note(&format!("warning: {message}"));
    }

    /// Says what is wrong with a command line as an object.
    pub(crate) fn usage(self, message: &str) {
        let object = ErrorObject {
            event: "error",
            kind: "usage",
            message: message.trim_start_matches("error: ").trim_end().to_owned(),
            host: None,
            task: None,
            causes: Vec::new(),
            hint: None,
            exit_code: geto::ExitCode::USAGE.0,
        };
        // Whoever closed stdout has the same on stderr.
        drop(self.object(&object));
    }

    /// Says what may be wrong, and what helps.
    pub(crate) fn warning_with_hint(self, message: &str, hint: &str) {
        self.warning(message);
        if self.is_talking() {
            let hint = printable(hint.as_bytes());
            write_stderr(format!("  hint: {hint}\n").as_bytes());
        }
    }

    /// Says what went wrong without being the end.
    pub(crate) fn warning_of(self, error: &Error) {
        let mut texts = vec![error.to_string()];
        texts.extend(causes(error));
        match error.hint() {
            Some(hint) => self.warning_with_hint(&texts.join(": "), hint),
            None => self.warning(&texts.join(": ")),
        }
    }

    /// Says what went wrong, why, and what helps. An object stands on stdout, too, with `--json`.
    pub(crate) fn error(self, error: &Error) {
        if self.form == Form::Json {
            // Whoever closed stdout has the same on stderr.
            drop(self.object(&error_object(error)));
        }
        self.error_text(error);
    }

    /// Says on stderr what went wrong, why, and what helps.
    pub(crate) fn error_text(self, error: &Error) {
        self.error_lines(&error.to_string(), &causes(error), error.hint());
    }

    /// Says on stderr what went wrong, in parts.
    pub(crate) fn error_lines(self, message: &str, causes: &[String], hint: Option<&str>) {
        let mut lines = vec![format!("geto: error: {}", printable(message.as_bytes()))];
        lines.extend(
            causes.iter().map(|cause| format!("  caused by: {}", printable(cause.as_bytes()))),
        );
        lines.extend(hint.map(|hint| format!("  hint: {}", printable(hint.as_bytes()))));
        write_stderr(format!("{}\n", lines.join("\n")).as_bytes());
    }

    /// Says what the user has to know even when only errors are wanted.
    pub(crate) fn insist(self, message: &str, object: &impl Serialize) {
        match self.form {
            Form::Text => say(message),
            Form::Json => drop(self.object(object)),
        }
    }

    /// Shows what the library logs, like all else that is said.
    pub(crate) fn take_log(self) {
        let level = match (self.form, self.volume) {
            (Form::Json, _) | (_, Volume::Quiet) => "geto=error",
            (_, Volume::Normal) => "geto=warn",
            (_, Volume::Verbose) => "geto=debug",
        };
        let layer = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false);
        let layer = layer.with_env_filter(level).event_format(LogLine);
        // Only a second call could fail.
        drop(layer.try_init());
    }

    /// Writes one object as a line on stdout.
    pub(crate) fn object(self, object: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(object)?;
        line.push(b'\n');
        write_stdout(&line)
    }
}

/// How an entry of the log looks.
struct LogLine;

impl<S, N> FormatEvent<S, N> for LogLine
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let kind = match *event.metadata().level() {
            tracing::Level::ERROR => "error: ",
            tracing::Level::WARN => "warning: ",
            _ => "",
        };
        write!(writer, "geto: {kind}")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// An error as an object.
pub(crate) fn error_object(error: &Error) -> impl Serialize {
    ErrorObject {
        event: "error",
        kind: error.kind().name(),
        message: error.to_string(),
        host: error.host(),
        task: error.task().map(|task| task.to_string()),
        causes: causes(error),
        hint: error.hint(),
        exit_code: error.exit_code().0,
    }
}

fn say(message: &str) {
    write_stderr(format!("geto: {}\n", printable(message.as_bytes())).as_bytes());
}

/// The texts of the causes, outermost first; what only repeats the text before it is left out.
pub(crate) fn causes(error: &Error) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = error.source();
    }
    texts
}
