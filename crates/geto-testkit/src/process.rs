//! Processes of this machine, as /proc shows them.

use std::collections::HashSet;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

/// A process that runs on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// The program's name, at most 15 bytes.
    pub name: String,
}

impl Process {
    /// Returns its arguments; empty when it is gone or a zombie.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let raw = fs_err::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        raw.split(|byte| *byte == 0)
            .filter(|part| !part.is_empty())
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect()
    }

    /// Whether its environment, as it was started with, has a value that begins with `text`.
    pub(crate) fn environment_holds(&self, text: &[u8]) -> bool {
        let raw = fs_err::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        raw.split(|byte| *byte == 0).any(|variable| {
            variable.splitn(2, |byte| *byte == b'=').nth(1).is_some_and(|v| v.starts_with(text))
        })
    }

    /// Sends it SIGKILL. One that is gone already is no error.
    pub fn kill(&self) {
        kill(self.pid);
    }
}

/// Returns all processes but zombies.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs_err::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs_err::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name is in brackets and may hold brackets and spaces itself.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(Process { pid, parent, name })
}

/// Returns the descendants of `root`, without itself.
pub(crate) fn descendants(root: u32) -> Vec<Process> {
    let all = all();
    let mut known = HashSet::from([root]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for process in &all {
            if known.contains(&process.parent) && known.insert(process.pid) {
                found.push(process.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// A mount namespace other than this process's own.
#[derive(Debug)]
pub(crate) struct MountNamespace {
    name: PathBuf,
    /// Keeps it alive: the name of one that is gone is soon another's.
    _open: fs_err::File,
}

impl MountNamespace {
    /// Returns that of a process, if it may be seen.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let place = format!("/proc/{pid}/ns/mnt");
        let open = fs_err::File::open(&place).ok()?;
        let name = fs_err::read_link(&place).ok()?;
        let own = fs_err::read_link("/proc/self/ns/mnt").ok()?;
        (name != own).then_some(Self { name, _open: open })
    }

    /// Whether a process lives in it.
    pub(crate) fn holds(&self, process: &Process) -> bool {
        let place = format!("/proc/{}/ns/mnt", process.pid);
        fs_err::read_link(place).is_ok_and(|name| name == self.name)
    }
}

pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Gone already is as good.
        let _gone = kill_process(pid, Signal::KILL);
    }
}
