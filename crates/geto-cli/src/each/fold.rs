//! Equal output and outcome of several hosts, shown once.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use geto::bytes::Bytes;
use geto::text::printable;
use geto::units::human_bytes;
use geto::{Error, HostResult, Outcome};
use similar::TextDiff;

use super::names::fold;
use crate::output::{Output, Stream};
use crate::printer::{Printer, causes};

/// Larger outputs are not compared line by line.
const DIFF_MAX: u64 = 4 << 20;
/// How much of a file is read at once.
const CHUNK: usize = 64 << 10;

/// What tells one output from another, as it comes.
#[derive(Debug, Default)]
pub(super) struct Digest {
    streams: [(DefaultHasher, u64); 2],
}

impl Digest {
    pub(super) fn add(&mut self, stream: Stream, bytes: &[u8]) {
        let (hasher, length) = &mut self.streams[usize::from(stream == Stream::Stderr)];
        hasher.write(bytes);
        *length += bytes.len() as u64;
    }

    fn finish(&self) -> [(u64, u64); 2] {
        self.streams.each_ref().map(|(hasher, length)| (hasher.finish(), *length))
    }
}

/// Hosts on which the task ended in the same way with the same output.
#[derive(Debug)]
struct Group {
    hosts: Vec<String>,
    outcome: Outcome,
    digest: [(u64, u64); 2],
    /// The results of the first.
    directory: PathBuf,
}

/// Hosts that have the same fault.
#[derive(Debug)]
struct Fault {
    hosts: Vec<String>,
    kind: &'static str,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

/// What has not been shown yet.
#[derive(Debug, Default)]
pub(super) struct Folder {
    groups: Vec<Group>,
    faults: Vec<Fault>,
    /// The results that others are compared with: the first that were shown.
    common: Option<PathBuf>,
}

impl Folder {
    /// Adds a host that is done.
    pub(super) fn add(&mut self, result: &HostResult, digest: &Digest) {
        let host = result.host.clone();
        let results = match &result.result {
            Ok(results) => results,
            Err(error) => return self.add_fault(host, error),
        };
        let digest = digest.finish();
        let same = self.groups.iter_mut().find(|group| {
            group.outcome == results.outcome
                && group.digest == digest
                && is_same(&group.directory, &results.directory)
        });
        match same {
            Some(group) => group.hosts.push(host),
            None => self.groups.push(Group {
                hosts: vec![host],
                outcome: results.outcome.clone(),
                digest,
                directory: results.directory.clone(),
            }),
        }
    }

    fn add_fault(&mut self, host: String, error: &Error) {
        let (kind, causes, hint) = (error.kind().name(), causes(error), error.hint());
        let same = self.faults.iter_mut().find(|fault| {
            (fault.kind, fault.hint.as_deref()) == (kind, hint) && fault.causes == causes
        });
        match same {
            Some(fault) => fault.hosts.push(host),
            None => self.faults.push(Fault {
                hosts: vec![host],
                kind,
                message: error.to_string(),
                causes,
                hint: hint.map(str::to_owned),
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.faults.is_empty()
    }

    /// Shows what has not been shown, the most common first; of each other output only how it
    /// differs from that when `diff` is wanted.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub(super) fn show(&mut self, output: &Output, printer: Printer, diff: bool) -> io::Result<()> {
        // In an order that is the same each time.
        self.groups.iter_mut().for_each(|group| group.hosts.sort_by_key(|host| natural(host)));
        self.groups
            .sort_by_cached_key(|group| (Reverse(group.hosts.len()), natural(&group.hosts[0])));
        for group in std::mem::take(&mut self.groups) {
            let common = self.common.get_or_insert_with(|| group.directory.clone());
            let other = diff && *common != group.directory;
            for (stream, name) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
                let title = group.title(name);
                let path = group.directory.join(name);
                if other && is_same_file(&common.join(name), &path).unwrap_or(false) {
                    if stream == Stream::Stdout {
                        output.write(stream, Bytes::from(format!("{title}: no difference\n")))?;
                    }
                    continue;
                }
                let length = fs_err::metadata(&path).map(|file| file.len()).unwrap_or_default();
                if stream == Stream::Stdout || length > 0 || other {
                    output.write(stream, Bytes::from(format!("{title}\n")))?;
                }
                match other {
                    true => write_diff(output, stream, &common.join(name), &path)?,
                    false => write_file(output, stream, &path)?,
                }
            }
        }
        let mut faults = std::mem::take(&mut self.faults);
        faults.sort_by_key(|fault| Reverse(fault.hosts.len()));
        faults.iter_mut().for_each(|fault| fault.hosts.sort_by_key(|host| natural(host)));
        // Behind what the hosts wrote.
        output.finish()?;
        faults.iter().for_each(|fault| fault.show(printer));
        Ok(())
    }
}

impl Group {
    fn title(&self, stream: &str) -> String {
        let mut title = format!("== {}", names(&self.hosts));
        if !self.outcome.success() {
            title = format!("{title}: {}", self.outcome);
        }
        match stream {
            "stderr" => format!("{title}: stderr"),
            _ => title,
        }
    }
}

impl Fault {
    fn show(&self, printer: Printer) {
        let head = match &self.hosts[..] {
            [_] => self.message.clone(),
            hosts => format!("{}: {}", names(hosts), self.kind.replace('-', " ")),
        };
        printer.error_lines(&head, &self.causes, self.hint.as_deref());
    }
}

fn names(hosts: &[String]) -> String {
    let words: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let word = printable(fold(&words).as_bytes());
    match hosts.len() {
        1 => word,
        count => format!("{word} ({count} hosts)"),
    }
}

/// A key that sorts numbers in names by their value.
fn natural(name: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(text);
        let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        let (digits, behind) = behind.split_at(digits);
        parts.push((0, text.to_owned()));
        parts.push((digits.parse().unwrap_or(u64::MAX), digits.to_owned()));
        rest = behind;
    }
    parts
}

/// Whether two tasks wrote the same; equal lengths and hashes were seen already.
fn is_same(one: &Path, other: &Path) -> bool {
    ["stdout", "stderr"]
        .iter()
        .all(|name| is_same_file(&one.join(name), &other.join(name)).unwrap_or(false))
}

fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let open =
        |path: &Path| fs_err::File::open(path).map(|file| BufReader::with_capacity(CHUNK, file));
    let (one, other) = (open(one)?, open(other)?);
    if one.get_ref().metadata()?.len() != other.get_ref().metadata()?.len() {
        return Ok(false);
    }
    for (one, other) in one.bytes().zip(other.bytes()) {
        if one? != other? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a file, and a line feed where its last line has none.
fn write_file(output: &Output, stream: Stream, path: &Path) -> io::Result<()> {
    let mut file = fs_err::File::open(path)?;
    let mut last = b'\n';
    loop {
        let mut piece = vec![0; CHUNK];
        let length = file.read(&mut piece)?;
        piece.truncate(length);
        let Some(&end) = piece.last() else { break };
        last = end;
        output.write(stream, Bytes::from(piece))?;
    }
    match last {
        b'\n' => Ok(()),
        _ => output.write(stream, Bytes::from_static(b"\n")),
    }
}

fn write_diff(output: &Output, stream: Stream, common: &Path, other: &Path) -> io::Result<()> {
    let length = |path: &Path| fs_err::metadata(path).map(|file| file.len());
    let (before, after) = (length(common)?, length(other)?);
    if before.max(after) > DIFF_MAX {
        let text = format!(
            "too large to compare: {} instead of {}; it is `{}`\n",
            human_bytes(after),
            human_bytes(before),
            other.display()
        );
        return output.write(stream, Bytes::from(text));
    }
    let (before, after) = (fs_err::read(common)?, fs_err::read(other)?);
    let diff = TextDiff::from_lines(&before[..], &after[..]);
    let mut text = Vec::new();
    for hunk in diff.unified_diff().iter_hunks() {
        hunk.to_writer(&mut text)?;
    }
    output.write(stream, Bytes::from(text))
}
