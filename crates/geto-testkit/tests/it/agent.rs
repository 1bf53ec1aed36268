//! The agent.

use std::process::Stdio;

use geto_testkit::{Agent, KeyKind, Sshd, UserKey};

use crate::stdout;

#[test]
fn lends_keys_to_ssh_until_it_is_dropped() {
    let server = Sshd::builder()
        .user_key(UserKey::new(KeyKind::Ed25519).passphrase("secret"))
        .user_key(UserKey::new(KeyKind::Rsa).certificate(KeyKind::Ed25519))
        .start();
    let agent = Agent::start(&[&server.keys()[1]]);
    agent.add_encrypted(server.key(), "secret");
    let options = format!("-oIdentityAgent={}", agent.socket().display());
    let ssh = |number: usize| {
        let key = format!("-oIdentityFile={}.pub", server.keys()[number].display());
        let mut ssh = server.ssh_with(&server.ssh_config(), &["-oBatchMode=yes", &options, &key]);
        ssh.arg("echo in").stderr(Stdio::null());
        ssh
    };
    // The files can't serve any more.
    server.keys().iter().for_each(|key| fs_err::remove_file(key).unwrap());
    assert_eq!(stdout(&mut ssh(0)), "in\n");
    assert_eq!(stdout(&mut ssh(1)), "in\n");
    drop(agent);
    assert_eq!(ssh(0).status().unwrap().code(), Some(255));
}
