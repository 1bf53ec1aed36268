//! Many tasks from one command line: what `geto map` decides, without running anything.
//!
//! ```text
//! words, lines, CSV, JSON ──inputs──▶ Input ──template──▶ arguments, paths, variables
//! ```
//!
//! The notation is that of GNU parallel; its manual page, parallel(1), is named where it is the
//! source.

pub mod inputs;
pub mod template;
