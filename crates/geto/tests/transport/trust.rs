//! Host keys: who is trusted, and what is said of the others.

use geto::transport::ConnectOptions;
use geto::{ErrorKind, Host, TransportKind};
use geto_testkit::{KeyKind, Server, Sshd};

use crate::login::try_host;
use crate::support::{BOTH, Scripted, asking, host, tell};

/// A host whose known_hosts has `text`, with another value of StrictHostKeyChecking.
fn with_known_hosts(server: &Server, kind: TransportKind, text: &str, strict: &str) -> Host {
    let mut host = host(server, kind);
    let known_hosts = server.dir().join("other_known_hosts");
    fs_err::write(&known_hosts, text).expect("a file of this test's own");
    let config = fs_err::read_to_string(server.ssh_config()).expect("a file of this test's own");
    let config = config.replace(
        &format!("UserKnownHostsFile {}", server.known_hosts().display()),
        &format!("UserKnownHostsFile {}", known_hosts.display()),
    );
    let config =
        config.replace("StrictHostKeyChecking yes", &format!("StrictHostKeyChecking {strict}"));
    let path = server.dir().join("other_config");
    fs_err::write(&path, config).expect("a file of this test's own");
    host.ssh_config_path = Some(path);
    host
}

fn learned(server: &Server) -> String {
    fs_err::read_to_string(server.dir().join("other_known_hosts"))
        .expect("a file of this test's own")
}

async fn refused(host: &Host) -> geto::Error {
    let error = try_host(host, &ConnectOptions::default()).await.expect_err("it must be refused");
    assert_eq!(error.kind(), ErrorKind::HostKey, "{}", tell(&error));
    error
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_line_that_accepts_it() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        for strict in ["yes", "ask"] {
            let error = refused(&with_known_hosts(&server, kind, "", strict)).await;
            assert!(error.hint().unwrap().contains("`geto trust server`"), "{}", tell(&error));
            assert!(tell(&error).contains("key ssh-ed25519 SHA256:"), "{}", tell(&error));
            assert_eq!(learned(&server), "");
        }
    }
}

#[tokio::test]
async fn an_unknown_key_that_a_person_accepts_is_learned() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        // `ssh` itself would append to a line without an end.
        let end = if kind == TransportKind::Ssh { "\n" } else { "" };
        let before = format!("other ssh-ed25519 AAAA{end}");
        let host = with_known_hosts(&server, kind, &before, "ask");
        let person = Scripted::yes();
        for _ in 0..2 {
            let result = try_host(&host, &asking(&person)).await;
            result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
        }
        assert_eq!(person.questions().len(), 1, "{kind:?}: {:?}", person.questions());
        assert!(person.questions()[0].contains("SHA256:"), "{:?}", person.questions());
        assert!(learned(&server).starts_with("other ssh-ed25519 AAAA\n["), "{}", learned(&server));
    }
}

#[tokio::test]
async fn a_person_who_says_no_is_heard() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let host = with_known_hosts(&server, kind, "", "ask");
        let error = try_host(&host, &asking(&Scripted::new(&[]))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostKey, "{}", tell(&error));
        assert_eq!(learned(&server), "");
    }
}

#[tokio::test]
async fn accept_new_learns_without_asking() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        for strict in ["accept-new", "no"] {
            let host = with_known_hosts(&server, kind, "", strict);
            let result = try_host(&host, &ConnectOptions::default()).await;
            result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
            let line = server.known_hosts_lines(server.address());
            let learned = learned(&server);
            assert!(line.starts_with(learned.trim_end()) && learned.ends_with('\n'), "{learned}");
        }
    }
}

#[tokio::test]
async fn a_changed_key_is_refused_whatever_ssh_config_says() {
    let server = Sshd::builder().start();
    let other = Sshd::builder().start();
    let lines = format!("# comment\n{}", other.known_hosts_lines(server.address()));
    for strict in ["yes", "ask", "accept-new", "no"] {
        for kind in BOTH {
            let host = with_known_hosts(&server, kind, &lines, strict);
            let person = Scripted::yes();
            let error = try_host(&host, &asking(&person)).await.expect_err("a changed key");
            assert_eq!(error.kind(), ErrorKind::HostKey, "{}", tell(&error));
            assert_eq!(person.questions(), [""; 0]);
            assert!(tell(&error).contains("other_known_hosts"), "{}", tell(&error));
            if kind == TransportKind::Native {
                assert!(tell(&error).contains("line 2"), "{}", tell(&error));
            }
        }
    }
    assert_eq!(learned(&server), lines);
}

#[tokio::test]
async fn a_revoked_key_is_refused_though_it_is_known() {
    let server = Sshd::builder().start();
    let lines = server.known_hosts_lines(server.address());
    let (_, key) = lines.split_once(' ').unwrap();
    let lines = format!("{lines}@revoked * {key}");
    for kind in BOTH {
        for strict in ["yes", "ask", "accept-new", "no"] {
            let error = refused(&with_known_hosts(&server, kind, &lines, strict)).await;
            assert!(tell(&error).to_lowercase().contains("revoked"), "{}", tell(&error));
            assert!(!tell(&error).contains("geto trust"), "{}", tell(&error));
        }
    }
}

#[tokio::test]
async fn a_hashed_name_is_found() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let lines = server.known_hosts_lines(server.address());
        let host = with_known_hosts(&server, kind, &lines, "yes");
        let file = server.dir().join("other_known_hosts");
        let hashing = std::process::Command::new("ssh-keygen").arg("-Hf").arg(&file).output();
        assert!(hashing.unwrap().status.success());
        assert!(learned(&server).starts_with("|1|"));
        let result = try_host(&host, &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
}

#[tokio::test]
async fn a_host_certificate_is_trusted_by_its_authority() {
    for keys in [KeyKind::Ed25519, KeyKind::Rsa, KeyKind::Ecdsa] {
        let server = Sshd::builder().host_keys(&[keys]).host_certificate().start();
        for kind in BOTH {
            let result = try_host(&host(&server, kind), &ConnectOptions::default()).await;
            result.unwrap_or_else(|error| panic!("{kind:?} {keys:?}: {}", tell(&error)));
        }
    }
}

#[tokio::test]
async fn a_server_with_many_keys_is_asked_for_the_one_that_is_known() {
    let server = Sshd::builder().host_keys(&[KeyKind::Ed25519, KeyKind::Rsa]).start();
    let lines = server.known_hosts_lines(server.address());
    let rsa: String = lines.lines().filter(|line| line.contains("ssh-rsa")).collect();
    for kind in BOTH {
        let host = with_known_hosts(&server, kind, &format!("{rsa}\n"), "yes");
        let result = try_host(&host, &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
}

#[tokio::test]
async fn a_key_of_a_revocation_list_is_refused() {
    let server = Sshd::builder().start();
    let lines = server.known_hosts_lines(server.address());
    let (_, key) = lines.split_once(' ').unwrap();
    let revoked = server.dir().join("revoked");
    fs_err::write(&revoked, key).unwrap();
    for kind in BOTH {
        let host = with_known_hosts(&server, kind, &lines, "yes");
        let path = host.ssh_config_path.as_ref().unwrap();
        let config = fs_err::read_to_string(path).unwrap();
        fs_err::write(path, format!("{config}  RevokedHostKeys {}\n", revoked.display())).unwrap();
        refused(&host).await;
    }
}
