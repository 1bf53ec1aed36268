//! How the host's program keeps dependencies, whatever goes wrong, by hand.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use geto_testkit::{Shell, system_shells};

use crate::by_hand::Session;
use crate::support::below;

/// A digest.
const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn under_each_shell(test: impl Fn(&Shell, &Path)) {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let dir = tempfile::tempdir().unwrap();
        test(&shell, dir.path());
    }
}

/// The names in the cache.
fn names(work: &Path) -> Vec<String> {
    let paths = below(work, "cache");
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = paths.iter().map(name).collect();
    names.sort();
    names
}

/// A directory with all tools but `tar`, in the place of which there may be another program.
fn tools(dir: &Path, tar: Option<&str>) -> String {
    let tools = dir.join("tools");
    fs_err::create_dir(&tools).unwrap();
    for entry in fs_err::read_dir("/usr/bin").unwrap().flatten() {
        if entry.file_name() != "tar" {
            std::os::unix::fs::symlink(entry.path(), tools.join(entry.file_name())).unwrap();
        }
    }
    if let Some(tar) = tar {
        fs_err::write(tools.join("tar"), tar).unwrap();
        geto_testkit::set_mode(&tools.join("tar"), 0o755);
    }
    format!("PATH={}", tools.display())
}

/// Asks for the right to bring `A`.
fn hold(session: &mut Session, task: &str, patience: u32) {
    session.say(&format!("hold {A} {task} {patience} me@here\n"));
}

/// An archive of a tree with two files: its beginning, up to the middle of the second one, and the rest.
fn archive() -> (Vec<u8>, Vec<u8>) {
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["t/first", "t/second"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(100_000);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &[b'x'; 100_000][..]).unwrap();
    }
    let mut all = archive.into_inner().unwrap();
    let rest = all.split_off(150_000);
    (all, rest)
}

/// Sends the beginning, and waits until the first file is there.
fn begin_to_fill(session: &mut Session, work: &Path, (all, rest): &(Vec<u8>, Vec<u8>)) {
    session.say(&format!("fill {} 0 200 1000000 plain\n", all.len() + rest.len()));
    session.say_bytes(all);
    let came = || {
        let parts = below(work, "cache").into_iter().filter(|path| path.join("t/second").exists());
        parts.count() > 0
    };
    while !came() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends the rest, and waits until the tree is kept.
fn end_to_fill(session: &mut Session, (_, rest): &(Vec<u8>, Vec<u8>)) {
    session.say_bytes(rest);
    session.say("whole\n");
    assert_eq!(session.wait_for("held"), "filled");
}

/// Looks that the tree is there, whole, and nothing else.
fn check_whole(work: &Path) {
    assert_eq!(names(work), [A]);
    let tree = &below(work, "cache")[0];
    for name in ["first", "second"] {
        assert_eq!(fs_err::read(tree.join("t").join(name)).unwrap(), [b'x'; 100_000]);
    }
    let inside = fs_err::read_dir(tree).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(inside.filter(|name| name.display().to_string().contains("part")).count(), 0);
}

/// Both have the right, as two may who find at once that a third is dead.
#[test]
fn two_who_bring_the_same_leave_it_whole() {
    under_each_shell(|shell, work| {
        let archive = archive();
        let mut first = Session::to_fill(&[], shell, work);
        hold(&mut first, "one", 30);
        assert_eq!(first.wait_for("held"), "fill - 0 zstd");
        begin_to_fill(&mut first, work, &archive);
        let right =
            below(work, "cache").into_iter().find(|path| path.extension() == Some("fill".as_ref()));
        fs_err::remove_file(right.unwrap()).unwrap();
        let mut second = Session::to_fill(&[], shell, work);
        hold(&mut second, "two", 30);
        assert_eq!(second.wait_for("held"), "fill - 0 zstd");
        begin_to_fill(&mut second, work, &archive);
        end_to_fill(&mut first, &archive);
        end_to_fill(&mut second, &archive);
        check_whole(work);
    });
}

/// The one is alive and has stopped, the other in another container, where nobody can see it.
#[test]
fn who_brings_nothing_more_is_not_waited_for() {
    under_each_shell(|shell, work| {
        let archive = archive();
        let mut first = Session::to_fill(&[], shell, work);
        hold(&mut first, "one", 30);
        assert_eq!(first.wait_for("held"), "fill - 0 zstd");
        begin_to_fill(&mut first, work, &archive);
        let right =
            below(work, "cache").into_iter().find(|path| path.extension() == Some("fill".as_ref()));
        let right = right.unwrap();
        let text = fs_err::read_to_string(&right).unwrap();
        let (boot, _) = text.split_once(':').unwrap();
        let mut second = Session::to_fill(&[], shell, work);
        hold(&mut second, "two", 1);
        while second.wait_for("held") == "wait one me@here" {}
        begin_to_fill(&mut second, work, &archive);
        fs_err::write(&right, format!("{boot}:1 1:1 three me@there\n")).unwrap();
        let mut third = Session::to_fill(&[], shell, work);
        hold(&mut third, "four", 1);
        assert_eq!(third.wait_for("held"), "wait three me@there");
        while third.wait_for("held").starts_with("wait ") {}
        begin_to_fill(&mut third, work, &archive);
        end_to_fill(&mut third, &archive);
        end_to_fill(&mut first, &archive);
        end_to_fill(&mut second, &archive);
        check_whole(work);
    });
}

#[test]
fn who_goes_on_is_waited_for() {
    under_each_shell(|shell, work| {
        let archive = archive();
        let mut first = Session::to_fill(&[], shell, work);
        hold(&mut first, "one", 30);
        assert_eq!(first.wait_for("held"), "fill - 0 zstd");
        let mut second = Session::to_fill(&[], shell, work);
        hold(&mut second, "two", 3);
        assert_eq!(second.wait_for("held"), "wait one me@here");
        begin_to_fill(&mut first, work, &archive);
        assert_eq!(second.wait_for("held"), "wait one me@here");
        end_to_fill(&mut first, &archive);
        assert_eq!(second.wait_for("held"), "filled");
        check_whole(work);
    });
}

/// More than the names of which are words of a command.
#[test]
fn the_oldest_of_any_number_of_trees_go_first() {
    let prlimit = geto_testkit::program("prlimit", "util-linux").display().to_string();
    under_each_shell(|shell, work| {
        let archive = archive();
        let mut session = Session::to_fill(&[&prlimit, "--stack=524288"], shell, work);
        hold(&mut session, "one", 30);
        assert_eq!(session.wait_for("held"), "fill - 0 zstd");
        let cache = below(work, "cache")[0].parent().unwrap().to_owned();
        let name = |number: u32| cache.join(format!("{number:032}"));
        for number in 0..1_500 {
            fs_err::create_dir(name(number)).unwrap();
            fs_err::write(name(number).join("size"), "10\n").unwrap();
        }
        for number in 0..4 {
            // The others may all be of the same moment.
            fs_err::File::open(name(number)).unwrap().file().set_modified(UNIX_EPOCH).unwrap();
        }
        session.say(&format!("fill {} 0 200 15160 plain\n", archive.0.len() + archive.1.len()));
        session.say_bytes(&archive.0);
        end_to_fill(&mut session, &archive);
        assert_eq!(session.rest(), "");
        while !below(work, "cache").iter().any(|path| path.join("synced").exists()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(names(work).len(), 1_497);
        assert!((0..4).all(|number| !name(number).exists()));
    });
}

/// The machine has lost its power: the names of files are there, and what was in them may not be.
#[test]
fn what_was_not_on_the_disk_before_a_restart_comes_again() {
    under_each_shell(|shell, work| {
        let archive = archive();
        let mut session = Session::to_fill(&[], shell, work);
        hold(&mut session, "one", 30);
        assert_eq!(session.wait_for("held"), "fill - 0 zstd");
        begin_to_fill(&mut session, work, &archive);
        end_to_fill(&mut session, &archive);
        hold(&mut session, "two", 30);
        assert_eq!(session.wait_for("held"), "filled");
        let kept = below(work, "cache").into_iter().find(|path| path.ends_with(A)).unwrap();
        while !kept.join("synced").exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        session.kill();
        fs_err::write(kept.join("size"), "200 another-start\n").unwrap();
        let mut session = Session::to_fill(&[], shell, work);
        hold(&mut session, "three", 30);
        assert_eq!(session.wait_for("held"), "filled");
        session.kill();
        fs_err::remove_file(kept.join("synced")).unwrap();
        let mut session = Session::to_fill(&[], shell, work);
        hold(&mut session, "four", 30);
        assert_eq!(session.wait_for("held"), "fill - 0 zstd");
        begin_to_fill(&mut session, work, &archive);
        end_to_fill(&mut session, &archive);
        hold(&mut session, "five", 30);
        assert_eq!(session.wait_for("held"), "filled");
        let _rest = session.rest();
        check_whole(work);
    });
}

/// Crashes leave trees half way in or out.
#[test]
fn what_crashes_have_left_goes() {
    under_each_shell(|shell, work| {
        let archive = archive();
        let mut first = Session::to_fill(&[], shell, work);
        hold(&mut first, "one", 30);
        assert_eq!(first.wait_for("held"), "fill - 0 zstd");
        begin_to_fill(&mut first, work, &archive);
        let cache = below(work, "cache")[0].parent().unwrap().to_owned();
        fs_err::create_dir_all(cache.join("b.gone/t")).unwrap();
        fs_err::write(cache.join("b.gone/size"), "9999999\n").unwrap();
        fs_err::create_dir_all(cache.join("b.part.1:1/t")).unwrap();
        // What lives stays.
        let mut second = Session::to_fill(&[], shell, work);
        second.say("evict\n");
        assert_eq!(second.wait_for("freed"), "0");
        assert_eq!(names(work).len(), 2, "{:?}", names(work));
        assert!(names(work).iter().all(|name| name.starts_with(A)));
        first.kill();
        second.say("evict\n");
        assert_eq!(second.wait_for("freed"), "0");
        assert_eq!(names(work), [""; 0]);
    });
}

/// What is in dependencies is never read as requests.
#[test]
fn what_can_not_be_unpacked_is_not_evaluated() {
    // One that finds the disk full, as busybox's does.
    for tar in [None, Some("#!/bin/sh\nread -r line\necho full >&2\nexit 1\n")] {
        under_each_shell(|shell, work| {
            let path = tools(work, tar);
            let mut session = Session::to_fill(&["/usr/bin/env", &path], shell, work);
            hold(&mut session, "one", 30);
            assert!(session.wait_for("held").starts_with("fill - 0 "));
            let line = format!("true >{}/evaluated\n", work.display());
            let text = line.repeat(200_000 / line.len());
            session.say(&format!("fill {} 0 200 1000000 plain\n", text.len()));
            // It may have gone by then.
            session.try_to_say(&format!("{text}whole\n"));
            assert!(session.wait_for("error").starts_with("disk "));
            assert_eq!(session.rest(), "");
            assert!(!work.join("evaluated").exists());
            assert_eq!(names(work), [""; 0]);
        });
    }
}
