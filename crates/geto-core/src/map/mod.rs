//! Many tasks from one command line: what `geto map` decides, without running anything.
//!
//! ```text
//! words, lines, CSV, JSON ──inputs──▶ Input ──template──▶ arguments, paths, variables
//! a log of before ──joblog──▶ Resume        Input ──key──▶ which tasks are done already
//! events of hosts and tasks ──plan──▶ what to start, end or report next
//! ```
//!
//! The notation is that of GNU parallel; its manual page, parallel(1), is named where it is the
//! source.

pub mod inputs;
pub mod joblog;
pub mod key;
pub mod limit;
pub mod plan;
pub mod template;
