//! What a person is asked while many connections are made at once.

use std::sync::Arc;
use std::time::Duration;

use geto::transport::connect;
use geto::{Error, ErrorKind, Host, Secret, TransportKind};
use geto_testkit::{KeyKind, Server, Sshd, UserKey};

use crate::support::{BOTH, Scripted, asking, host, read, tell};

/// Hosts behind `jump`, which are one server under several names.
fn behind(jump: &Server, server: &Server, kind: TransportKind) -> Vec<Host> {
    let mut text = jump.ssh_config_section(jump.address());
    let section = server.ssh_config_section(server.address());
    let name = |number: usize| format!("server{number}");
    for number in 0..8 {
        text.push_str(&section.replace("Host server", &format!("Host {}", name(number))));
        text.push_str("  ProxyJump jump\n");
    }
    let path = server.dir().join("questions_config");
    fs_err::write(&path, text).expect("a file of this test's own");
    let host = |number| {
        let mut host = host(server, kind);
        (host.name, host.address) = (name(number), name(number));
        host.ssh_config_path = Some(path.clone());
        host
    };
    (0..8).map(host).collect()
}

/// Connects to all at once, each by a way of its own, and runs something there.
async fn connect_all(hosts: &[Host], person: &Arc<Scripted>) -> Vec<Result<(), Error>> {
    let one = |host: Host| {
        let mut options = asking(person);
        // They are many at once, and how long they take is of no interest.
        options.connect_timeout = Duration::from_secs(240);
        tokio::spawn(async move {
            let mut channel = connect(&host, &options).await?.open("exit 3").await?;
            assert_eq!(read(&mut channel).await.exit, Some(3));
            Ok(())
        })
    };
    let all: Vec<_> = hosts.iter().cloned().map(one).collect();
    let mut results = Vec::new();
    for one in all {
        results.push(one.await.expect("it does not panic"));
    }
    results
}

fn failed_logins(server: &Server) -> usize {
    server.log().matches("Failed password").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bastions_password_is_asked_once_and_a_wrong_one_used_once() {
    for kind in BOTH {
        let jump = Sshd::builder().name("jump").password("jump pw").start();
        let server = Sshd::builder().start();
        let person = Scripted::new(&["wrong", "jump pw"]);
        for result in connect_all(&behind(&jump, &server, kind), &person).await {
            result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
        }
        assert_eq!(person.questions().len(), 2, "{kind:?}: {:?}", person.questions());
        assert_eq!(failed_logins(&jump), 1, "{kind:?}: {}", jump.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bastions_passphrase_is_asked_once_for_all_at_once() {
    for kind in BOTH {
        let key = UserKey::new(KeyKind::Ed25519).passphrase("jump key");
        let jump = Sshd::builder().name("jump").user_key(key).start();
        let server = Sshd::builder().start();
        let person = Scripted::new(&["wrong", "jump key"]);
        for result in connect_all(&behind(&jump, &server, kind), &person).await {
            result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
        }
        assert_eq!(person.questions().len(), 2, "{kind:?}: {:?}", person.questions());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_a_password_is_not_asked_for_each_host() {
    let jump = Sshd::builder().name("jump").password("jump pw").start();
    let server = Sshd::builder().start();
    let hosts = behind(&jump, &server, TransportKind::Native);
    // On a busy machine each may come to it only after the one before has given up, but not always.
    for tries in 1.. {
        let person = Scripted::new(&[]);
        for result in connect_all(&hosts, &person).await {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
        }
        if person.questions().len() < hosts.len() {
            break;
        }
        assert!(tries < 10, "{:?}", person.questions());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bastions_key_is_asked_about_once() {
    for kind in BOTH {
        for yes in [true, false] {
            let jump = Sshd::builder().name("jump").start();
            let server = Sshd::builder().start();
            let hosts = behind(&jump, &server, kind);
            fs_err::write(jump.known_hosts(), "").unwrap();
            let path = hosts[0].ssh_config_path.as_ref().unwrap();
            let text = fs_err::read_to_string(path).unwrap();
            let strict = "StrictHostKeyChecking yes";
            let text = text.replacen(strict, "StrictHostKeyChecking ask", 1);
            fs_err::write(path, text).unwrap();
            let person = if yes { Scripted::yes() } else { Scripted::new(&[]) };
            for result in connect_all(&hosts, &person).await {
                assert_eq!(result.is_ok(), yes, "{kind:?}: {:?}", result.map_err(|e| tell(&e)));
            }
            assert_eq!(person.questions().len(), 1, "{kind:?}: {:?}", person.questions());
        }
    }
}

#[tokio::test]
async fn a_hosts_password_is_not_told_to_the_bastion() {
    for kind in BOTH {
        let jump = Sshd::builder().name("jump").password("jump pw").start();
        let server = Sshd::builder().password("host pw").start();
        let mut host = behind(&jump, &server, kind).remove(0);
        host.password = Some(Secret::from("host pw"));
        let person = Scripted::new(&["jump pw"]);
        for result in connect_all(&[host], &person).await {
            result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
        }
        assert_eq!(person.questions().len(), 1, "{kind:?}: {:?}", person.questions());
        assert_eq!(failed_logins(&jump), 0, "{kind:?}: {}", jump.log());
    }
}
