//! What a host says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use geto_core::wire::Reply;

use crate::text::printable;

/// What a host says of itself once geto is logged in. All texts are safe to show.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct HostStatus {
    /// From the first packet until the host's shell has answered.
    pub login: Duration,
    /// The load average of the last minute, where the host can tell.
    pub load: Option<f64>,
    /// How many processors are online, where the host can tell.
    pub processors: Option<u32>,
    /// How many bytes of memory programs can still have, where the host can tell.
    pub free_memory: Option<u64>,
    /// How many GPUs the programs of their vendors know; 0 where there is no such program.
    pub gpus: u32,
    /// How many slots there are; unknown where nobody can count.
    pub slots: Option<u32>,
    /// How many of them are taken, by tasks of all users and origins.
    pub slots_taken: u32,
    /// How many tasks wait for a slot.
    pub waiting: u32,
    /// How many tasks with a slot run, by the names of their scripts.
    pub running: BTreeMap<String, u32>,
    /// Why nobody can count tasks there.
    pub uncounted: Option<String>,
    /// How many bytes are free at the work path, where the host can tell.
    pub free_disk: Option<u64>,
    /// Kernel, release and machine, as `uname -srm` says.
    pub system: String,
    /// The login shell.
    pub shell: String,
    /// The login user.
    pub user: String,
    /// The directory that geto works in.
    pub work_path: String,
    /// Programs that geto uses where they are and that are not there.
    pub missing: Vec<String>,
    /// What start-up files of the login shell printed.
    pub noise: String,
}

impl HostStatus {
    /// Takes one reply; those that tell nothing of a host are dropped.
    pub(super) fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Fact { name, value } => self.learn(&name, &value),
            Reply::Running(names) => {
                for name in names {
                    *self.running.entry(printable(name.as_bytes())).or_default() += 1;
                }
            }
            Reply::Load(load) => {
                self.slots = Some(load.slots);
                (self.slots_taken, self.waiting) = (load.taken, load.waiting);
            }
            Reply::Error { text, .. } => self.uncounted = Some(printable(text.as_bytes())),
            _ => {}
        }
    }

    /// Takes one fact; unknown ones are dropped.
    pub(super) fn learn(&mut self, name: &str, value: &str) {
        let value = printable(value.as_bytes());
        let kibibytes = || value.parse::<u64>().ok()?.checked_mul(1024);
        match name {
            "system" => self.system = value,
            "shell" => self.shell = value,
            "user" => self.user = value,
            "work" => self.work_path = value,
            "processors" => self.processors = value.parse().ok(),
            "load" => {
                self.load =
                    value.parse().ok().filter(|load: &f64| load.is_finite() && *load >= 0.0);
            }
            "memory" => self.free_memory = kibibytes(),
            "gpus" => self.gpus = value.parse().unwrap_or_default(),
            "disk" => self.free_disk = kibibytes(),
            "missing" => self.missing = value.split_whitespace().map(str::to_owned).collect(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_unknown() {
        let mut status = HostStatus::default();
        for (name, value) in [
            ("load", "NaN"),
            ("load", "-1"),
            ("memory", "much"),
            ("disk", "99999999999999999999"),
            ("disk", "18446744073709551615"),
            ("gpus", ""),
            ("processors", "-2"),
            ("nonsense", "1"),
        ] {
            status.learn(name, value);
        }
        assert_eq!(status, HostStatus::default());
        status.learn("disk", "3");
        status.learn("shell", "/bin/\u{1b}[2J");
        assert_eq!((status.free_disk, status.shell.as_str()), (Some(3072), r"/bin/\x1b[2J"));
    }
}
