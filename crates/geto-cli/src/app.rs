//! From the command line to an exit code.

use std::process::ExitCode as ProcessCode;
use std::sync::Arc;

use clap::CommandFactory as _;
use geto::transport::{ConnectOptions, end_children};
use geto::{Error, ErrorKind, ExitCode, Fleet};

use crate::args::{Cli, Command, ConfigArgs, ConnectArgs};
use crate::printer::Printer;
use crate::prompt::{self, Terminal};
use crate::streams::write_stdout;
use crate::{clean, each, history, hosts, map, rpc, run, tasks, trust};

/// Does what the command line asks for and returns what the process ends with.
pub(crate) fn main() -> ProcessCode {
    let line: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::read(&line) {
        Ok(cli) => cli,
        Err(error) => {
            let is_option = |word: &&std::ffi::OsString| *word != "--";
            if error.use_stderr() && line.iter().take_while(is_option).any(|word| word == "--json")
            {
                Printer::for_programs().usage(&error.to_string());
            }
            // Help goes to stdout and all else to stderr; a closed one leaves nobody to tell.
            drop(error.print());
            return ProcessCode::from(u8::try_from(error.exit_code()).unwrap_or(ExitCode::USAGE.0));
        }
    };
    let printer = match &cli.command {
        Command::Run(args) => Printer::new(&args.output),
        Command::Each(args) => Printer::new(&args.output),
        Command::Map(args) => Printer::new(&args.output),
        Command::Hosts(args) => Printer::new(&args.output),
        Command::Ps(args) if args.json => Printer::for_programs(),
        Command::Attach(args) => Printer::new(&args.output),
        Command::History(args) if args.json => Printer::for_programs(),
        _ => Printer::plain(),
    };
    printer.take_log();
    let terminal = prompt::remember_terminal();
    let code = dispatch(&cli.command, printer).unwrap_or_else(|error| {
        printer.error(&error);
        error.exit_code()
    });
    // Whoever left at a prompt has left it without echo.
    terminal.restore_for_good();
    ProcessCode::from(code.0)
}

fn dispatch(command: &Command, printer: Printer) -> Result<ExitCode, Error> {
    match command {
        Command::Run(args) => run::run(args, printer),
        Command::Each(args) => each::each(args, printer),
        Command::Map(args) => map::map(args, printer),
        Command::Hosts(args) => block_on(hosts::hosts(args, printer)),
        Command::Ps(args) => block_on(tasks::ps(args, printer)),
        Command::Logs(args) => block_on(tasks::logs(args, printer)),
        Command::Attach(args) => block_on(tasks::attach(args, printer)),
        Command::Wait(args) => block_on(tasks::wait(args, printer)),
        Command::Kill(args) => block_on(tasks::kill(args, printer)),
        Command::Fetch(args) => block_on(tasks::fetch(args, printer)),
        Command::Rm(args) => block_on(tasks::remove(args, printer)),
        Command::Trust(args) => block_on(tasks::until_signal(trust::trust(args, printer))),
        Command::History(args) => history::history(args, printer),
        Command::Clean(args) if args.cache => {
            block_on(tasks::until_signal(clean::cache(args, printer)))
        }
        Command::Clean(args) => clean::clean(args, printer),
        Command::Rpc(args) => rpc::rpc(args, printer),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "geto", &mut script);
            write_stdout(&script).map_err(unwritten)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { dir } => {
            clap_mangen::generate_to(Cli::command(), dir).map_err(|error| {
                let message = format!("failed to write man pages into `{}`", dir.display());
                Error::new(ErrorKind::Local, message).caused_by(error)
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What there is to say when stdout takes no more.
pub(crate) fn unwritten(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Local, "failed to write to stdout").caused_by(error)
}

/// Reads the configuration.
pub(crate) fn configured(args: &ConfigArgs) -> Result<Fleet, Error> {
    match &args.config {
        Some(path) => Fleet::from_config_file(path),
        None => Fleet::discover(),
    }
}

/// Reads the configuration, and says how hosts are connected to.
pub(crate) fn fleet(args: &ConnectArgs) -> Result<Fleet, Error> {
    let fleet = configured(&args.config)?;
    let mut options = ConnectOptions::default();
    options.prompter = Arc::new(Terminal);
    if let Some(timeout) = args.connect_timeout {
        options.connect_timeout = timeout;
    }
    Ok(fleet.with_connect_options(options))
}

/// Runs a command to its end. What it leaves behind, a thread that waits at a prompt or for a full
/// pipe, does not hold up the end of the process.
pub(crate) fn block_on(
    command: impl Future<Output = Result<ExitCode, Error>>,
) -> Result<ExitCode, Error> {
    block_on_with(512, command)
}

/// The same, where as many threads as this may wait for somebody at once.
pub(crate) fn block_on_with(
    threads: usize,
    command: impl Future<Output = Result<ExitCode, Error>>,
) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One for connections, one for signals; the command itself has the thread of `main`.
        .worker_threads(2)
        .max_blocking_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Local, "failed to start").caused_by(error))?;
    let code = runtime.block_on(command);
    runtime.shutdown_background();
    // What still runs in there is not dropped.
    end_children();
    code
}
