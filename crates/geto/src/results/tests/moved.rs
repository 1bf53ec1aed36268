//! Files that take the place of others, and give it back.

use std::ffi::OsStr;

use rustix::fs::{CWD, OFlags};

use super::super::copy::open_directory;
use super::super::moves::Moves;
use super::super::place::Way;
use super::placed::made;
use super::*;

/// Not every file system can exchange two names.
#[test]
fn what_was_replaced_comes_back_whole() {
    for way in [Way::Rename, Way::Link] {
        let from = made(&[("a", "new"), ("l", "new"), ("d", "new"), ("n", "new")]);
        let target = made(&[("a", "old"), ("d/x", "kept")]);
        symlink("a", target.path().join("l")).unwrap();
        let before = (listing(from.path()), listing(target.path()));
        let root = open_directory(CWD, target.path(), OFlags::empty()).unwrap();
        let mut moves = Moves::new(way, target.path(), &root, false);
        for name in ["a", "l", "n"] {
            put(&mut moves, from.path(), name).unwrap();
            let there = fs_err::symlink_metadata(target.path().join(name)).unwrap();
            assert!(there.is_file(), "{way:?} {name}");
            assert_eq!(fs_err::read(target.path().join(name)).unwrap(), b"new", "{way:?} {name}");
        }
        // No file takes the place of a directory, and the attempt leaves nothing.
        let between = (listing(from.path()), listing(target.path()));
        put(&mut moves, from.path(), "d").unwrap_err();
        assert_eq!((listing(from.path()), listing(target.path())), between, "{way:?}");
        moves.take_back().unwrap();
        assert_eq!((listing(from.path()), listing(target.path())), before, "{way:?}");
    }
}

fn put(moves: &mut Moves<'_>, from: &Path, name: &str) -> std::io::Result<()> {
    let path = from.join(name);
    let metadata = fs_err::symlink_metadata(&path).unwrap();
    moves.put(&path, &metadata, (moves.root, OsStr::new(name)), Path::new(name), true)
}
