//! Dependencies on their way to a host: looked at first, then sent as one tar archive. What is large
//! goes to the host's cache, a tree for each.

mod tree;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read as _, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geto_core::{Dependency, Task};
use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use tar::{EntryType, Header};

pub(crate) use self::tree::{Manifest, Remember, Stamp, Tree};
use crate::text::printable;
use crate::{Error, ErrorKind};

const BLOCK: u64 = 512;
/// The end of an archive: two blocks of zeros.
const END: u64 = 2 * BLOCK;
/// How much of a file is read at a time.
const PIECE: usize = 64 << 10;

/// What a task needs, and what sending it means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The dependencies, in the order of the task.
    pub dependencies: Vec<PlannedDependency>,
}

/// A dependency as it would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedDependency {
    /// Its name under `DEPS`.
    pub name: String,
    /// Where it is here, resolved.
    pub path: PathBuf,
    /// How many files and symlinks.
    pub files: u64,
    /// How many bytes are in them.
    pub bytes: u64,
}

/// The members of the archive, in order. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StagePlan {
    plan: Plan,
    members: Arc<[Member]>,
    parts: Arc<[Part]>,
}

/// A dependency, and which members are its own.
#[derive(Debug)]
struct Part {
    name: Vec<u8>,
    root: PathBuf,
    share: bool,
    members: Range<usize>,
}

#[derive(Debug, Clone)]
struct Member {
    /// The name in the archive; a directory's ends with a slash.
    name: Vec<u8>,
    path: PathBuf,
    kind: Kind,
    mode: u32,
    mtime: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory,
    File { size: u64 },
    Symlink { target: Vec<u8> },
}

impl StagePlan {
    /// Looks at all dependencies of `task`, on a thread that may wait for a disk.
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage) for what can't be sent, named with its path; nothing
    /// has been sent yet.
    pub(crate) async fn of(task: &Task) -> Result<Self, Error> {
        let dependencies = task.dependencies.clone();
        let planned = tokio::task::spawn_blocking(move || Self::look(&dependencies)).await;
        planned.map_err(|panicked| {
            Error::new(ErrorKind::Local, "failed to look at the dependencies").caused_by(panicked)
        })?
    }

    fn look(dependencies: &[Dependency]) -> Result<Self, Error> {
        let mut plan = Plan { dependencies: Vec::new() };
        let (mut members, mut parts) = (Vec::new(), Vec::new());
        let mut names: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
        for dependency in dependencies {
            let root = fs_err::canonicalize(&dependency.path)
                .map_err(|error| unusable(&dependency.path, error))?;
            let name = name_of(dependency, &root)?;
            if let Some(other) = names.insert(name.clone(), root.clone()) {
                let message = format!(
                    "failed to name two dependencies `{}`: `{}` and `{}`",
                    printable(&name),
                    shown(&other),
                    shown(&root)
                );
                let hint = "give one of them another name with `--dep-as NAME PATH`";
                return Err(Error::new(ErrorKind::Usage, message).with_hint(hint));
            }
            let before = members.len();
            walk(dependency, &root, &[b"DEPS/", name.as_slice()].concat(), &mut members)?;
            if dependency.share {
                // Those who unpack it have to write to its directories.
                let members = members.iter_mut().skip(before);
                members
                    .filter(|member| member.kind != Kind::Directory)
                    .for_each(|member| member.mode &= !0o222);
            }
            let own = members.iter().skip(before).filter(|member| member.kind != Kind::Directory);
            plan.dependencies.push(PlannedDependency {
                name: printable(&name),
                path: root.clone(),
                files: own.clone().count() as u64,
                bytes: own.map(Member::size).sum(),
            });
            let (share, members) = (dependency.share, before..members.len());
            parts.push(Part { name, root, share, members });
        }
        Ok(Self { plan, members: members.into(), parts: parts.into() })
    }

    /// What is sent, for a person.
    pub(crate) fn into_plan(self) -> Plan {
        self.plan
    }

    /// The exact length of the archive; 0 when there are no dependencies.
    pub(crate) fn tar_len(&self) -> u64 {
        match self.members.is_empty() {
            true => 0,
            false => self.members.iter().map(Member::tar_len).sum::<u64>() + END,
        }
    }

    /// Looks whether the files are those that were looked at before.
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage), naming the first that is not.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        for member in &*self.members {
            let Kind::File { size } = member.kind else { continue };
            let changed = |error: io::Error| unusable(&member.path, error);
            let metadata = fs_err::metadata(&member.path).map_err(changed)?;
            if metadata.len() != size || mtime(&metadata) != member.mtime {
                return Err(changed(io::Error::other("it changed while it was sent")));
            }
        }
        Ok(())
    }

    /// Writes exactly [`tar_len`](Self::tar_len) bytes, unless `sink` fails, whatever has happened
    /// to the files since they were looked at: one that shrank is filled up and one that grew is
    /// cut, and then the error at the end keeps the task from being started with it.
    pub(crate) fn write_tar(&self, sink: &mut dyn Write) -> Result<(), Error> {
        if self.members.is_empty() {
            return Ok(());
        }
        let unsent = |error: io::Error| {
            Error::new(ErrorKind::NotStarted, "failed to send the dependencies").caused_by(error)
        };
        let mut changed = None;
        for member in &*self.members {
            member.write_headers(sink).map_err(unsent)?;
            if let Kind::File { size } = member.kind {
                let sound = copy_exactly(&member.path, size, sink).map_err(unsent)?;
                if let Err(error) = sound {
                    changed.get_or_insert(unusable(&member.path, error));
                }
            }
        }
        write_zeros(sink, END).map_err(unsent)?;
        changed.map_or(Ok(()), Err)
    }
}

/// A digest of what is sent of `dependencies`: names, modes and content, not times.
///
/// # Errors
/// As [`StagePlan::of`], and when a file can't be read.
pub(crate) fn digest(dependencies: &[Dependency]) -> Result<[u8; 32], Error> {
    let plan = StagePlan::look(dependencies)?;
    let mut hasher = blake3::Hasher::new();
    let add = |hasher: &mut blake3::Hasher, bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for member in &*plan.members {
        add(&mut hasher, &member.name);
        add(&mut hasher, &member.mode.to_le_bytes());
        add(&mut hasher, member.target());
        if let Kind::File { .. } = member.kind {
            let mut file = blake3::Hasher::new();
            let opened = fs_err::File::open(&member.path);
            let read = opened.and_then(|opened| file.update_reader(opened).map(drop));
            read.map_err(|error| unusable(&member.path, error))?;
            add(&mut hasher, file.finalize().as_bytes());
        }
    }
    Ok(*hasher.finalize().as_bytes())
}

impl Member {
    fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size } => size,
            _ => 0,
        }
    }

    fn target(&self) -> &[u8] {
        match &self.kind {
            Kind::Symlink { target } => target,
            _ => &[],
        }
    }

    fn tar_len(&self) -> u64 {
        let texts = long_text_len(&self.name) + long_text_len(self.target());
        texts + BLOCK + self.size().next_multiple_of(BLOCK)
    }

    fn write_headers(&self, sink: &mut dyn Write) -> io::Result<()> {
        write_long_text(sink, EntryType::GNULongLink, self.target())?;
        write_long_text(sink, EntryType::GNULongName, &self.name)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(match self.kind {
            Kind::Directory => EntryType::Directory,
            Kind::File { .. } => EntryType::Regular,
            Kind::Symlink { .. } => EntryType::Symlink,
        });
        header.set_size(self.size());
        header.set_mode(self.mode);
        header.set_mtime(self.mtime);
        header.set_uid(0);
        header.set_gid(0);
        let fields = header.as_old_mut();
        put_text(&mut fields.name, &self.name);
        put_text(&mut fields.linkname, self.target());
        header.set_cksum();
        sink.write_all(header.as_bytes())
    }
}

/// Looks at `root` and all below it.
fn walk(
    dependency: &Dependency,
    root: &Path,
    name: &[u8],
    members: &mut Vec<Member>,
) -> Result<(), Error> {
    let excluded = exclusions(dependency, root)?;
    let walk = WalkBuilder::new(root)
        .standard_filters(false)
        .git_ignore(dependency.gitignore)
        .parents(dependency.gitignore)
        .require_git(false)
        .follow_links(false)
        .sort_by_file_name(OsStr::cmp)
        .filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0 || !excluded.matched(entry.path(), is_dir).is_ignore()
        })
        .build();
    for entry in walk {
        let entry = entry.map_err(|error| unusable(root, error))?;
        let path = entry.path();
        let metadata = fs_err::symlink_metadata(path).map_err(|error| unusable(path, error))?;
        let below = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes();
        let name = match below {
            b"" => name.to_vec(),
            below => [name, b"/", below].concat(),
        };
        members.push(member(name, path, &metadata)?);
    }
    Ok(())
}

fn exclusions(dependency: &Dependency, root: &Path) -> Result<Gitignore, Error> {
    let mut builder = GitignoreBuilder::new(root);
    for pattern in &dependency.exclude {
        builder.add_line(None, pattern).map_err(|error| {
            let message = format!("failed to read the pattern `{}`", printable(pattern.as_bytes()));
            Error::new(ErrorKind::Usage, message).caused_by(error)
        })?;
    }
    builder.build().map_err(|error| unusable(root, error))
}

fn member(mut name: Vec<u8>, path: &Path, metadata: &Metadata) -> Result<Member, Error> {
    let file_type = metadata.file_type();
    let kind = if file_type.is_dir() {
        name.push(b'/');
        Kind::Directory
    } else if file_type.is_symlink() {
        let target = fs_err::read_link(path).map_err(|error| unusable(path, error))?;
        Kind::Symlink { target: target.into_os_string().as_bytes().to_vec() }
    } else if file_type.is_file() {
        rustix::fs::access(path, rustix::fs::Access::READ_OK)
            .map_err(|error| unusable(path, io::Error::from(error)))?;
        Kind::File { size: metadata.len() }
    } else {
        let what = if file_type.is_socket() {
            "a socket"
        } else if file_type.is_fifo() {
            "a named pipe"
        } else {
            "a device"
        };
        return Err(unusable(path, format!("it is {what}, which can't be sent"))
            .with_hint("leave it out with `--exclude PATTERN`"));
    };
    Ok(Member {
        name,
        path: path.to_owned(),
        kind,
        mode: metadata.mode() & 0o7777,
        mtime: mtime(metadata),
    })
}

fn mtime(metadata: &Metadata) -> u64 {
    u64::try_from(metadata.mtime()).unwrap_or_default()
}

fn name_of(dependency: &Dependency, root: &Path) -> Result<Vec<u8>, Error> {
    let name = match (&dependency.name, root.file_name()) {
        (Some(name), _) => name.as_bytes().to_vec(),
        (None, Some(name)) => name.as_bytes().to_vec(),
        (None, None) => {
            return Err(
                unusable(root, "it has no name").with_hint("give it one with `--dep-as NAME PATH`")
            );
        }
    };
    match name.as_slice() {
        b"" | b"." | b".." => {}
        name if name.contains(&b'/') || name.contains(&0) => {}
        _ => return Ok(name),
    }
    let message = format!("failed to name a dependency `{}`", printable(&name));
    Err(Error::new(ErrorKind::Usage, message).caused_by("a name is one part of a path"))
}

/// Copies exactly `size` bytes; the inner result tells whether the file had them.
fn copy_exactly(path: &Path, size: u64, sink: &mut dyn Write) -> io::Result<Result<(), io::Error>> {
    let changed = || io::Error::other("it changed while it was sent");
    let mut left = size;
    let mut sound = Ok(());
    match fs_err::File::open(path) {
        Err(error) => sound = Err(error),
        Ok(mut file) => {
            let mut piece = vec![0; PIECE];
            while left > 0 {
                let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                match file.read(&mut piece[..room]) {
                    Ok(0) => break,
                    Ok(read) => {
                        sink.write_all(&piece[..read])?;
                        left -= read as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        sound = Err(error);
                        break;
                    }
                }
            }
            let grew = left == 0 && matches!(file.read(&mut piece[..1]), Ok(1));
            if sound.is_ok() && (left > 0 || grew) {
                sound = Err(changed());
            }
        }
    }
    write_zeros(sink, left + (size.next_multiple_of(BLOCK) - size))?;
    Ok(sound)
}

fn write_zeros(sink: &mut dyn Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(count), &mut { sink }).map(drop)
}

/// The field of a header; what does not fit stands in front, as GNU tar writes it.
fn put_text(field: &mut [u8; 100], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}

fn long_text_len(text: &[u8]) -> u64 {
    match text.len() > 100 {
        true => BLOCK + (text.len() as u64 + 1).next_multiple_of(BLOCK),
        false => 0,
    }
}

/// Writes a text that is too long for its field as a member of its own (GNU tar manual, "Basic Tar
/// Format": types `L` and `K`), which GNU tar, busybox and libarchive read.
fn write_long_text(sink: &mut dyn Write, kind: EntryType, text: &[u8]) -> io::Result<()> {
    if text.len() <= 100 {
        return Ok(());
    }
    let size = text.len() as u64 + 1;
    let mut header = Header::new_gnu();
    put_text(&mut header.as_old_mut().name, b"././@LongLink");
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    sink.write_all(header.as_bytes())?;
    sink.write_all(text)?;
    write_zeros(sink, 1 + (size.next_multiple_of(BLOCK) - size))
}

fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

fn unusable(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Usage, format!("failed to send `{}`", shown(path))).caused_by(cause)
}

#[cfg(test)]
mod tests;
