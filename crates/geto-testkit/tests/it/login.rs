//! Passwords and passphrases.

use std::process::Stdio;

use geto_testkit::{AskPass, KeyKind, Machine, Sshd, UserKey};

use crate::stdout;

#[test]
fn takes_the_password_from_shadow() {
    let server = Sshd::builder().password("open sesame").start();
    let ask = AskPass::new(&["wrong", "open sesame"]);
    assert_eq!(stdout(ask.serve(server.ssh().arg("echo in"))), "in\n");
    server.wait_for_log("Accepted password");
    assert!(ask.questions().contains("password:"), "{}", ask.questions());
    let mut ssh = server.ssh();
    let status = AskPass::new(&["x", "y", "z"]).serve(ssh.arg("true")).stderr(Stdio::null());
    assert_eq!(status.status().unwrap().code(), Some(255));
}

#[test]
fn asks_by_keyboard_interactive_through_pam() {
    let server = Sshd::builder().keyboard_interactive("open sesame").start();
    let ask = AskPass::new(&["wrong", "open sesame"]);
    assert_eq!(stdout(ask.serve(server.ssh().arg("echo in"))), "in\n");
    server.wait_for_log("Accepted keyboard-interactive/pam");
}

#[test]
fn wants_key_and_password_when_told() {
    let server = Sshd::builder()
        .user_key(UserKey::new(KeyKind::Ed25519).passphrase("of the key"))
        .password("of the user")
        .config("AuthenticationMethods publickey,password")
        .start();
    let ask = AskPass::new(&["of the key", "of the user"]);
    assert_eq!(stdout(ask.serve(server.ssh().arg("echo in"))), "in\n");
}

#[test]
fn logs_in_as_a_user_without_rights() {
    if !rustix::process::geteuid().is_root() {
        // Everybody else is one already.
        return;
    }
    let machine = Machine::new().user("tester").tmpfs("~/work", 1 << 20);
    let server = Sshd::builder().machine(machine).password("secret").start();
    let ask = AskPass::new(&["secret"]);
    let text =
        stdout(ask.serve(server.ssh().arg("id -un; id -u; touch file work/file && echo mine")));
    assert_eq!(text, "tester\n59990\nmine\n");
}
