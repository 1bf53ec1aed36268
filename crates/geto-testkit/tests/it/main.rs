//! Each piece of the kit against the real programs, with plain `ssh` as client.

use std::process::{Command, Stdio};

mod agent;
mod dropbear;
mod login;
mod machine;
mod proxy;
mod sshd;
mod test_env;

/// Runs a command that has to succeed, without stdin, and returns its stdout.
fn stdout(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("the test prints text")
}
