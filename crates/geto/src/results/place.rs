//! Moving what was unpacked to where the user wants it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{Metadata, Permissions};
use std::io::{self, BufRead as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, RenameFlags, Timespec, Timestamps,
};
use rustix::io::Errno;

use super::archive::Cause;
use super::claims::{Claim, Claimed};
use super::sync_tree;
use crate::text::printable;
use crate::{Error, ErrorKind};

/// How many of the things that stand in the way are named.
const CONFLICTS_SHOWN: usize = 20;

/// Moves all that stands in `from` into the directory `to`, which is made when it is missing.
///
/// Directories that are in both are merged. Nothing in `to` is replaced but what `replaced` says. A file appears at its place whole or not at all, also on another file system.
/// No symlink below `to` is followed. At the end `from` is gone.
///
/// # Errors
/// Of kind [`Results`](ErrorKind::Results). When something is in the way that was there before the
/// call, nothing has been moved; after any other error some may have been, and the rest is still
/// in `from`.
pub(crate) fn place(from: &Path, to: &Path, replaced: &Replaced) -> Result<(), Error> {
    Placing { to, replaced, way: Way::Rename }.place(from)
}

/// What may be replaced where files go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replaced {
    /// Files may be.
    pub(crate) overwrite: bool,
    /// Files that are what comes may be: they came from the same task.
    pub(crate) same: bool,
    /// Who else may have left some there.
    pub(crate) claim: Option<Claim>,
}

/// The first way to try. The next one is taken where a file system can't do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "tests start with the ways that are rare"))]
pub(super) enum Way {
    /// `rename` that replaces nothing.
    Rename,
    /// `link`, which never replaces anything, and `unlink`.
    Link,
    /// A copy beside the final place.
    Copy,
}

pub(super) struct Placing<'a> {
    pub(super) to: &'a Path,
    pub(super) replaced: &'a Replaced,
    pub(super) way: Way,
}

#[derive(Default)]
struct Conflicts {
    shown: Vec<String>,
    more: usize,
    /// Whether replacing files would do.
    replaceable: bool,
    /// What is to be replaced although not all is.
    ours: HashSet<PathBuf>,
    /// Directories that were opened to look into them, and their modes.
    opened: Vec<(PathBuf, u32)>,
}

impl Placing<'_> {
    /// See [`place`].
    pub(super) fn place(&self, from: &Path) -> Result<(), Error> {
        let message = format!("failed to put the files into `{}`", shown(self.to));
        let failed = |cause: Cause| Error::new(ErrorKind::Results, &message).caused_by(cause);
        let target = fs_err::create_dir_all(self.to)
            .map_err(Cause::from)
            // What the user names may be a symlink; only below it none is followed.
            .and_then(|()| Ok(open_directory(CWD, self.to, OFlags::empty())?))
            .map_err(failed)?;
        let mut conflicts = Conflicts { replaceable: true, ..Conflicts::default() };
        let mut claimed = self.claim(from).map_err(failed)?;
        conflicts.ours = std::mem::take(&mut claimed.own);
        for (path, owner) in std::mem::take(&mut claimed.taken) {
            conflicts.add(&path, &format!(" of task {owner}"), false);
        }
        let looked = match conflicts.shown.is_empty() {
            true => self.look(from, &target, Path::new(""), &mut conflicts),
            false => Ok(()),
        };
        if (looked.is_err() || !conflicts.shown.is_empty())
            && let Some(claim) = &self.replaced.claim
        {
            claim.unmake(claimed);
        }
        if looked.is_err() || !conflicts.shown.is_empty() {
            for (path, mode) in conflicts.opened.iter().rev() {
                drop(fs_err::set_permissions(path, Permissions::from_mode(*mode)));
            }
        }
        looked.map_err(failed)?;
        if !conflicts.shown.is_empty() {
            let error = failed(conflicts.told().into());
            return Err(match conflicts.replaceable {
                true => error.with_hint("`--overwrite` replaces files"),
                false => error,
            });
        }
        self.merge(from, &target, Path::new(""), &conflicts.ours).map_err(failed)
    }

    /// Claims the places of all files, if that is asked for.
    fn claim(&self, from: &Path) -> Result<Claimed, Cause> {
        let Some(claim) = &self.replaced.claim else { return Ok(Claimed::default()) };
        let mut files = Vec::new();
        files_below(from, Path::new(""), &mut files)?;
        Ok(claim.make(&fs_err::canonicalize(self.to)?, files))
    }

    /// Looks for all that is in the way of what stands in `from`.
    fn look(
        &self,
        from: &Path,
        target: &OwnedFd,
        below: &Path,
        conflicts: &mut Conflicts,
    ) -> Result<(), Cause> {
        let mode = fs_err::symlink_metadata(from)?.mode();
        if make_accessible(from, mode)? {
            conflicts.opened.push((from.to_owned(), mode));
        }
        for name in names(from)? {
            let (path, below) = (from.join(&name), below.join(&name));
            let comes_directory = fs_err::symlink_metadata(&path)?.is_dir();
            let stands = match rustix::fs::statat(target, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(about(&below, error)),
            };
            match (comes_directory, stands) {
                (true, FileType::Directory) => {
                    let target = open_directory(target, &name, OFlags::NOFOLLOW)
                        .map_err(|error| about(&below, error))?;
                    self.look(&path, &target, &below, conflicts)?;
                }
                (false, FileType::Directory) => conflicts.add(&below, " (a directory)", false),
                (true, FileType::Symlink) => conflicts.add(&below, " (a symlink)", false),
                (true, _) => conflicts.add(&below, " (no directory)", false),
                (false, _) if self.replaced.overwrite || conflicts.ours.contains(&below) => {}
                (false, FileType::RegularFile)
                    if self.replaced.same && is_same(&path, target, &name)? =>
                {
                    conflicts.ours.insert(below);
                }
                (false, _) => conflicts.add(&below, "", true),
            }
        }
        Ok(())
    }

    /// Moves what stands in `from` into `target` and removes `from`.
    fn merge(
        &self,
        from: &Path,
        target: &OwnedFd,
        below: &Path,
        ours: &HashSet<PathBuf>,
    ) -> Result<(), Cause> {
        make_accessible(from, fs_err::symlink_metadata(from)?.mode())?;
        for name in names(from)? {
            let (path, below) = (from.join(&name), below.join(&name));
            let metadata = fs_err::symlink_metadata(&path)?;
            let replaces = self.replaced.overwrite || ours.contains(&below);
            if !metadata.is_dir() {
                self.put(&path, &metadata, (target, &name), &below, replaces)
                    .map_err(|error| about(&below, error))?;
                continue;
            }
            match self.put(&path, &metadata, (target, &name), &below, replaces) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let target = open_directory(target, &name, OFlags::NOFOLLOW)
                        .map_err(|error| about(&below, error))?;
                    self.merge(&path, &target, &below, ours)?;
                }
                put => put.map_err(|error| about(&below, error))?,
            }
        }
        rustix::fs::fsync(target)?;
        Ok(fs_err::remove_dir(from)?)
    }

    /// Moves a file, or a directory with all that is in it.
    fn put(
        &self,
        path: &Path,
        metadata: &Metadata,
        (target, name): (&OwnedFd, &OsStr),
        below: &Path,
        replaces: bool,
    ) -> io::Result<()> {
        let is_dir = metadata.is_dir();
        let replaces = replaces && !is_dir;
        // Before much is copied in vain.
        if is_dir && rustix::fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(Errno::EXIST.into());
        }
        // The system writes the new parent into a directory that moves.
        let opened = is_dir && make_accessible(path, metadata.mode())?;
        let directory = match opened {
            true => Some(open_directory(CWD, path, OFlags::NOFOLLOW)?),
            false => None,
        };
        let moved = match self.way {
            Way::Copy => Err(Errno::XDEV),
            _ => self.rename(CWD, path, (target, name), is_dir, replaces),
        };
        if let Some(directory) = directory {
            rustix::fs::fchmod(directory, mode_bits(metadata))?;
        }
        match moved {
            Err(Errno::XDEV) => self.copy(path, (target, name), below, is_dir, replaces),
            moved => Ok(moved?),
        }
    }

    fn rename(
        &self,
        parent: impl AsFd,
        path: impl rustix::path::Arg + Copy,
        (target, name): (&OwnedFd, &OsStr),
        is_dir: bool,
        replaces: bool,
    ) -> Result<(), Errno> {
        if replaces {
            return rustix::fs::renameat(parent, path, target, name);
        }
        if self.way != Way::Link {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&parent, path, target, name, flags) {
                // Not every file system knows how (NFS, FUSE).
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                renamed => return renamed,
            }
        }
        if is_dir {
            // The worst that this replaces is an empty directory.
            return match rustix::fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(_) => rustix::fs::renameat(parent, path, target, name),
            };
        }
        rustix::fs::linkat(&parent, path, target, name, AtFlags::empty())?;
        rustix::fs::unlinkat(parent, path, AtFlags::empty())
    }

    /// Moves to another file system: copies to a hidden name beside the final one, then renames.
    fn copy(
        &self,
        path: &Path,
        (target, name): (&OwnedFd, &OsStr),
        below: &Path,
        is_dir: bool,
        replaces: bool,
    ) -> io::Result<()> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let hidden = OsString::from(format!(".geto-{:016x}.part", u64::from_ne_bytes(random)));
        let aside = self.to.join(below).with_file_name(&hidden);
        let copied = copy_tree(path, target, &hidden)
            .and_then(|()| match is_dir {
                true => sync_tree(&aside),
                false => Ok(()),
            })
            .and_then(|()| Ok(self.rename(target, &*hidden, (target, name), is_dir, replaces)?));
        if copied.is_err() {
            drop(remove_tree(&aside));
        }
        copied?;
        remove_tree(path)
    }
}

impl Conflicts {
    fn add(&mut self, below: &Path, what: &str, replaceable: bool) {
        self.replaceable &= replaceable;
        match self.shown.len() < CONFLICTS_SHOWN {
            true => self.shown.push(format!("`{}`{what}", shown(below))),
            false => self.more += 1,
        }
    }

    fn told(&self) -> String {
        let names = self.shown.join(", ");
        match self.more {
            0 => format!("there is already {names}"),
            more => format!("there is already {names} and {more} more"),
        }
    }
}

/// All that is no directory below one.
fn files_below(from: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<(), Cause> {
    let mode = fs_err::symlink_metadata(from)?.mode();
    let opened = make_accessible(from, mode)?;
    for name in names(from)? {
        let (path, below) = (from.join(&name), below.join(&name));
        match fs_err::symlink_metadata(&path)?.is_dir() {
            true => files_below(&path, &below, files)?,
            false => files.push(below),
        }
    }
    if opened {
        fs_err::set_permissions(from, Permissions::from_mode(mode & 0o7777))?;
    }
    Ok(())
}

/// Whether a file is, byte for byte, the one of that name in `target`.
fn is_same(path: &Path, target: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    const PIECE: usize = 64 << 10;
    if !fs_err::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // One that can't be read is not known to be the same.
    let Ok(there) = rustix::fs::openat(target, name, flags, Mode::empty()) else {
        return Ok(false);
    };
    let here = fs_err::File::open(path)?;
    let there = std::fs::File::from(there);
    if here.metadata()?.len() != there.metadata()?.len() {
        return Ok(false);
    }
    let [mut here, mut there] =
        [here.into_parts().0, there].map(|file| io::BufReader::with_capacity(PIECE, file));
    loop {
        let (one, other) = (here.fill_buf()?, there.fill_buf()?);
        let length = one.len().min(other.len());
        if one[..length] != other[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(one.len() == other.len());
        }
        here.consume(length);
        there.consume(length);
    }
}

/// Copies without following symlinks; a single file is on the disk afterwards.
fn copy_tree(path: &Path, target: &OwnedFd, name: &OsStr) -> io::Result<()> {
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
    rustix::fs::fchmod(&made, mode_bits(&metadata))?;
    match metadata.is_dir() {
        true => Ok(()),
        false => Ok(rustix::fs::fsync(&made)?),
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
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
fn make_accessible(path: &Path, mode: u32) -> io::Result<bool> {
    if mode & 0o700 == 0o700 || mode & 0o170_000 == 0o100_000 && mode & 0o400 != 0 {
        return Ok(false);
    }
    fs_err::set_permissions(path, Permissions::from_mode(mode & 0o7777 | 0o700))?;
    Ok(true)
}

/// The names in a directory, in their order. It is closed again, so that depth does not cost descriptors.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let names = fs_err::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn open_directory(
    parent: impl AsFd,
    name: impl rustix::path::Arg,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn mode_bits(metadata: &Metadata) -> Mode {
    let mode = u16::try_from(metadata.mode() & 0o777).unwrap_or_default();
    Mode::from_raw_mode(RawMode::from(mode))
}

fn times(metadata: &Metadata) -> Timestamps {
    let mtime = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    Timestamps { last_access: mtime, last_modification: mtime }
}

fn about(below: &Path, error: impl Into<io::Error>) -> Cause {
    format!("`{}`: {}", shown(below), error.into()).into()
}

fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}
