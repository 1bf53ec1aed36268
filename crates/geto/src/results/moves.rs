//! Moves that are taken back when one of them fails.

use std::ffi::OsStr;
use std::fs::{Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::copy::{
    copy_tree, hidden_name, make_accessible, mode_bits, open_directory, remove_tree,
};
use super::place::Way;
use super::sync_tree;

/// Moves into the directory `to`, which is open as `root`.
pub(super) struct Moves<'a> {
    pub(super) way: Way,
    pub(super) to: &'a Path,
    pub(super) root: &'a OwnedFd,
    /// Whether what can't be renamed is copied: there is another file system below `to`.
    pub(super) copies: bool,
    /// Whether that would have helped.
    pub(super) crosses: bool,
    done: Vec<Move>,
}

#[derive(Debug)]
struct Move {
    from: PathBuf,
    /// Where it is now, below the root.
    below: PathBuf,
    /// The mode of what is a directory.
    mode: Option<u32>,
    /// Where that is now which stood there before.
    replaced: Option<PathBuf>,
    /// Whether it is a copy that came from beside its place.
    is_copy: bool,
}

impl<'a> Moves<'a> {
    pub(super) fn new(way: Way, to: &'a Path, root: &'a OwnedFd, copies: bool) -> Self {
        Self { way, to, root, copies, crosses: false, done: Vec::new() }
    }

    /// Moves a file, or a directory with all that is in it, to `name` in `target`, which is `below`
    /// of the root.
    pub(super) fn put(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        (target, name): (&OwnedFd, &OsStr),
        below: &Path,
        replaces: bool,
    ) -> io::Result<()> {
        let is_dir = metadata.is_dir();
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
        let replaces = replaces && !is_dir;
        let mut from = path.to_owned();
        let mut moved = self.rename(path, (target, name), is_dir, replaces);
        let crosses = moved == Err(Errno::XDEV);
        self.crosses |= crosses;
        let copies = crosses && self.copies;
        if copies {
            let hidden = hidden_name()?;
            from = self.to.join(below).with_file_name(&hidden);
            let copied = copy_tree(path, target, &hidden).and_then(|()| sync_tree(&from));
            moved = match copied {
                Ok(()) => self.rename(&from, (target, name), is_dir, replaces),
                Err(error) => {
                    drop(remove_tree(&from));
                    return Err(error);
                }
            };
            if moved.is_err() {
                drop(remove_tree(&from));
            }
        }
        let moved = moved.map(|replaced| {
            let mode = is_dir.then(|| metadata.mode());
            self.done.push(Move { from, below: below.to_owned(), mode, replaced, is_copy: copies });
        });
        if let Some(directory) = directory {
            rustix::fs::fchmod(directory, mode_bits(metadata))?;
        }
        Ok(moved?)
    }

    /// Moves on one file system; tells where that is which was replaced.
    fn rename(
        &self,
        path: &Path,
        (target, name): (&OwnedFd, &OsStr),
        is_dir: bool,
        replaces: bool,
    ) -> Result<Option<PathBuf>, Errno> {
        match self.rename_to_nothing(path, (target, name), is_dir) {
            Err(Errno::EXIST) if replaces => self.exchange(path, (target, name)).map(Some),
            renamed => renamed.map(|()| None),
        }
    }

    fn rename_to_nothing(
        &self,
        path: &Path,
        (target, name): (&OwnedFd, &OsStr),
        is_dir: bool,
    ) -> Result<(), Errno> {
        if self.way != Way::Link {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(CWD, path, target, name, flags) {
                // Not every file system knows how (NFS, FUSE).
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                renamed => return renamed,
            }
        }
        if is_dir {
            // The worst that this replaces is an empty directory.
            return match rustix::fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(_) => rustix::fs::renameat(CWD, path, target, name),
            };
        }
        rustix::fs::linkat(CWD, path, target, name, AtFlags::empty())?;
        rustix::fs::unlink(path)
    }

    /// Puts a file where another one stands, which is there until then, and tells where that one is
    /// afterwards.
    fn exchange(&self, path: &Path, (target, name): (&OwnedFd, &OsStr)) -> Result<PathBuf, Errno> {
        let there = rustix::fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        if self.way != Way::Link {
            let flags = RenameFlags::EXCHANGE;
            match rustix::fs::renameat_with(CWD, path, target, name, flags) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                exchanged => return exchanged.map(|()| path.to_owned()),
            }
        }
        let aside = path.with_file_name(
            hidden_name().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?,
        );
        // Where no second name can be had, there is no file for a moment.
        rustix::fs::linkat(target, name, CWD, &aside, AtFlags::empty())
            .or_else(|_| rustix::fs::renameat(target, name, CWD, &aside))?;
        rustix::fs::renameat(CWD, path, target, name).inspect_err(|_| {
            // Of two names of one file this does nothing.
            rustix::fs::renameat(CWD, &aside, target, name).ok();
            rustix::fs::unlink(&aside).ok();
        })?;
        Ok(aside)
    }

    /// Takes all back that was moved, the last first.
    ///
    /// # Errors
    /// The first one; what else could be taken back was.
    pub(super) fn take_back(self) -> io::Result<()> {
        let root = self.root;
        let mut taken = Ok(());
        for moved in self.done.iter().rev() {
            taken = taken.and(moved.take_back(root));
        }
        taken
    }

    /// Removes what copies have replaced. All else that was replaced is where the moves came from.
    pub(super) fn keep(self) -> io::Result<()> {
        let copies = self.done.iter().filter(|moved| moved.is_copy);
        copies.filter_map(|moved| moved.replaced.as_ref()).try_for_each(fs_err::remove_file)
    }
}

impl Move {
    fn take_back(&self, root: &OwnedFd) -> io::Result<()> {
        let mut target = root.try_clone()?;
        for name in self.below.parent().into_iter().flatten() {
            target = open_directory(&target, name, OFlags::NOFOLLOW)?;
        }
        let name = self.below.file_name().unwrap_or_default();
        if self.mode.is_some() {
            rustix::fs::chmodat(&target, name, Mode::RWXU, AtFlags::empty())?;
        }
        match &self.replaced {
            Some(aside) if *aside == self.from => {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&target, name, CWD, aside, flags)?;
            }
            replaced => {
                rustix::fs::renameat(&target, name, CWD, &self.from)?;
                if let Some(aside) = replaced {
                    rustix::fs::renameat(CWD, aside, &target, name)?;
                }
            }
        }
        match self.mode {
            _ if self.is_copy => remove_tree(&self.from),
            Some(mode) => {
                fs_err::set_permissions(&self.from, Permissions::from_mode(mode & 0o7777))
            }
            None => Ok(()),
        }
    }
}
