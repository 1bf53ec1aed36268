//! The methods.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use geto::bytes::Bytes;
use geto::{
    Canceller, Error, ErrorKind, Fleet, Host, Outcome, OutputFrom, Results, Run, Task, TaskId,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};

use super::envelope::{Failure, Request};
use super::notes::Notes;
use super::params::{
    AttachParams, FetchParams, HostsParams, KillParams, RunParams, SubmitParams, TasksParams,
    bring, patience, read,
};
use crate::events::{merge, results_object};
use crate::hosts;
use crate::printer::{Printer, error_object};
use crate::run::check_into;
use crate::tasks::{self, Finder, Found, record_home};

/// The most requests about tasks that are served at once, over all clients. Each may have a thread
/// that waits for room on the disk.
pub(super) const REQUESTS_MAX: usize = 1024;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Service {
    fleet: Fleet,
    printer: Printer,
    turns: Semaphore,
    running: Mutex<HashMap<TaskId, Running>>,
}

/// A task that somebody here waits for.
#[derive(Debug, Clone)]
struct Running {
    canceller: Canceller,
    /// What came of it; nothing comes when nobody waits any more.
    ended: watch::Receiver<Option<Value>>,
}

/// Where a request came from.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) out: mpsc::Sender<Bytes>,
    /// The id of the request.
    pub(super) id: Value,
}

impl Service {
    pub(super) fn new(fleet: Fleet, printer: Printer) -> Self {
        let turns = Semaphore::new(REQUESTS_MAX);
        Self { fleet, printer, turns, running: Mutex::default() }
    }

    /// How many tasks somebody here waits for.
    pub(super) fn waiting(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Does what is asked for.
    ///
    /// # Cancel safety
    /// A call that is dropped leaves the task that it is about as it is.
    pub(super) async fn call(&self, caller: Caller, request: Request) -> Result<Value, Failure> {
        let params = request.params;
        match &*request.method {
            "hosts" => Box::pin(self.hosts(read(params)?)).await,
            "tasks" => Box::pin(self.tasks(read(params)?)).await,
            "run" => Box::pin(self.run(caller, read(params)?)).await,
            "submit" => Box::pin(self.submit(read(params)?)).await,
            "attach" => Box::pin(self.attach(caller, read(params)?)).await,
            "kill" => Box::pin(self.kill(read(params)?)).await,
            "fetch" => Box::pin(self.fetch(read(params)?)).await,
            other => Err(Failure::no_method(other)),
        }
    }

    async fn hosts(&self, params: HostsParams) -> Result<Value, Failure> {
        let hosts = self.choose(&params.hosts, &[]).await?;
        Ok(json!({ "hosts": hosts::objects(&self.fleet, hosts, params.check).await }))
    }

    async fn tasks(&self, params: TasksParams) -> Result<Value, Failure> {
        let hosts = tasks::hosts(&self.fleet, &params.hosts, self.printer).await?;
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for (_, answer) in tasks::ask(&self.fleet, hosts, self.printer).await {
            match answer {
                Ok(tasks) => found.extend(tasks.iter().map(tasks::object)),
                Err(error) => failed.push(json!(error_object(&error))),
            }
        }
        Ok(json!({ "tasks": found, "failed": failed }))
    }

    async fn run(&self, caller: Caller, params: RunParams) -> Result<Value, Failure> {
        let _turn = self.turn()?;
        let task = params.task.task()?;
        let hosts = self.choose(&params.hosts, &params.exclude_hosts).await?;
        let run = self.fleet.run_among(&task, hosts, params.pick.into());
        let mut run = run.patience(patience(params.wait)).keep(params.keep);
        run = run.overwrite(params.overwrite);
        if let Some(seconds) = params.reconnect {
            run = run.reconnect(Duration::from_secs(seconds));
        }
        if let Some(into) = &params.into {
            check_into(into)?;
            run = run.into_dir(into);
        }
        let waited = self.wait_for(&run);
        let place = self.fleet.local_work_path();
        let (mut notes, telling) =
            Notes::start(caller, place, run.id(), task.script.name(), params.output);
        let ended = run.follow(move |event| notes.take(event)).await;
        waited.tell(ended.as_ref().map(|results| &results.outcome));
        telling.end().await?;
        Ok(home(&ended?))
    }

    async fn submit(&self, params: SubmitParams) -> Result<Value, Failure> {
        let _turn = self.turn()?;
        let task: Task = params.task.task()?;
        let hosts = self.choose(&params.hosts, &params.exclude_hosts).await?;
        let run = self.fleet.run_among(&task, hosts, params.pick.into());
        let run = run.patience(patience(params.wait));
        // Until it has started it can be ended from here only.
        let waited = self.wait_for(&run);
        let left = run.detach().await;
        waited.tell(left.as_ref().map(|_| &Outcome::Running));
        let left = left?;
        Ok(json!({ "task": left.id, "host": left.host, "directory": left.directory }))
    }

    async fn attach(&self, caller: Caller, params: AttachParams) -> Result<Value, Failure> {
        let _turn = self.turn()?;
        let found = self.find(&params.hosts, &params.task).await?;
        let keep = params.keep.unwrap_or_else(|| found.is_kept());
        let mut attach = self.fleet.attach(found.host.clone(), found.id);
        attach = attach.keep(keep).overwrite(params.overwrite);
        if params.from_now {
            attach = attach.stdout(OutputFrom::Now).stderr(OutputFrom::Now);
        }
        if let Some(bytes) = params.max_results.or(said(&found)) {
            attach = attach.max_results(bytes);
        }
        if let Some(seconds) = params.reconnect {
            attach = attach.reconnect(Duration::from_secs(seconds));
        }
        if let Some(into) = &params.into {
            check_into(into)?;
            attach = attach.into_dir(into);
        }
        let place = self.fleet.local_work_path();
        let (mut notes, telling) =
            Notes::start(caller, place, found.id, &found.script, params.output);
        let ended = attach.follow(move |event| notes.take(event)).await;
        record_home(&self.fleet, &found, &ended, keep, self.printer);
        telling.end().await?;
        Ok(home(&ended?))
    }

    async fn kill(&self, params: KillParams) -> Result<Value, Failure> {
        if let Some(outcome) = self.end(&params.task).await {
            return Ok(outcome);
        }
        let found = self.find(&params.hosts, &params.task).await?;
        let attach = self.fleet.attach(found.host.clone(), found.id);
        attach.canceller().cancel();
        let outcome = tasks::watch(attach, &self.fleet, &found, self.printer).await?;
        Ok(ended(found.id, &outcome.unwrap_or(Outcome::Cancelled)))
    }

    async fn fetch(&self, params: FetchParams) -> Result<Value, Failure> {
        let _turn = self.turn()?;
        let found = self.find(&params.hosts, &params.task).await?;
        let mut attach = self.fleet.attach(found.host.clone(), found.id);
        attach = attach.so_far().overwrite(params.overwrite);
        if let Some(bytes) = params.max_results.or(said(&found)) {
            attach = attach.max_results(bytes);
        }
        if let Some(bring) = bring(params.bring) {
            attach = attach.bring(bring);
        }
        if let Some(into) = &params.into {
            check_into(into)?;
            attach = attach.into_dir(into);
        }
        let results = attach.await?;
        if results.outcome != Outcome::Running {
            record_home(&self.fleet, &found, &Ok(results.clone()), true, self.printer);
        }
        Ok(home(&results))
    }

    /// Ends a task that somebody here waits for, and waits for its end. `None` when nobody does, or not
    /// so long.
    async fn end(&self, word: &str) -> Option<Value> {
        let id: TaskId = word.parse().ok()?;
        let mut running = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.get(&id)?.clone()
        };
        running.canceller.cancel();
        let outcome = running.ended.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }

    fn turn(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.turns.try_acquire().map_err(|_full| Failure::too_many(REQUESTS_MAX))
    }

    /// The hosts that are meant; this machine where none is known.
    async fn choose(&self, words: &[String], exclude: &[String]) -> Result<Vec<Host>, Error> {
        let mut hosts = self.fleet.select(words, exclude).await?;
        if hosts.is_empty() {
            hosts.push(self.fleet.settings().local_host());
        }
        Ok(hosts)
    }

    async fn find(&self, hosts: &[String], word: &str) -> Result<Found, Error> {
        Finder::new(&self.fleet, hosts, self.printer).one(word).await
    }

    fn wait_for(&self, run: &Run<'_>) -> Waited<'_> {
        let (tell, ended) = watch::channel(None);
        let running = Running { canceller: run.canceller(), ended };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(run.id(), running);
        Waited { service: self, id: run.id(), tell }
    }
}

/// Somebody waits for a task, until this is dropped.
struct Waited<'a> {
    service: &'a Service,
    id: TaskId,
    tell: watch::Sender<Option<Value>>,
}

impl Waited<'_> {
    /// Tells who has ended it how it ended, when that is known.
    fn tell(&self, end: Result<&Outcome, &Error>) {
        let outcome = match end {
            // It has been started, and lives on its host.
            Ok(Outcome::Running) => return,
            Ok(outcome) => outcome,
            Err(error) if error.kind() == ErrorKind::Cancelled => &Outcome::Cancelled,
            Err(_) => return,
        };
        self.tell.send_replace(Some(ended(self.id, outcome)));
    }
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        self.service.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

fn ended(id: TaskId, outcome: &Outcome) -> Value {
    let mut object = json!({ "task": id });
    merge(&mut object, &serde_json::to_value(outcome).unwrap_or_default());
    object
}

/// What came home, as docs/json.md has it.
fn home(results: &Results) -> Value {
    let mut object = results_object(results);
    if let Some(object) = object.as_object_mut() {
        object.remove("event");
        object.insert("exit_code".to_owned(), results.outcome.exit_code().0.into());
    }
    object
}

/// What was said of its size when it was started from here.
fn said(found: &Found) -> Option<u64> {
    found.entry.as_ref().and_then(|entry| entry.max_results)
}
