//! Host keys of the hosts on the way.

use geto::transport::ConnectOptions;
use geto::{ErrorKind, Host, TransportKind};
use geto_testkit::{Server, Sshd};

use crate::login::try_host;
use crate::support::{BOTH, host, tell};

/// A host behind `jumps`, of which known_hosts has `lines` and whose keys are checked as `strict`
/// says.
fn behind(server: &Server, jumps: &[(&Server, &str)], kind: TransportKind, strict: &str) -> Host {
    let mut text = server.ssh_config_section(server.address());
    let names: Vec<_> = jumps.iter().map(|(jump, _)| jump.name()).collect();
    text.extend(["  ProxyJump ", &names.join(","), "\n"]);
    for (jump, lines) in jumps {
        fs_err::write(jump.known_hosts(), lines).expect("a file of this test's own");
        let section = jump.ssh_config_section(jump.address());
        let strict = format!("StrictHostKeyChecking {strict}");
        text.push_str(&section.replace("StrictHostKeyChecking yes", &strict));
    }
    let path = server.dir().join("jumps_config");
    fs_err::write(&path, text).expect("a file of this test's own");
    let mut host = host(server, kind);
    host.ssh_config_path = Some(path);
    host
}

fn known(server: &Server) -> String {
    fs_err::read_to_string(server.known_hosts()).expect("a file of this test's own")
}

#[tokio::test]
async fn an_unknown_jump_host_is_named_in_the_line_that_trusts_it() {
    let (a, b) = (Sshd::builder().name("a").start(), Sshd::builder().name("b").start());
    let server = Sshd::builder().start();
    for kind in BOTH {
        let lines = a.known_hosts_lines(a.address());
        let host = behind(&server, &[(&a, &lines), (&b, "")], kind, "ask");
        let error = try_host(&host, &ConnectOptions::default()).await.expect_err("b is unknown");
        assert_eq!(error.kind(), ErrorKind::HostKey, "{}", tell(&error));
        let hint = error.hint().expect("there is one");
        assert!(hint.contains("`geto trust b`"), "{kind:?}: {}", tell(&error));
        assert!(error.to_string().contains("jump host"), "{kind:?}: {}", tell(&error));
    }
}

#[tokio::test]
async fn a_changed_or_revoked_key_of_a_jump_host_is_refused_whatever_ssh_config_says() {
    let (a, b) = (Sshd::builder().name("a").start(), Sshd::builder().name("b").start());
    let server = Sshd::builder().start();
    let good = [&a, &b].map(|jump| jump.known_hosts_lines(jump.address()));
    let [_, revoked] = good.each_ref().map(|line| {
        let (_, key) = line.split_once(' ').expect("a line of known_hosts");
        format!("{line}@revoked * {key}")
    });
    let changed = server.known_hosts_lines(a.address());
    for strict in ["yes", "accept-new", "no", "off"] {
        for kind in BOTH {
            for lines in [[&changed, &good[1]], [&good[0], &revoked]] {
                let jumps = [(&a, lines[0].as_str()), (&b, lines[1].as_str())];
                let host = behind(&server, &jumps, kind, strict);
                let tried = try_host(&host, &ConnectOptions::default()).await;
                let error = tried.expect_err("a changed or revoked key");
                assert_eq!(error.kind(), ErrorKind::HostKey, "{kind:?} {strict}: {}", tell(&error));
                assert_eq!([known(&a), known(&b)], lines.map(Clone::clone));
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_key_of_a_jump_host_is_taken_where_ssh_config_says_so() {
    let (a, b) = (Sshd::builder().name("a").start(), Sshd::builder().name("b").start());
    let server = Sshd::builder().start();
    for strict in ["accept-new", "no"] {
        for kind in BOTH {
            let host = behind(&server, &[(&a, ""), (&b, "")], kind, strict);
            let tried = try_host(&host, &ConnectOptions::default()).await;
            tried.unwrap_or_else(|error| panic!("{kind:?} {strict}: {}", tell(&error)));
            for jump in [&a, &b] {
                let line = jump.known_hosts_lines(jump.address());
                assert!(line.starts_with(known(jump).trim_end()), "{}", known(jump));
            }
        }
    }
}

/// What `geto trust` writes for a jump host is where that is looked up.
#[tokio::test]
async fn known_hosts_path_counts_on_the_way_too() {
    let (a, b) = (Sshd::builder().name("a").start(), Sshd::builder().name("b").start());
    let server = Sshd::builder().start();
    let lines = [&a, &b, &server].map(|host| host.known_hosts_lines(host.address()));
    // As a path can be.
    let path = server.dir().join("it's 100% known");
    for kind in BOTH {
        // One is known there, and the other to ssh_config.
        fs_err::write(&path, [&*lines[1], &*lines[2]].concat()).expect("a file of this test's own");
        let mut host = behind(&server, &[(&a, &lines[0]), (&b, "")], kind, "yes");
        host.known_hosts_path = Some(path.clone());
        let tried = try_host(&host, &ConnectOptions::default()).await;
        tried.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
}
