//! The command line tool `geto`.

mod app;
mod args;
mod clean;
mod console;
mod each;
mod events;
mod exit;
mod history;
mod hosts;
mod lines;
mod map;
mod output;
mod printer;
mod progress;
mod prompt;
mod rpc;
mod run;
mod signals;
mod streams;
mod task;
mod tasks;
mod trust;

fn main() -> std::process::ExitCode {
    app::main()
}
