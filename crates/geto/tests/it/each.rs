//! One task on each of several hosts.

use geto::{EachEvent, ErrorKind, Fleet, Host, Script, Task};

use crate::support::runtime;

fn local(name: &str, dir: &std::path::Path) -> Host {
    let mut host = Host::local();
    name.clone_into(&mut host.name);
    host.remote_work_path = dir.join("work").display().to_string();
    host.remote_lock_path = dir.join("lock").display().to_string();
    host
}

#[test]
fn each_host_runs_the_task_and_none_gives_a_slot() {
    let dir = tempfile::tempdir().unwrap();
    let mut hosts: Vec<_> = ["b", "a", "c"].iter().map(|name| local(name, dir.path())).collect();
    // No task that takes a slot would be let in.
    hosts[0].slots = Some(0);
    let fleet = Fleet::new(hosts, dir.path().join("results"));
    let task = Task::new(Script::from_commands("t", ["echo $GETO_HOST >f; exec echo $GETO_HOST"]));
    let mut done = Vec::new();
    let run = fleet.run_on_each_host(&task).fanout(2).into_dirs(|host| dir.path().join(&host.name));
    let run = run.follow(|event| {
        if let EachEvent::Done(result) = event {
            done.push(result.host.clone());
        }
    });
    let results = runtime().block_on(async { run.await.unwrap() });
    done.sort_unstable();
    assert_eq!(done, ["a", "b", "c"]);
    let hosts: Vec<_> = results.iter().map(|result| result.host.as_str()).collect();
    assert_eq!(hosts, ["b", "a", "c"]);
    for result in &results {
        assert!(result.success());
        let output = result.result.as_ref().unwrap().stdout().unwrap();
        assert_eq!(output, format!("{}\n", result.host).as_bytes());
        let file = dir.path().join(&result.host).join("f");
        assert_eq!(fs_err::read(file).unwrap(), output);
    }
    assert!(!dir.path().join("lock").exists(), "nobody counted");
}

#[test]
fn a_task_that_is_cancelled_is_started_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::new([local("a", dir.path()), local("b", dir.path())], dir.path().join("r"));
    let task = Task::new(Script::from_commands("t", ["echo ran"]));
    let run = fleet.run_on_each_host(&task);
    run.canceller().cancel();
    let results = runtime().block_on(async { run.await.unwrap() });
    for result in results {
        assert_eq!(result.result.unwrap_err().kind(), ErrorKind::Cancelled);
    }
    let none = Fleet::new([], dir.path());
    let error = runtime().block_on(async { none.run_on_each_host(&task).await.unwrap_err() });
    assert_eq!(error.kind(), ErrorKind::Usage);
}
