//! A fleet, and tasks on it one by one.

use std::path::PathBuf;
use std::sync::Arc;

use geto::transport::ConnectOptions;
use geto::{Bring, Error, ErrorKind, Event, Fleet, Host, OutputFrom, Pick, TaskId};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::ask::Callable;
use crate::channel::{self, Channel};
use crate::handle::Handle;
use crate::map::{self, Feeder, Interrupter};
use crate::objects::{detached_object, error_object, event_object, results_object, task_object};
use crate::runtime::{block_on, in_python, spawn};
use crate::task::NativeTask;

/// A fleet of the engine.
#[pyclass(frozen, module = "geto._geto", name = "Fleet")]
#[derive(Debug)]
pub(crate) struct NativeFleet {
    fleet: Fleet,
    hosts: Vec<Host>,
}

#[pymethods]
impl NativeFleet {
    /// Reads the configuration and chooses the hosts. Returns the fleet, or an error.
    #[staticmethod]
    #[pyo3(signature = (config, hosts, ask))]
    fn open(
        py: Python<'_>,
        config: Option<PathBuf>,
        hosts: Option<Vec<String>>,
        ask: Option<Py<PyAny>>,
    ) -> PyResult<(Option<Self>, Option<Py<PyAny>>)> {
        let made = py.detach(|| {
            let fleet = match config {
                Some(path) => Fleet::from_config_file(path),
                None => Fleet::discover(),
            }?;
            let fleet = match ask {
                Some(ask) => {
                    let mut options = ConnectOptions::default();
                    options.prompter = Arc::new(Callable(ask));
                    fleet.with_connect_options(options)
                }
                None => fleet,
            };
            let hosts = match hosts {
                Some(words) => {
                    block_on(fleet.select(&words, &[])).map_err(|error| local(&error))??
                }
                None if fleet.hosts().is_empty() => vec![fleet.settings().local_host()],
                None => fleet.hosts().to_vec(),
            };
            Ok((fleet, hosts))
        });
        match made {
            Ok((fleet, hosts)) => Ok((Some(Self { fleet, hosts }), None)),
            Err(error) => Ok((None, Some(error_object(py, &error)?))),
        }
    }

    /// Name, address, slots, GPUs and tags of each host.
    fn hosts(&self, py: Python<'_>) -> PyResult<Py<PyList>> {
        let hosts = self.hosts.iter().map(|host| {
            let object = PyDict::new(py);
            object.set_item("name", &host.name)?;
            object.set_item("address", &host.address)?;
            object.set_item("port", host.port)?;
            object.set_item("user", &host.user)?;
            object.set_item("slots", host.slots)?;
            object.set_item("gpus", host.gpus)?;
            object.set_item("tags", &host.tags)?;
            Ok(object)
        });
        let hosts: Vec<_> = hosts.collect::<PyResult<_>>()?;
        Ok(PyList::new(py, hosts)?.unbind())
    }

    /// Runs a task, or only starts it.
    #[expect(clippy::too_many_arguments, reason = "Python gives them by name")]
    #[pyo3(signature = (task, *, host, pick, into, overwrite, detach, follow, handle, done))]
    fn run(
        &self,
        py: Python<'_>,
        task: &Bound<'_, NativeTask>,
        host: Option<String>,
        pick: &str,
        into: Option<PathBuf>,
        overwrite: bool,
        detach: bool,
        follow: Option<Py<PyAny>>,
        handle: Py<Handle>,
        done: Py<PyAny>,
    ) -> PyResult<()> {
        let pick = match pick {
            "balanced" => Pick::Balanced,
            "random" => Pick::Random,
            "first" => Pick::First,
            other => {
                let text = format!("`{other}` is no way to pick: balanced, random or first");
                return Err(PyValueError::new_err(text));
            }
        };
        let (fleet, task, hosts) = (self.fleet.clone(), task.get().0.clone(), self.hosts.clone());
        let (holder, begun) = Handle::prepare(py, handle);
        let work = async move {
            let hosts = match host {
                Some(word) => fleet.select(&[word], &[]).await?,
                None => hosts,
            };
            let mut run = fleet.run_among(&task, hosts, pick).overwrite(overwrite);
            if let Some(into) = into {
                run = run.into_dir(into);
            }
            if let Some(follow) = follow {
                run = run.follow(told_to(follow));
            }
            holder.hold(Some(run.id()), run.canceller());
            match detach {
                true => run.detach().await.map(Went::Left),
                false => run.await.map(|results| Went::Home(Box::new(results))),
            }
        };
        spawn(done, work, |py, went| match went {
            Went::Home(results) => results_object(py, results),
            Went::Left(detached) => detached_object(py, detached),
        })?;
        begun.wait(py);
        Ok(())
    }

    /// Runs a task on each host.
    fn run_each(
        &self,
        py: Python<'_>,
        task: &Bound<'_, NativeTask>,
        into: Option<PathBuf>,
        handle: Py<Handle>,
        done: Py<PyAny>,
    ) -> PyResult<()> {
        let (fleet, task, hosts) = (self.fleet.clone(), task.get().0.clone(), self.hosts.clone());
        let (holder, begun) = Handle::prepare(py, handle);
        let work = async move {
            let mut run = fleet.run_on_each(&task, hosts);
            if let Some(into) = &into {
                run = run.into_dirs(|host| into.join(&host.name));
            }
            holder.hold(None, run.canceller());
            run.await
        };
        spawn(done, work, |py, each| {
            let objects = each.iter().map(|host| match &host.result {
                Ok(results) => Ok((Some(results_object(py, results)?), None)),
                Err(error) => Ok((None, Some(error_object(py, error)?))),
            });
            let objects: Vec<_> = objects.collect::<PyResult<_>>()?;
            Ok(PyList::new(py, objects)?.into_any().unbind())
        })?;
        begun.wait(py);
        Ok(())
    }

    /// Lists the tasks on one host.
    fn tasks(&self, host: String, done: Py<PyAny>) -> PyResult<()> {
        let fleet = self.fleet.clone();
        let work = async move {
            let host = one(&fleet, host).await?;
            fleet.tasks(&host).await
        };
        spawn(done, work, |py, tasks| {
            let tasks = tasks.iter().map(|task| task_object(py, task));
            let tasks: Vec<_> = tasks.collect::<PyResult<_>>()?;
            Ok(PyList::new(py, tasks)?.into_any().unbind())
        })
    }

    /// Follows a task that was started before: to its end, for what there is now, or to end it.
    #[expect(clippy::too_many_arguments, reason = "Python gives them by name")]
    #[pyo3(signature = (task_id, host, *, so_far, kill, into, overwrite, keep, bring, follow, handle, done))]
    fn attach(
        &self,
        py: Python<'_>,
        task_id: &str,
        host: String,
        so_far: bool,
        kill: bool,
        into: Option<PathBuf>,
        overwrite: bool,
        keep: bool,
        bring: Option<Vec<String>>,
        follow: Option<Py<PyAny>>,
        handle: Py<Handle>,
        done: Py<PyAny>,
    ) -> PyResult<()> {
        let id = id(task_id)?;
        let fleet = self.fleet.clone();
        let (holder, begun) = Handle::prepare(py, handle);
        let work = async move {
            let host = one(&fleet, host).await?;
            let mut attach = fleet.attach(host, id).overwrite(overwrite).keep(keep);
            if so_far {
                attach = attach.so_far();
            }
            if let Some(into) = into {
                attach = attach.into_dir(into);
            }
            if let Some(globs) = bring {
                attach = attach.bring(Bring::Globs(globs));
            }
            if let Some(follow) = follow {
                attach = attach.follow(told_to(follow));
            }
            holder.hold(Some(id), attach.canceller());
            if kill {
                attach.canceller().cancel();
                let attach = attach.stdout(OutputFrom::Nowhere).stderr(OutputFrom::Nowhere);
                return match attach.watch().await {
                    Err(error) if error.kind() != ErrorKind::Cancelled => Err(error),
                    _ => Ok(None),
                };
            }
            attach.await.map(Some)
        };
        spawn(done, work, |py, results| match results {
            Some(results) => results_object(py, results),
            None => Ok(py.None()),
        })?;
        begun.wait(py);
        Ok(())
    }

    /// Removes a task that does not run from its host.
    fn remove(&self, task_id: &str, host: String, done: Py<PyAny>) -> PyResult<()> {
        let id = id(task_id)?;
        let fleet = self.fleet.clone();
        let work = async move {
            let host = one(&fleet, host).await?;
            fleet.remove(&host, id).await
        };
        spawn(done, work, |py, ()| Ok(py.None()))
    }

    /// Starts a command under the login shell of a host, beside all tasks: `told` hears what it writes.
    fn channel(
        &self,
        host: String,
        command: String,
        told: Py<PyAny>,
        done: Py<PyAny>,
    ) -> PyResult<Channel> {
        let fleet = self.fleet.clone();
        let found = async move { one(&fleet, host).await };
        channel::start(self.fleet.clone(), found, command, told, done)
    }

    /// Runs tasks that are fed, each told of by its place.
    #[pyo3(signature = (*, overwrite, per_host, claim, tell, done))]
    fn map(
        &self,
        py: Python<'_>,
        overwrite: bool,
        per_host: Option<u32>,
        claim: Option<Py<PyAny>>,
        tell: Py<PyAny>,
        done: Py<PyAny>,
    ) -> PyResult<Option<(Feeder, Interrupter)>> {
        let plan = map::Plan { hosts: self.hosts.clone(), overwrite, per_host, claim, tell };
        map::start(py, self.fleet.clone(), plan, done)
    }
}

enum Went {
    Home(Box<geto::Results>),
    Left(geto::Detached),
}

fn local(error: &PyErr) -> Error {
    Error::new(ErrorKind::Local, "failed to start").caused_by(error.to_string())
}

fn id(text: &str) -> PyResult<TaskId> {
    text.parse::<TaskId>().map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The one host that is meant.
async fn one(fleet: &Fleet, word: String) -> Result<Host, Error> {
    let mut hosts = fleet.select(&[word], &[]).await?;
    match (hosts.pop(), hosts.len()) {
        (Some(host), 0) => Ok(host),
        (_, more) => {
            let message = format!("one host is to be named, and these are {}", more + 1);
            Err(Error::new(ErrorKind::Usage, message))
        }
    }
}

/// Tells Python what happens; it holds the task's link up while it takes its time.
fn told_to(follow: Py<PyAny>) -> impl FnMut(Event) + Send {
    move |event| {
        in_python(|py| match event_object(py, &event)? {
            Some(object) => follow.call1(py, object).map(drop),
            None => Ok(()),
        });
    }
}
