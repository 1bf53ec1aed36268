use std::fs::Permissions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use filetime::FileTime;
use ignore::WalkBuilder;
use tempfile::TempDir;

use super::{Limits, Unpacked, unpack};
use crate::Error;

mod hostile;
mod moved;
mod placed;

/// What stands below a directory, told so that two trees can be compared.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    name: Vec<u8>,
    mode: u32,
    seconds: i64,
    content: Vec<u8>,
}

fn listing(root: &Path) -> Vec<Seen> {
    let walk = WalkBuilder::new(root).standard_filters(false).follow_links(false).build();
    let mut seen: Vec<_> = walk
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path != root)
        .map(|path| {
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let content = match metadata.file_type() {
                kind if kind.is_file() => fs_err::read(&path).unwrap(),
                kind if kind.is_symlink() => {
                    fs_err::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
                }
                _ => Vec::new(),
            };
            Seen {
                name: path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(),
                mode: metadata.mode(),
                seconds: metadata.mtime(),
                content,
            }
        })
        .collect();
    seen.sort();
    seen
}

fn set(path: &Path, mode: u32, seconds: i64) {
    fs_err::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    filetime::set_file_mtime(path, FileTime::from_unix_time(seconds, 0)).unwrap();
}

/// What a script may leave.
fn left_by_a_script() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs_err::create_dir_all(at("sub/closed")).unwrap();
    fs_err::create_dir_all(at("empty")).unwrap();
    let long = "long".repeat(60);
    let deep = at(&format!("{long}/{long}/{long}"));
    fs_err::create_dir_all(&deep).unwrap();
    fs_err::write(deep.join("file"), "deep").unwrap();
    for name in
        ["a b", "-x", "l\nf", "*", "$(x)", "Ä", ".hidden", "esc\x1b[2J", "\\n", &long[..100]]
    {
        fs_err::write(at(name), name).unwrap();
    }
    fs_err::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), b"\0\xff").unwrap();
    fs_err::write(at("sub/closed/file"), vec![7; 70_000]).unwrap();
    fs_err::write(at("none"), "").unwrap();
    fs_err::hard_link(at("a b"), at("sub/same")).unwrap();
    symlink("/no/where\n", at("dangling")).unwrap();
    symlink("t".repeat(300), at("sub/long")).unwrap();
    filetime::set_symlink_file_times(
        at("dangling"),
        FileTime::zero(),
        FileTime::from_unix_time(99, 0),
    )
    .unwrap();
    set(&at("-x"), 0o751, 86_400);
    set(&at("none"), 0o000, 1);
    set(&at("Ä"), 0o4755, (1 << 33) - 1);
    set(&at("empty"), 0o1777, 4);
    set(&at("sub/closed"), 0o500, 2);
    set(&at("sub"), 0o2750, 3);
    dir
}

/// Packs `dir` as a host does.
fn pack(tar: &[&str], dir: &Path) -> Vec<u8> {
    let (program, words) = tar.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(words).args(["-cf", "-", "."]).current_dir(dir);
    let packed = command.stderr(Stdio::inherit()).output();
    let packed = packed.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(packed.status.success());
    packed.stdout
}

fn unpacked(mut archive: impl Read) -> (TempDir, Result<Unpacked, Error>) {
    let dir = tempfile::tempdir().unwrap();
    let unpacked = unpack(&mut archive, dir.path(), &Limits::default());
    (dir, unpacked)
}

fn comes_home_whole(tar: &[&str]) {
    let source = left_by_a_script();
    let (dir, unpacked) = unpacked(pack(tar, source.path()).as_slice());
    let mut expected = listing(source.path());
    for seen in &mut expected {
        // Without the bits that give rights to others.
        seen.mode &= !0o7000;
    }
    for (seen, expected) in listing(dir.path()).into_iter().zip(&expected) {
        assert_eq!(seen, *expected, "{tar:?}");
    }
    assert_eq!(listing(dir.path()).len(), expected.len());
    let unpacked = unpacked.unwrap();
    assert_eq!((unpacked.files, unpacked.skipped), (17, vec![]));
    let same = |name: &str| fs_err::metadata(dir.path().join(name)).unwrap().ino();
    assert_eq!(same("a b"), same("sub/same"));
}

#[test]
fn what_gnu_tar_packs_comes_home_whole() {
    comes_home_whole(&["tar"]);
    comes_home_whole(&["tar", "--format=posix"]);
}

#[test]
fn what_busybox_packs_comes_home_whole() {
    comes_home_whole(&["busybox", "tar"]);
}

#[test]
fn what_bsdtar_packs_comes_home_whole() {
    comes_home_whole(&["bsdtar"]);
    comes_home_whole(&["bsdtar", "--format=pax"]);
    comes_home_whole(&["bsdtar", "--format=gnutar"]);
}

#[test]
fn fractions_of_mtimes_come_home() {
    let source = tempfile::tempdir().unwrap();
    let time = FileTime::from_unix_time(1_700_000_000, 123_456_789);
    fs_err::write(source.path().join("f"), "").unwrap();
    filetime::set_file_mtime(source.path().join("f"), time).unwrap();
    let (dir, unpacked) = unpacked(pack(&["tar", "--format=posix"], source.path()).as_slice());
    unpacked.unwrap();
    let metadata = fs_err::metadata(dir.path().join("f")).unwrap();
    assert_eq!(FileTime::from_last_modification_time(&metadata), time);
}

#[test]
fn named_pipes_are_told_and_not_made() {
    let source = tempfile::tempdir().unwrap();
    let made = Command::new("mkfifo").arg("pi\x1bpe").current_dir(source.path()).status().unwrap();
    assert!(made.success());
    let (dir, unpacked) = unpacked(pack(&["tar"], source.path()).as_slice());
    assert_eq!(unpacked.unwrap().skipped, [r"./pi\x1bpe"]);
    assert_eq!(listing(dir.path()), []);
}

#[test]
fn an_archive_of_nothing_is_whole() {
    let (dir, unpacked) = unpacked([0; 1024].as_slice());
    assert_eq!(unpacked.unwrap(), Unpacked::default());
    assert_eq!(listing(dir.path()), []);
}
