//! The command line, as clap reads it.

mod map;
mod tasks;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

use geto::units::{parse_duration, parse_size};

pub(crate) use self::map::{MapArgs, ResumeKey};
pub(crate) use self::tasks::{
    AttachArgs, FetchArgs, KillArgs, LogsArgs, ManyArgs, OneArgs, PsArgs, RemoveArgs, WaitArgs,
};

/// Run a script on another machine as if it ran here
#[derive(Debug, Parser)]
#[command(name = "geto", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// What is wrong with it, or help that was asked for.
    pub(crate) fn read(line: &[OsString]) -> Result<Self, clap::Error> {
        let (line, sources) = map::split(line);
        let mut cli = Self::try_parse_from(line)?;
        let what = match &mut cli.command {
            Command::Run(args) => Some(&mut args.what),
            Command::Each(args) => Some(&mut args.what),
            Command::Map(args) => {
                args.sources = sources;
                Some(&mut args.what)
            }
            _ => None,
        };
        if let Some(what) = what {
            // The words are the end of the line, whatever is in them.
            let before = line.len().checked_sub(what.words.len() + 1);
            let before = before.and_then(|before| line.get(before));
            what.is_behind_dashes = before.is_some_and(|word| word == "--");
        }
        Ok(cli)
    }
}

/// What geto is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one task on one host
    ///
    /// Streams the output of the task and ends with its exit code. The files that the script leaves
    /// in its directory come home.
    #[command(override_usage = RUN_USAGE, after_long_help = RUN_EXIT_CODES)]
    Run(Box<RunArgs>),
    /// Run the same task on every host at once
    ///
    /// It takes no slot, and waits for none. Hosts with equal output and outcome are shown
    /// together, most common first, when all have ended; one that does not answer holds up nobody.
    #[command(override_usage = EACH_USAGE, after_long_help = EACH_EXIT_CODES)]
    Each(Box<EachArgs>),
    /// Run a script for each of many inputs, over all hosts
    ///
    /// A task goes to the host where the fewest of this run are for its slots. The files that each
    /// leaves come home. Ctrl-C starts no more tasks, a second one ends those that run, and a third
    /// one leaves them.
    #[command(override_usage = map::USAGE, after_long_help = map::AFTER_HELP)]
    Map(Box<MapArgs>),
    /// Show whether each host can be reached and logged into, and what it has
    ///
    /// Hosts that answer come first. All are asked at the same time. Ends with 1 when a host is
    /// down.
    Hosts(HostsArgs),
    /// List the tasks on the hosts: those that run, that wait, and that have ended and were kept
    ///
    /// Shows the tasks of the login user from whatever machine they were started. All hosts are
    /// asked at the same time. Ends with 1 when a host is down.
    Ps(PsArgs),
    /// Print what a task has written
    Logs(LogsArgs),
    /// Go on with a task as if `geto run` had never stopped
    ///
    /// Streams the output of the task, from its beginning, and ends with its exit code; its files
    /// come home. Ctrl-C ends the task; Ctrl-\ leaves it. The host keeps the task when another
    /// machine has started it.
    #[command(after_long_help = RUN_EXIT_CODES)]
    Attach(AttachArgs),
    /// Wait until tasks have ended
    ///
    /// Prints nothing. Ends with the exit code of the task; of several with 0 when all ended with
    /// 0, else with 1.
    Wait(WaitArgs),
    /// End tasks, with all their processes
    ///
    /// What they have written stays on their hosts until it is fetched or removed.
    Kill(KillArgs),
    /// Bring home what there is of tasks, also of one that runs
    ///
    /// The host keeps them, so it can be done again.
    Fetch(FetchArgs),
    /// Remove tasks that have ended, with their results, from their hosts
    Rm(RemoveArgs),
    /// Learn the keys of hosts
    ///
    /// Fetches the host keys, shows their fingerprints, asks, and adds them to known_hosts. Compare
    /// the fingerprints with what the administrators of the hosts say.
    Trust(TrustArgs),
    /// List what was started from this machine, newest first
    ///
    /// A task without an outcome runs still, or nobody here has seen it end: its host knows.
    History(HistoryArgs),
    /// Remove results that have had their time from this machine
    ///
    /// Looks at nothing but results under local_work_path and what runs of geto that were killed
    /// have left there; files that `--into` has put elsewhere stay. Runs do the same once a day.
    Clean(CleanArgs),
    /// Serve programs by JSON-RPC 2.0, a document a line (see docs/rpc.md)
    ///
    /// Requests come on stdin and are answered on stdout, until stdin ends; or clients connect to a
    /// socket, until a signal. Tasks of a client that goes away are left to their hosts.
    Rpc(RpcArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory, which must exist
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

const RUN_USAGE: &str = "geto run [OPTIONS] SCRIPT [ARG]...
       geto run [OPTIONS] -c LINE... [-- ARG...]
       geto run [OPTIONS] -- COMMAND [ARG]...";

const EACH_USAGE: &str = "geto each [OPTIONS] SCRIPT [ARG]...
       geto each [OPTIONS] -c LINE... [-- ARG...]
       geto each [OPTIONS] -- COMMAND [ARG]...";

const EACH_EXIT_CODES: &str = "Exit codes:
  0    the script ended with 0 on every host
  1    it did not on at least one
  2    the command line or the configuration is wrong
  130  ended with Ctrl-C";

const RUN_EXIT_CODES: &str = "Exit codes:
  the script's own; 128+N when signal N ended it
  2    the command line or the configuration is wrong
  75   no slot was free (with --when-full fail or --wait-timeout): safe to run again
  123  lost: the task was started, and its end is unknown or its results are not whole
  124  timed out
  125  not started: safe to run again
  130  ended with Ctrl-C";

/// Which configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Read this configuration [default: $GETO_CONFIG, ./geto.ini,
    /// $XDG_CONFIG_HOME/geto/geto.ini or /etc/geto.ini, the first found]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// Which configuration, and how hosts are connected to.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Give up connecting, and waiting for start-up files there, after this time; 90, 90s, 5m
    /// [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(crate) connect_timeout: Option<Duration>,
}

/// What becomes of a link that breaks.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// When the link breaks, try for this long to make it again; the task goes on meanwhile. 0 is
    /// never [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) reconnect: Option<Duration>,
}

/// How much is said, and in which form.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print one event an object a line on stdout instead of the output (see docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing but errors and what the task prints
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more: times, directories, bytes
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// `geto run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) hosts: ChoiceArgs,
    #[command(flatten)]
    pub(crate) slot: SlotArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,

    /// Print the task's id once it has been started, and leave it to its host: `geto attach` finds it
    /// again
    #[arg(short = 'D', long, conflicts_with_all = ["into", "overwrite", "dry_run", "json"])]
    pub(crate) detach: bool,

    /// Pick one of several hosts: where the fewest tasks of this name run relative to the slots, at
    /// random among those with room, or the first with room [default: balanced]
    #[arg(long, value_name = "HOW")]
    pub(crate) pick: Option<PickArg>,

    /// Say what would run where, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `geto each`.
#[derive(Debug, Args)]
pub(crate) struct EachArgs {
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    #[command(flatten)]
    pub(crate) home: HomeArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) hosts: ChoiceArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,

    /// Run on at most this many hosts at once; one that does not answer within a second gives up
    /// its turn until it does
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=65_535)
    )]
    pub(crate) fanout: u32,

    /// Show output as it comes, each line with `[host] ` in front [default: with one host]
    #[arg(long, conflicts_with_all = ["json", "diff"])]
    pub(crate) live: bool,

    /// Show of each other output only how it differs from the most common one
    #[arg(long, conflicts_with = "json")]
    pub(crate) diff: bool,
}

/// Which hosts.
#[derive(Debug, Args)]
pub(crate) struct ChoiceArgs {
    /// The hosts: names, globs or @tags of geto.ini, a Host of ssh_config, [user@]addr[:port],
    /// ssh://[user@]host[:port], or `local`; several with commas [default: all of geto.ini]
    #[arg(short = 'H', long = "host", value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<String>,

    /// Take out these hosts, given likewise
    #[arg(short = 'x', long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) exclude_host: Vec<String>,
}

/// How one of several hosts is picked.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum PickArg {
    /// The fewest tasks of this name relative to the slots, then the most idle slots
    Balanced,
    /// At random among those with room
    Random,
    /// The first with room
    First,
}

/// What a task takes of a host.
#[derive(Debug, Args)]
pub(crate) struct SlotArgs {
    /// Run at most this many tasks of this name on a host at once, over all users and machines that
    /// start them [default: no limit]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) max_concurrent: Option<u32>,

    /// Take this many of the host's slots [default: 1]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) slots: Option<u32>,

    /// Take this many of the host's GPUs, named by CUDA_VISIBLE_DEVICES [default: none]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(..=65_535))]
    pub(crate) gpus: Option<u32>,

    /// Take no slot, and wait for none
    #[arg(long, conflicts_with_all = ["max_concurrent", "slots", "gpus", "when_full", "wait_timeout"])]
    pub(crate) no_slot: bool,

    /// Wait when no slot is free, or end with exit code 75 [default: wait]
    #[arg(long, value_name = "WHAT")]
    pub(crate) when_full: Option<WhenFull>,

    /// Wait no longer than this; 90, 90s, 5m [default: 0, as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) wait_timeout: Option<Duration>,
}

/// What happens when no slot is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WhenFull {
    /// Wait for one
    Wait,
    /// End with exit code 75
    Fail,
}

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct WhatArgs {
    /// Run these lines as a script; what follows `--` are its arguments
    #[arg(short, long, value_name = "LINE", num_args = 1.., action = clap::ArgAction::Append)]
    pub(crate) commands: Option<Vec<OsString>>,

    /// The script, run by the interpreter that its first line names (without one: /bin/sh), and its
    /// arguments; `-` reads the script from stdin. Behind `--`, a command of the host and its
    /// arguments, run as it stands without a shell
    #[arg(
        value_name = "SCRIPT",
        value_hint = ValueHint::CommandWithArguments,
        trailing_var_arg = true
    )]
    pub(crate) words: Vec<OsString>,

    /// Whether `--` stands before the words: clap does not tell.
    #[arg(skip)]
    pub(crate) is_behind_dashes: bool,
}

impl WhatArgs {
    /// Whether nothing here names a file of a script.
    pub(crate) fn has_no_name(&self) -> bool {
        self.commands.is_some()
            || self.is_behind_dashes
            || self.words.first().is_some_and(|word| word == "-")
    }
}

/// What belongs to the task.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    /// Send this file or directory, seen as DEPS/<its name>
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) dep: Vec<PathBuf>,

    /// Send this file or directory, seen as DEPS/NAME
    #[arg(long, num_args = 2, value_names = ["NAME", "PATH"], action = clap::ArgAction::Append)]
    pub(crate) dep_as: Vec<OsString>,

    /// Send this file or directory, and show the task what its host keeps, read-only, instead of a copy
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) share: Vec<PathBuf>,

    /// Leave out what this pattern matches in directories that are sent, in gitignore syntax
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,

    /// Leave out what .gitignore files in directories that are sent name
    #[arg(long)]
    pub(crate) gitignore: bool,

    /// Set a variable for the task; `-e K` takes the value from here
    #[arg(short, long, value_name = "K[=V]")]
    pub(crate) env: Vec<OsString>,

    /// Set the variables that this file lists, one K=V a line; `#` begins a comment, '…' and "…" quote
    /// and may span lines, and nothing is substituted
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) env_file: Vec<PathBuf>,

    /// End the task after this time, from the start of the script; 90, 90s, 5m, 2h
    /// [default: 0, never]
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// Name the script [default: its file name without suffix]
    #[arg(short, long)]
    pub(crate) name: Option<String>,

    /// Give the task the stdin of geto, or the content of FILE [default: /dev/null]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub(crate) stdin: Option<Option<PathBuf>>,

    /// Run under the profile of the login shell; variables given here win over those that it sets
    #[arg(long)]
    pub(crate) login: bool,

    /// Leave processes alone that the script leaves behind
    #[arg(long)]
    pub(crate) leave: bool,
}

/// What comes home.
#[derive(Debug, Args)]
pub(crate) struct HomeArgs {
    /// Bring these files home, as globs of a shell: no `*`, and no `**`, goes down into directories
    /// [default: all that the script left, DEPS apart]
    #[arg(long, value_name = "GLOB", conflicts_with = "no_files")]
    pub(crate) bring: Vec<String>,

    /// Bring no files home
    #[arg(long)]
    pub(crate) no_files: bool,

    /// Bring at most this much home; bytes, or 512K, 10M, 2G [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_results: Option<u64>,

    /// Put the files into this directory; with `each`, `{host}` in it is the host's name, with `map`
    /// it has replacement strings, as res/{/.}
    /// [default: <local_work_path>/<task id>/files]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "no_files")]
    pub(crate) into: Option<PathBuf>,

    /// Replace files that are there already
    #[arg(long, requires = "into")]
    pub(crate) overwrite: bool,

    /// Keep the task's directory on the host
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `geto hosts`.
#[derive(Debug, Args)]
pub(crate) struct HostsArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// Ask only these hosts, given as for `geto run`, several with commas [default: all of geto.ini]
    #[arg(short = 'H', long = "host", value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<String>,

    /// Look for what may harm tasks, and say what helps
    #[arg(long)]
    pub(crate) check: bool,

    /// Ask again and again until Ctrl-C, a table each time [default: every 2 s]
    #[arg(
        long,
        value_name = "TIME",
        value_parser = some_time,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        conflicts_with = "check"
    )]
    pub(crate) watch: Option<Duration>,
}

/// `geto trust`.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,

    /// The hosts, given as for `geto run`
    #[arg(required = true, value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<String>,

    /// Add the keys without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `geto history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only these tasks: ids, what ids begin with, or names of scripts
    #[arg(value_name = "TASK")]
    pub(crate) tasks: Vec<String>,

    /// Show at most this many, the newest; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) lines: usize,

    /// Only tasks on these hosts, by the names they were called by; `*` and `?` match any
    #[arg(short = 'H', long = "host", value_name = "HOST", value_delimiter = ',')]
    pub(crate) hosts: Vec<String>,

    /// Only tasks of these scripts, by their names, likewise
    #[arg(long = "script", value_name = "NAME")]
    pub(crate) scripts: Vec<String>,

    /// Only tasks that ended like this
    #[arg(long = "outcome", value_name = "KIND", value_delimiter = ',', value_parser = STATES)]
    pub(crate) outcomes: Vec<String>,

    /// Only tasks that were asked for within this time; 90, 90s, 5m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) since: Option<Duration>,

    /// Print an object a line (see docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// What became of a task, as the ledger names it.
const STATES: [&str; 14] = [
    "exited",
    "signalled",
    "timed-out",
    "cancelled",
    "lost",
    "unknown",
    "not-started",
    "results",
    "full",
    "unreachable",
    "host-key",
    "authentication",
    "host",
    "local",
];

/// `geto clean`.
#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Remove results that came home longer ago than this; 90, 90s, 5m, 2h, 7d
    /// [default: keep_results of geto.ini, else 30d]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) older_than: Option<Duration>,

    /// Remove all results
    #[arg(long, conflicts_with = "older_than")]
    pub(crate) all: bool,

    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Remove the dependencies that hosts keep instead, but for what tasks use that are still there
    #[arg(long, conflicts_with_all = ["older_than", "all", "dry_run"])]
    pub(crate) cache: bool,

    /// On these hosts, given as for `geto run` [default: all of geto.ini]
    #[arg(short = 'H', long = "host", value_name = "HOST", requires = "cache", value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<String>,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `geto rpc`.
#[derive(Debug, Args)]
pub(crate) struct RpcArgs {
    /// Serve clients of this Unix socket, which is made for this user only and removed in the end
    /// [default: stdin and stdout]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// A time in which something can happen.
fn some_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("it takes at least a second".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}
