//! Many tasks through the library.

use std::sync::{Arc, Mutex};

use geto::map::{MapEvent, MapOrder, MapPlace, MapReport};
use geto::{Error, ErrorKind, Script, Task, TaskId};

use crate::support::{Place, runtime};

/// The ids of tasks that were told to be done, and what is told of failures.
#[derive(Clone, Default)]
struct Told {
    done: Arc<Mutex<Vec<TaskId>>>,
    failures: Arc<Mutex<Vec<String>>>,
}

/// Runs so many tasks, two at once.
fn run(
    place: &Place,
    jobs: u64,
    told: &Told,
    keep: impl FnMut() -> Result<(), Error> + Send + 'static,
) -> MapReport {
    let fleet = place.fleet();
    let jobs = (1..=jobs).map(|number| Ok((number, ())));
    let make = |_: &(), _: &MapPlace<'_>| {
        Ok(MapOrder::new(Task::new(Script::from_commands("t", ["echo x >left"]))))
    };
    let map = fleet.map(vec![place.host.clone()], jobs, make).per_host(2).keep_told(keep);
    let map = map.follow(|event| match event {
        MapEvent::Done(done) => {
            told.done.lock().unwrap().push(done.tried.unwrap().id.unwrap());
        }
        MapEvent::Failed(error) => told.failures.lock().unwrap().push(error.to_string()),
        _ => {}
    });
    runtime().block_on(async { map.await.unwrap() })
}

#[test]
fn hosts_forget_what_is_kept_and_nothing_before() {
    let place = Place::new();
    let told = Told::default();
    let (done, work) = (Arc::clone(&told.done), place.dir.path().join("work"));
    let mut kept = 0;
    let report = run(&place, 12, &told, move || {
        let done = done.lock().unwrap().clone();
        let there = crate::support::below(&work, "tasks");
        for id in &done[kept..] {
            assert!(there.iter().any(|task| task.ends_with(id.to_string())), "{id}: {there:?}");
        }
        kept = done.len();
        Ok(())
    });
    assert_eq!((report.counts.succeeded, report.failure.is_none()), (12, true));
    assert!(place.tasks().is_empty(), "{:?}", place.tasks());
}

#[test]
fn what_cannot_be_kept_stays_on_its_host_and_ends_the_batch() {
    let place = Place::new();
    let told = Told::default();
    // The second group is not kept; the third is, and the second with it.
    let mut calls = 0;
    let report = run(&place, 1_000, &told, move || {
        calls += 1;
        match calls {
            2 => Err(Error::new(ErrorKind::Local, "the disk is full")),
            _ => Ok(()),
        }
    });
    assert!(report.counts.taken < 1_000);
    assert_eq!(report.failure.unwrap().to_string(), "the disk is full");
    assert_eq!(*told.failures.lock().unwrap(), ["the disk is full"]);
    assert_eq!(told.done.lock().unwrap().len() as u64, report.counts.succeeded);
    assert!(place.tasks().is_empty(), "{:?}", place.tasks());
    // None is.
    let told = Told::default();
    let report = run(&place, 1_000, &told, || Err(Error::new(ErrorKind::Local, "it is broken")));
    let name = |task: &std::path::PathBuf| task.file_name().unwrap().display().to_string();
    let mut there: Vec<_> = place.tasks().iter().map(name).collect();
    let mut done: Vec<_> = told.done.lock().unwrap().iter().map(TaskId::to_string).collect();
    there.sort_unstable();
    done.sort_unstable();
    assert_eq!(there, done);
    assert_eq!(report.counts.taken, done.len() as u64);
}
