//! Archives that mean harm, or are broken.

use std::error::Error as _;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;
use crate::ErrorKind;

/// One member of an archive, written as it is told to be.
struct Raw {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
    size: u64,
}

fn raw(kind: EntryType, name: &[u8]) -> Raw {
    Raw {
        name: name.to_vec(),
        kind: kind.as_byte(),
        link: vec![],
        mode: 0o644,
        content: vec![],
        size: 0,
    }
}

fn file(name: &[u8], content: &[u8]) -> Raw {
    Raw { content: content.to_vec(), size: content.len() as u64, ..raw(EntryType::Regular, name) }
}

fn link(kind: EntryType, name: &[u8], target: &[u8]) -> Raw {
    Raw { link: target.to_vec(), ..raw(kind, name) }
}

fn pax(records: &[(&str, &[u8])]) -> Raw {
    let mut text = Vec::new();
    for (key, value) in records {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        // The length counts its own digits.
        let length = (body.len() + 1..).find(|n| n.to_string().len() + body.len() == *n).unwrap();
        text.extend_from_slice(length.to_string().as_bytes());
        text.extend_from_slice(&body);
    }
    Raw { kind: b'x', ..file(b"pax", &text) }
}

fn bytes(members: &[Raw]) -> Vec<u8> {
    let mut archive = Vec::new();
    for member in members {
        let mut header = Header::new_ustar();
        let fields = header.as_old_mut();
        fields.name[..member.name.len()].copy_from_slice(&member.name);
        fields.linkname[..member.link.len()].copy_from_slice(&member.link);
        fields.linkflag = [member.kind];
        header.set_mode(member.mode);
        header.set_mtime(1);
        header.set_size(member.size);
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(&member.content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// Unpacks one level below a directory, and returns what stands beside it: nothing ever should.
fn unpacked_within(members: &[Raw]) -> (Result<Unpacked, Error>, Vec<Seen>, Vec<Seen>) {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("into");
    fs_err::create_dir(&into).unwrap();
    let unpacked = unpack(&mut bytes(members).as_slice(), &into, &Limits::default());
    let inside = listing(&into);
    let beside = listing(dir.path()).into_iter().filter(|seen| !seen.name.starts_with(b"into"));
    (unpacked, inside, beside.collect())
}

fn text_of(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn what_reaches_out_or_contradicts_itself_is_refused() {
    use EntryType::{Block, Char, Continuous, Directory, Link, Symlink};

    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs_err::write(&victim, "safe").unwrap();
    let there = outside.path().as_os_str().as_bytes();
    let long = [b'd'; 90];
    let cases: Vec<(&str, Vec<Raw>)> = vec![
        ("up", vec![file(b"../x", b"evil")]),
        ("up in the middle", vec![file(b"a/../../x", b"evil")]),
        ("absolute", vec![file(&[there, b"/x"].concat(), b"evil")]),
        ("no name", vec![file(b"", b"evil")]),
        ("the directory itself as a file", vec![file(b".", b"")]),
        ("through a symlink", vec![link(Symlink, b"l", there), file(b"l/x", b"evil")]),
        ("through a symlink up", vec![link(Symlink, b"l", b".."), file(b"l/x", b"evil")]),
        (
            "a symlink and a file of one name",
            vec![link(Symlink, b"l", &[there, b"/victim"].concat()), file(b"l", b"evil")],
        ),
        (
            "a symlink and a directory of one name",
            vec![link(Symlink, b"l", there), raw(Directory, b"l"), file(b"l/x", b"")],
        ),
        ("a directory of a symlink", vec![link(Symlink, b"d/l", b"x"), file(b"d", b"evil")]),
        ("a hard link up", vec![link(Link, b"h", b"../victim")]),
        ("a hard link away", vec![link(Link, b"h", &[there, b"/victim"].concat())]),
        ("a hard link to nothing", vec![link(Link, b"h", b"missing")]),
        ("a hard link to itself", vec![link(Link, b"h", b"h")]),
        (
            "a hard link through a symlink",
            vec![link(Symlink, b"l", there), link(Link, b"h", b"l/victim")],
        ),
        ("a hard link to a directory", vec![raw(Directory, b"d"), link(Link, b"h", b"d")]),
        ("a character device", vec![raw(Char, b"c")]),
        ("a block device", vec![raw(Block, b"b")]),
        ("an unknown type", vec![Raw { kind: b'Z', ..raw(Continuous, b"z") }]),
        ("a sparse file", vec![raw(EntryType::GNUSparse, b"s")]),
        ("two files of one name", vec![file(b"x", b"1"), file(b"./x", b"2")]),
        ("a file and a directory of one name", vec![file(b"x", b"1"), raw(Directory, b"x")]),
        ("a file below a file", vec![file(b"x", b"1"), file(b"x/y", b"2")]),
        ("a directory twice", vec![raw(Directory, b"d"), raw(Directory, b"d/")]),
        (
            "a directory with content",
            vec![Raw { content: vec![1], size: 1, ..raw(Directory, b"d") }],
        ),
        ("a symlink to nothing", vec![link(Symlink, b"l", b"")]),
        ("pax: up", vec![pax(&[("path", b"../x")]), file(b"x", b"evil")]),
        ("pax: NUL", vec![pax(&[("path", b"a\0b")]), file(b"x", b"evil")]),
        ("pax: a link away", vec![pax(&[("linkpath", b"../victim")]), link(Link, b"h", b"ok")]),
        ("pax: no size", vec![pax(&[("size", b"-1")]), file(b"x", b"1")]),
        (
            "pax: a size beyond all",
            vec![pax(&[("size", b"18446744073709551616")]), file(b"x", b"1")],
        ),
        ("pax: a size beyond the archive", vec![pax(&[("size", b"9999999999")]), file(b"x", b"1")]),
        (
            "GNU: up",
            vec![Raw { kind: b'L', ..file(b"././@LongLink", b"../x\0") }, file(b"x", b"evil")],
        ),
        (
            "GNU: a name without end",
            vec![Raw { kind: b'L', size: 1 << 30, ..raw(Continuous, b"n") }],
        ),
        ("headers without end", (0..20).map(|_| pax(&[("comment", b"x")])).collect()),
        ("a header for nothing", vec![pax(&[("path", b"x")])]),
        ("too deep", vec![pax(&[("path", &b"d/".repeat(300))]), raw(Directory, b"d")]),
        (
            "too long",
            vec![pax(&[("path", &[&long[..], b"/"].concat().repeat(60))]), raw(Directory, b"d")],
        ),
    ];
    for (what, members) in cases {
        let (unpacked, _, beside) = unpacked_within(&members);
        let error = unpacked.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Results, "{what}");
        assert_eq!(beside, [], "{what}");
        assert_eq!(listing(outside.path()).len(), 1, "{what}");
        assert_eq!(fs_err::read(&victim).unwrap(), b"safe", "{what}");
        assert_eq!(fs_err::metadata(&victim).unwrap().nlink(), 1, "{what}");
    }
}

#[test]
fn what_is_odd_and_harmless_is_made() {
    let odd = [
        raw(EntryType::Directory, b"."),
        file(b"./implied/dir/x", b"1"),
        link(EntryType::Symlink, b"up", b"../../etc/passwd"),
        link(EntryType::Link, b"also", b"up"),
        Raw { mode: 0o7777, ..file(b"setuid", b"") },
        Raw { mode: 0, ..raw(EntryType::Directory, b"closed") },
        file(b"closed/x", b"2"),
        raw(EntryType::Directory, b"implied"),
        file(b"../y/".strip_prefix(b"../").unwrap(), b""),
    ];
    let (unpacked, inside, beside) = unpacked_within(&odd);
    let unpacked = unpacked.unwrap();
    assert_eq!((unpacked.files, unpacked.bytes, beside), (5, 2, vec![]));
    let mode = |name: &[u8]| inside.iter().find(|seen| seen.name == name).unwrap().mode & 0o7777;
    assert_eq!((mode(b"setuid"), mode(b"closed"), mode(b"closed/x")), (0o777, 0, 0o644));
}

#[test]
fn errors_are_fit_for_a_terminal() {
    for members in [
        vec![file(b"a\x1b]0;evil\x07", b"1"), file(b"a\x1b]0;evil\x07", b"2")],
        vec![raw(EntryType::Char, b"\xff\x9b2J")],
        vec![Raw { kind: 0x1b, ..raw(EntryType::Regular, b"x") }],
    ] {
        let text = text_of(&unpacked_within(&members).0.unwrap_err());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

#[test]
fn limits_hold_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    // There is no content behind it: reading would be another error.
    let archive = bytes(&[Raw { size: 1 << 40, ..file(b"x", b"") }]);
    let limits = Limits { max_bytes: Some(1000), ..Limits::default() };
    let error = unpack(&mut archive.as_slice(), dir.path(), &limits).unwrap_err();
    assert!(text_of(&error).contains("larger than the limit of 1000 bytes"), "{error:?}");
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: Some(1000), ..Limits::default() };
    let twice = bytes(&[file(b"a", &[7; 600]), file(b"b", &[7; 600])]);
    unpack(&mut twice.as_slice(), dir.path(), &limits).unwrap_err();
    // Of what may come twice, the last one counts.
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { may_repeat: true, ..limits };
    let again = bytes(&[file(b"a", &[7; 600]), file(b"./a", &[8; 600])]);
    let unpacked = unpack(&mut again.as_slice(), dir.path(), &limits).unwrap();
    assert_eq!((unpacked.files, unpacked.bytes), (1, 600));
    assert_eq!(fs_err::read(dir.path().join("a")).unwrap(), [8; 600]);
    let dir = tempfile::tempdir().unwrap();
    let links = (0..3_u8).map(|number| [b'l', b'0' + number]);
    let mut around = vec![file(b"a", &[7; 600])];
    around.extend(links.clone().map(|name| link(EntryType::Link, &name, b"a")));
    around.extend(links.map(|name| file(&name, b"")));
    around.push(file(b"b", &[7; 600]));
    let around = bytes(&around);
    let error = unpack(&mut around.as_slice(), dir.path(), &limits).unwrap_err();
    assert!(text_of(&error).contains("larger than the limit of 1000 bytes"), "{error:?}");
    let limits = Limits { max_entries: 3, ..Limits::default() };
    for members in
        [vec![file(b"1/2/3/4", b"")], (0..4_u8).map(|n| file(&[b'a' + n], b"")).collect()]
    {
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(&mut bytes(&members).as_slice(), dir.path(), &limits).unwrap_err();
        assert!(text_of(&error).contains("more than 3 files"), "{error:?}");
    }
}

/// What has to wait for the end of the archive is all that is held in memory.
#[test]
fn symlinks_without_end_are_refused_before_they_fill_the_memory() {
    let one = bytes(&[link(EntryType::Symlink, b"l", b"t")]);
    let mut endless = Repeated { block: &one[..512], at: 0 };
    let dir = tempfile::tempdir().unwrap();
    let error = unpack(&mut endless, dir.path(), &Limits::default()).unwrap_err();
    assert!(text_of(&error).contains("too many directories and links"), "{error:?}");
    assert_eq!(listing(dir.path()), []);
}

/// One header again and again.
struct Repeated<'a> {
    block: &'a [u8],
    at: usize,
}

impl Read for Repeated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = &self.block[self.at % self.block.len()..];
        let take = left.len().min(buffer.len());
        buffer[..take].copy_from_slice(&left[..take]);
        self.at += take;
        Ok(take)
    }
}

#[test]
fn an_archive_that_ends_early_is_never_whole() {
    let whole =
        bytes(&[file(b"a", &[1; 700]), raw(EntryType::Directory, b"d"), file(b"d/b", b"2")]);
    for end in (0..whole.len()).step_by(256) {
        let (_dir, unpacked) = unpacked(&whole[..end]);
        assert!(unpacked.is_err(), "{end} bytes");
    }
    unpacked(whole.as_slice()).1.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_it_panic_or_reach_out(
        seed in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        names in proptest::collection::vec("[a./l]{1,8}", 1..5),
        kinds in proptest::collection::vec(0..6_usize, 5),
    ) {
        let kinds = kinds.iter().map(|kind| b"05120L"[*kind]);
        let mut archive = bytes(&names.iter().zip(kinds).map(|(name, kind)| {
            Raw { kind, link: b"../x".to_vec(), ..file(name.as_bytes(), b"") }
        }).collect::<Vec<_>>());
        for (at, byte) in seed {
            let at = usize::from(at) % archive.len();
            archive[at] = byte;
        }
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("into");
        fs_err::create_dir(&into).unwrap();
        drop(unpack(&mut archive.as_slice(), &into, &Limits::default()));
        prop_assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }
}
