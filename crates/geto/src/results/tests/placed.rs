//! Files on their last step to where the user wants them.

use std::os::unix::fs::symlink;

use super::super::place::{Placing, Replaced, Way};
use super::super::{Claim, Claims};
use super::*;

const WAYS: [Way; 3] = [Way::Rename, Way::Link, Way::Copy];

pub(super) fn made(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }
    dir
}

fn place(way: Way, from: &Path, to: &Path, overwrite: bool) -> Result<(), Error> {
    let replaced = Replaced { overwrite, ..Replaced::default() };
    Placing { to, replaced: &replaced, way }.place(from)
}

/// The source in a directory of its own, since it is gone in the end.
fn source() -> (TempDir, std::path::PathBuf) {
    let dir = left_by_a_script();
    let from = dir.path().join("from");
    let inside = fs_err::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let inside: Vec<_> = inside.collect();
    fs_err::create_dir(&from).unwrap();
    for path in inside {
        fs_err::rename(&path, from.join(path.file_name().unwrap())).unwrap();
    }
    (dir, from)
}

#[test]
fn everything_arrives_as_it_was() {
    for way in WAYS {
        let (_dir, from) = source();
        let expected: Vec<Seen> = listing(&from)
            .into_iter()
            .map(|seen| match way {
                // A copy has the bits that results have: none that give rights to others.
                Way::Copy => Seen { mode: seen.mode & !0o7000, ..seen },
                _ => seen,
            })
            .collect();
        let target = tempfile::tempdir().unwrap();
        place(way, &from, &target.path().join("new/sub"), false).unwrap();
        assert_eq!(listing(&target.path().join("new/sub")), expected, "{way:?}");
        assert!(!from.exists(), "{way:?}");
    }
}

#[test]
fn what_is_there_stays_and_all_of_it_is_named() {
    for way in WAYS {
        let from =
            made(&[("a", "new"), ("b", "new"), ("d/x", "new"), ("e/y", "new"), ("s/z", "new")]);
        let target =
            made(&[("a", "old"), ("d/x", "old"), ("d/other", "old"), ("e", "no directory")]);
        symlink("/tmp", target.path().join("s")).unwrap();
        let before = (listing(from.path()), listing(target.path()));
        let error = place(way, from.path(), target.path(), false).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "there is already `a`, `d/x`, `e` (no directory), `s` (a symlink)");
        assert_eq!((listing(from.path()), listing(target.path())), before, "{way:?}");
    }
}

#[test]
fn overwriting_replaces_files_and_nothing_else() {
    for way in WAYS {
        let elsewhere = made(&[("victim", "safe")]);
        let from = made(&[("a", "new"), ("d/x", "new"), ("l", "new")]);
        let target = made(&[("a", "old"), ("d/x", "old"), ("d/other", "old")]);
        symlink(elsewhere.path().join("victim"), target.path().join("l")).unwrap();
        place(way, from.path(), target.path(), true).unwrap();
        let names = ["a", "d/x", "d/other", "l"];
        let read = names.map(|name| fs_err::read_to_string(target.path().join(name)).unwrap());
        assert_eq!(read, ["new", "new", "old", "new"], "{way:?}");
        // The link itself was replaced, not what it leads to.
        assert_eq!(fs_err::read(elsewhere.path().join("victim")).unwrap(), b"safe");

        let from = made(&[("d", "a file"), ("f/x", "a directory")]);
        let target = made(&[("d/x", "kept"), ("f", "kept")]);
        let before = listing(target.path());
        place(way, from.path(), target.path(), true).unwrap_err();
        assert_eq!(listing(target.path()), before, "{way:?}");
    }
}

#[test]
fn another_file_system_is_copied_to() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let (_dir, from) = source();
    let expected = listing(&from).len();
    let target = memory.path().join("target");
    super::super::place(&from, &target, &Replaced::default()).unwrap();
    assert_eq!(listing(&target).len(), expected);
    assert!(!from.exists());
    assert!(listing(&target).iter().all(|seen| !seen.name.ends_with(b".part")));
}

#[test]
fn a_target_that_can_not_be_written_to_is_an_error_and_takes_nothing() {
    let from = made(&[("a", "new")]);
    let target = made(&[("file", "")]);
    let error =
        place(Way::Rename, from.path(), &target.path().join("file/sub"), false).unwrap_err();
    assert!(error.to_string().starts_with("failed to put the files into"), "{error}");
    assert_eq!(listing(from.path()).len(), 1);
}

#[test]
fn what_another_task_has_claimed_is_not_replaced() {
    let target = tempfile::tempdir().unwrap();
    let to = target.path();
    let claims = Claims::default();
    let put = |owner, is_passing, replaces, overwrite, files: &[(&str, &str)]| {
        let from = made(files);
        let claim = Claim {
            claims: claims.clone(),
            owner,
            is_passing,
            is_noted: overwrite || is_passing,
            replaces,
        };
        let replaced = Replaced { overwrite, same: false, claim: Some(claim) };
        let placing = Placing { to, replaced: &replaced, way: Way::Rename };
        placing.place(from.path()).map_err(|error| {
            std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
        })
    };
    fs_err::write(to.join("old"), "old").unwrap();
    put(1, false, true, true, &[("d/x", "1"), ("old", "1")]).unwrap();
    let error = put(2, false, true, true, &[("d/x", "2"), ("y", "2"), ("old", "2")]).unwrap_err();
    assert_eq!(error, "there is already `d/x` of task 1, `old` of task 1");
    assert!(!to.join("y").exists());
    // An attempt that failed leaves its claims to the next, but not to one that was ended.
    put(3, true, true, false, &[("z", "3")]).unwrap();
    assert_eq!(put(3, true, false, false, &[("z", "!")]).unwrap_err(), "there is already `z`");
    put(3, false, true, false, &[("z", "4")]).unwrap();
    assert_eq!(put(3, false, true, false, &[("z", "!")]).unwrap_err(), "there is already `z`");
    // What nobody left is nobody's, also after a failure.
    fs_err::write(to.join("theirs"), "").unwrap();
    for _ in 0..2 {
        let error = put(4, true, true, false, &[("theirs", "4")]).unwrap_err();
        assert_eq!(error, "there is already `theirs`");
    }
    let listing = ["d/x", "old", "z"].map(|name| fs_err::read_to_string(to.join(name)).unwrap());
    assert_eq!(listing, ["1", "1", "4"]);
}

#[test]
fn what_is_the_same_is_not_in_the_way_of_who_comes_again() {
    let target = made(&[("same", "x"), ("other", "x"), ("d/same", "")]);
    let replaced = Replaced { same: true, ..Replaced::default() };
    for way in WAYS {
        let placing = Placing { to: target.path(), replaced: &replaced, way };
        placing.place(made(&[("same", "x"), ("d/same", "")]).path()).unwrap();
        let error = placing.place(made(&[("same", "x"), ("other", "y")]).path()).unwrap_err();
        assert!(format!("{error:?}").contains("there is already `other`"), "{error:?}");
    }
}

/// One that fails takes back a directory with all that is in it, which is nothing that others have put
/// there meanwhile.
#[test]
fn files_of_others_are_not_taken_back() {
    const TRIES: usize = 50;
    for way in WAYS {
        // The first one may be done before anybody can get in its way.
        assert!((0..TRIES).any(|_| fails_among_others(way)), "{way:?}");
    }
}

/// Places files beside others, which fails if it is in time.
fn fails_among_others(way: Way) -> bool {
    let names: Vec<_> = (0..2_000).map(|number| format!("f{number}")).collect();
    let mut files: Vec<_> = names.iter().map(|name| (&**name, "1")).collect();
    files.extend([("d/one", "1"), ("z", "1")]);
    let (first, second) = (made(&files), made(&[("d/two", "2")]));
    let to = tempfile::tempdir().unwrap();
    let placed = to.path().join("d");
    let failed = std::thread::scope(|scope| {
        let first = scope.spawn(|| place(way, first.path(), to.path(), false));
        while !placed.exists() && !first.is_finished() {
            std::thread::yield_now();
        }
        // The first one has looked whether it is there, and not come to it.
        fs_err::write(to.path().join("z"), "another").unwrap();
        place(way, second.path(), to.path(), false).unwrap();
        first.join().unwrap().is_err()
    });
    assert_eq!(fs_err::read_to_string(placed.join("two")).unwrap(), "2", "{way:?}");
    assert_eq!(placed.join("one").exists(), !failed, "{way:?}");
    assert_eq!(first.path().join("d/one").exists(), failed, "{way:?}");
    failed
}
