//! What may harm tasks on a host that answers.

use crate::HostStatus;
use crate::text::printable;
use crate::units::human_bytes;

use super::logind;

/// Less than this is little for what tasks write.
const LOW_DISK: u64 = 1 << 30;

/// A host that was looked at closely.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Checkup {
    /// What it is like.
    pub status: HostStatus,
    /// What may harm tasks there; none when all is well.
    pub faults: Vec<Fault>,
}

/// Something on a host that may harm tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What kind of thing it is.
    pub kind: FaultKind,
    /// What was found and what follows from it; safe to show.
    pub message: String,
    /// One command or setting that helps.
    pub hint: String,
}

/// What kind of thing may harm tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// Start-up files of the login shell print something.
    Noise,
    /// Start-up files of the login shell read what is meant for geto.
    Greedy,
    /// A program that geto makes use of is not there.
    MissingProgram,
    /// Programs in the work path can't be run.
    NoExec,
    /// The work path is in memory.
    Volatile,
    /// Old files below the work path are removed by the system.
    Cleaned,
    /// There is little room at the work path.
    LowDisk,
    /// logind ends the processes of a session that ends.
    Logind,
    /// systemd ends the processes of a connection that ends.
    ConnectionUnit,
    /// Tasks can't be counted, so none gets a slot.
    Lock,
    /// The server takes few channels on a connection.
    MaxSessions,
}

impl FaultKind {
    /// A name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Greedy => "greedy",
            Self::MissingProgram => "missing-program",
            Self::NoExec => "noexec",
            Self::Volatile => "volatile",
            Self::Cleaned => "cleaned",
            Self::LowDisk => "low-disk",
            Self::Logind => "logind",
            Self::ConnectionUnit => "connection-unit",
            Self::Lock => "lock",
            Self::MaxSessions => "max-sessions",
        }
    }
}

/// What the request `check` has found, and how the session began.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// Start-up files have read what was meant for geto.
    greedy: bool,
    /// The work path without symbolic links.
    place: String,
    filesystem: String,
    noexec: bool,
    logind: String,
    /// The unit of systemd that ends all of a connection.
    unit: Option<String>,
    /// How many channels the server takes on a connection, where it takes fewer than by default.
    pub(super) max_sessions: Option<usize>,
}

impl Finding {
    pub(super) fn new(greedy: bool) -> Self {
        Self { greedy, ..Self::default() }
    }

    /// Takes one fact; unknown ones are dropped.
    pub(super) fn learn(&mut self, name: &str, value: &str) {
        match name {
            "place" => value.clone_into(&mut self.place),
            "filesystem" => value.clone_into(&mut self.filesystem),
            "noexec" => self.noexec = true,
            // Its lines count, and it is not shown.
            "logind" => value.clone_into(&mut self.logind),
            "unit" => self.unit = Some(printable(value.as_bytes())),
            _ => {}
        }
    }
}

impl Checkup {
    /// Judges what was found.
    pub(super) fn of(status: HostStatus, finding: &Finding) -> Self {
        let mut faults = of_start_up(&status, finding);
        faults.extend(status.missing.iter().map(|program| missing(program)));
        faults.extend(of_work_path(&status, finding));
        if logind::ends_processes(&finding.logind, &status.user) {
            faults.push(Fault::new(
                FaultKind::Logind,
                "logind ends the processes of a session with it (`KillUserProcesses`): a link that \
                 breaks ends the task",
                format!(
                    "run `loginctl enable-linger {0}` there, or set `KillUserProcesses=no`, or \
                     `KillExcludeUsers=root {0}`, in /etc/systemd/logind.conf",
                    status.user
                ),
            ));
        }
        faults.extend(finding.unit.as_deref().map(|unit| of_unit(unit, &status.user)));
        if let Some(why) = &status.uncounted {
            faults.push(Fault::new(
                FaultKind::Lock,
                format!("tasks can't be counted, and get no slot: {why}"),
                "set another `remote_lock_path` in geto.ini, or pass `--no-slot`",
            ));
        }
        if let Some(found) = finding.max_sessions {
            faults.push(Fault::new(
                FaultKind::MaxSessions,
                format!(
                    "its server takes {found} channels on a connection (`MaxSessions`), and \
                         each task needs one: more tasks at once cost further logins"
                ),
                "set `MaxSessions 10`, or more, in its sshd_config",
            ));
        }
        Self { status, faults }
    }
}

impl Fault {
    fn new(kind: FaultKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: hint.into() }
    }
}

fn of_start_up(status: &HostStatus, finding: &Finding) -> Vec<Fault> {
    let mut faults = Vec::new();
    let shell = status.shell.rsplit('/').next().unwrap_or_default();
    let guard = match shell {
        "fish" => "let them do that only `if status is-interactive`",
        "csh" | "tcsh" => "let them do that only `if ($?prompt)`",
        _ => "begin them with `case $- in *i*) ;; *) return ;; esac`",
    };
    if !status.noise.is_empty() {
        let message = format!("start-up files of {shell} print `{}`", status.noise);
        faults.push(Fault::new(FaultKind::Noise, message, guard));
    }
    if finding.greedy {
        let message =
            format!("start-up files of {shell} read their input, which makes each login slow");
        faults.push(Fault::new(FaultKind::Greedy, message, guard));
    }
    faults
}

fn of_unit(unit: &str, user: &str) -> Fault {
    // Of `sshd@0-10.0.0.1:22-10.0.0.2:5000.service`.
    let template = unit.split_once('@').map_or(unit, |(name, _)| name);
    Fault::new(
        FaultKind::ConnectionUnit,
        format!(
            "systemd ends the processes of a connection with it (`{template}@.service`): a link that \
             breaks ends the task"
        ),
        format!(
            "run `loginctl enable-linger {user}` there, or set `KillMode=process` for \
             `{template}@.service`"
        ),
    )
}

fn missing(program: &str) -> Fault {
    let (use_of, package) = match program {
        "tar" => ("without it no files and directories go or come", "tar"),
        "setsid" => {
            ("without it a script that signals its group ends geto's own side", "util-linux")
        }
        "dd" => ("geto takes its bytes from the channel with it", "coreutils"),
        _ => ("geto makes use of it", program),
    };
    let message = format!("`{program}` is not there: {use_of}");
    Fault::new(FaultKind::MissingProgram, message, format!("install the package `{package}`"))
}

fn of_work_path(status: &HostStatus, finding: &Finding) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut push = |kind, message: String, hint: &str| faults.push(Fault::new(kind, message, hint));
    let path = printable(finding.place.as_bytes());
    let elsewhere = "set `remote_work_path` in geto.ini to a directory elsewhere";
    if finding.noexec {
        let message = format!("`{path}` is mounted noexec: scripts run, binaries do not");
        push(FaultKind::NoExec, message, elsewhere);
    }
    if matches!(finding.filesystem.as_str(), "tmpfs" | "ramfs") {
        let message = format!(
            "`{path}` is in memory ({}): results that were not fetched are lost at a reboot",
            finding.filesystem
        );
        push(FaultKind::Volatile, message, elsewhere);
    }
    if ["/tmp/", "/var/tmp/"].iter().any(|cleaned| finding.place.starts_with(cleaned)) {
        let message = format!("`{path}` is where systems remove old files, also of running tasks");
        push(FaultKind::Cleaned, message, elsewhere);
    }
    if let Some(free) = status.free_disk.filter(|free| *free < LOW_DISK) {
        let message = format!("{} are free at `{path}`", human_bytes(free));
        let hint = "make room there, or set `remote_work_path` in geto.ini";
        push(FaultKind::LowDisk, message, hint);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(status: HostStatus, facts: &[(&str, &str)]) -> Vec<FaultKind> {
        let mut finding = Finding::default();
        facts.iter().for_each(|(name, value)| finding.learn(name, value));
        Checkup::of(status, &finding).faults.iter().map(|fault| fault.kind).collect()
    }

    #[test]
    fn a_sound_host_has_no_faults() {
        let status = HostStatus { free_disk: Some(LOW_DISK), ..HostStatus::default() };
        let facts = [("place", "/home/athos/.cache/geto"), ("filesystem", "ext2/ext3")];
        assert_eq!(kinds(status, &facts), []);
    }

    #[test]
    fn each_fault_is_found() {
        let missing = vec!["tar".to_owned()];
        let status = HostStatus {
            free_disk: Some(LOW_DISK - 1),
            noise: "hi".to_owned(),
            missing,
            ..HostStatus::default()
        };
        let facts = [("place", "/tmp/x"), ("filesystem", "ramfs"), ("noexec", "yes")];
        let all = [
            FaultKind::Noise,
            FaultKind::MissingProgram,
            FaultKind::NoExec,
            FaultKind::Volatile,
            FaultKind::Cleaned,
            FaultKind::LowDisk,
        ];
        assert_eq!(kinds(status, &facts), all);
    }

    #[test]
    fn a_host_can_not_drive_a_terminal_by_its_faults() {
        let mut finding = Finding::new(true);
        finding.learn("place", "/tmp/\u{1b}[2J");
        finding.learn("filesystem", "tmpfs\u{1b}");
        for fault in Checkup::of(HostStatus::default(), &finding).faults {
            assert!(!fault.message.contains('\u{1b}'), "{fault:?}");
        }
    }
}
