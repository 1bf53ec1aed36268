//! Copies to another file system, and access to what is copied.

use std::ffi::{OsStr, OsString};
use std::fs::{Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawMode, Timespec, Timestamps};
use rustix::io::Errno;

/// Copies without following symlinks. What is made is not yet on the disk.
pub(super) fn copy_tree(path: &Path, target: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let metadata = fs_err::symlink_metadata(path)?;
    let times = times(&metadata);
    if metadata.is_symlink() {
        rustix::fs::symlinkat(fs_err::read_link(path)?, target, name)?;
        return Ok(rustix::fs::utimensat(target, name, &times, AtFlags::SYMLINK_NOFOLLOW)?);
    }
    let opened = make_accessible(path, metadata.mode())?;
    let made = if metadata.is_dir() {
        rustix::fs::mkdirat(target, name, Mode::RWXU)?;
        let made = open_directory(target, name, OFlags::NOFOLLOW)?;
        for name in names(path)? {
            copy_tree(&path.join(&name), &made, &name)?;
        }
        made
    } else {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut made =
            std::fs::File::from(rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(fs_err::File::open(path)?.file_mut(), &mut made)?;
        made.into()
    };
    if opened {
        fs_err::set_permissions(path, metadata.permissions())?;
    }
    rustix::fs::futimens(&made, &times)?;
    Ok(rustix::fs::fchmod(&made, mode_bits(&metadata))?)
}

pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let metadata = fs_err::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return fs_err::remove_file(path);
    }
    make_accessible(path, metadata.mode())?;
    for name in names(path)? {
        remove_tree(&path.join(name))?;
    }
    fs_err::remove_dir(path)
}

/// Gives the owner, who this is, all rights to `path`; tells whether there was something to give.
pub(super) fn make_accessible(path: &Path, mode: u32) -> io::Result<bool> {
    if mode & 0o700 == 0o700 || mode & 0o170_000 == 0o100_000 && mode & 0o400 != 0 {
        return Ok(false);
    }
    fs_err::set_permissions(path, Permissions::from_mode(mode & 0o7777 | 0o700))?;
    Ok(true)
}

/// The names in a directory, in their order. It is closed again, so that depth does not cost descriptors.
pub(super) fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let names = fs_err::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

pub(super) fn open_directory(
    parent: impl AsFd,
    name: impl rustix::path::Arg,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// A name of geto's own for what is not yet, or not any more, what it is to be.
pub(super) fn hidden_name() -> io::Result<OsString> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(".geto-{:016x}.partial", u64::from_ne_bytes(random)).into())
}

pub(super) fn mode_bits(metadata: &Metadata) -> Mode {
    let mode = u16::try_from(metadata.mode() & 0o777).unwrap_or_default();
    Mode::from_raw_mode(RawMode::from(mode))
}

fn times(metadata: &Metadata) -> Timestamps {
    let mtime = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    Timestamps { last_access: mtime, last_modification: mtime }
}
