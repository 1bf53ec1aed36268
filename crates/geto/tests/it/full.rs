//! Disks of hosts that are full when a link has just broken.

use std::process::Command;

use geto::{ErrorKind, Event, Outcome, Task};
use geto_testkit::{Cut, Direction, Machine, Server, Sshd, system_shells};

use crate::world::{World, numbers};

fn small_disk(size_bytes: u64) -> Server {
    Sshd::builder().machine(Machine::new().tmpfs("~/.cache", size_bytes)).start()
}

/// A task that fills the disk at the first gate, and goes on at the second one.
fn filler(world: &World, rest: &str) -> Task {
    let gate = |name: &str| world.place.dir.path().join(name).display().to_string();
    let wait = |name: &str| format!("until [ -e '{}' ]; do sleep 0.02; done", gate(name));
    let lines = [
        "seq 4000".to_owned(),
        wait("first"),
        "head -c 3000000 /dev/zero >big".to_owned(),
        format!("true >'{}'", gate("filled")),
        wait("second"),
        rest.to_owned(),
    ];
    world.task(&lines.join("\n"))
}

/// Runs it; the disk is filled while there is no link.
fn fill_between(world: &World, task: &Task) -> Result<geto::Results, geto::Error> {
    let file = |name: &str| world.place.dir.path().join(name);
    let mut cut = false;
    let run = world.run(task, |event| match event {
        Event::Stdout(_) if !cut => {
            cut = true;
            world.proxy.refuse(true);
            world.proxy.cut(Cut::Reset);
        }
        Event::LinkBroken { .. } => {
            fs_err::write(file("first"), "").unwrap();
            while !file("filled").exists() {
                std::thread::yield_now();
            }
            world.proxy.refuse(false);
        }
        Event::LinkBack { .. } => fs_err::write(file("second"), "").unwrap(),
        _ => {}
    });
    run.0
}

/// There is no room for the new session to write a word.
#[test]
fn a_disk_that_is_full_when_the_link_is_back_holds_up_nobody() {
    let world = World::of(small_disk(1 << 20), |proxy| proxy);
    let task = filler(&world, "rm big; echo more; exit 4");
    let results = fill_between(&world, &task).unwrap();
    assert_eq!(results.outcome, Outcome::Exited { code: 4 });
    assert_eq!(results.stdout().unwrap(), [numbers(4_000), b"more\n".to_vec()].concat());
    world.check_once();
    world.end();
}

/// What came is whole, and that something is missing is said.
#[test]
fn a_disk_that_stays_full_after_the_link_is_back_is_a_failure() {
    let world = World::of(small_disk(1 << 20), |proxy| proxy);
    let error = fill_between(&world, &filler(&world, "exit 4")).unwrap_err();
    assert_eq!((error.kind(), error.exit_code().0), (ErrorKind::Results, 123), "{error:?}");
    assert!(error.to_string().contains("the disk was full when the task ended"), "{error:?}");
    assert_eq!(world.starts(), 1);
    let results = world.place.dir.path().join("results").join(error.task().unwrap().to_string());
    assert_eq!(fs_err::read(results.join("stdout")).unwrap(), numbers(4_000));
    // The host keeps it, and it can be removed.
    assert_eq!(world.remove_rest(), 1);
    world.end();
}

/// Dependencies for which there is no room, sent again since the link broke: nothing is started, and
/// nothing of them stays.
#[test]
fn dependencies_without_room_start_nothing_after_the_link_is_back() {
    let mut server = small_disk(4 << 20);
    for bytes in [1_000_000, 3_000_000] {
        let world = World::of(server, |proxy| {
            proxy.cut_after(Direction::ToServer, bytes, Cut::Reset).only_first(1)
        });
        let data = world.place.dir.path().join("data");
        let made = Command::new("sh")
            .args(["-c", "head -c 6000000 /dev/urandom >\"$0\""])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success());
        let (result, broken, _) = world.run(&world.task("true").dependency(&data), |_| {});
        let error = result.unwrap_err();
        assert_eq!((error.kind(), broken), (ErrorKind::NotStarted, 1), "{error:?}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("disk full: ") && cause.contains("/tasks/"), "{cause}");
        assert_eq!(world.starts(), 0);
        let parts = crate::support::below(&world.server.inside("~/.cache/geto"), "parts");
        assert_eq!(parts, Vec::<std::path::PathBuf>::new());
        server = world.end();
    }
}

/// The disk has room for what a task needs, but not for two of it.
#[test]
fn a_disk_without_room_to_keep_dependencies_takes_those_of_the_task() {
    let world = World::of(small_disk(5 << 20), |proxy| proxy);
    let data = world.place.dir.path().join("data");
    fs_err::write(&data, vec![b'x'; 3_500_000]).unwrap();
    let task = world.task("wc -c <DEPS/data").dependency(&data);
    let results = world.run(&task, |_| {}).0.unwrap();
    assert_eq!(results.stdout().unwrap(), b"3500000\n");
    // Another one for which there is no room beside it: told once.
    fs_err::write(&data, vec![b'y'; 7_000_000]).unwrap();
    let mut warnings = Vec::new();
    for _ in 0..2 {
        let (result, ..) = world.run(&task, |event| {
            if let Event::Warning(text) = event {
                warnings.push(text.clone());
            }
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NotStarted);
    }
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("host `server` can't keep dependencies"), "{warnings:?}");
    world.check_once();
    world.end();
}

/// A file can be made, and nothing be written to it.
#[test]
fn a_disk_without_room_for_a_word_holds_up_nobody() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new().tmpfs("~/.cache", 1 << 20).system_shell(&shell.path);
        let world = World::of(Sshd::builder().machine(machine).start(), |proxy| proxy);
        let data = world.place.dir.path().join("data");
        fs_err::write(&data, vec![b'x'; 100_000]).unwrap();
        // Makes all directories.
        world.run(&world.task("true").dependency(&data), |_| {}).0.unwrap();
        // What is removed later would make room.
        assert_eq!(crate::ssh::tasks_left(&world.server), Vec::<std::path::PathBuf>::new());
        fs_err::write(&data, vec![b'y'; 100_000]).unwrap();
        let rest = world.server.inside("~/.cache/rest");
        while fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&rest)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4_096]))
            .is_ok()
        {}
        for _ in 0..2 {
            let error = world.run(&world.task("true").dependency(&data), |_| {}).0.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotStarted, "{error:?}");
        }
        let names = crate::support::below(&world.server.inside("~/.cache/geto"), "cache");
        assert_eq!(names.len(), 1, "{names:?}");
        world.check_once();
    }
}
