//! Dropbear.

use std::process::Stdio;

use geto_testkit::{AskPass, Dropbear, Machine};

use crate::stdout;

#[test]
fn logs_in_with_a_key() {
    let server = Dropbear::builder().start();
    let home = server.home().display();
    assert_eq!(stdout(server.ssh().arg("pwd; ls -A")), format!("{home}\n.ssh\n"));
    server.wait_for_log("Pubkey auth succeeded");
}

#[test]
fn logs_in_with_a_password_only_when_it_is_right() {
    let server = Dropbear::builder().password("open sesame").start();
    let ask = AskPass::new(&["wrong", "open sesame"]);
    assert_eq!(stdout(ask.serve(server.ssh().arg("echo in"))), "in\n");
    assert_eq!(ask.questions().lines().count(), 2);
}

#[test]
fn a_machine_is_the_same_for_dropbear() {
    let machine = Machine::new().login_shell("/usr/bin/fish").without_tools(&["setsid"]);
    let server = Dropbear::builder().machine(machine.startup_file("echo noise\n")).start();
    let text = stdout(server.ssh().arg("echo $FISH_VERSION; command -v setsid; command -v flock"));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() == 3 && lines[0] == "noise" && lines[1].contains('.'), "{text}");
}

#[test]
fn kill_sessions_ends_the_link() {
    let server = Dropbear::builder().start();
    let mut ssh = server.ssh();
    ssh.arg("echo up >&2; exec sleep 1000").stdin(Stdio::null()).stderr(Stdio::piped());
    let mut client = ssh.spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(client.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    server.kill_sessions();
    assert_eq!(client.wait().unwrap().code(), Some(255));
}
