//! Requests and replies about slots.
#![deny(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::fmt;
use std::time::Duration;

use super::request;
use crate::{Host, Task, TaskId};

/// How long a task waits for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// As long as it takes.
    #[default]
    Forever,
    /// At most this long; zero is not at all. Whole seconds.
    AtMost(Duration),
}

/// What a task wants of the slots of a host.
#[derive(Debug, Clone, Copy)]
pub struct SlotRequest<'a> {
    /// The host.
    pub host: &'a Host,
    /// The task.
    pub task: &'a Task,
    /// How long it waits.
    pub patience: Patience,
}

impl SlotRequest<'_> {
    /// Writes a request `status`: how much of the host is used.
    pub fn status(&self) -> Vec<u8> {
        self.line("status", None)
    }

    /// Writes a request `ticket` for a task that is about to be sent.
    pub fn ticket(&self, id: TaskId) -> Vec<u8> {
        self.line("ticket", Some(id))
    }

    fn line(&self, name: &str, id: Option<TaskId>) -> Vec<u8> {
        let mut words = vec![name.as_bytes().to_vec()];
        words.extend(id.map(|id| format!("id={id}").into_bytes()));
        words.push([b"name=", self.task.script.name().as_bytes()].concat());
        words.extend(self.words());
        request(&words)
    }

    /// Writes a request `status` of somebody who wants nothing but to know.
    pub fn question(host: &Host) -> Vec<u8> {
        let mut words = vec![b"status".to_vec()];
        words.push([b"lock=", host.remote_lock_path.as_bytes()].concat());
        words.extend(host.slots.map(|slots| format!("have={slots}").into_bytes()));
        request(&words)
    }

    /// What the task wants, as words of a request.
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        let Self { host, task, patience } = self;
        let mut words = vec![
            format!("slots={}", task.slots).into_bytes(),
            [b"lock=", host.remote_lock_path.as_bytes()].concat(),
        ];
        let mut say = |key: &str, number: Option<u32>| {
            words.extend(number.map(|number| format!("{key}={number}").into_bytes()));
        };
        say("gpus", Some(task.gpus).filter(|&gpus| gpus > 0));
        say("max", task.script.limit());
        say("load", host.max_load_percent);
        say("have", host.slots);
        say("have-gpus", host.gpus);
        if let Patience::AtMost(time) = patience {
            words.push(format!("patience={}", time.as_secs()).into_bytes());
        }
        words
    }
}

/// Why a task can't be let in now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Busy {
    /// As many tasks of its script's name run as its limit allows, or others came first.
    Name {
        /// How many run.
        running: u32,
        /// The limit.
        limit: u32,
        /// How many others wait and came first.
        ahead: u32,
    },
    /// Not enough slots are free, or others came first.
    Slots {
        /// How many are taken.
        taken: u32,
        /// How many there are.
        total: u32,
        /// How many others wait and came first.
        ahead: u32,
    },
    /// Not enough GPUs are free, or others came first.
    Gpus {
        /// How many are taken.
        taken: u32,
        /// How many there are.
        total: u32,
        /// How many others wait and came first.
        ahead: u32,
    },
    /// The load of the host is above its limit.
    Load {
        /// The load, in hundredths.
        load_percent: u32,
        /// The limit, in hundredths.
        limit_percent: u32,
        /// How many others wait and came first.
        ahead: u32,
    },
}

impl Busy {
    /// Reads what the host says: `KIND USED LIMIT AHEAD`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = words.next()?;
        let mut number = || words.next()?.parse::<u32>().ok();
        let (used, limit, ahead) = (number()?, number()?, number()?);
        Some(match kind {
            "name" => Self::Name { running: used, limit, ahead },
            "slots" => Self::Slots { taken: used, total: limit, ahead },
            "gpus" => Self::Gpus { taken: used, total: limit, ahead },
            "load" => Self::Load { load_percent: used, limit_percent: limit, ahead },
            _ => return None,
        })
    }

    /// How many others wait and came first.
    pub fn ahead(&self) -> u32 {
        match self {
            Self::Name { ahead, .. }
            | Self::Slots { ahead, .. }
            | Self::Gpus { ahead, .. }
            | Self::Load { ahead, .. } => *ahead,
        }
    }

    /// Says it of a script's name on a host.
    pub fn describe<'a>(&'a self, script: &'a str, host: &'a str) -> impl fmt::Display + 'a {
        Description { busy: self, script, host }
    }
}

struct Description<'a> {
    busy: &'a Busy,
    script: &'a str,
    host: &'a str,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { busy, script, host } = self;
        match busy {
            Busy::Name { running: 0, .. } => {
                write!(f, "others wait to run `{script}` on host `{host}`")
            }
            Busy::Name { running, .. } => {
                write!(f, "{running} `{script}` tasks already running on host `{host}`")
            }
            Busy::Slots { taken, total, .. } => {
                write!(f, "{taken} of {total} slots taken on host `{host}`")
            }
            Busy::Gpus { taken, total, .. } => {
                write!(f, "{taken} of {total} GPUs taken on host `{host}`")
            }
            Busy::Load { load_percent, limit_percent, .. } => {
                let (load, limit) = (hundredths(*load_percent), hundredths(*limit_percent));
                write!(f, "a load of {load} on host `{host}`, above its limit of {limit}")
            }
        }
    }
}

fn hundredths(number: u32) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

/// How much of a host is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HostLoad {
    /// How many slots there are.
    pub slots: u32,
    /// How many are taken.
    pub taken: u32,
    /// How many tasks wait.
    pub waiting: u32,
    /// How many tasks of the script's name run.
    pub named: u32,
    /// How many GPUs there are; 0 when nobody asked.
    pub gpus: u32,
    /// How many are taken.
    pub gpus_taken: u32,
}

impl HostLoad {
    /// Reads what the host says.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse::<u32>().ok();
        Some(Self {
            slots: number()?,
            taken: number()?,
            waiting: number()?,
            named: number()?,
            gpus: number()?,
            gpus_taken: number()?,
        })
    }

    /// Whether a task would be let in at once, as far as one can tell.
    pub fn has_room(&self, task: &Task) -> bool {
        let fits = |taken: u32, wanted: u32, there: u32| taken.saturating_add(wanted) <= there;
        self.waiting == 0
            && fits(self.taken, task.slots, self.slots)
            && (task.gpus == 0 || fits(self.gpus_taken, task.gpus, self.gpus))
            && task.script.limit().is_none_or(|limit| self.named < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Script;

    #[test]
    fn a_request_says_what_the_task_wants_and_the_host_has() {
        let mut host = Host::new("h");
        host.slots = Some(8);
        host.max_load_percent = Some(150);
        let task = Task::new(Script::from_commands("a b", [":"]).max_concurrent(3)).gpus(2);
        let patience = Patience::AtMost(Duration::from_secs(5));
        let line = SlotRequest { host: &host, task: &task, patience };
        let line = line.ticket("0000-0000-0000-0001".parse().unwrap());
        insta::assert_snapshot!(String::from_utf8(line).unwrap(), @"ticket id=0000-0000-0000-0001 '''name=a b' slots=1 lock=/var/tmp/geto_lock gpus=2 max=3 load=150 have=8 patience=5");
    }

    #[test]
    fn what_a_host_says_is_read_or_refused() {
        let busy = Busy::parse("name 3 3 1").unwrap();
        assert_eq!(busy, Busy::Name { running: 3, limit: 3, ahead: 1 });
        let text = busy.describe("render", "h1").to_string();
        assert_eq!(text, "3 `render` tasks already running on host `h1`");
        let busy = Busy::parse("load 250 200 0").unwrap();
        let text = busy.describe("render", "h1").to_string();
        assert_eq!(text, "a load of 2.50 on host `h1`, above its limit of 2.00");
        for bad in ["", "name", "name 1 2", "name 1 2 x", "other 1 2 3", "name -1 2 3"] {
            assert_eq!(Busy::parse(bad), None, "{bad}");
        }
        assert_eq!(HostLoad::parse("8 3 1 2 4"), None);
        let load = HostLoad::parse("8 3 0 2 4 4").unwrap();
        let task = |limit| Task::new(Script::from_commands("t", [":"]).max_concurrent(limit));
        assert!(load.has_room(&task(3)));
        assert!(!load.has_room(&task(2)));
        assert!(load.has_room(&task(3).slots(5)) && !load.has_room(&task(3).slots(6)));
        assert!(!load.has_room(&task(3).gpus(1)));
    }
}
