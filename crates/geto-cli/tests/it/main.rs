//! The binary, end to end.

#![expect(clippy::unwrap_used, reason = "a test ends there")]

mod away;
mod clean;
mod deps;
mod docs;
mod durable;
mod each;
mod ending;
mod faults;
mod fleet;
mod help;
mod history;
mod holders;
mod home;
mod hostile;
mod hosts;
mod hosts_check;
mod map;
mod map_faults;
mod map_hosts;
mod map_log;
mod map_show;
mod output;
mod prompt;
mod queue;
mod rpc;
mod run;
mod secrets;
mod slots;
mod slow;
mod ssh;
mod support;
mod tasks;
mod trust;
