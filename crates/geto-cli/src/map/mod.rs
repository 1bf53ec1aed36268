//! `geto map`.

mod bar;
mod board;
mod dry_run;
mod earlier;
mod job;
mod kept;
mod log;
mod source;
mod summary;
mod unreplaced;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use geto::map::inputs::Inputs;
use geto::map::joblog::{Before, Resume};
use geto::map::key::Key;
use geto::map::limit::Halt;
use geto::map::{Interrupter, MapReport, Policy};
use geto::{Error, ErrorKind, ExitCode, Fleet, Host, ScriptBody};

use self::bar::{Bar, Total};
use self::board::Board;
use self::dry_run::dry_run;
use self::earlier::{Earlier, tag};
use self::job::{Job, Recipe};
use self::log::{Log, LogFile, Opened};
use self::source::{inputs, unread};
use crate::app::{block_on, fleet, unwritten};
use crate::args::{MapArgs, ResumeKey};
use crate::exit;
use crate::hosts::allow_many_connections;
use crate::output::Output;
use crate::printer::Printer;
use crate::signals::Signals;

/// Runs a script for each of many inputs.
pub(crate) fn map(args: &MapArgs, printer: Printer) -> Result<ExitCode, Error> {
    let policy = policy(args)?;
    let inputs = inputs(args)?;
    let recipe = Recipe::of(args, &inputs)?;
    if let (Some(_), ScriptBody::Text(text)) = (&args.what.commands, recipe.script().body())
        && let Some(hint) = unreplaced::hint(text, &inputs.columns())
    {
        printer.warning(&hint);
    }
    let count = match args.dry_run || !Bar::is_visible(printer) {
        true => None,
        false => source::count(args),
    };
    let fleet = fleet(&args.connect)?;
    if let Some(place) = args.show.results.as_deref().filter(|_| !args.dry_run) {
        kept::prepare(place).map_err(|error| {
            let message = format!("failed to make `{}` for the outputs", place.display());
            Error::new(ErrorKind::Usage, message).caused_by(error)
        })?;
    }
    let opened = match args.dry_run {
        true => None,
        false => Log::open(args, printer)?,
    };
    let (log, log_file, resume) = match opened {
        Some(Opened { log, file, resume }) => (Some(log), Some(file), resume),
        None => (None, None, None),
    };
    let recipe = Arc::new(recipe);
    let skipped = Arc::new(AtomicU64::new(0));
    let earlier = Arc::new(Earlier::default());
    let resumes = resume.is_some();
    let known = Known { resume, skipped: Arc::clone(&skipped), earlier: Arc::clone(&earlier) };
    let place = log.as_ref().map(|log| log.path().to_owned());
    let jobs = jobs(args, inputs, &recipe, known, place);
    block_on(async {
        let hosts = fleet.select(&args.hosts.hosts, &args.hosts.exclude_host).await?;
        if hosts.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "there are no hosts to run on")
                .caused_by("no host is named and there is no geto.ini")
                .with_hint(
                    "name some with `-H HOST,HOST`, or list them in geto.ini; `-H local` is this \
                     machine",
                ));
        }
        if args.dry_run {
            return Box::pin(dry_run(args, &fleet, &recipe, hosts, jobs, printer)).await;
        }
        if resumes {
            earlier.find(&fleet, &hosts).await?;
        }
        let (fleet, recipe) = (&fleet, &recipe);
        let earlier = &*earlier;
        let total = Total { count, skipped: Arc::clone(&skipped) };
        let batch = Batch { args, fleet, recipe, policy, log, log_file, earlier, total, printer };
        let ended = Box::pin(batch.execute(hosts, jobs)).await;
        if !args.home.keep {
            earlier.clear(fleet, printer).await;
        }
        match skipped.load(Ordering::Relaxed) {
            0 => {}
            skipped => printer.note(&format!("{skipped} were done before, as the log says")),
        }
        ended
    })
}

/// What is known of a run before this one.
struct Known {
    resume: Option<Resume>,
    /// How many jobs were skipped.
    skipped: Arc<AtomicU64>,
    earlier: Arc<Earlier>,
}

impl Known {
    /// Whether a job is done, as the log says. Of one that is not, or is to be repeated, the next
    /// attempt may take over what a host has of it.
    fn skips(&mut self, key: Key, log: &Path, command: impl FnOnce() -> String) -> bool {
        let Some(resume) = &mut self.resume else { return false };
        let tag = tag(key, log);
        match resume.take(key, &command()) {
            Before::New => false,
            Before::Kept { repeats } => !repeats && !self.earlier.has(&tag),
            Before::Failed => {
                self.earlier.is_logged(&tag);
                false
            }
            Before::Done => {
                self.earlier.is_logged(&tag);
                true
            }
        }
    }
}

/// The jobs that the inputs make, without those that are done.
fn jobs(
    args: &MapArgs,
    inputs: Inputs,
    recipe: &Arc<Recipe>,
    mut known: Known,
    log: Option<PathBuf>,
) -> impl Iterator<Item = Result<(u64, Job), Error>> + Send + 'static {
    let recipe = Arc::clone(recipe);
    let with_content = args.show.resume_key == Some(ResumeKey::Content);
    let job = move |sequence: u64, input: Result<_, _>| {
        let mut job = Job { input: input.map_err(unread)?, key: None };
        if let Some(log) = &log {
            let key = match with_content {
                true => recipe.content_key(&job, sequence)?,
                false => recipe.key(&job.input),
            };
            job.key = Some(key);
            if known.skips(key, log, || recipe.command(&job, None, sequence)) {
                known.skipped.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
        }
        Ok(Some((sequence, job)))
    };
    let mut job = job;
    (1..).zip(inputs).filter_map(move |(sequence, input)| job(sequence, input).transpose())
}

fn policy(args: &MapArgs) -> Result<Policy, Error> {
    let options = &args.failures;
    let mut policy = Policy::default();
    policy.host_retries = options.host_retries;
    policy.retries = options.retries;
    policy.retry_exit.clone_from(&options.retry_exit);
    policy.speculate = options.speculate;
    if let Some(lease) = options.lease {
        policy.lease = lease;
    }
    if let Some(text) = &options.halt {
        let halt = Halt::parse(text);
        policy.halts.extend(halt.map_err(|error| {
            Error::new(ErrorKind::Usage, "failed to read `--halt`").caused_by(error)
        })?);
    }
    if let Some(limit) = options.max_failures {
        policy = policy.max_failures(limit);
    }
    Ok(policy)
}

/// What is to be run, and how.
struct Batch<'b> {
    args: &'b MapArgs,
    fleet: &'b Fleet,
    recipe: &'b Recipe,
    policy: Policy,
    log: Option<Log>,
    log_file: Option<LogFile>,
    earlier: &'b Earlier,
    total: Total,
    printer: Printer,
}

impl Batch<'_> {
    async fn execute(
        self,
        hosts: Vec<Host>,
        jobs: impl Iterator<Item = Result<(u64, Job), Error>> + Send + 'static,
    ) -> Result<ExitCode, Error> {
        let Self { args, fleet, recipe, policy, log, log_file, earlier, total, printer } = self;
        let place = log.as_ref().map(|log| log.path().to_owned());
        allow_many_connections();
        let mut map = fleet
            .map(hosts, jobs, |job: &Job, at| {
                let mut order = recipe.order(job, at)?;
                if let (Some(log), Some(key)) = (&place, job.key) {
                    let tag = tag(key, log);
                    order.takes_over = earlier.take(&tag);
                    order.tag = Some(tag);
                }
                Ok(order)
            })
            .policy(policy)
            .slots_each(recipe.slots())
            .overwrite(args.home.overwrite)
            .keep(args.home.keep);
        if let Some(mut file) = log_file {
            map = map.keep_told(move || file.keep());
        }
        if let Some(jobs) = args.jobs.into_iter().chain(recipe.limit()).min() {
            map = map.per_host(jobs);
        }
        let output = Output::start();
        let signals = Signals::catch().map_err(|error| {
            Error::new(ErrorKind::Local, "failed to catch signals").caused_by(error)
        })?;
        let interrupter = map.interrupter();
        let shown = (printer, Bar::new(printer, total), output.clone());
        let board = Board::new(args, recipe, log, shown, interrupter.clone());
        let board = Arc::new(Mutex::new(board));
        let mut asked_to_end = tokio::spawn(watch(signals, interrupter, output.clone()));
        let running = {
            let board = Arc::clone(&board);
            async { map.follow(move |event| lock(&board).take(event)).await }
        };
        let report = tokio::select! {
            report = running => report?,
            code = &mut asked_to_end => {
                lock(&board).tell_left();
                return Ok(code.unwrap_or(exit::TERMINATED));
            }
        };
        let was_interrupted = lock(&board).was_interrupted();
        let shown = lock(&board).finish().and_then(|()| output.finish());
        lock(&board).summary(&report);
        conclude(&report, was_interrupted, shown)
    }
}

fn conclude(
    report: &MapReport,
    was_interrupted: bool,
    shown: io::Result<()>,
) -> Result<ExitCode, Error> {
    match shown {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(exit::OUTPUT_GONE),
        Err(error) => Err(unwritten(error)),
        Ok(()) => Ok(match &report.failure {
            Some(failure) => failure.exit_code(),
            None if was_interrupted => ExitCode::INTERRUPTED,
            None => ExitCode(report.counts.exit_code()),
        }),
    }
}

/// Interrupts the batch at each Ctrl-C. Returns when geto is to leave it alone and end.
async fn watch(mut signals: Signals, interrupter: Interrupter, output: Output) -> ExitCode {
    let code = loop {
        match signals.next().await {
            ExitCode::INTERRUPTED => interrupter.interrupt(),
            code => break code,
        }
    };
    output.hurry();
    code
}

fn lock<'b, 'a>(board: &'b Mutex<Board<'a>>) -> MutexGuard<'b, Board<'a>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
