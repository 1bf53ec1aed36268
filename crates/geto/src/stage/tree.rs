//! A dependency as a tree that hosts keep: what it is recognised by, and what of it another one lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Kind, Member, Part, Plan, StagePlan, unusable};
use crate::Error;

/// What a smaller archive costs is less than to ask whether it has to be sent.
const LEAST: u64 = 64 << 10;
/// What the tree is called in the host's cache.
const ROOT: &[u8] = b"t";

/// A file as it was when it was read: whoever finds the same again need not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i128,
    /// Likewise, of the inode.
    pub(crate) changed: i128,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Remembers what is in files.
pub(crate) trait Remember {
    /// The digest of the content of the file at `path`, when it was remembered with this stamp.
    fn recall(&mut self, path: &Path, stamp: &Stamp) -> Option<[u8; 32]>;
    /// Remembers it.
    fn remember(&mut self, path: &Path, stamp: &Stamp, digest: [u8; 32]);
}

/// A dependency that goes through the host's cache. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tree(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Vec<u8>,
    root: PathBuf,
    share: bool,
    digest: String,
    size: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    member: Member,
    digest: [u8; 32],
    stamp: Option<Stamp>,
}

/// What is in a tree: the name of each member, which ends with a slash when it is a directory, → the
/// digest of all that is kept of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest(BTreeMap<Vec<u8>, [u8; 32]>);

impl StagePlan {
    /// Takes apart what hosts keep, a tree for each dependency that is large, and what is sent with the
    /// task. Reads all files of the former that `memory` does not know.
    pub(crate) fn split(&self, memory: &mut dyn Remember) -> Result<(Self, Vec<Tree>), Error> {
        let (mut inline, mut trees) = (Vec::new(), Vec::new());
        for part in &*self.parts {
            let members = self.members.get(part.members.clone()).unwrap_or_default();
            // A line feed separates them in the request.
            match members.iter().map(Member::tar_len).sum::<u64>() < LEAST
                || part.name.contains(&b'\n')
            {
                true => inline.extend_from_slice(members),
                false => trees.push(Tree::of(part, members, memory)?),
            }
        }
        Ok((Self::of_members(inline), trees))
    }

    fn of_members(members: Vec<Member>) -> Self {
        let plan = Plan { dependencies: Vec::new() };
        Self { plan, members: members.into(), parts: Arc::default() }
    }
}

impl Tree {
    fn of(part: &Part, members: &[Member], memory: &mut dyn Remember) -> Result<Self, Error> {
        let mut entries = Vec::with_capacity(members.len());
        let mut hasher = blake3::Hasher::new();
        if part.share {
            hasher.update(b"share");
        }
        let prefix = b"DEPS/".len() + part.name.len();
        for member in members {
            let mut member = member.clone();
            let below = member.name.get(prefix..).unwrap_or_default();
            member.name = [ROOT, below].concat();
            let entry = Entry::of(member, memory)?;
            add(&mut hasher, &entry.member.name);
            hasher.update(&entry.digest);
            entries.push(entry);
        }
        // Half of it is as good a name, and a shorter one.
        let digest = hasher.finalize().to_hex().chars().take(32).collect();
        Ok(Self(Arc::new(Inner {
            name: part.name.clone(),
            root: part.root.clone(),
            share: part.share,
            digest,
            size: entries.iter().map(|entry| entry.member.tar_len()).sum(),
            entries,
        })))
    }

    /// Its name under `DEPS`.
    pub(crate) fn name(&self) -> &[u8] {
        &self.0.name
    }

    /// Where it is here.
    pub(crate) fn root(&self) -> &Path {
        &self.0.root
    }

    /// Whether tasks get a link to it.
    pub(crate) fn share(&self) -> bool {
        self.0.share
    }

    /// What it is called on hosts.
    pub(crate) fn digest(&self) -> &str {
        &self.0.digest
    }

    /// How many bytes it takes there, about.
    pub(crate) fn size(&self) -> u64 {
        self.0.size
    }

    /// What is in it.
    pub(crate) fn manifest(&self) -> Manifest {
        let entries = self.0.entries.iter();
        Manifest(entries.map(|entry| (entry.member.name.clone(), entry.digest)).collect())
    }

    /// What `base` lacks of it, and which names are to be taken away from the base first.
    pub(crate) fn since(&self, base: &Manifest) -> (StagePlan, Vec<Vec<u8>>) {
        let mut changed = BTreeSet::new();
        let mut touched = BTreeSet::new();
        let mut drops = Vec::new();
        for entry in &self.0.entries {
            let name = &entry.member.name;
            if base.0.get(name).is_some_and(|digest| *digest == entry.digest) {
                continue;
            }
            changed.insert(name.as_slice());
            if entry.member.kind != Kind::Directory {
                // Also where there is a directory of that name, which ends with a slash there.
                drops.push(name.clone());
            } else if !base.0.contains_key(name) {
                // A file, or nothing: what is above it has to be written to in any case.
                drops.push(bare(name).to_vec());
            }
        }
        let own = self.manifest();
        for name in base.0.keys().filter(|name| !own.0.contains_key(*name)) {
            drops.push(bare(name).to_vec());
        }
        // Times of directories change with what is in them.
        for name in drops.iter().map(Vec::as_slice).chain(changed.iter().copied()) {
            let mut rest = bare(name);
            while let Some(slash) = rest.iter().rposition(|&byte| byte == b'/') {
                touched.insert(rest[..=slash].to_vec());
                rest = &rest[..slash];
            }
        }
        drops.sort();
        drops.dedup();
        let members = self.0.entries.iter().map(|entry| &entry.member);
        let sent = members
            .filter(|member| {
                changed.contains(member.name.as_slice()) || touched.contains(&member.name)
            })
            .cloned();
        (StagePlan::of_members(sent.collect()), drops)
    }

    /// Looks whether the files are those whose content was digested.
    ///
    /// # Errors
    /// Of kind [`Usage`](crate::ErrorKind::Usage), naming the first that is not.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for Entry { member, stamp, .. } in &self.0.entries {
            let Some(stamp) = stamp else { continue };
            let metadata = fs_err::metadata(&member.path);
            let metadata = metadata.map_err(|error| unusable(&member.path, error))?;
            if Stamp::of(&metadata) != *stamp {
                return Err(unusable(&member.path, "it changed while it was sent"));
            }
        }
        Ok(())
    }
}

impl Entry {
    fn of(member: Member, memory: &mut dyn Remember) -> Result<Self, Error> {
        let (content, stamp) = match member.kind {
            Kind::File { size } => {
                let (content, stamp) = digest_of(&member, size, memory)?;
                (Some(content), Some(stamp))
            }
            _ => (None, None),
        };
        let mut hasher = blake3::Hasher::new();
        let kind = match member.kind {
            Kind::Directory => b"d",
            Kind::File { .. } => b"f",
            Kind::Symlink { .. } => b"l",
        };
        hasher.update(kind);
        hasher.update(&member.mode.to_le_bytes());
        hasher.update(&member.mtime.to_le_bytes());
        add(&mut hasher, member.target());
        hasher.update(&content.unwrap_or_default());
        Ok(Self { member, digest: *hasher.finalize().as_bytes(), stamp })
    }
}

/// Reads a file, unless it was read before.
fn digest_of(
    member: &Member,
    size: u64,
    memory: &mut dyn Remember,
) -> Result<([u8; 32], Stamp), Error> {
    let path = &member.path;
    let changed = || unusable(path, "it changed while it was read");
    let look = || fs_err::metadata(path).map_err(|error| unusable(path, error));
    let stamp = Stamp::of(&look()?);
    if stamp.size != size {
        return Err(changed());
    }
    if let Some(digest) = memory.recall(path, &stamp) {
        return Ok((digest, stamp));
    }
    let mut hasher = blake3::Hasher::new();
    let opened = fs_err::File::open(path);
    let read = opened.and_then(|file| hasher.update_reader(file).map(drop));
    read.map_err(|error| unusable(path, error))?;
    if Stamp::of(&look()?) != stamp {
        return Err(changed());
    }
    let digest = *hasher.finalize().as_bytes();
    memory.remember(path, &stamp, digest);
    Ok((digest, stamp))
}

/// The name without the slash of a directory.
fn bare(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"/").unwrap_or(name)
}

fn add(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

impl Manifest {
    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes it for [`parse`](Self::parse).
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, digest) in &self.0 {
            bytes.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(digest);
        }
        bytes
    }

    /// Reads what was written; `None` when it is something else.
    pub(crate) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut entries = BTreeMap::new();
        while !bytes.is_empty() {
            let length = bytes.split_off(..4)?.try_into().ok()?;
            let name = bytes.split_off(..usize::try_from(u32::from_le_bytes(length)).ok()?)?;
            let digest = bytes.split_off(..32)?.try_into().ok()?;
            entries.insert(name.to_vec(), digest);
        }
        Some(Self(entries))
    }
}
