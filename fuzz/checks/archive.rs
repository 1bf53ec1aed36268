//! An archive of a host: nothing outside of its directory, and nothing but what it may make.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

const BLOCK: usize = 512;
const MAX_BYTES: u64 = 1 << 20;

/// Unpacks the bytes as they are, and with what a fuzzer can't guess put right: the sums of headers
/// and the mark at the end.
pub(crate) fn check(input: &[u8]) {
    unpack(input);
    let mut blocks: Vec<u8> = input.to_vec();
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    for block in blocks.chunks_mut(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    blocks.resize(blocks.len() + 2 * BLOCK, 0);
    unpack(&blocks);
}

fn unpack(archive: &[u8]) {
    let place = tempfile::tempdir().expect("a writable TMPDIR");
    let into = place.path().join("into");
    let victim = place.path().join("victim");
    fs_err::create_dir(&into).expect("own directory");
    fs_err::write(&victim, "safe").expect("own directory");
    let unpacked = geto::fuzzing::unpack(archive, &into, MAX_BYTES);
    let mut beside: Vec<_> = fs_err::read_dir(place.path())
        .expect("own directory")
        .map(|entry| entry.unwrap().path())
        .collect();
    beside.sort();
    assert_eq!(beside, [into.as_path(), victim.as_path()]);
    assert_eq!(fs_err::read(&victim).expect("it is there"), b"safe");
    assert_eq!(fs_err::metadata(&victim).expect("it is there").nlink(), 1);
    // Before anything is looked at: a directory may have been closed to its owner.
    let bytes = look(&into, &mut std::collections::HashSet::new());
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
    match unpacked {
        Ok(told) => assert_eq!(bytes, told),
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "{text:?}");
                cause = error.source();
            }
        }
    }
}

/// Looks at all below a directory; returns the bytes of its files, one of several names once.
fn look(directory: &Path, seen: &mut std::collections::HashSet<u64>) -> u64 {
    fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let entries = fs_err::read_dir(directory).expect("it is ours");
    let sizes = entries.map(|entry| {
        let path = entry.expect("it is ours").path();
        let metadata = fs_err::symlink_metadata(&path).expect("it is there");
        let kind = metadata.file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink(), "{}", path.display());
        assert!(kind.is_symlink() || metadata.mode() & 0o7000 == 0, "{}", path.display());
        match () {
            () if kind.is_dir() => look(&path, seen),
            () if kind.is_file() && seen.insert(metadata.ino()) => metadata.len(),
            () => 0,
        }
    });
    sizes.sum()
}
