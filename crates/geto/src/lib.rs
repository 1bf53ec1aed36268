//! geto runs a script on another machine as if it ran here.
//!
//! ```text
//! Fleet ──run_on_host(&Task)──▶ Run ──await──▶ Results ──▶ stdout, stderr, outcome.json, files/
//!                                │
//!              connect ─▶ Transport ─▶ session: claim, send, start, follow, bring home, remove
//! ```
//!
//! A [`Task`] is a [`Script`] with all that belongs to one execution of it; a [`Fleet`] knows the
//! hosts. A script that fails is an [`Outcome`], not an [`Error`]. Output can be followed as it
//! comes:
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use geto::{Event, Fleet, Host, Outcome, Script, Task};
//!
//! let mut host = Host::local();
//! # host.remote_work_path = dir.path().join("work").display().to_string();
//! let fleet = Fleet::new([host], dir.path().join("results"));
//! let task = Task::new(Script::from_commands("fail", ["echo so far", "exit 3"]));
//! let mut seen = Vec::new();
//! let results = fleet
//!     .run_on_host(&task, "local")
//!     .follow(|event| {
//!         if let Event::Stdout(bytes) = event {
//!             seen.extend_from_slice(&bytes);
//!         }
//!     })
//!     .await?;
//! assert_eq!(results.outcome, Outcome::Exited { code: 3 });
//! assert_eq!(seen, b"so far\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every future must be polled by a tokio runtime with I/O and time.

mod cache;
mod clean;
mod error;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
mod ledger;
pub mod map;
mod probe;
mod results;
mod run;
mod session;
mod stage;
mod tasks;
pub mod text;
pub mod transport;
pub mod trust;

pub use bytes;
pub use clean::StaleResults;
pub use error::{Error, ErrorKind};
pub use fleet::Fleet;
pub use geto_core::config::Settings;
pub use geto_core::select::Pick;
pub use geto_core::wire::{Busy, HostLoad, Patience, TaskState};
pub use geto_core::{
    Bring, Dependency, ExitCode, Host, InvalidTask, Outcome, Script, ScriptBody, Secret, Stdin,
    Task, TaskId, TransportKind,
};
pub use geto_core::{envfile, units};
pub use ledger::{Ledger, LedgerEnd, LedgerEntry, LedgerFilter, LedgerHost};
pub use probe::{Checkup, Fault, FaultKind, HostStatus, Observer};
pub use run::{
    Attach, Canceller, Detached, EachEvent, Event, FilesHome, HostResult, OutputFrom, Results, Run,
    RunEach,
};
pub use stage::{Plan, PlannedDependency};
pub use tasks::{HostTask, Removal};
