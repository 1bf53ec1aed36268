//! Getting a tree onto the disk.

use std::io;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};
use rustix::fs::OFlags;
use walkdir::WalkDir;

/// Up to so many files and directories are synced one by one. A sync of the whole file system may
/// have to wait for what others write to it; one of each file waits for the journal each time.
const ONE_BY_ONE: usize = 64;

/// Waits until `directory` and everything below it is on the disk.
///
/// # Errors
/// When the disk says that something could not be written.
pub(crate) fn sync_tree(directory: &Path) -> io::Result<()> {
    let mut entries = walk(directory);
    let few: Vec<_> = entries.by_ref().take(ONE_BY_ONE + 1).collect();
    if few.len() > ONE_BY_ONE && sync_file_system(directory)? {
        return Ok(());
    }
    few.into_iter().chain(entries).try_for_each(|entry| sync(&entry?))
}

/// Waits until everything on the file system of `directory` is on the disk; false where there is no such
/// call.
///
/// # Errors
/// When the disk says that something could not be written.
pub(crate) fn sync_file_system(directory: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    match rustix::fs::syncfs(File::open(directory)?.file()) {
        Err(rustix::io::Errno::NOSYS) => Ok(false),
        synced => Ok(synced.map(|()| true)?),
    }
    #[cfg(not(target_os = "linux"))]
    Ok(false)
}

/// Everything below a directory, itself included; links are not followed.
pub(crate) fn walk(directory: &Path) -> walkdir::IntoIter {
    WalkDir::new(directory).into_iter()
}

/// Syncs a file or directory; a symlink is on the disk with its directory.
fn sync(entry: &walkdir::DirEntry) -> io::Result<()> {
    if !entry.file_type().is_file() && !entry.file_type().is_dir() {
        return Ok(());
    }
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    match OpenOptions::new().read(true).custom_flags(flags).open(entry.path()) {
        Ok(file) => file.sync_all(),
        // A file that even its owner may not read can only be synced with all others.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            rustix::fs::sync();
            Ok(())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_any_size_with_everything_in_them_can_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        for count in [1, 2 * ONE_BY_ONE] {
            for number in 0..count {
                fs_err::create_dir_all(dir.path().join("sub")).unwrap();
                fs_err::write(dir.path().join(format!("sub/{number}")), "x").unwrap();
            }
            sync_tree(dir.path()).unwrap();
        }
        assert!(sync_tree(&dir.path().join("missing")).is_err());
    }
}
