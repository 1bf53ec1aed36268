//! The pure part of geto: what a task, a host and an outcome are, and how they are written down.
//!
//! Nothing in this crate does I/O: no files, network, processes, clock, environment or randomness
//! (its `clippy.toml` bans them). So all that it decides can be tested with plain values.
//!
//! ```text
//! text of geto.ini ──config──▶ Settings, Host…          -H words ──select──▶ candidate hosts
//! Task ──wire──▶ request bytes ─ ─ ─▶ (host) ─ ─ ─▶ reply bytes ──wire──▶ Reply… ──▶ Outcome
//! ```

pub mod config;
pub mod envfile;
mod host;
mod id;
pub mod known_hosts;
pub mod map;
mod message;
mod outcome;
mod script;
mod secret;
pub mod select;
mod shell;
pub mod ssh_config;
mod task;
pub mod units;
pub mod wire;

pub use host::{Host, TransportKind};
pub use id::{ParseTaskIdError, TaskId};
pub use outcome::{ExitCode, Outcome};
pub use script::{Script, ScriptBody};
pub use secret::Secret;
pub use task::{Bring, Dependency, InvalidTask, Stdin, Task};
