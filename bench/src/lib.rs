//! What the benchmarks share: commands that are timed in turn, and a table of ratios.
//!
//! Everything that is compared runs in one run, one after the other in each round, against the
//! same server: figures of different runs or machines say nothing about each other.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use geto_testkit::{Proxy, program};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// What one command took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of processor time, user and system.
    pub cpu: f64,
    /// The most memory that was resident, in KiB.
    pub memory: f64,
}

/// A contender and what its rounds took.
#[derive(Debug)]
pub struct Contender {
    name: String,
    costs: Vec<Cost>,
    round_trips: Option<u32>,
}

impl Contender {
    /// Makes one that has not run yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), costs: Vec::new(), round_trips: None }
    }

    /// Runs `command` once and keeps what it took, and how many round trips when it goes through
    /// `proxy`.
    ///
    /// # Panics
    /// When it can't be run or fails: a figure of a failure is worth nothing.
    pub fn run_through(&mut self, command: &Command, proxy: Option<&Proxy>) {
        let before = proxy.map_or(0, |proxy| proxy.connections().len());
        self.costs.push(timed(command));
        if let Some(proxy) = proxy {
            let traffic = proxy.wait_for_close();
            self.round_trips = traffic.iter().skip(before).map(|one| one.round_trips).max();
        }
    }

    /// Medians of all rounds.
    pub fn median(&self) -> Cost {
        let of = |pick: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = self.costs.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Cost { wall: of(|c| c.wall), cpu: of(|c| c.cpu), memory: of(|c| c.memory) }
    }
}

/// Writes a table whose ratios are to the second contender.
///
/// # Errors
/// When stdout can't be written to.
///
/// # Panics
/// When there are fewer than two contenders.
pub fn print(title: &str, contenders: &[Contender]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let reference = contenders.get(1).expect("a ratio takes two").median();
    writeln!(out, "\n{title} ({} rounds)\n", contenders.first().map_or(0, |c| c.costs.len()))?;
    writeln!(out, "| | wall ms | ratio | cpu ms | memory MiB | round trips |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for contender in contenders {
        let cost = contender.median();
        let round_trips = contender.round_trips.map_or_else(|| "-".to_owned(), |n| n.to_string());
        writeln!(
            out,
            "| {} | {:.1} | {:.2} | {:.1} | {:.1} | {round_trips} |",
            contender.name,
            cost.wall * 1e3,
            cost.wall / reference.wall,
            cost.cpu * 1e3,
            cost.memory / 1024.0,
        )?;
    }
    Ok(())
}

/// The geto that was built beside this program.
///
/// # Panics
/// When it was not built.
pub fn geto() -> PathBuf {
    let own = std::env::current_exe().expect("a program knows its path");
    let geto = own.with_file_name("geto");
    assert!(geto.exists(), "build it first: cargo build --release --workspace");
    geto
}

/// Number of rounds: the first argument, or `default`.
pub fn rounds(default: usize) -> usize {
    std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(default)
}

/// Runs `command` under `/usr/bin/time`, its output thrown away.
fn timed(command: &Command) -> Cost {
    let report = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut timed = Command::new(program("time", "time"));
    timed.args(["-f", "%M", "-o"]).arg(report.path()).arg(command.get_program());
    timed.args(command.get_args()).stdout(Stdio::null()).stderr(Stdio::inherit());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    let cpu_before = cpu_of_children();
    let begun = std::time::Instant::now();
    let status = timed.status().expect("the command starts");
    let wall = begun.elapsed().as_secs_f64();
    let cpu = cpu_of_children() - cpu_before;
    assert!(status.success(), "{command:?} failed");
    let text = fs_err::read_to_string(report.path()).expect("the report of time");
    let memory = text.trim().parse().expect("a number of KiB");
    Cost { wall, cpu, memory }
}

/// Seconds of processor time of all children so far. `time` itself says hundredths only.
fn cpu_of_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("a process may ask that of itself");
    let seconds = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// A command of `sh -c` whose words are given as arguments, so that none is read twice.
pub fn shell(line: &str, words: &[&OsStr]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line, "sh"]).args(words);
    command
}

/// A geto.ini that reaches the hosts of `ssh_config`, with results under `dir`.
///
/// # Panics
/// When it can't be written.
pub fn geto_ini(dir: &Path, host: &str, ssh_config: &Path) -> PathBuf {
    let path = dir.join(format!("{}.ini", ssh_config.file_name().unwrap_or_default().display()));
    let text = format!(
        "[geto]\nssh_config_path={}\nlocal_work_path={}\n[hosts]\n{host}={host}\n",
        ssh_config.display(),
        dir.join("results").display()
    );
    fs_err::write(&path, text).expect("geto.ini");
    path
}
