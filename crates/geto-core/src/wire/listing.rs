//! What the host's side says of tasks that other sessions have started.
#![deny(clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::EndReport;
use crate::TaskId;

/// How far a task has come, as its host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// The host has no such task: it was never there, was not started, or was removed more than two
    /// days ago.
    None {
        /// How many bytes of its dependencies have come, which need not be sent again.
        spooled: u64,
    },
    /// It was there, and was removed.
    Gone,
    /// Its origin sends it.
    Sending,
    /// It waits for a slot, or is about to start.
    Waiting,
    /// Its script runs.
    Running,
    /// It has ended, and its results are there.
    Ended,
}

impl TaskState {
    /// Reads `STATE [BYTES]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match word {
            "none" => Self::None { spooled: rest.parse().ok()? },
            "gone" => Self::Gone,
            "sending" => Self::Sending,
            "waiting" => Self::Waiting,
            "running" => Self::Running,
            "ended" => Self::Ended,
            _ => return None,
        })
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None { .. } => "none",
            Self::Gone => "gone",
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

/// What tells one start of a host from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// A random id; empty where the host has none.
    pub id: String,
    /// How long the host has been up; since 1970 where it can't say that.
    pub uptime: Duration,
}

impl Boot {
    /// Reads `ID UPTIME`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, uptime) = text.rsplit_once(' ')?;
        Some(Self { id: id.to_owned(), uptime: seconds(uptime)? })
    }
}

/// The host's clock at the end of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// How long the host has been up.
    pub uptime: Duration,
    /// Ticks a second, in which processor time is counted.
    pub ticks_per_second: u32,
}

impl Clock {
    /// Reads `UPTIME HERTZ`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (uptime, hertz) = text.split_once(' ')?;
        let ticks_per_second = hertz.trim().parse().ok().filter(|&hertz| hertz > 0)?;
        Some(Self { uptime: seconds(uptime)?, ticks_per_second })
    }
}

/// What a host says of a task that is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// When its script was started, since 1970, by the clock of its origin.
    pub started: Option<Duration>,
    /// The name of its script.
    pub script: String,
}

impl About {
    /// Reads when it was claimed, by both clocks, when it was started, and the name, a line each.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.splitn(4, '\n');
        let mut line = || lines.next();
        let (claimed, uptime) = (seconds(line()?), seconds(line()?));
        let started =
            started(claimed.unwrap_or_default(), uptime.unwrap_or_default(), seconds(line()?));
        Some(Self { started, script: line()?.to_owned() })
    }
}

/// When a script was started by the clock of the origin, which the host does not know but for the
/// time of the claim.
fn started(
    claimed: Duration,
    claimed_uptime: Duration,
    uptime: Option<Duration>,
) -> Option<Duration> {
    claimed.checked_add(uptime?.saturating_sub(claimed_uptime))
}

/// How many characters of a name are kept.
const FIELD_MAX: usize = 256;

/// A task as its host describes it. Names are cut at 256 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The task.
    pub id: TaskId,
    /// How far it has come.
    pub state: TaskState,
    /// When it was claimed, since 1970, by the clock of its origin.
    pub claimed: Duration,
    /// When it was claimed, by the time that the host had been up then.
    pub claimed_uptime: Duration,
    /// When its script was started, likewise.
    pub started_uptime: Option<Duration>,
    /// The numbers of its slots, with commas in between; empty when it takes none.
    pub slots: String,
    /// Processor time of its first process while it runs, in ticks.
    pub cpu_ticks: Option<u64>,
    /// Who started it, as `user@host`.
    pub origin: String,
    /// What that one calls the host.
    pub host: String,
    /// The name of its script.
    pub script: String,
    /// How it ended.
    pub end: Option<EndReport>,
    /// What its origin recognises it by, when it has said so.
    pub tag: Option<String>,
}

impl Listing {
    /// Reads what the host says, a line for each field.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let word = |line: &str| line.chars().take(FIELD_MAX).collect::<String>();
        Some(Self {
            id: line().parse().ok()?,
            state: TaskState::parse(line())?,
            claimed: seconds(line()).unwrap_or_default(),
            claimed_uptime: seconds(line()).unwrap_or_default(),
            started_uptime: seconds(line()),
            slots: word(line()),
            cpu_ticks: line().parse().ok(),
            origin: word(line()),
            host: word(line()),
            script: word(line()),
            end: EndReport::parse(line()).map(|end| EndReport { left: word(&end.left), ..end }),
            tag: Some(word(line())).filter(|tag| !tag.is_empty()),
        })
    }

    /// When its script was started, since 1970, by the clock of its origin.
    pub fn started(&self) -> Option<Duration> {
        started(self.claimed, self.claimed_uptime, self.started_uptime)
    }

    /// How long its script has run when the host's clock shows `clock`, or ran in all.
    pub fn run_time(&self, clock: Clock) -> Option<Duration> {
        match &self.end {
            Some(end) => Some(end.run_time),
            None => Some(clock.uptime.saturating_sub(self.started_uptime?)),
        }
    }

    /// The processor time that it has used, as far as the host can tell.
    pub fn cpu_time(&self, clock: Clock) -> Option<Duration> {
        match &self.end {
            Some(end) => Some(end.cpu_time),
            None => {
                let millis = self.cpu_ticks?.checked_mul(1000)?;
                Some(Duration::from_millis(millis / u64::from(clock.ticks_per_second)))
            }
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str =
        "0000-0000-0000-0001\nrunning\n1000\n50.5\n53.5\n1,2\n250\nme@here\nh\nmy script\n";

    #[test]
    fn tells_times_by_the_clock_of_the_origin() {
        let listing = Listing::parse(RUNNING).unwrap();
        let clock = Clock::parse("60.5 100").unwrap();
        assert_eq!(listing.state, TaskState::Running);
        assert_eq!(listing.started(), Some(Duration::from_secs(1003)));
        assert_eq!(listing.run_time(clock), Some(Duration::from_secs(7)));
        assert_eq!(listing.cpu_time(clock), Some(Duration::from_millis(2500)));
        assert_eq!((&*listing.script, &*listing.slots), ("my script", "1,2"));
        assert_eq!(listing.tag, None);
        let tagged = Listing::parse(&format!("{RUNNING}\nt1")).unwrap();
        assert_eq!(tagged.tag.as_deref(), Some("t1"));
    }

    #[test]
    fn a_task_that_has_ended_tells_how() {
        let end = "status=3 why= started=yes start=53.5 end=55.5 cpu=0m1.00s 0m0.00s full= left= .";
        let listing = Listing::parse(&format!("{}{end}", RUNNING.replace("running", "ended")));
        let listing = listing.unwrap();
        assert_eq!(listing.end.as_ref().unwrap().raw_status, 3);
        let clock = Clock::parse("1000 100").unwrap();
        assert_eq!(listing.run_time(clock), Some(Duration::from_secs(2)));
        assert_eq!(listing.cpu_time(clock), Some(Duration::from_secs(1)));
    }

    #[test]
    fn names_are_cut() {
        let listing = Listing::parse(&RUNNING.replace("my script", &"ä".repeat(9999))).unwrap();
        assert_eq!(listing.script, "ä".repeat(256));
    }

    #[test]
    fn who_attaches_learns_name_and_start() {
        let about = About::parse("1000\n50.5\n53.5\nmy script").unwrap();
        assert_eq!((about.started, &*about.script), (Some(Duration::from_secs(1003)), "my script"));
        assert_eq!(About::parse("1000\n50.5\n\nx").unwrap().started, None);
    }

    #[test]
    fn states_and_starts_of_a_host_are_read() {
        assert_eq!(TaskState::parse("none 12"), Some(TaskState::None { spooled: 12 }));
        assert_eq!(TaskState::parse("gone 0"), Some(TaskState::Gone));
        assert_eq!(TaskState::parse("none"), None);
        let boot = Boot::parse("ab-cd 12.50").unwrap();
        assert_eq!((&*boot.id, boot.uptime), ("ab-cd", Duration::from_millis(12_500)));
        assert_eq!(Boot::parse(" 12").unwrap().id, "");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let clock = Clock::parse(&text).unwrap_or(Clock { uptime: Duration::MAX, ticks_per_second: 1 });
            let listing = Listing::parse(&format!("0000-0000-0000-0001\nrunning\n{text}"));
            listing.map(|listing| (listing.started(), listing.run_time(clock), listing.cpu_time(clock)));
            Boot::parse(&text);
            TaskState::parse(&text);
        }
    }
}
