//! What the host's side says of the end of a task.

use std::time::Duration;

use crate::Outcome;

/// Whether a script was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// It was.
    Done,
    /// It was not: it could not be executed.
    Failed,
    /// It was not, because the `setup` of the host failed.
    EndedInSetup,
    /// It was not, because start-up files of the login shell, under which it was to run, ended or became
    /// something else.
    EndedInLogin,
    /// Nobody knows: the task has removed what its host kept of it.
    Unknown,
}

impl Start {
    fn parse(word: &str) -> Self {
        match word {
            "yes" => Self::Done,
            "no" => Self::Failed,
            "setup" => Self::EndedInSetup,
            "login" => Self::EndedInLogin,
            _ => Self::Unknown,
        }
    }
}

/// What the host's side says of the end of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndReport {
    /// How it ended.
    pub outcome: Outcome,
    /// The status that the shell gave; above 255 in ksh93, when it was a signal.
    pub raw_status: u16,
    /// Whether the script was started at all.
    pub start: Start,
    /// How long it ran.
    pub run_time: Duration,
    /// Processor time, user and system.
    pub cpu_time: Duration,
    /// Whether the disk was full when it ended.
    pub disk_full: bool,
    /// The processes that could not be ended, for a person.
    pub left: String,
}

impl EndReport {
    /// Why a task was lost whose host was started anew: nothing of it runs any more.
    pub const RESTARTED: &str = "the host was restarted";
    /// Why a task was lost that its host has ended with all its processes, when its origin had not been
    /// heard of for as long as its lease.
    pub const LEASE_OVER: &str = "its lease was over";

    /// Reads the line that the supervisor writes; `None` when it is not whole, as when the
    /// supervisor was killed while it wrote it.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end().strip_suffix(" .")?;
        let field = |name: &str, next: &str| {
            let start = line.find(name)? + name.len();
            let rest = line.get(start..)?;
            rest.get(..if next.is_empty() { rest.len() } else { rest.find(next)? })
        };
        let raw_status: u16 = field("status=", " why=")?.parse().ok()?;
        let outcome = match field(" why=", " started=")? {
            "cancelled" => Outcome::Cancelled,
            "timed-out" => Outcome::TimedOut,
            "" => Outcome::from_shell_status(raw_status),
            "lost-killed" => Outcome::Lost { reason: "its supervisor was killed".to_owned() },
            "lost-session" => Outcome::Lost {
                reason: "the host ended it with its session (logind: `KillUserProcesses=yes`)"
                    .to_owned(),
            },
            "lost-unit" => Outcome::Lost {
                reason: "the host ended it with its connection (a unit of systemd for each, as \
                         `sshd@.service`)"
                    .to_owned(),
            },
            "lost-lease" => Outcome::Lost { reason: Self::LEASE_OVER.to_owned() },
            "lost-reboot" => Outcome::Lost { reason: Self::RESTARTED.to_owned() },
            _ => return None,
        };
        let began = seconds(field(" start=", " end=")?)?;
        let end = seconds(field(" end=", " cpu=")?)?;
        Some(Self {
            outcome,
            raw_status,
            start: Start::parse(field(" started=", " start=")?),
            run_time: end.saturating_sub(began),
            cpu_time: cpu_time(field(" cpu=", " full=")?),
            disk_full: !field(" full=", " left=")?.is_empty(),
            left: field(" left=", "")?.trim().to_owned(),
        })
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads `0m0.01s 0m0.00s`, the line of `times` for the children; what can't be read is nothing.
fn cpu_time(text: &str) -> Duration {
    let part = |word: &str| {
        let (minutes, rest) = word.split_once('m')?;
        let minutes: u32 = minutes.parse().ok()?;
        seconds(rest.strip_suffix('s')?)?.checked_add(Duration::from_secs(60).checked_mul(minutes)?)
    };
    text.split_whitespace().filter_map(part).fold(Duration::ZERO, Duration::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "status=143 why=timed-out started=yes start=10.5 end=12.75 \
         cpu=1m0.50s 0m0.25s full= left= 12(a b) .";

    #[test]
    fn reads_every_field() {
        let report = EndReport::parse(LINE).unwrap();
        assert_eq!(report.outcome, Outcome::TimedOut);
        assert_eq!(report.raw_status, 143);
        assert_eq!(report.run_time, Duration::from_millis(2250));
        assert_eq!(report.cpu_time, Duration::from_millis(60_750));
        assert_eq!(report.left, "12(a b)");
        assert!(report.start == Start::Done && !report.disk_full);
        for (word, start) in [
            ("no", Start::Failed),
            ("setup", Start::EndedInSetup),
            ("login", Start::EndedInLogin),
            ("", Start::Unknown),
        ] {
            let report = EndReport::parse(&LINE.replace("=yes", &format!("={word}"))).unwrap();
            assert_eq!(report.start, start);
        }
    }

    #[test]
    fn half_a_line_is_no_report() {
        for end in 0..LINE.len() {
            assert_eq!(EndReport::parse(&LINE[..end]), None, "{}", &LINE[..end]);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            EndReport::parse(&text);
            EndReport::parse(&format!("status=1 why= started= start={text} end={text} cpu={text} full= left= ."));
        }
    }
}
