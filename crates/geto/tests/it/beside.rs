//! Tasks that are followed by others while the run that has started them goes on, and removes them.

use std::path::PathBuf;
use std::sync::mpsc;

use geto::{Error, ErrorKind, Event, FilesHome, Fleet, Outcome, Results, Script, Task};
use geto_testkit::{Machine, Sshd, system_shells};
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;

use crate::attach::World;
use crate::support::runtime;
use crate::world::numbers;

/// A task that waits for the gate between its first words and its last ones.
fn job(world: &World, last: &str) -> Task {
    let lines = [
        "echo first".to_owned(),
        format!("until [ -e '{}' ]; do sleep 0.02; done", world.gate.display()),
        format!("{last}; echo whole >file; exit 4"),
    ];
    Task::new(Script::from_commands("job", lines))
}

#[test]
fn who_follows_a_run_hears_of_its_end() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new().system_shell(&shell.path);
        let world = World::of(Sshd::builder().machine(machine).start());
        runtime().block_on(follow_a_run(&world));
    }
}

async fn follow_a_run(world: &World) {
    let started = Notify::new();
    let (follows, mut following) = unbounded_channel();
    let task = job(world, "echo last");
    let run = world.one.run_on(&task, world.host()).follow(|event| {
        if let Event::Started { .. } = event {
            started.notify_one();
        }
    });
    let id = run.id();
    let followers = async {
        started.notified().await;
        let watch = async || {
            let mut out = Vec::new();
            let attach = world.other.attach(world.host(), id).follow(|event| match event {
                Event::Started { .. } => follows.send(()).unwrap(),
                Event::Stdout(bytes) => out.extend_from_slice(&bytes),
                _ => {}
            });
            let outcome = attach.watch().await.unwrap();
            (String::from_utf8(out).unwrap(), outcome)
        };
        let fetch = async {
            let attach = world.other.attach(world.host(), id).follow(|event| {
                if let Event::Started { .. } = event {
                    follows.send(()).unwrap();
                }
            });
            attach.await
        };
        let open = async {
            for _ in 0..3 {
                following.recv().await.unwrap();
            }
            world.open_gate();
        };
        let ((), one, two, fetched) = tokio::join!(open, watch(), watch(), fetch);
        let whole = ("first\nlast\n".to_owned(), Some(Outcome::Exited { code: 4 }));
        assert_eq!((one, two), (whole.clone(), whole));
        fetched
    };
    let (results, fetched) = tokio::join!(run.into_future(), followers);
    assert_eq!(results.unwrap().outcome, Outcome::Exited { code: 4 });
    // Its files may be gone before they were read, but never without a word.
    match fetched {
        Ok(results) => {
            assert_eq!(results.stdout().unwrap(), b"first\nlast\n");
            let files = results.files.unwrap();
            assert_eq!(fs_err::read(files.directory.join("file")).unwrap(), b"whole\n");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Results, "{error:?}");
            let here = world.place.dir.path().join("other").join(id.to_string());
            assert_eq!(fs_err::read(here.join("stdout")).unwrap(), b"first\nlast\n");
        }
    }
}

/// As `geto logs -f TASK | less`.
#[test]
fn who_reads_slowly_gets_all_that_a_removed_task_has_written() {
    let world = World::of(Sshd::builder().start());
    let task = job(&world, "seq 3000000");
    let (started, has_started) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel::<()>();
    let run = world.one.run_on(&task, world.host()).follow(move |event| {
        if let Event::Started { .. } = event {
            started.send(()).unwrap();
        }
    });
    let id = run.id();
    std::thread::scope(|scope| {
        let world = &world;
        let follower = scope.spawn(move || {
            has_started.recv().unwrap();
            let mut out = Vec::new();
            let written = &mut out;
            let attach = world.other.attach(world.host(), id).follow(move |event| match event {
                Event::Started { .. } => world.open_gate(),
                Event::Stdout(bytes) => {
                    written.extend_from_slice(&bytes);
                    if written.len() > b"first\n".len() {
                        // The sender is gone once the task is.
                        has_ended.recv().unwrap_err();
                    }
                }
                _ => {}
            });
            let outcome = runtime().block_on(attach.watch()).unwrap();
            (outcome, out)
        });
        let results = runtime().block_on(run.into_future()).unwrap();
        assert_eq!(crate::ssh::tasks_left(&world.server), [""; 0].map(PathBuf::from));
        drop(ended);
        let (outcome, out) = follower.join().unwrap();
        assert_eq!(outcome, Some(results.outcome));
        assert!(out == [b"first\n".to_vec(), numbers(3_000_000)].concat(), "{}", out.len());
    });
}

/// A task of which `fleet` hears while `world.one` runs it, and its end only once that has removed it.
fn be_slower(world: &World, last: &str, fleet: &Fleet) -> (Results, Result<Results, Error>) {
    let task = job(world, last);
    let (started, has_started) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel::<()>();
    let run = world.one.run_on(&task, world.host()).follow(move |event| {
        if let Event::Started { .. } = event {
            started.send(()).unwrap();
        }
    });
    let id = run.id();
    std::thread::scope(|scope| {
        let follower = scope.spawn(move || {
            has_started.recv().unwrap();
            let attach = fleet.attach(world.host(), id).follow(move |event| match event {
                Event::Started { .. } => world.open_gate(),
                Event::Stdout(bytes) if bytes.as_ref() == b"first\n" => {}
                // The sender is gone once the task is.
                Event::Stdout(_) | Event::Receiving { bytes: 1_000_000.. } => {
                    has_ended.recv().unwrap_err();
                }
                _ => {}
            });
            runtime().block_on(attach.into_future())
        });
        let results = runtime().block_on(run.into_future()).unwrap();
        drop(ended);
        (results, follower.join().unwrap())
    })
}

/// It is removed before its end was told, or while large files come.
const LASTS: [&str; 2] = ["seq 3000000", "head -c 30000000 /dev/zero >big"];

/// Whoever is slower than the run that has started it is not sent to look for files there.
#[test]
fn files_of_a_removed_task_are_not_said_to_be_kept() {
    for last in LASTS {
        eprintln!("{last}");
        let world = World::of(Sshd::builder().start());
        let (results, attached) = be_slower(&world, last, &world.other);
        assert_eq!(results.outcome, Outcome::Exited { code: 4 });
        let error = attached.unwrap_err();
        let hint = error.hint().unwrap();
        assert_eq!(error.kind(), ErrorKind::Results, "{error:?}");
        assert!(hint.contains("it was removed from its host"), "{hint}");
        assert!(!hint.contains("keeps"), "{hint}");
    }
}

/// Whoever is slower than the run on the same machine has its results.
#[test]
fn results_of_a_removed_task_are_pointed_to_when_they_are_here() {
    for last in LASTS {
        eprintln!("{last}");
        let world = World::of(Sshd::builder().start());
        let (results, attached) = be_slower(&world, last, &world.one);
        let attached = attached.unwrap();
        assert_eq!(attached.outcome, results.outcome);
        assert_eq!(attached.directory, results.directory);
        let (files, other) = (results.files.unwrap(), attached.files.unwrap());
        let facts = |files: &FilesHome| (files.directory.clone(), files.count, files.bytes);
        assert_eq!(facts(&other), facts(&files));
        assert_eq!(fs_err::read(files.directory.join("file")).unwrap(), b"whole\n");
    }
}
