//! OpenSSH.

use std::process::Stdio;

use geto_testkit::{KeyKind, Machine, Sshd, UserKey};

use crate::stdout;

#[test]
fn runs_a_command_in_an_empty_home() {
    let server = Sshd::builder().start();
    let text = stdout(server.ssh().arg("pwd; echo $HOME; ls -A"));
    let home = server.home().display();
    assert_eq!(text, format!("{home}\n{home}\n"));
    server.wait_for_log("Accepted publickey");
}

#[test]
fn drop_ends_detached_processes_and_removes_the_directory() {
    let server = Sshd::builder().start();
    let pid =
        stdout(server.ssh().arg("env -i setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!"));
    assert!(server.processes().iter().any(|process| process.pid.to_string() == pid.trim()));
    let (dir, processes) = (server.dir().to_owned(), server.processes());
    drop(server);
    assert!(!dir.exists());
    for process in processes {
        assert_eq!(process.arguments(), Vec::<String>::new());
    }
}

#[test]
fn kill_sessions_ends_the_link_but_not_the_task() {
    let server = Sshd::builder().start();
    let mut client = server
        .ssh()
        .arg("setsid sh -c 'echo up; exec sleep 1000 >/dev/null 2>&1' & wait")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(client.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "up\n");
    server.kill_sessions();
    assert_eq!(client.wait().unwrap().code(), Some(255));
    assert!(server.processes().iter().any(|process| process.name.starts_with("s")));
    assert_eq!(stdout(server.ssh().arg("echo again")), "again\n");
}

#[test]
fn logs_in_with_every_kind_of_key_and_certificate() {
    for kind in [KeyKind::Ed25519, KeyKind::Ecdsa, KeyKind::Rsa] {
        let server = Sshd::builder()
            .host_keys(&[kind])
            .host_certificate()
            .user_key(UserKey::new(kind).certificate(KeyKind::Rsa))
            .start();
        assert_eq!(stdout(server.ssh().arg("echo in")), "in\n");
        server.wait_for_log("-CERT");
    }
}

#[test]
fn config_lines_win_over_the_defaults() {
    let server = Sshd::builder().config("Match all\nForceCommand echo forced").start();
    assert_eq!(stdout(server.ssh().arg("echo no")), "forced\n");
    let server = Sshd::builder().config("PubkeyAuthentication no").set_env("A", "b c").start();
    assert_eq!(server.ssh().arg("true").stderr(Stdio::null()).status().unwrap().code(), Some(255));
}

#[test]
fn path_of_sessions_holds_only_the_wanted_tools() {
    let server =
        Sshd::builder().machine(Machine::new().without_tools(&["setsid", "timeout"])).start();
    let text = stdout(server.ssh().arg("command -v setsid; command -v timeout; command -v flock"));
    assert!(text.ends_with("/tools/flock\n") && text.lines().count() == 1, "{text}");
    let server = Sshd::builder().machine(Machine::new().only_tools(&["cat"])).start();
    let text = stdout(server.ssh().arg("command -v ls; command -v cat; echo x | cat"));
    assert_eq!(text, format!("{}/tools/cat\nx\n", server.dir().display()));
}

#[test]
fn a_test_that_panics_leaves_nothing() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let server = Sshd::builder().start();
        sender.send((server.dir().to_owned(), server.pid())).unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    let (dir, pid) = receiver.recv().unwrap();
    assert!(!dir.exists());
    assert!(!fs_err::exists(format!("/proc/{pid}")).unwrap());
}
