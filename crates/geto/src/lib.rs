//! geto runs a script on another machine as if it ran here.

mod error;
pub mod transport;

pub use error::{Error, ErrorKind};
pub use geto_core::{
    Bring, Dependency, ExitCode, Host, InvalidTask, Outcome, Script, ScriptBody, Secret, Stdin,
    Task, TaskId, TransportKind,
};
