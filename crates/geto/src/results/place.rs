//! Moving what was unpacked to where the user wants it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{self, BufRead as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::archive::Cause;
use super::claims::{Claim, Claimed};
use super::copy::{copy_tree, hidden_name, make_accessible, names, open_directory, remove_tree};
use super::moves::Moves;
use super::sync_tree;
use super::turn::Turn;
use crate::text::printable;
use crate::{Error, ErrorKind};

/// How many of the things that stand in the way are named.
const CONFLICTS_SHOWN: usize = 20;

/// Moves all that stands in `from` into the directory `to`, which is made when it is missing.
///
/// Directories that are in both are merged. Nothing in `to` is replaced but what `replaced` says. All
/// files appear at their places, whole, or none does: what comes from another file system is copied to
/// a hidden directory in `to` first, and moves are taken back when one fails. No symlink below `to` is
/// followed. At the end `from` is gone.
///
/// # Errors
/// Of kind [`Results`](ErrorKind::Results). Nothing has been moved then, unless the error says that it
/// could not be taken back; the rest is still in `from`.
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
pub(super) enum Way {
    /// `rename` that replaces nothing.
    Rename,
    /// `link`, which never replaces anything, and `unlink`.
    Link,
    /// A copy in the final directory, and `rename` from there.
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
        let _turn = Turn::wait(&target).map_err(|error| failed(error.into()))?;
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
        let put = match looked {
            Ok(()) if conflicts.shown.is_empty() => self.put_all(from, &target, &conflicts.ours),
            Ok(()) => Ok(()),
            Err(cause) => Err(cause.into()),
        };
        let is_mixed = put.as_ref().is_err_and(|unplaced| unplaced.is_mixed);
        if (put.is_err() || !conflicts.shown.is_empty()) && !is_mixed {
            if let Some(claim) = &self.replaced.claim {
                claim.unmake(claimed);
            }
            for (path, mode) in conflicts.opened.iter().rev() {
                drop(fs_err::set_permissions(path, Permissions::from_mode(*mode)));
            }
        }
        put.map_err(|unplaced| failed(unplaced.cause))?;
        if !conflicts.shown.is_empty() {
            let error = failed(conflicts.told().into());
            return Err(match conflicts.replaceable {
                true => error.with_hint("`--overwrite` replaces files"),
                false => error,
            });
        }
        Ok(())
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

    /// Moves what stands in `from` into `target`, all of it or nothing, and removes `from`.
    fn put_all(
        &self,
        from: &Path,
        target: &OwnedFd,
        ours: &HashSet<PathBuf>,
    ) -> Result<(), Unplaced> {
        if self.way != Way::Copy {
            match self.merge_all(from, target, ours, false) {
                Err(unplaced) if unplaced.crosses => {}
                merged => return merged,
            }
        }
        // All that may take its time or fail for want of room comes before the first move.
        let hidden = hidden_name()?;
        let partial = self.to.join(&hidden);
        let placed = copy_tree(from, target, &hidden)
            .and_then(|()| sync_tree(&partial))
            .map_err(Unplaced::from)
            .and_then(|()| self.merge_all(&partial, target, ours, true));
        match placed {
            Ok(()) => remove_tree(from).map_err(|error| Unplaced::left(&error)),
            Err(unplaced) => {
                // With what could not be taken back, it is all that there is of it.
                if !unplaced.is_mixed {
                    drop(remove_tree(&partial));
                }
                Err(unplaced)
            }
        }
    }

    /// The same on one file system; `copies` what goes to yet another one.
    fn merge_all(
        &self,
        from: &Path,
        target: &OwnedFd,
        ours: &HashSet<PathBuf>,
        copies: bool,
    ) -> Result<(), Unplaced> {
        let mut moves = Moves::new(self.way, self.to, target, copies);
        if let Err(cause) = self.merge(from, target, Path::new(""), ours, &mut moves) {
            let crosses = moves.crosses && !copies;
            return Err(match moves.take_back() {
                Ok(()) => Unplaced { cause, crosses, is_mixed: false },
                Err(error) => Unplaced {
                    cause: format!("{cause}; and what was moved could not be taken back: {error}")
                        .into(),
                    crosses: false,
                    is_mixed: true,
                },
            });
        }
        moves.keep().and_then(|()| remove_tree(from)).map_err(|error| Unplaced::left(&error))
    }

    fn merge(
        &self,
        from: &Path,
        target: &OwnedFd,
        below: &Path,
        ours: &HashSet<PathBuf>,
        moves: &mut Moves<'_>,
    ) -> Result<(), Cause> {
        make_accessible(from, fs_err::symlink_metadata(from)?.mode())?;
        for name in names(from)? {
            let (path, below) = (from.join(&name), below.join(&name));
            let metadata = fs_err::symlink_metadata(&path)?;
            let replaces = self.replaced.overwrite || ours.contains(&below);
            match moves.put(&path, &metadata, (target, &name), &below, replaces) {
                Err(error) if metadata.is_dir() && error.kind() == io::ErrorKind::AlreadyExists => {
                    let target = open_directory(target, &name, OFlags::NOFOLLOW)
                        .map_err(|error| about(&below, error))?;
                    self.merge(&path, &target, &below, ours, moves)?;
                }
                put => put.map_err(|error| about(&below, error))?,
            }
        }
        Ok(rustix::fs::fsync(target)?)
    }
}

/// Why files were not placed.
struct Unplaced {
    cause: Cause,
    /// They are to be copied, since they come from another file system.
    crosses: bool,
    /// Some are at their places all the same.
    is_mixed: bool,
}

impl Unplaced {
    /// After the last move.
    fn left(error: &io::Error) -> Self {
        let cause =
            format!("all are at their places, and what is left could not be removed: {error}");
        Self { cause: cause.into(), crosses: false, is_mixed: true }
    }
}

impl From<Cause> for Unplaced {
    fn from(cause: Cause) -> Self {
        Self { cause, crosses: false, is_mixed: false }
    }
}

impl From<io::Error> for Unplaced {
    fn from(error: io::Error) -> Self {
        Cause::from(error).into()
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

fn about(below: &Path, error: impl Into<io::Error>) -> Cause {
    format!("`{}`: {}", shown(below), error.into()).into()
}

fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}
