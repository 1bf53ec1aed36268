//! Getting a tree onto the disk.

use std::io;
use std::path::Path;

use fs_err::File;
use ignore::WalkBuilder;

/// Waits until `directory` and everything below it is on the disk.
///
/// # Errors
/// When the disk says that something could not be written.
pub(crate) fn sync_tree(directory: &Path) -> io::Result<()> {
    // One call for the whole file system is by far cheaper than one for each of many files, which
    // would each wait for the journal.
    #[cfg(target_os = "linux")]
    match rustix::fs::syncfs(File::open(directory)?.file()) {
        Err(rustix::io::Errno::NOSYS) => {}
        synced => return Ok(synced?),
    }
    sync_each(directory)
}

fn sync_each(directory: &Path) -> io::Result<()> {
    let walk = WalkBuilder::new(directory).standard_filters(false).follow_links(false).build();
    for entry in walk {
        let entry = entry.map_err(io::Error::other)?;
        let kind = entry.file_type();
        if !kind.is_some_and(|kind| kind.is_file() || kind.is_dir()) {
            continue;
        }
        match File::open(entry.path()) {
            Ok(file) => file.sync_all()?,
            // A file that even its owner may not read can only be synced with all others.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => rustix::fs::sync(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_with_everything_in_it_can_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("sub")).unwrap();
        fs_err::write(dir.path().join("sub/file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        sync_each(dir.path()).unwrap();
        sync_tree(dir.path()).unwrap();
        assert!(sync_tree(&dir.path().join("missing")).is_err());
    }
}
