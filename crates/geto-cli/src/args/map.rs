//! `geto map`, as clap reads it, and the inputs behind it, which clap does not read.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use geto::map::inputs::Separator;
use geto::map::limit::{ExitCodes, Limit};

use super::{
    ChoiceArgs, ConnectArgs, HomeArgs, OutputArgs, SlotArgs, TaskArgs, WhatArgs, some_time,
};

pub(super) const USAGE: &str = "geto map [OPTIONS] SCRIPT [ARG]... ::: INPUT...
       geto map [OPTIONS] -c LINE... [-- ARG...] ::: INPUT...
       geto map [OPTIONS] -- COMMAND [ARG]... ::: INPUT...
       geto map [OPTIONS] --inputs FILE SCRIPT [ARG]...";

pub(super) const AFTER_HELP: &str = "Inputs, behind all else, as GNU parallel's:
  ::: A B C       these; several sources are combined, each input with each of the others
  :::+ A B C      these, in step with the source before
  :::: FILE...    the lines of these files, `-` is stdin; ::::+ in step with the source before

Replaced in ARGs, -d, -e and --into, but not in scripts and the lines of -c, which have ARGs as $1,
$2, …; where none occurs, the input is the last argument:
  {}  {.}  {/}  {//}  {/.}   the input; without extension; its last part; its directory; the
                             last part without extension
  {1}  {2/.}                 the input of this source, or this column
  {column}  {key}            with --csv or --json-lines
  {dep}                      DEPS/<name>, where `-d '{}'` puts the input's file
  {#}  {%}  {host}           number of the task; slot on its host; the host's name

Exit codes:
  0      all tasks ended with 0
  1-100  so many did not
  101    more did not
  2      the command line, the configuration or an input is wrong
  125    the log could not be written
  130    ended with Ctrl-C";

/// `geto map`.
#[derive(Debug, Args)]
pub(crate) struct MapArgs {
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
    pub(crate) slot: MapSlotArgs,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,

    /// Run at most this many tasks at once on each host; its slots are its limit all the same
    /// [default: as many as it has slots]
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=65_535)
    )]
    pub(crate) jobs: Option<u32>,

    #[command(flatten)]
    pub(crate) show: ShowArgs,
    #[command(flatten)]
    pub(crate) failures: FailureArgs,

    /// Print command, files and bytes of each task and the host that it would go to, and send
    /// nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// What stands behind the first `:::`, each with what introduces it.
    #[arg(skip)]
    pub(crate) sources: Vec<Words>,
}

/// What a task takes of a host.
#[derive(Debug, Args)]
pub(crate) struct MapSlotArgs {
    /// Run at most this many tasks of this name on a host at once, over all users and machines that
    /// start them [default: no limit]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) max_concurrent: Option<u32>,

    /// Let each task take this many of the host's slots [default: 1]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) slots: Option<u32>,

    /// Let each task take this many of the host's GPUs, named by CUDA_VISIBLE_DEVICES
    /// [default: none]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(..=65_535))]
    pub(crate) gpus: Option<u32>,

    /// Take no slots: others are not counted, and count nothing
    #[arg(long, conflicts_with_all = ["max_concurrent", "slots", "gpus"])]
    pub(crate) no_slot: bool,
}

impl MapSlotArgs {
    /// The same as `geto run` has it.
    pub(crate) fn slot_args(&self) -> SlotArgs {
        SlotArgs {
            max_concurrent: self.max_concurrent,
            slots: self.slots,
            gpus: self.gpus,
            no_slot: self.no_slot,
            when_full: None,
            wait_timeout: None,
        }
    }
}

/// Where inputs come from.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// Take inputs from this file, a line each; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Inputs in files end with NUL bytes instead of line feeds
    #[arg(short = '0', long = "null", conflicts_with_all = ["csv", "json_lines"])]
    pub(crate) null: bool,

    /// Split each input into columns at what this regular expression matches
    #[arg(
        long,
        value_name = "REGEX",
        value_parser = |text: &str| Separator::parse(text).map_err(|error| error.to_string()),
        conflicts_with_all = ["csv", "json_lines"]
    )]
    pub(crate) colsep: Option<Separator>,

    /// Input files are CSV; the first line names the columns
    #[arg(long, conflicts_with = "json_lines")]
    pub(crate) csv: bool,

    /// Input files have a JSON object on each line
    #[arg(long)]
    pub(crate) json_lines: bool,
}

/// How output is shown and kept.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Show output as it comes, line by line [default: of each task when it has ended]
    #[arg(long, conflicts_with_all = ["json", "keep_order"])]
    pub(crate) stream: bool,

    /// Begin each line with the input and a tab
    #[arg(long, conflicts_with = "json")]
    pub(crate) tag: bool,

    /// Show output in the order of the inputs
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) keep_order: bool,

    /// Keep stdout and stderr of each input below this directory, as GNU parallel does:
    /// DIR/1/<input>/stdout
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) results: Option<PathBuf>,

    /// Write a line for each task that has ended, in the columns of GNU parallel's joblog
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log: Option<PathBuf>,

    /// Skip tasks that the log says have ended, and go on with the log
    #[arg(long, requires = "log", conflicts_with = "resume_failed")]
    pub(crate) resume: bool,

    /// Skip tasks that the log says have succeeded, and go on with the log
    #[arg(long, requires = "log")]
    pub(crate) resume_failed: bool,

    /// What a task is recognised by in the log: input and arguments, or what is sent of script and
    /// dependencies too [default: input]
    #[arg(long, value_name = "WHAT")]
    pub(crate) resume_key: Option<ResumeKey>,
}

/// What a task is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ResumeKey {
    /// Its input, the script's name and the arguments
    Input,
    /// The content of script and dependencies, too
    Content,
}

/// What failures lead to.
#[derive(Debug, Args)]
pub(crate) struct FailureArgs {
    /// When a host or its link fails a task, try it again so often, elsewhere if possible
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) host_retries: u32,

    /// Repeat a task that fails by itself so often
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retries: u32,

    /// Repeat only after these exit codes, as in 75,100-110 [default: after every failure]
    #[arg(long, value_name = "CODES", requires = "retries")]
    pub(crate) retry_exit: Option<ExitCodes>,

    /// Start no more tasks once so many have failed, or so many of a hundred: 10, 5%
    #[arg(long, value_name = "N", conflicts_with = "halt")]
    pub(crate) max_failures: Option<Limit>,

    /// When to halt, as GNU parallel's: never, now,fail=1, soon,fail=20%, now,success=1
    #[arg(long, value_name = "WHEN")]
    pub(crate) halt: Option<String>,

    /// Let a host end a task when it has heard nothing of this geto for so long; 90, 90s, 5m
    /// [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub(crate) lease: Option<Duration>,

    /// At the end, start a second copy of tasks that take long on another host: the first result
    /// wins, the other copy is ended
    #[arg(long)]
    pub(crate) speculate: bool,
}

/// A source of inputs on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// It goes in step with the source before it.
    pub(crate) is_linked: bool,
    /// The words are names of files.
    pub(crate) are_files: bool,
    pub(crate) words: Vec<OsString>,
}

impl Words {
    fn introduced_by(word: &OsString) -> Option<Self> {
        let (are_files, is_linked) = match word.to_str()? {
            ":::" => (false, false),
            ":::+" => (false, true),
            "::::" => (true, false),
            "::::+" => (true, true),
            _ => return None,
        };
        Some(Self { is_linked, are_files, words: Vec::new() })
    }
}

/// Parts a command line of `geto map` from the sources at its end.
pub(super) fn split(line: &[OsString]) -> (&[OsString], Vec<Words>) {
    let is_map = line.get(1).is_some_and(|word| word == "map");
    let begin = line.iter().position(|word| Words::introduced_by(word).is_some());
    let Some((head, tail)) = begin.filter(|_| is_map).map(|begin| line.split_at(begin)) else {
        return (line, Vec::new());
    };
    let mut sources: Vec<Words> = Vec::new();
    for word in tail {
        match (Words::introduced_by(word), sources.last_mut()) {
            (Some(source), _) => sources.push(source),
            (None, Some(source)) => source.words.push(word.clone()),
            (None, None) => {}
        }
    }
    (head, sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_parted_from_the_command_line() {
        let line: Vec<_> =
            "geto map -- echo -n ::: a -x :::+ 1 :::: f".split(' ').map(OsString::from).collect();
        let (head, sources) = split(&line);
        assert_eq!(head.len(), 5);
        let words = |are_files, is_linked, words: &[&str]| {
            let words = words.iter().map(OsString::from).collect();
            Words { are_files, is_linked, words }
        };
        assert_eq!(
            sources,
            [
                words(false, false, &["a", "-x"]),
                words(false, true, &["1"]),
                words(true, false, &["f"])
            ]
        );
        let line: Vec<_> = ["geto", "run", "x", ":::"].map(OsString::from).to_vec();
        assert_eq!(split(&line), (&line[..], vec![]));
    }
}
