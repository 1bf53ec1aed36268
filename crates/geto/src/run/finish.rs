//! From a task's end to results that are complete and on disk here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::execute::{Ended, Execution};
use super::failure::{left, outcome};
use super::files::Files;
use super::link::Link;
use super::store::{self, Store};
use super::{Event, FilesHome, Results};
use crate::results::{Claim, Claims, Replaced, Unpacked, is_too_large, walk};
use crate::session::{Next, Opening, Purpose, Session};
use crate::text::printable;
use crate::{Error, ErrorKind, Outcome, TaskId};

use geto_core::wire::{self, Reply, Start};

/// Where the files go, and what becomes of the host's copy.
#[derive(Debug, Clone, Default)]
pub(super) struct Destination {
    pub(super) into: Option<PathBuf>,
    pub(super) overwrite: bool,
    pub(super) keep: bool,
    /// The task was started by another process, which may have put files there before.
    pub(super) again: bool,
    /// Where paths of all tasks of a batch are claimed, and the number of this one's job.
    pub(super) claims: Option<(Claims, u64)>,
}

impl Destination {
    /// What the files of a task may replace.
    fn replaced(&self, outcome: &Outcome) -> Replaced {
        let has_succeeded = matches!(outcome, Outcome::Exited { code: 0 });
        let claim = self.claims.as_ref().map(|(claims, owner)| Claim {
            claims: claims.clone(),
            owner: *owner,
            is_passing: !has_succeeded,
            is_noted: self.overwrite || !has_succeeded,
            // The second copy of a straggler is ended once the first has left what it has.
            replaces: *outcome != Outcome::Cancelled,
        });
        Replaced { overwrite: self.overwrite, same: self.again, claim }
    }
}

/// `outcome.json`.
#[derive(Serialize)]
struct OutcomeFile<'a> {
    task: TaskId,
    script: &'a str,
    host: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
    raw_status: u16,
    started: String,
    run_time: f64,
    cpu_time: f64,
    bytes_sent: u64,
    bytes_received: u64,
    warnings: &'a [String],
}

impl Execution<'_> {
    /// Writes the results where they belong and lets the host forget the task.
    pub(super) async fn finish(
        &mut self,
        link: &mut Link<'_>,
        mut ended: Ended,
        destination: &Destination,
    ) -> Result<Results, Error> {
        if let Some(error) = self.not_started(&ended) {
            if destination.keep {
                let id = self.id;
                let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                return Err(error.with_hint(format!(
                    "`geto logs {id}` and `geto logs --stderr {id}` show what it said{hint}"
                )));
            }
            // Nothing ran, so nothing is lost with what is there.
            let forgotten = self.forget(link, ended.session).await;
            return Err(match forgotten {
                Ok(()) => error,
                Err(_) => error.with_hint("its directory could not be removed there"),
            });
        }
        let mut results = self.results(&ended);
        let is_beside = !ended.is_running && self.wait_for_other().await;
        let files = match self.whole(&mut ended) {
            Ok(files) => files,
            Err(error) => {
                let is_gone = is_beside && self.progress.is_gone && destination.into.is_none();
                let earlier = self.store.as_ref().and_then(Store::earlier_of_ended);
                // Who was faster has removed it there once it was here.
                if let Some(earlier) = earlier.filter(|_| is_gone) {
                    results.files = files_home(earlier.join("files"));
                    results.directory = earlier.to_owned();
                    return Ok(results);
                }
                return Err(self.keep_half(&results, error).await);
            }
        };
        if !ended.is_running && (is_beside || self.wish.bring.is_some() || files.is_none()) {
            // What came home before may be more than this, and stays.
            let store = self.store.as_ref();
            if let Some(earlier) = store.and_then(Store::earlier_of_ended).map(Path::to_owned) {
                results.files = self.add(&earlier, files, (destination, &results.outcome)).await?;
                results.directory = earlier;
                self.let_go(link, ended.session, destination, &mut results).await;
                return Ok(results);
            }
        }
        if let (true, Some(into)) = (ended.is_running, &destination.into) {
            results.files = self.place_so_far(&mut results, files, into, destination).await?;
            return Ok(results);
        }
        results.directory = self.settle(outcome_file(&results)?, ended.is_running).await?;
        // From here on all is home and on disk, whatever becomes of `--into`.
        self.event(Event::Home { directory: results.directory.clone() });
        if !ended.is_running {
            self.let_go(link, ended.session, destination, &mut results).await;
        }
        results.files = self.place(&results, files, destination).await?;
        Ok(results)
    }

    /// Waits until another geto on this machine, that has followed the task, too, is done with its
    /// results; true when there was one.
    async fn wait_for_other(&mut self) -> bool {
        let Self { store, follow, .. } = self;
        let Some(store) = store.as_ref().filter(|store| store.is_beside()) else { return false };
        let text = "another geto on this machine brings the results home, and is waited for";
        store.wait_for_other(|| follow(Event::Warning(text.to_owned()))).await;
        true
    }

    /// Puts what there is of the files of a task that runs where the user wants them, without a place
    /// in between that others replace when it ends.
    async fn place_so_far(
        &mut self,
        results: &mut Results,
        files: Option<Files>,
        into: &Path,
        destination: &Destination,
    ) -> Result<Option<FilesHome>, Error> {
        let replaced = destination.replaced(&results.outcome);
        let placed = match (&files, &mut self.store) {
            (Some(_), Some(store)) => store.add_files(into.to_owned(), replaced).await,
            _ => Ok(()),
        };
        results.directory = self.settle(outcome_file(results)?, true).await?;
        self.event(Event::Home { directory: results.directory.clone() });
        placed.map_err(|error| self.unplaced(results, error))?;
        let home = |Files { unpacked }: Files| FilesHome {
            directory: into.to_owned(),
            count: unpacked.files,
            bytes: unpacked.bytes,
        };
        Ok(files.map(home))
    }

    /// Says where files are that could not be put where the user wants them.
    fn unplaced(&self, results: &Results, error: Error) -> Error {
        let advice = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        let stored = results.directory.join("files");
        let hint = format!(
            "the script {}; the files are in `{}`{advice}",
            results.outcome,
            stored.display()
        );
        error.of_task(self.id).with_hint(hint)
    }

    /// Lets the host forget the task, unless it is to keep it.
    async fn let_go(
        &mut self,
        link: &mut Link<'_>,
        session: Option<Session>,
        destination: &Destination,
        results: &mut Results,
    ) {
        if let Some(warm) = self.batch.as_ref().map(|batch| &batch.warm) {
            warm.is_home(self.id);
            let Some(order) = &self.order else { return };
            if let Some(session) =
                session.filter(|session| session.purpose() == Purpose::of_slots(order.task.slots))
            {
                warm.put(session);
            }
            return;
        }
        if destination.keep {
            return;
        }
        if let Err(error) = self.forget(link, session).await {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let warning = format!("{error}{}", cause.unwrap_or_default());
            self.event(Event::Warning(warning.clone()));
            results.warnings.push(warning);
        }
    }

    /// Adds files to results that came home before.
    async fn add(
        &mut self,
        earlier: &Path,
        files: Option<Files>,
        (destination, outcome): (&Destination, &Outcome),
    ) -> Result<Option<FilesHome>, Error> {
        let (Some(Files { unpacked }), Some(store)) = (files, &mut self.store) else {
            return Ok(None);
        };
        let (directory, replaced) = match &destination.into {
            Some(into) => (into.clone(), destination.replaced(outcome)),
            // The task has ended: what is there already is the same.
            None => {
                let replaced = Replaced { overwrite: true, ..Replaced::default() };
                (earlier.join("files"), replaced)
            }
        };
        let added = store.add_files(directory.clone(), replaced).await;
        added.map_err(|error| self.results_error(error))?;
        Ok(Some(FilesHome { directory, count: unpacked.files, bytes: unpacked.bytes }))
    }

    /// Why the script was not started, although the host tried.
    fn not_started(&self, ended: &Ended) -> Option<Error> {
        let report = ended.report.as_ref()?;
        let Outcome::NotStarted { reason } = outcome(Some(report)) else { return None };
        let status = report.raw_status;
        let error = |message: &str, cause: String| {
            let error = Error::new(ErrorKind::NotStarted, message).on_host(&self.host.name);
            error.of_task(self.id).caused_by(cause)
        };
        if report.disk_full {
            return Some(error("failed to start the script", reason));
        }
        Some(match report.start {
            Start::EndedInLogin => error(
                "start-up files of the login shell ended before the script was started",
                format!("`exit`, `exec` or an error in its profile: status {status}"),
            )
            .with_hint("leave out `--login`, or see what `$SHELL -l -c true` does there"),
            Start::EndedInSetup => {
                let message = "`setup` failed, and the script was not started";
                let error = error(message, format!("it ended with status {status}"));
                // Who goes on with a task may know the host by another geto.ini.
                error.with_hint(match &self.host.setup {
                    Some(setup) => format!(
                        "see the section of the host in geto.ini: setup={}",
                        printable(setup.as_bytes())
                    ),
                    None => {
                        "see the host's section in the geto.ini that it was started by".to_owned()
                    }
                })
            }
            _ => error("failed to start the script", reason),
        })
    }

    /// Returns the files when all is here that the script left.
    fn whole(&self, ended: &mut Ended) -> Result<Option<Files>, Error> {
        let failed =
            |message: &str| Error::new(ErrorKind::Results, message).on_host(&self.host.name);
        let files = std::mem::replace(&mut ended.files, Ok(None));
        // What the host says of it is why there is too little here.
        if let Some(reason) = ended.damaged.as_ref().filter(|_| !ended.is_running) {
            return Err(failed("failed to bring all files").caused_by(reason.clone()));
        }
        let files = files?;
        match &ended.report {
            Some(report) if report.disk_full => {
                let path = printable(self.host.remote_work_path.as_bytes());
                Err(failed("the disk was full when the task ended")
                    .caused_by(format!("its output and files, in `{path}` there, may be cut off")))
            }
            _ => Ok(files),
        }
    }

    /// Keeps what is here for certain, output and outcome, when the files are not. The host keeps
    /// all, unless somebody has removed it there.
    async fn keep_half(&mut self, results: &Results, error: Error) -> Error {
        if let Some(store) = &self.store {
            store.drop_files();
        }
        let earlier = self.store.as_ref().and_then(Store::earlier).map(Path::to_owned);
        let here =
            match (earlier, outcome_file(results)) {
                // It may be whole, which this is not.
                (Some(earlier), _) => {
                    Some(format!("what came home before is still in `{}`", earlier.display()))
                }
                (None, Ok(outcome)) => self.settle(outcome, false).await.ok().map(|directory| {
                    format!("output and outcome are in `{}`", directory.display())
                }),
                (None, Err(_)) => None,
            };
        // That the host keeps all is said once.
        let kept_there = |hint: &&str| hint.starts_with("the host keeps");
        let advice = error.hint().filter(|hint| !kept_there(hint)).map(str::to_owned);
        let there = match self.progress.is_gone {
            true => Some(
                "it was removed from its host, by the run that started it or by `geto rm`"
                    .to_owned(),
            ),
            false => {
                self.directory().map(|directory| format!("the host keeps all in `{directory}`"))
            }
        };
        let all = (is_too_large(&error) && !self.progress.is_gone).then(|| {
            let host = printable(self.host.name.as_bytes());
            format!("`geto fetch -H {host} {} --max-results SIZE` brings all", self.id)
        });
        let parts = [Some(format!("the script {}", results.outcome)), here, there, advice, all];
        let hint: Vec<_> = parts.into_iter().flatten().collect();
        self.results_error(error).with_hint(hint.join("; "))
    }

    /// Lets output, outcome and files be on disk, at their final place.
    async fn settle(&mut self, outcome: Vec<u8>, so_far: bool) -> Result<PathBuf, Error> {
        match &mut self.store {
            Some(store) => {
                let settled = store.finish(outcome, so_far).await;
                settled.map_err(|error| self.results_error(error))
            }
            None => Ok(PathBuf::new()),
        }
    }

    fn results(&mut self, ended: &Ended) -> Results {
        let report = ended.report.as_ref();
        let mut warnings: Vec<_> = report.and_then(left).into_iter().collect();
        if let (true, Some(reason)) = (ended.is_running, &ended.damaged) {
            warnings.push(format!("not all files could be read while the task runs: {reason}"));
        }
        let unmatched = std::mem::take(&mut self.progress.unmatched);
        warnings.extend(unmatched.iter().map(|glob| format!("no file matches `{glob}`")));
        if let Ok(Some(Files { unpacked: Unpacked { skipped, .. } })) = &ended.files {
            warnings.extend(
                skipped.iter().map(|name| format!("`{name}` is no file and was not brought")),
            );
        }
        for warning in &warnings {
            self.event(Event::Warning(warning.clone()));
        }
        Results {
            id: self.id,
            script: self.script.clone(),
            host: self.host.name.clone(),
            outcome: match ended.is_running {
                true => Outcome::Running,
                false => outcome(report),
            },
            raw_status: report.map(|report| report.raw_status).unwrap_or_default(),
            started: ended.started,
            run_time: report.map(|report| report.run_time).unwrap_or_default(),
            cpu_time: report.map(|report| report.cpu_time).unwrap_or_default(),
            bytes_sent: self.progress.bytes_sent,
            bytes_received: self.progress.bytes_received,
            directory: PathBuf::new(),
            files: None,
            warnings,
        }
    }

    /// Puts the files where the user wants them.
    async fn place(
        &mut self,
        results: &Results,
        files: Option<Files>,
        destination: &Destination,
    ) -> Result<Option<FilesHome>, Error> {
        let Some(Files { unpacked }) = files else { return Ok(None) };
        let stored = results.directory.join("files");
        let directory = match &destination.into {
            None => stored,
            Some(into) => {
                let replaced = destination.replaced(&results.outcome);
                let placed = store::place(stored, into.clone(), replaced).await;
                placed.map_err(|error| self.unplaced(results, error))?;
                into.clone()
            }
        };
        Ok(Some(FilesHome { directory, count: unpacked.files, bytes: unpacked.bytes }))
    }

    /// Tells the host that the results are home. A link that breaks over it is made again a few times:
    /// what is to be said is short, and nobody would say it later.
    async fn forget(
        &mut self,
        link: &mut Link<'_>,
        mut session: Option<Session>,
    ) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let said = match session.take() {
                Some(session) => {
                    let transport = Arc::clone(link.transport());
                    self.remove(session, || transport.bytes_sent()).await.map(drop)
                }
                // The channel was used up by large files, or has broken.
                None => self.forget_anew(link).await,
            };
            match said {
                Err(error)
                    if tries < FORGET_TRIES
                        && matches!(error.kind(), ErrorKind::Lost | ErrorKind::Unreachable) =>
                {
                    link.once().await.map_err(|_unreachable| error)?;
                }
                said => return said,
            }
        }
    }

    /// The same in a session of its own.
    async fn forget_anew(&mut self, link: &mut Link<'_>) -> Result<(), Error> {
        // Whether it needs another opening is in the answer only.
        for opening in Opening::ALL {
            let transport = link.transport();
            let mut session =
                Session::open(&**transport, &self.host.name, opening, Purpose::Attach).await?;
            session.request(["work", &self.host.remote_work_path]).await;
            if self.remove(session, || None).await? {
                link.works(&mut self.follow);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks for the removal; false when the session has to be opened in another way.
    ///
    /// The answer of a near host is worth having: it tells what could not be removed. The answer of
    /// a far one is not waited for once the request is on its way for certain: the host removes
    /// the directory all the same, and tells the next session if it couldn't.
    async fn remove(
        &mut self,
        mut session: Session,
        bytes_sent: impl Fn() -> Option<u64>,
    ) -> Result<bool, Error> {
        let mut request = wire::request(["remove", &self.id.to_string()]);
        request.extend(wire::request(["end"]));
        // Nobody reads what comes behind. It is more than anything else that is sent meanwhile, so
        // that a count of sent bytes tells whether the request is among them.
        let enough = (request.len() + PADDING) as u64;
        let enough = bytes_sent().map(|before| before + enough);
        // In front, by itself, so that it is whole when some of the rest has been sent.
        session.writer().send(request).await;
        session.writer().send(vec![b'\n'; PADDING]).await;
        let failed = |session: &Session| {
            session.error(ErrorKind::Host, "failed to remove the task's directory").of_task(self.id)
        };
        let begun = Instant::now();
        loop {
            match tokio::time::timeout(NEAR, session.next()).await {
                // A host that says something all the time is no better than a silent one.
                _ if begun.elapsed() > REMOVE_TIMEOUT => {
                    let seconds = REMOVE_TIMEOUT.as_secs();
                    let cause = format!("it did not say within {seconds} s that it is done");
                    return Err(failed(&session).caused_by(cause));
                }
                Err(_elapsed) if enough.is_some() && bytes_sent() >= enough => return Ok(true),
                Err(_elapsed) => {}
                Ok(next) => match next? {
                    Next::Reply(Reply::Removed) => return Ok(true),
                    Next::Reply(Reply::Error { text, .. }) => {
                        return Err(failed(&session).caused_by(printable(text.as_bytes())));
                    }
                    Next::Reply(_) => {}
                    Next::Again => return Ok(false),
                    Next::End(_) => return Err(failed(&session).with_kind(ErrorKind::Lost)),
                },
            }
        }
    }
}

/// How often a host is told that the results are home, when the link breaks over it.
const FORGET_TRIES: u32 = 3;
/// A host whose answer takes longer is far.
const NEAR: Duration = Duration::from_millis(10);
/// More than what a connection sends by itself in that time.
const PADDING: usize = 512;
/// A directory of millions of files takes its time.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(120);

/// What there is of files that another has brought home.
fn files_home(directory: PathBuf) -> Option<FilesHome> {
    let files = walk(&directory).filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir());
    let sizes = files.map(|entry| match entry.file_type().is_file() {
        true => entry.metadata().map(|metadata| metadata.len()).unwrap_or_default(),
        false => 0,
    });
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    directory.is_dir().then_some(FilesHome { directory, count, bytes })
}

fn outcome_file(results: &Results) -> Result<Vec<u8>, Error> {
    let started = time::OffsetDateTime::UNIX_EPOCH + results.started;
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Local, "failed to write `outcome.json`").caused_by(error)
    };
    let started = started
        .format(&time::format_description::well_known::Rfc3339)
        .map_err(|error| failed(error.into()))?;
    let file = OutcomeFile {
        task: results.id,
        script: &results.script,
        host: &results.host,
        outcome: &results.outcome,
        raw_status: results.raw_status,
        started,
        run_time: results.run_time.as_secs_f64(),
        cpu_time: results.cpu_time.as_secs_f64(),
        bytes_sent: results.bytes_sent,
        bytes_received: results.bytes_received,
        warnings: &results.warnings,
    };
    let mut text = serde_json::to_vec_pretty(&file).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    Ok(text)
}
