//! geto runs a script on another machine as if it ran here.

mod error;
mod fleet;
mod probe;
mod results;
mod run;
mod session;
mod stage;
pub mod text;
pub mod transport;
pub mod trust;

pub use bytes;
pub use error::{Error, ErrorKind};
pub use fleet::Fleet;
pub use geto_core::config::Settings;
pub use geto_core::{
    Bring, Dependency, ExitCode, Host, InvalidTask, Outcome, Script, ScriptBody, Secret, Stdin,
    Task, TaskId, TransportKind,
};
pub use geto_core::{envfile, units};
pub use probe::HostStatus;
pub use run::{Canceller, Event, FilesHome, Results, Run};
pub use stage::{Plan, PlannedDependency};
