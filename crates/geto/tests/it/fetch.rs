//! Results that were brought home before, and another try that brings less.

use std::path::{Path, PathBuf};

use geto::{Bring, ErrorKind, Fleet, Host, Outcome, Results, Script, Task, TaskId};
use geto_testkit::{Server, Sshd};

use crate::ssh::tasks_left;
use crate::support::{Place, runtime};

/// A server with a task that has ended there.
struct World {
    server: Server,
    place: Place,
    fleet: Fleet,
}

impl World {
    fn new() -> Self {
        let server = Sshd::builder().start();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config());
        let place = Place::of(host);
        Self { fleet: place.fleet(), server, place }
    }

    fn host(&self) -> Host {
        self.place.host.clone()
    }

    async fn start(&self, line: &str) -> TaskId {
        let task = Task::new(Script::from_commands("job", [line]));
        let detached = self.fleet.run_on(&task, self.host()).detach().await.unwrap();
        let outcome = self.fleet.attach(self.host(), detached.id).watch().await.unwrap();
        assert_eq!(outcome, Some(Outcome::Exited { code: 0 }));
        detached.id
    }

    fn kept(&self) -> Vec<PathBuf> {
        crate::support::below(&self.server.inside("~/.cache/geto"), "tasks")
    }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs_err::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn check_whole(results: &Results) {
    assert_eq!(names(&results.directory), ["files", "outcome.json", "stderr", "stdout"]);
    assert_eq!(names(&results.directory.join("files")), ["a.txt", "big", "d"]);
    assert_eq!(names(&results.directory.join("files/d")), ["b.txt"]);
}

const LINE: &str =
    "echo out; echo 1 >a.txt; mkdir d; echo 2 >d/b.txt; head -c 400000 /dev/zero >big";

#[test]
fn what_fails_leaves_results_that_came_home_before() {
    let world = World::new();
    runtime().block_on(async {
        let id = world.start(LINE).await;
        let whole = world.fleet.attach(world.host(), id).await.unwrap();
        check_whole(&whole);
        let again = world.fleet.attach(world.host(), id).max_results(1000);
        let error = again.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Results, "{error:?}");
        let hint = error.hint().unwrap();
        let still = format!("what came home before is still in `{}`", whole.directory.display());
        assert!(hint.contains(&still), "{hint}");
        check_whole(&whole);
        // What came first stays in any case.
        fs_err::remove_dir_all(&whole.directory).unwrap();
        let again = world.fleet.attach(world.host(), id).max_results(1000);
        let error = again.await.unwrap_err();
        assert!(error.hint().unwrap().contains("output and outcome are in"), "{error:?}");
        assert_eq!(names(&whole.directory), ["outcome.json", "stderr", "stdout"]);
        check_whole(&world.fleet.attach(world.host(), id).await.unwrap());
    });
}

#[test]
fn some_files_are_added_to_all_that_came_home_before() {
    let world = World::new();
    runtime().block_on(async {
        let id = world.start(LINE).await;
        let whole = world.fleet.attach(world.host(), id).await.unwrap();
        let some = || Bring::Globs(vec!["*.txt".to_owned(), "d/*".to_owned()]);
        fs_err::remove_dir_all(whole.directory.join("files/d")).unwrap();
        let results = world.fleet.attach(world.host(), id).bring(some()).await.unwrap();
        assert_eq!(results.files.as_ref().unwrap().count, 2);
        check_whole(&results);
        let none = world.fleet.attach(world.host(), id).bring(Bring::Nothing).await.unwrap();
        assert_eq!(none.files, None);
        check_whole(&none);
        let into = world.place.dir.path().join("into");
        let attach = || world.fleet.attach(world.host(), id).bring(some()).into_dir(&into);
        assert_eq!(attach().await.unwrap().files.unwrap().directory, into);
        assert_eq!(names(&into), ["a.txt", "d"]);
        check_whole(&whole);
        let error = attach().await.unwrap_err();
        assert!(error.hint().unwrap().contains("--overwrite"), "{error:?}");
        check_whole(&whole);
        assert!(!whole.directory.with_file_name(format!(".{id}.partial")).exists());
        attach().overwrite(true).keep(false).await.unwrap();
        assert_eq!(tasks_left(&world.server), [""; 0].map(PathBuf::from));
    });
}

#[test]
fn a_task_whose_setup_failed_stays_for_who_keeps_it() {
    let world = World::new();
    runtime().block_on(async {
        let mut host = world.host();
        host.setup = Some("echo why >&2; false".to_owned());
        let task = Task::new(Script::from_commands("job", [":"]));
        let other = Fleet::new([host.clone()], world.place.dir.path().join("other"));
        let run = other.run_on(&task, host.clone());
        let (id, gone) = (run.id(), run.keep(true).await.unwrap_err());
        assert_eq!(gone.kind(), ErrorKind::NotStarted);
        assert_eq!(world.kept().len(), 1);
        let error = other.attach(host.clone(), id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotStarted);
        assert!(error.hint().unwrap().contains(&format!("geto logs --stderr {id}")), "{error:?}");
        assert_eq!(fs_err::read(world.kept()[0].join("err")).unwrap(), b"why\n");
        // Whoever asks, also by another geto.ini, hears the same.
        let reason = "`setup` ended with status 1".to_owned();
        let outcome = Outcome::NotStarted { reason };
        assert_eq!(
            world.fleet.tasks(&world.host()).await.unwrap()[0].outcome,
            Some(outcome.clone())
        );
        assert_eq!(
            world.fleet.attach(world.host(), id).watch().await.unwrap(),
            Some(outcome.clone())
        );
        let error = world.fleet.attach(world.host(), id).await.unwrap_err();
        assert!(error.to_string().starts_with("`setup` failed"), "{error:?}");
        assert_eq!(error.exit_code(), outcome.exit_code());
        other.attach(host, id).keep(false).await.unwrap_err();
        assert_eq!(tasks_left(&world.server), [""; 0].map(PathBuf::from));
    });
}

/// Output that could not be kept here is told with where it is, and whether the task still runs.
#[test]
fn a_task_is_said_to_go_on_only_while_it_may() {
    let world = World::new();
    runtime().block_on(async {
        let id = world.start("head -c 100000 /dev/zero").await;
        let error = world.fleet.attach(world.host(), id).max_results(1000).await.unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("the task has ended: `geto attach -H "), "{hint}");
        let line = "head -c 100000 /dev/zero; sleep 1000";
        let mut task = Task::new(Script::from_commands("job", [line]));
        task.max_results = Some(1000);
        let error = world.fleet.run_on(&task, world.host()).await.unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.starts_with("the task goes on there unless it has ended: `geto "), "{hint}");
        let attach = world.fleet.attach(world.host(), error.task().unwrap());
        attach.canceller().cancel();
        assert_eq!(attach.await.unwrap().outcome, Outcome::Cancelled);
    });
}
