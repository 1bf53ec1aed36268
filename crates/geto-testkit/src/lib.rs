//! Real SSH servers, faults and shells for the tests of geto.
//!
//! Nothing here imitates: servers are the machine's own `sshd` and `dropbear`, shells are the real
//! shells, faults are injected into real TCP streams. A program that is missing is a panic that
//! names the Debian package, never a skipped test. Everything is a blocking call, so that sync and
//! async tests use it alike, and everything is stopped and removed on drop.
//!
//! ```text
//! client --> Proxy (delay, throttle, cut) --> Server = Sshd | Dropbear, on a Machine
//!                                                      (login shell, tools, mounts, users)
//! ```

mod account;
mod agent;
mod ask_pass;
mod cable;
mod control_groups;
mod dropbear;
mod keys;
mod machine;
mod process;
mod program;
mod proxy;
mod pump;
mod redact;
mod server;
mod shells;
mod sshd;
mod test_env;

pub use agent::Agent;
pub use ask_pass::AskPass;
pub use cable::Cable;
pub use control_groups::ControlGroups;
pub use dropbear::Dropbear;
pub use keys::{KeyKind, UserKey};
pub use machine::{Machine, set_mode};
pub use process::Process;
pub use program::program;
pub use proxy::{Cut, Direction, Proxy, ProxyBuilder, Traffic};
pub use server::Server;
pub use shells::{Shell, login_shells, system_shells};
pub use sshd::Sshd;
pub use test_env::{Ran, TestEnv};
