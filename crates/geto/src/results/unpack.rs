//! Makes what the members of an archive describe, below one directory and nowhere else.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawMode, Timespec, Timestamps};
use rustix::io::Errno;

use super::archive::{Archive, Cause, Kind, Member, Mtime};
use super::copy::open_directory;
use super::{Limits, Unpacked, too_large};
use crate::text::printable;
use crate::{Error, ErrorKind};

/// The longest path that can be named to a system at once.
const PATH_MAX: usize = 4096;
/// The most directories in a path: each is opened.
const DEPTH_MAX: usize = 256;
/// The most bytes that are kept of what has to wait for the end of the archive: half a million
/// directories and links, of short names.
const WAITING_MAX: usize = 64 << 20;
/// What one of them takes beside its names, allocations included.
const WAITING_EACH: usize = size_of::<(MemberPath, Vec<u8>, Mtime)>() + 2 * 32;
/// How many of the members that were not made are named.
const SKIPPED_MAX: u64 = 100;

/// Unpacks `archive`, which comes from a host that is not trusted, into the empty directory `into`.
///
/// Nothing is made outside of `into`, nothing is replaced or written through, and modes and mtimes
/// are those of the archive (set-id and sticky bits apart). Symlinks stand as they were written and
/// are made last. What arrived before an error stays, for the caller to remove.
///
/// # Errors
/// Of kind [`Results`](ErrorKind::Results) when the archive is not whole, has a member that can't
/// or must not be made, or goes beyond `limits`.
pub(crate) fn unpack(
    archive: &mut dyn Read,
    into: &Path,
    limits: &Limits,
) -> Result<Unpacked, Error> {
    let failed = |cause| failed_at("the files", into, cause);
    let mut unpacking = Unpacking::new(into, limits).map_err(failed)?;
    let mut archive = Archive::new(archive);
    while let Some(member) = archive.next().map_err(failed)? {
        let name = printable(&member.name);
        unpacking
            .take(member, &mut archive)
            .map_err(|cause| failed_at(&format!("`{name}`"), into, cause))?;
    }
    unpacking.finish()
}

/// Of kind [`Local`](ErrorKind::Local) when it is this machine's disk that fails.
fn failed_at(what: &str, into: &Path, cause: Cause) -> Error {
    let full = |number| [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS].contains(&number);
    let local = cause.downcast_ref::<Errno>().is_some_and(|number| full(*number))
        || cause.downcast_ref::<std::io::Error>().and_then(Errno::from_io_error).is_some_and(full);
    match local {
        true => Error::new(
            ErrorKind::Local,
            format!("failed to write {what} below `{}`", into.display()),
        ),
        false => Error::new(ErrorKind::Results, format!("failed to unpack {what}")),
    }
    .caused_by(cause)
}

/// The path of a member: its parts joined by `/`, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct MemberPath(Vec<u8>);

struct Unpacking<'a> {
    into: &'a Path,
    limits: &'a Limits,
    root: Rc<OwnedFd>,
    /// The directory that was used last: most members stand in the same as the one before.
    parent: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories that were made since something stands in them.
    implied: HashSet<MemberPath>,
    directories: Vec<(MemberPath, u16, Mtime)>,
    symlinks: Vec<(MemberPath, Vec<u8>, Mtime)>,
    links: Vec<(MemberPath, MemberPath)>,
    /// What the four collections above hold.
    waiting_bytes: usize,
    entries: u64,
    skipped: u64,
    unpacked: Unpacked,
}

impl<'a> Unpacking<'a> {
    fn new(into: &'a Path, limits: &'a Limits) -> Result<Self, Cause> {
        Ok(Self {
            into,
            limits,
            root: Rc::new(open_directory(CWD, into, OFlags::empty())?),
            parent: None,
            implied: HashSet::new(),
            directories: Vec::new(),
            symlinks: Vec::new(),
            links: Vec::new(),
            waiting_bytes: 0,
            entries: 0,
            skipped: 0,
            unpacked: Unpacked::default(),
        })
    }

    fn failed_at(&self, path: &MemberPath, cause: Cause) -> Error {
        failed_at(&format!("`{}`", path.shown()), self.into, cause)
    }

    fn take(&mut self, member: Member, archive: &mut Archive<'_>) -> Result<(), Cause> {
        self.count_entry()?;
        let path = match MemberPath::parse(&member.name)? {
            Some(path) => path,
            // The directory itself, which is ours: its mode and mtime are not the host's to set.
            None if member.kind == Kind::Directory => return Ok(()),
            None => return Err("its name is that of the directory itself".into()),
        };
        match member.kind {
            Kind::File { size } => {
                if self.limits.may_repeat {
                    self.take_away(&path)?;
                }
                self.count_bytes(size)?;
                self.file(&path, size, member.mode, member.mtime, archive)
            }
            Kind::Directory => self.directory(path, member.mode, member.mtime),
            Kind::Symlink { target } if target.is_empty() || target.contains(&0) => {
                Err("it is a symlink to a name that can't be".into())
            }
            Kind::Symlink { target } => {
                self.count_waiting(path.0.len() + target.len())?;
                self.symlinks.push((path, target, member.mtime));
                Ok(())
            }
            Kind::HardLink { target } => {
                let target = MemberPath::parse(&target)
                    .and_then(|target| target.ok_or_else(|| "it names the directory".into()))
                    .map_err(|cause| Cause::from(format!("the target of this link: {cause}")))?;
                self.hard_link(path, target)
            }
            Kind::NamedPipe => {
                self.skip(&member.name);
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        path: &MemberPath,
        size: u64,
        mode: u16,
        mtime: Mtime,
        archive: &mut Archive<'_>,
    ) -> Result<(), Cause> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let parent = self.open(path.parent())?;
        let own = Mode::RUSR | Mode::WUSR;
        let made = rustix::fs::openat(parent, path.last(), flags | OFlags::CLOEXEC, own);
        let mut file = File::from(made.map_err(taken)?);
        archive.content(size, &mut file)?;
        rustix::fs::fchmod(&file, bits(mode))?;
        rustix::fs::futimens(&file, &times(mtime))?;
        self.unpacked.files += 1;
        self.unpacked.bytes += size;
        Ok(())
    }

    /// Removes a file that came before under this name.
    fn take_away(&mut self, path: &MemberPath) -> Result<(), Cause> {
        let parent = self.open(path.parent())?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if let Ok(stat) = rustix::fs::statat(&parent, path.last(), flags)
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        {
            rustix::fs::unlinkat(parent, path.last(), AtFlags::empty())?;
            self.unpacked.files = self.unpacked.files.saturating_sub(1);
            // What another name still has takes room.
            if stat.st_nlink == 1 {
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                self.unpacked.bytes = self.unpacked.bytes.saturating_sub(size);
            }
        }
        Ok(())
    }

    /// Whether something of that type came before under this name, and may come again.
    fn repeats(&mut self, path: &MemberPath, kind: FileType) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        self.limits.may_repeat
            && self.find(path.parent()).is_ok_and(|parent| {
                rustix::fs::statat(parent, path.last(), flags)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
            })
    }

    /// Makes a directory that can be written to; what it is to be in the end is set at the end.
    fn directory(&mut self, path: MemberPath, mode: u16, mtime: Mtime) -> Result<(), Cause> {
        let parent = self.open(path.parent())?;
        match rustix::fs::mkdirat(parent, path.last(), Mode::RWXU) {
            Err(Errno::EXIST)
                if self.implied.remove(&path) || self.repeats(&path, FileType::Directory) => {}
            made => made.map_err(taken)?,
        }
        self.count_waiting(path.0.len())?;
        self.directories.push((path, mode, mtime));
        Ok(())
    }

    fn hard_link(&mut self, path: MemberPath, target: MemberPath) -> Result<(), Cause> {
        // GNU tar writes a file that is named twice as a link to itself.
        if self.limits.may_repeat && path == target {
            return Ok(());
        }
        match self.make_link(&path, &target) {
            // It may be a symlink, which is still to be made.
            Err(Errno::NOENT) if !self.symlinks.is_empty() => {
                self.count_waiting(path.0.len() + target.0.len())?;
                self.links.push((path, target));
                Ok(())
            }
            Err(Errno::EXIST) if self.repeats(&path, FileType::RegularFile) => Ok(()),
            made => made.map_err(unlinked),
        }
    }

    fn make_link(&mut self, path: &MemberPath, target: &MemberPath) -> Result<(), Errno> {
        // All that is found below the root is a member, since it was empty.
        let source = self.find(target.parent())?;
        let parent = self.find(path.parent())?;
        rustix::fs::linkat(source, target.last(), &parent, path.last(), AtFlags::empty())?;
        self.unpacked.files += 1;
        Ok(())
    }

    fn skip(&mut self, name: &[u8]) {
        self.skipped += 1;
        if self.skipped <= SKIPPED_MAX {
            self.unpacked.skipped.push(printable(name));
        }
    }

    /// Makes what could be written through or would keep others from being made.
    fn finish(mut self) -> Result<Unpacked, Error> {
        for (path, target, mtime) in std::mem::take(&mut self.symlinks) {
            self.symlink(&path, &target, mtime).map_err(|cause| self.failed_at(&path, cause))?;
        }
        for (path, target) in std::mem::take(&mut self.links) {
            match self.make_link(&path, &target) {
                Err(Errno::EXIST) if self.repeats(&path, FileType::Symlink) => {}
                made => made.map_err(|error| self.failed_at(&path, unlinked(error)))?,
            }
        }
        // A directory sorts before what stands in it: from the end, the deepest come first.
        let mut directories = std::mem::take(&mut self.directories);
        directories.sort_unstable_by(|one, other| other.0.cmp(&one.0));
        for (path, mode, mtime) in directories {
            self.settle(&path, mode, mtime).map_err(|error| self.failed_at(&path, error.into()))?;
        }
        if self.skipped > SKIPPED_MAX {
            let more = self.skipped - SKIPPED_MAX;
            self.unpacked.skipped.push(format!("… and {more} more"));
        }
        Ok(self.unpacked)
    }

    fn symlink(&mut self, path: &MemberPath, target: &[u8], mtime: Mtime) -> Result<(), Cause> {
        let parent = self.open(path.parent())?;
        match rustix::fs::symlinkat(target, &parent, path.last()) {
            Err(Errno::EXIST) if self.repeats(path, FileType::Symlink) => return Ok(()),
            made => made.map_err(taken)?,
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(parent, path.last(), &times(mtime), flags)?;
        self.unpacked.files += 1;
        Ok(())
    }

    fn settle(&mut self, path: &MemberPath, mode: u16, mtime: Mtime) -> Result<(), Errno> {
        let directory = open_directory(self.find(path.parent())?, path.last(), OFlags::NOFOLLOW)?;
        rustix::fs::futimens(&directory, &times(mtime))?;
        rustix::fs::fchmod(&directory, bits(mode))
    }

    fn count_entry(&mut self) -> Result<(), Cause> {
        self.entries += 1;
        match self.entries > self.limits.max_entries {
            true => Err(format!("there are more than {} files", self.limits.max_entries).into()),
            false => Ok(()),
        }
    }

    /// Counts what a member says that it has, before it is read; no more of it will be.
    fn count_bytes(&self, size: u64) -> Result<(), Cause> {
        match self.limits.max_bytes {
            Some(max)
                if self
                    .limits
                    .output_bytes
                    .saturating_add(self.unpacked.bytes)
                    .saturating_add(size)
                    > max =>
            {
                Err(too_large(max).into())
            }
            _ => Ok(()),
        }
    }

    fn count_waiting(&mut self, bytes: usize) -> Result<(), Cause> {
        self.waiting_bytes += bytes + WAITING_EACH;
        match self.waiting_bytes > WAITING_MAX {
            true => Err("there are too many directories and links".into()),
            false => Ok(()),
        }
    }

    /// Opens a directory below the root, and makes what is missing of it.
    fn open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Cause> {
        match self.find(path) {
            Err(Errno::NOENT) => {}
            found => return found.map_err(Cause::from),
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let path = MemberPath(path[..end].to_vec());
            let parent = self.find(path.parent())?;
            match rustix::fs::mkdirat(parent, path.last(), Mode::from_raw_mode(0o777)) {
                Ok(()) => {
                    self.count_entry()?;
                    self.count_waiting(path.0.len())?;
                    self.implied.insert(path);
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.find(path)?)
    }

    /// Opens a directory below the root, each part of the path by itself and no symlink followed.
    fn find(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if let Some((last, directory)) = &self.parent
            && last == path
        {
            return Ok(Rc::clone(directory));
        }
        let mut directory = Rc::clone(&self.root);
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            directory = Rc::new(open_directory(&*directory, part, OFlags::NOFOLLOW)?);
        }
        self.parent = Some((path.to_vec(), Rc::clone(&directory)));
        Ok(directory)
    }
}

impl MemberPath {
    /// Takes a name apart; `None` when it is the directory itself (`.`, `./`).
    fn parse(name: &[u8]) -> Result<Option<Self>, Cause> {
        let parts: Vec<&[u8]> = name
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        if name.is_empty() {
            Err("its name is empty".into())
        } else if name.starts_with(b"/") {
            Err("its name is absolute".into())
        } else if name.contains(&0) {
            Err("its name has a NUL byte".into())
        } else if parts.contains(&b"..".as_slice()) {
            Err("its name has `..`".into())
        } else if name.len() > PATH_MAX || parts.len() > DEPTH_MAX {
            Err("its name is too long or too deep".into())
        } else if parts.is_empty() {
            Ok(None)
        } else {
            Ok(Some(Self(parts.join(&b'/'))))
        }
    }

    /// The path without its last part; empty for what stands at the top.
    fn parent(&self) -> &[u8] {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        &self.0[..slash.unwrap_or_default()]
    }

    fn last(&self) -> &[u8] {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        &self.0[slash.map_or(0, |at| at + 1)..]
    }

    fn shown(&self) -> String {
        printable(&self.0)
    }
}

/// Names what a second member of one name looks like to the system.
fn taken(error: Errno) -> Cause {
    match error {
        Errno::EXIST => "another member has this name".into(),
        error => error.into(),
    }
}

fn unlinked(error: Errno) -> Cause {
    match error {
        Errno::EXIST => "another member has this name".into(),
        Errno::NOENT => "it is a link to a file that is not in the archive".into(),
        error => error.into(),
    }
}

fn bits(mode: u16) -> Mode {
    Mode::from_raw_mode(RawMode::from(mode))
}

fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
