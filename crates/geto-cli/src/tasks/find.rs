//! Which tasks the words of a command line mean.

use std::collections::HashSet;
use std::io;

use geto::text::printable;
use geto::{
    Error, ErrorKind, Fleet, Host, HostTask, LedgerEntry, LedgerHost, Outcome, TaskId, TaskState,
};
use tokio::task::JoinSet;

use super::learn::Known;
use crate::args::{ManyArgs, OneArgs};
use crate::hosts::allow_many_connections;
use crate::printer::{Form, Printer, error_object};

/// A task that a word means.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: TaskId,
    pub(crate) host: Host,
    /// The script's name; empty when nobody was asked.
    pub(crate) script: String,
    /// What the ledger here knows of it.
    pub(crate) entry: Option<LedgerEntry>,
    /// What its host said of it.
    pub(super) listed: Option<HostTask>,
}

/// What a host answered.
pub(crate) type Answer = (Host, Result<Vec<HostTask>, Error>);

/// The hosts that may have tasks: those that are named, else those of geto.ini (`local` without
/// one) and those on which the ledger knows tasks without an end.
pub(crate) async fn hosts(
    fleet: &Fleet,
    words: &[String],
    printer: Printer,
) -> Result<Vec<Host>, Error> {
    let mut hosts = fleet.select(words, &[]).await?;
    if !words.is_empty() {
        return Ok(hosts);
    }
    if hosts.is_empty() {
        hosts.push(fleet.settings().local_host());
    }
    // A ledger that can't be read is no reason to ask nobody.
    let unfinished = fleet.ledger().and_then(|ledger| match ledger {
        Some(ledger) => ledger.unfinished(),
        None => Ok(Vec::new()),
    });
    match unfinished {
        Ok(entries) => {
            for entry in entries {
                if hosts.iter().all(|host| host.name != entry.host.name) {
                    hosts.push(entry.host.to_host());
                }
            }
        }
        Err(error) => printer.warning_of(&error),
    }
    Ok(hosts)
}

/// Asks all hosts at the same time; answers come in the order of the hosts, and each task once: a
/// machine may be known by several names. The ledger learns from them.
pub(crate) async fn ask(fleet: &Fleet, hosts: Vec<Host>, printer: Printer) -> Vec<Answer> {
    allow_many_connections();
    let known = Known::read(fleet, printer);
    let mut asked = JoinSet::new();
    for (index, host) in hosts.into_iter().enumerate() {
        let fleet = fleet.clone();
        asked.spawn(async move {
            let tasks = fleet.tasks(&host).await;
            (index, (host, tasks))
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    let mut answers: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
    known.learn(&answers, printer);
    let mut seen = HashSet::new();
    for (_, tasks) in &mut answers {
        if let Ok(tasks) = tasks {
            tasks.retain(|task| seen.insert(task.id));
        }
    }
    answers
}

/// Says which hosts did not answer; true when there are such.
pub(super) fn tell_dead(answers: &[Answer], printer: Printer) -> io::Result<bool> {
    let mut any = false;
    for error in answers.iter().filter_map(|(_, tasks)| tasks.as_ref().err()) {
        any = true;
        match printer.form() {
            Form::Json => printer.object(&error_object(error))?,
            Form::Text => printer.warning_of(error),
        }
    }
    Ok(any)
}

/// Looks for tasks: in the ledger first, then on the hosts, which are asked once at most.
pub(crate) struct Finder<'a> {
    fleet: &'a Fleet,
    hosts: &'a [String],
    printer: Printer,
    listed: Option<Vec<Found>>,
    /// Nothing is taken for granted that only the command line says.
    looks: bool,
    /// Whether a host that was asked did not answer.
    missed: bool,
}

impl<'a> Finder<'a> {
    /// Makes one that asks `hosts`, when there are any, and the ledger otherwise.
    pub(crate) fn new(fleet: &'a Fleet, hosts: &'a [String], printer: Printer) -> Self {
        Self { fleet, hosts, printer, listed: None, looks: false, missed: false }
    }

    /// Looks for a task also where id and host are given.
    pub(super) fn looking(self) -> Self {
        Self { looks: true, ..self }
    }

    /// Whether a host that was asked for its tasks did not answer.
    pub(super) fn has_missed(&self) -> bool {
        self.missed
    }

    /// Returns the task that was started last from here.
    pub(super) fn last(&self) -> Result<Found, Error> {
        let last = match self.fleet.ledger()? {
            Some(ledger) => ledger.last()?,
            None => None,
        };
        last.map(|entry| self.of_entry(entry)).ok_or_else(|| {
            Error::new(ErrorKind::Usage, "nothing was started from this machine yet")
                .with_hint("`geto ps` lists the tasks on the hosts")
        })
    }

    /// Returns the one task that `word` means.
    pub(crate) async fn one(&mut self, word: &str) -> Result<Found, Error> {
        let known = match self.fleet.ledger() {
            Ok(Some(ledger)) => ledger.find(word),
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let known = known.unwrap_or_else(|error| {
            self.printer.warning_of(&error);
            Vec::new()
        });
        if self.hosts.is_empty() && !known.is_empty() {
            return only(word, known.into_iter().map(|entry| self.of_entry(entry)).collect());
        }
        if let (Ok(id), false) = (word.parse::<TaskId>(), self.looks || self.hosts.is_empty())
            && let [host] = &self.fleet.select(self.hosts, &[]).await?[..]
        {
            let entry = known.into_iter().find(|entry| entry.id == id);
            let script = entry.as_ref().map(|entry| entry.script.clone()).unwrap_or_default();
            return Ok(Found { id, host: host.clone(), script, entry, listed: None });
        }
        let listed = self.listed().await?;
        if let Some(found) = listed.iter().find(|found| found.id.to_string() == word) {
            return Ok(found.clone());
        }
        let named = listed.iter().filter(|found| found.script == word);
        let mut named: Vec<Found> = named.cloned().collect();
        let living = |found: &Found| !found.has_ended();
        if named.iter().filter(|found| living(found)).count() > 1 {
            named.retain(living);
            return only(word, named);
        }
        named.sort_by_key(|found| found.listed.as_ref().and_then(|task| task.started));
        if let Some(newest) = named.pop() {
            return Ok(newest);
        }
        // Nothing is the beginning of every id.
        let is_like = |found: &&Found| !word.is_empty() && found.id.to_string().starts_with(word);
        only(word, listed.iter().filter(is_like).cloned().collect())
    }

    /// Returns all tasks on the hosts.
    pub(super) async fn listed(&mut self) -> Result<Vec<Found>, Error> {
        if let Some(listed) = &self.listed {
            return Ok(listed.clone());
        }
        let hosts = hosts(self.fleet, self.hosts, self.printer).await?;
        let answers = ask(self.fleet, hosts, self.printer).await;
        // Who can't be told has closed stdout.
        self.missed = tell_dead(&answers, self.printer).unwrap_or(true);
        let ledger = self.fleet.ledger().ok().flatten();
        let mut listed = Vec::new();
        for (host, tasks) in answers {
            for task in tasks.into_iter().flatten() {
                let entry = ledger.as_ref().and_then(|ledger| ledger.entry(task.id).ok().flatten());
                let (id, host, script) = (task.id, host.clone(), task.script.clone());
                listed.push(Found { id, host, script, entry, listed: Some(task) });
            }
        }
        self.listed = Some(listed.clone());
        Ok(listed)
    }

    fn of_entry(&self, entry: LedgerEntry) -> Found {
        // geto.ini may know a password.
        let same = |host: &&Host| LedgerHost::of(host) == entry.host;
        let host = self.fleet.hosts().iter().find(same);
        let host = host.cloned().unwrap_or_else(|| entry.host.to_host());
        Found { id: entry.id, host, script: entry.script.clone(), entry: Some(entry), listed: None }
    }
}

impl OneArgs {
    /// Returns the task that is meant.
    pub(super) async fn find(&self, finder: &mut Finder<'_>) -> Result<Found, Error> {
        match &self.word {
            Some(word) => finder.one(word).await,
            None => finder.last(),
        }
    }
}

impl ManyArgs {
    /// Returns the tasks that are meant, each once.
    pub(super) async fn find(&self, finder: &mut Finder<'_>) -> Result<Vec<Found>, Error> {
        if self.all || self.finished {
            let mut listed = finder.listed().await?;
            listed.retain(|found| self.all || found.has_ended());
            return Ok(listed);
        }
        let mut tasks: Vec<Found> = Vec::new();
        if self.last {
            tasks.push(finder.last()?);
        }
        for word in &self.words {
            let found = finder.one(word).await?;
            if tasks.iter().all(|other| other.id != found.id) {
                tasks.push(found);
            }
        }
        Ok(tasks)
    }
}

impl Found {
    /// Whether its host says that it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.listed.as_ref().is_some_and(|task| task.state == TaskState::Ended)
    }

    /// How it ended, when its results are home and its host does not have it any more.
    pub(super) fn home(&self) -> Option<Outcome> {
        let entry = self.entry.as_ref().filter(|entry| entry.on_host == Some(false))?;
        entry.outcome.clone()
    }

    /// How it ended and where its results are, when they are home and its host does not have it any more.
    pub(super) fn told_home(&self) -> Option<(Outcome, String)> {
        let outcome = self.home()?;
        let entry = self.entry.as_ref()?;
        let results = entry.results.as_ref().filter(|results| results.is_dir())?;
        let files = entry.files.as_ref().map(|files| &files.directory);
        let files = files.filter(|files| !files.starts_with(results));
        let files = files.map(|files| format!(", its files in `{}`", files.display()));
        let text = format!(
            "{}: {outcome}; its results are in `{}`{}",
            self.described(),
            results.display(),
            files.unwrap_or_default()
        );
        Some((outcome, text))
    }

    /// Says of an error where results are that came home before.
    pub(super) fn hinted(&self, error: Error) -> Error {
        match self.told_home() {
            Some((_, text)) => error.with_hint(text),
            None => error,
        }
    }

    /// Whether its host is to keep it once its results are home, unless something else is said: who
    /// started it removes it, and others leave that to them.
    pub(crate) fn is_kept(&self) -> bool {
        self.entry.as_ref().is_none_or(|entry| entry.keep)
    }

    /// What people call it.
    pub(super) fn described(&self) -> String {
        let script = match &*self.script {
            "" => String::new(),
            script => format!(" (`{}`)", printable(script.as_bytes())),
        };
        format!("task {}{script} on host `{}`", self.id, self.host.name)
    }
}

/// Returns the only one, or says which ones a word may mean.
fn only(word: &str, mut found: Vec<Found>) -> Result<Found, Error> {
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => {
            let message = format!("there is no task `{word}`");
            Err(Error::new(ErrorKind::Usage, message)
                .caused_by("neither the ledger nor a host that answered knows it")
                .with_hint("`geto ps` lists the tasks on the hosts"))
        }
        (Some(last), _) => {
            found.push(last);
            let message = format!("`{word}` may be one of {} tasks", found.len());
            let all: Vec<_> = found.iter().map(Found::described).collect();
            Err(Error::new(ErrorKind::Usage, message)
                .caused_by(all.join(", "))
                .with_hint("give its id, or its host with `-H`"))
        }
    }
}
