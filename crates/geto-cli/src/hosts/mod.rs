//! `geto hosts`.

mod object;
mod table;
mod watch;

use std::io;
use std::time::Duration;

use geto::{Checkup, Error, ErrorKind, ExitCode, Fault, Fleet, Host, HostStatus};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::task::JoinSet;

use self::object::object;
use self::table::{Listing, Row, State};
pub(crate) use self::watch::draw;
use crate::app::{fleet, unwritten};
use crate::args::HostsArgs;
use crate::exit;
use crate::printer::{Form, Printer};
use crate::prompt::is_asking;
use crate::signals::Signals;
use crate::streams::write_stdout;

/// After how long without an answer a terminal shows those that are there.
const PATIENCE: Duration = Duration::from_secs(1);
/// More names than these are not said in one line.
const NAMED: usize = 8;

/// What a host answered, or why it did not.
#[derive(Debug)]
pub(crate) struct Answer {
    status: Result<HostStatus, Error>,
    /// What a check found; `None` without one.
    faults: Option<Vec<Fault>>,
}

impl Answer {
    fn state(&self) -> State<'_> {
        match &self.status {
            Ok(status) => State::Ready(status),
            Err(error) => State::Down(error),
        }
    }

    fn is_ready(&self) -> bool {
        self.status.is_ok()
    }
}

/// Why there is nothing more to show.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody reads stdout any more, or it takes no more.
    Output(io::Error),
    /// Something on this machine failed.
    Failed(Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Shows each host, whether it can be reached and logged into, and why not.
pub(crate) async fn hosts(args: &HostsArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    match fleet.config_path() {
        Some(path) => printer.detail(&format!("hosts are those of `{}`", path.display())),
        None => printer.detail("there is no geto.ini"),
    }
    let hosts = fleet.select(&args.hosts, &[]).await?;
    if hosts.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "there are no hosts to show")
            .caused_by("no host is named and there is no geto.ini")
            .with_hint("name one with `-H HOST`, or list hosts in ~/.config/geto/geto.ini"));
    }
    allow_many_connections();
    let signals = Signals::catch().map_err(|error| {
        Error::new(ErrorKind::Local, "failed to catch signals").caused_by(error)
    })?;
    let showing = async {
        match args.watch {
            Some(interval) => watch::watch(&fleet, &hosts, interval, printer).await,
            None => once(&fleet, &hosts, args.check, printer).await,
        }
    };
    let ended = tokio::select! {
        ended = Box::pin(showing) => ended,
        code = signals.any() => return Ok(code),
    };
    match ended {
        Ok(code) => Ok(code),
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(exit::OUTPUT_GONE)
        }
        Err(Stop::Output(error)) => Err(unwritten(error)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Asks all hosts at the same time, and shows each once.
async fn once(
    fleet: &Fleet,
    hosts: &[Host],
    check: bool,
    printer: Printer,
) -> Result<ExitCode, Stop> {
    let mut asked = JoinSet::new();
    for (index, host) in hosts.iter().cloned().enumerate() {
        let fleet = fleet.clone();
        asked.spawn(async move { (index, ask(&fleet, &host, check).await) });
    }
    let mut answers: Vec<Option<Answer>> = hosts.iter().map(|_| None).collect();
    let mut shown = Shown::new(hosts, printer);
    loop {
        let answer = tokio::select! {
            answer = asked.join_next() => answer,
            () = tokio::time::sleep(PATIENCE), if shown.may_begin(&answers) => {
                shown.begin(&answers)?;
                continue;
            }
        };
        let Some(answer) = answer else { break };
        let (index, answer) = answer.map_err(|panicked| {
            let error = Error::new(ErrorKind::Local, "failed to ask a host");
            Stop::Failed(error.caused_by(panicked))
        })?;
        if printer.form() == Form::Json {
            printer.object(&object(&hosts[index], &answer))?;
        } else if shown.has_begun && answer.is_ready() {
            shown.row(index, &answer)?;
        }
        answers[index] = Some(answer);
    }
    if printer.form() == Form::Text {
        shown.rest(&answers)?;
        tell(hosts, &answers, printer);
    }
    Ok(match answers.iter().flatten().all(Answer::is_ready) {
        true => ExitCode::SUCCESS,
        false => exit::FAILURE,
    })
}

/// Asks all hosts at the same time; what each answered stands in their order, as docs/json.md has it.
pub(crate) async fn objects(fleet: &Fleet, hosts: Vec<Host>, check: bool) -> Vec<Value> {
    let mut asked = JoinSet::new();
    for (index, host) in hosts.into_iter().enumerate() {
        let fleet = fleet.clone();
        asked.spawn(async move { (index, object(&host, &ask(&fleet, &host, check).await)) });
    }
    let mut objects = asked.join_all().await;
    objects.sort_by_key(|(index, _)| *index);
    objects.into_iter().map(|(_, object)| object).collect()
}

async fn ask(fleet: &Fleet, host: &Host, check: bool) -> Answer {
    if !check {
        return Answer { status: fleet.probe(host).await, faults: None };
    }
    match fleet.check(host).await {
        Ok(Checkup { status, faults, .. }) => Answer { status: Ok(status), faults: Some(faults) },
        Err(error) => Answer { status: Err(error), faults: Some(Vec::new()) },
    }
}

/// The table, as far as it was shown: hosts that answered come first, in the order of the
/// configuration but for those that let a terminal wait, and then those that did not.
struct Shown<'a> {
    hosts: &'a [Host],
    printer: Printer,
    listing: Listing,
    rows: Vec<bool>,
    has_begun: bool,
    may_begin: bool,
}

impl<'a> Shown<'a> {
    fn new(hosts: &'a [Host], printer: Printer) -> Self {
        // In a file or a pipe nobody waits for a part of the table.
        let may_begin =
            printer.form() == Form::Text && rustix::termios::isatty(rustix::stdio::stdout());
        let rows = vec![false; hosts.len()];
        Self { hosts, printer, listing: Listing::new(), rows, has_begun: false, may_begin }
    }

    /// Whether there is something to show before all have answered.
    fn may_begin(&self, answers: &[Option<Answer>]) -> bool {
        self.may_begin
            && !self.has_begun
            && !is_asking()
            && answers.iter().flatten().any(Answer::is_ready)
    }

    /// Shows those that are ready by now, and says who is not there yet.
    fn begin(&mut self, answers: &[Option<Answer>]) -> io::Result<()> {
        self.has_begun = true;
        self.all(answers, Answer::is_ready);
        self.write()?;
        let awaited = self.hosts.iter().zip(answers).filter(|(_, answer)| answer.is_none());
        let mut names: Vec<String> = awaited.map(|(host, _)| format!("`{}`", host.name)).collect();
        let more = names.len().saturating_sub(NAMED);
        if more > 0 {
            names.truncate(NAMED);
            names.push(format!("{more} more"));
        }
        self.printer.note(&format!("waiting for {}", names.join(", ")));
        Ok(())
    }

    /// Shows all that was not shown yet.
    fn rest(&mut self, answers: &[Option<Answer>]) -> io::Result<()> {
        self.all(answers, Answer::is_ready);
        self.all(answers, |_| true);
        // Together, so that all of them are aligned.
        self.write()
    }

    fn all(&mut self, answers: &[Option<Answer>], wanted: fn(&Answer) -> bool) {
        for (index, answer) in answers.iter().enumerate() {
            if let Some(answer) = answer.as_ref().filter(|answer| wanted(answer))
                && !self.rows[index]
            {
                self.rows[index] = true;
                self.add(index, answer);
            }
        }
    }

    /// Shows one more.
    fn row(&mut self, index: usize, answer: &Answer) -> io::Result<()> {
        self.rows[index] = true;
        self.add(index, answer);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        write_stdout(self.listing.new_lines().as_bytes())
    }

    fn add(&mut self, index: usize, answer: &Answer) {
        let verbose = self.printer.is_verbose();
        self.listing.add(&Row { host: &self.hosts[index], state: answer.state(), verbose });
    }
}

/// Says what a table has no room for.
fn tell(hosts: &[Host], answers: &[Option<Answer>], printer: Printer) {
    let answers = || hosts.iter().zip(answers.iter().flatten());
    for (host, answer) in answers() {
        if let Ok(status) = &answer.status {
            details(host, status, printer);
        }
    }
    for (host, answer) in answers() {
        for fault in answer.faults.iter().flatten() {
            let message = format!("`{}`: {}", host.name, fault.message);
            printer.warning_with_hint(&message, &fault.hint);
        }
    }
    for (_, answer) in answers() {
        if let Err(error) = &answer.status {
            printer.error_text(error);
        }
    }
    let sound =
        |answer: &Answer| answer.is_ready() && answer.faults.as_ref().is_some_and(Vec::is_empty);
    if answers().all(|(_, answer)| sound(answer)) {
        printer.note("no faults were found");
    }
}

fn details(host: &Host, status: &HostStatus, printer: Printer) {
    let name = &host.name;
    printer.detail(&format!("`{name}` is logged into as `{}`", status.user));
    printer.detail(&format!("`{name}` is worked on in `{}`", status.work_path));
    if !status.missing.is_empty() {
        printer.detail(&format!("`{name}` lacks {}", status.missing.join(", ")));
    }
    if !status.noise.is_empty() {
        printer.detail(&format!("start-up files of `{name}` print `{}`", status.noise));
    }
}

/// Lets this process open as many files as it may: each host takes a few, and the usual limit is
/// there for programs that can't count beyond 1024.
pub(crate) fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
