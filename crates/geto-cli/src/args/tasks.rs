//! The options of commands about tasks that were started before.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use geto::units::{parse_duration, parse_size};

use super::{ConnectArgs, LinkArgs, OutputArgs, some_time};

/// `geto ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Ask only these hosts, given as for `geto run`, several with commas [default: all of geto.ini,
    /// and those on which the ledger knows tasks without an end]
    #[arg(short = 'H', long = "host", value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<String>,

    /// Print an object a line (see docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,

    /// Ask again and again until Ctrl-C, a table each time [default: every 2 s]
    #[arg(
        long,
        value_name = "TIME",
        value_parser = some_time,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s"
    )]
    pub(crate) watch: Option<Duration>,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Which task.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The task: its id, what only its id begins with, or the name of its script (the newest)
    #[arg(value_name = "TASK", required_unless_present = "last")]
    pub(crate) word: Option<String>,

    /// The task that was started last from this machine
    #[arg(long, conflicts_with = "word")]
    pub(crate) last: bool,

    /// Look on these hosts, given as for `geto run` [default: where the ledger says, else all of
    /// geto.ini]
    #[arg(short = 'H', long = "host", value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<String>,
}

/// Which tasks.
#[derive(Debug, Args)]
pub(crate) struct ManyArgs {
    /// The tasks: an id, what only one id begins with, or the name of a script (the newest)
    #[arg(value_name = "TASK", required_unless_present_any = ["last", "all", "finished"])]
    pub(crate) words: Vec<String>,

    /// The task that was started last from this machine
    #[arg(long)]
    pub(crate) last: bool,

    /// All tasks on the hosts, from whatever machine they were started
    #[arg(long, conflicts_with_all = ["words", "last"])]
    pub(crate) all: bool,

    /// All of them that have ended
    #[arg(long, conflicts_with_all = ["words", "last", "all"])]
    pub(crate) finished: bool,

    /// Look on these hosts, given as for `geto run` [default: where the ledger says, else all of
    /// geto.ini]
    #[arg(short = 'H', long = "host", value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) hosts: Vec<String>,
}

/// `geto logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) task: OneArgs,

    /// Print what comes, too, until the task has ended
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Print its stderr [default: its stdout]
    #[arg(long)]
    pub(crate) stderr: bool,

    /// Begin with the last lines, as many as this [default: all]
    #[arg(short = 'n', long, value_name = "LINES")]
    pub(crate) lines: Option<u64>,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `geto attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    pub(crate) task: OneArgs,

    /// Show only the output that comes from now on; the results hold all of it
    #[arg(long)]
    pub(crate) from_now: bool,

    /// Put the files into this directory [default: <local_work_path>/<task id>/files]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) into: Option<PathBuf>,

    /// Replace files that are there already
    #[arg(long, requires = "into")]
    pub(crate) overwrite: bool,

    /// Bring at most this much home; bytes, or 512K, 10M, 2G [default: what was said when it was
    /// started from here]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_results: Option<u64>,

    /// Keep the task on the host, which is done anyway when another machine has started it, or
    /// `--keep` was said then
    #[arg(long)]
    pub(crate) keep: bool,

    /// Remove the task from the host once its results are home, whoever has started it
    #[arg(long, conflicts_with = "keep")]
    pub(crate) rm: bool,

    #[command(flatten)]
    pub(crate) link: LinkArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `geto wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) tasks: ManyArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `geto kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    pub(crate) tasks: ManyArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `geto fetch`.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    pub(crate) tasks: ManyArgs,

    /// Bring these files home [default: those that were said when the task was started]
    #[arg(long, value_name = "GLOB")]
    pub(crate) bring: Vec<String>,

    /// Bring at most this much of each task home; bytes, or 512K, 10M, 2G [default: what was said
    /// when it was started from here]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_results: Option<u64>,

    /// Put the files into this directory; `{task}` in it is the task's id [default:
    /// <local_work_path>/<task id>/files]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) into: Option<PathBuf>,

    /// Replace files that are there already
    #[arg(long, requires = "into")]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `geto rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) tasks: ManyArgs,

    /// Only those that ended longer ago than this; 90, 90s, 5m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "finished")]
    pub(crate) older_than: Option<Duration>,

    /// Remove also what runs where its host can't see it: in another container, or in one that was
    /// restarted since. Nothing is ended by that
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
