//! Ways to a host: jumps, proxies, agents, and hosts that don't answer.

use std::time::Duration;

use geto::transport::{ConnectOptions, connect};
use geto::{ErrorKind, Host, TransportKind};
use geto_testkit::{KeyKind, Server, Sshd, UserKey};
use tokio::io::AsyncWriteExt as _;

use crate::login::try_host;
use crate::support::{BOTH, Scripted, asking, host, read, run, tell};

/// A host with the sections of several servers in its configuration, and a line in that of itself.
fn behind(server: &Server, others: &[&Server], line: &str, kind: TransportKind) -> Host {
    let mut text = server.ssh_config_section(server.address());
    text.push_str("  ");
    text.push_str(line);
    text.push('\n');
    for other in others {
        text.push_str(&other.ssh_config_section(other.address()));
    }
    let path = server.dir().join("way_config");
    fs_err::write(&path, text).expect("a file of this test's own");
    let mut host = host(server, kind);
    host.ssh_config_path = Some(path);
    host
}

#[tokio::test]
async fn two_jumps_lead_to_a_host() {
    let a = Sshd::builder().name("a").start();
    let b = Sshd::builder().name("b").start();
    let server = Sshd::builder().start();
    for kind in BOTH {
        let host = behind(&server, &[&a, &b], "ProxyJump a,b", kind);
        let result = try_host(&host, &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
        a.wait_for_log("Accepted publickey");
        b.wait_for_log("Accepted publickey");
    }
}

#[tokio::test]
async fn a_jump_host_that_does_not_connect_is_named() {
    let jump = Sshd::builder().name("jump").config("AllowTcpForwarding no").start();
    let server = Sshd::builder().start();
    for kind in BOTH {
        let host = behind(&server, &[&jump], "ProxyJump jump", kind);
        let error = try_host(&host, &ConnectOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", tell(&error));
    }
}

#[tokio::test]
async fn a_jump_host_that_lets_nobody_in_is_an_authentication_error() {
    let jump = Sshd::builder().name("jump").start();
    let server = Sshd::builder().start();
    for kind in BOTH {
        let host = behind(&server, &[&jump], "ProxyJump no-such-user@jump", kind);
        let error = try_host(&host, &ConnectOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
        assert!(tell(&error).contains("no-such-user"), "{}", tell(&error));
        let hint = error.hint().unwrap();
        assert!(hint.contains("`no-such-user@jump` by `IdentityFile`"), "{}", tell(&error));
    }
}

#[tokio::test]
async fn a_bastions_passphrase_is_asked_once_for_many_hosts() {
    let key = UserKey::new(KeyKind::Ed25519).passphrase("bastion");
    let jump = Sshd::builder().name("jump").user_key(key).start();
    let person = Scripted::new(&["bastion"]);
    for _ in 0..2 {
        let server = Sshd::builder().start();
        let host = behind(&server, &[&jump], "ProxyJump jump", TransportKind::Native);
        let result = try_host(&host, &asking(&person)).await;
        result.unwrap_or_else(|error| panic!("{}", tell(&error)));
    }
    assert_eq!(person.questions().len(), 1, "{:?}", person.questions());
}

#[tokio::test]
async fn a_host_key_is_looked_up_by_its_alias() {
    let server = Sshd::builder().start();
    let lines = server.known_hosts_lines(server.address());
    let (_, key) = lines.split_once(' ').unwrap();
    fs_err::write(server.known_hosts(), format!("the-alias {key}")).unwrap();
    for kind in BOTH {
        let host = behind(&server, &[], "HostKeyAlias the-alias", kind);
        let result = try_host(&host, &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
}

#[tokio::test]
async fn a_proxy_command_carries_the_connection() {
    let server = Sshd::builder().start();
    // `bash` speaks TCP, so that no further program is needed.
    let line = "ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3; kill $!'";
    for kind in BOTH {
        let result = try_host(&behind(&server, &[], line, kind), &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
}

#[tokio::test]
async fn what_ssh_config_says_of_sessions_is_not_for_channels() {
    let server = Sshd::builder().start();
    let lines = [
        "StdinNull yes",
        "SessionType none",
        "SessionType none\n  ForkAfterAuthentication yes",
        "RemoteCommand sleep 1000",
        "RequestTTY force",
    ];
    for line in lines {
        for kind in BOTH {
            let host = behind(&server, &[], line, kind);
            let transport = connect(&host, &ConnectOptions::default()).await.expect("a way");
            let opened = transport.open("cat; exit 3").await;
            let mut channel = opened.unwrap_or_else(|error| panic!("{line}: {}", tell(&error)));
            channel.stdin.write_all(b"in\n").await.expect("the command reads");
            channel.stdin.shutdown().await.expect("the command reads");
            let output = read(&mut channel).await;
            assert_eq!((output.stdout.as_slice(), output.exit), (&b"in\n"[..], Some(3)), "{line}");
        }
    }
}

#[tokio::test]
async fn what_a_proxy_command_complains_of_is_in_the_error() {
    let server = Sshd::builder().start();
    let line = "ProxyCommand sh -c 'echo no such tunnel >&2; exit 1'";
    let host = behind(&server, &[], line, TransportKind::Native);
    let error = try_host(&host, &ConnectOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", tell(&error));
    assert!(tell(&error).contains("no such tunnel"), "{}", tell(&error));
}

#[tokio::test]
async fn an_agent_logs_in() {
    let server = Sshd::builder().start();
    let socket = server.dir().join("agent");
    let mut agent = std::process::Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It says where it listens once it does.
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(agent.stdout.as_mut().unwrap()),
        &mut line,
    )
    .unwrap();
    let adding = std::process::Command::new("ssh-add")
        .arg(server.key())
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .unwrap();
    assert!(adding.status.success(), "{adding:?}");
    let config = fs_err::read_to_string(server.ssh_config()).unwrap();
    let config = config
        .replace("IdentityAgent none", &format!("IdentityAgent {}", socket.display()))
        .replace("IdentitiesOnly yes", "IdentitiesOnly no")
        .replace(&format!("IdentityFile {}", server.key().display()), "IdentityFile none");
    let path = server.dir().join("agent_config");
    fs_err::write(&path, config).unwrap();
    for kind in BOTH {
        let mut host = host(&server, kind);
        host.ssh_config_path = Some(path.clone());
        let result = try_host(&host, &ConnectOptions::default()).await;
        result.unwrap_or_else(|error| panic!("{kind:?}: {}", tell(&error)));
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[tokio::test]
async fn a_host_that_never_answers_is_given_up() {
    let server = Sshd::builder().start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for kind in BOTH {
        let mut host = host(&server, kind);
        host.ssh_config_path = Some(server.ssh_config_via(silent.local_addr().unwrap()));
        let mut options = ConnectOptions::default();
        options.connect_timeout = Duration::from_secs(1);
        let error = try_host(&host, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", tell(&error));
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let server = Sshd::builder().start();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for kind in BOTH {
        let mut host = host(&server, kind);
        host.ssh_config_path = Some(server.ssh_config_via(free));
        // Nobody would see the end of this test if it were tried again meanwhile.
        let mut options = ConnectOptions::default();
        options.connect_timeout = Duration::from_secs(24 * 3600);
        let error = try_host(&host, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", tell(&error));
        assert!(tell(&error).to_lowercase().contains("connection refused"), "{}", tell(&error));
    }
}

/// What `ssh` says of one host is taken for others only where it would say the same of them.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_ssh_config_tells_apart_are_reached_as_it_says() {
    let (one, other) = (Sshd::builder().start(), Sshd::builder().start());
    let mut text = String::new();
    for (names, server) in [("a1 a2 b*", &one), ("!b3 a3 c*", &other)] {
        let section = server.ssh_config_section(server.address());
        text.push_str(&section.replace("Host server", &format!("Host {names}")));
    }
    let config = one.dir().join("many_config");
    fs_err::write(&config, text).unwrap();
    let names = ["a1", "a2", "a3", "b1", "b3", "c1", "c2"];
    let reached = names.map(|name| {
        let mut host = host(&one, TransportKind::Native);
        (host.name, host.address) = (name.to_owned(), name.to_owned());
        host.ssh_config_path = Some(config.clone());
        tokio::spawn(async move {
            let transport = connect(&host, &ConnectOptions::default()).await;
            let transport = transport.unwrap_or_else(|error| panic!("{}", tell(&error)));
            let said = run(&*transport, "echo $SSH_CONNECTION").await.stdout;
            String::from_utf8(said).unwrap().split(' ').nth(2).unwrap().to_owned()
        })
    });
    let mut addresses = Vec::new();
    for address in reached {
        addresses.push(address.await.unwrap());
    }
    let (one, other) = (&*one.host(), &*other.host());
    assert_eq!(addresses, [one, one, other, one, one, other, other]);
}

/// An agent that takes questions and never answers is waited for as long as a host, and named. `ssh`
/// by itself would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hangs_is_named_when_the_time_is_up() {
    let server = Sshd::builder().start();
    let socket = server.dir().join("hung");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let config = fs_err::read_to_string(server.ssh_config()).unwrap();
    let config =
        config.replace("IdentityAgent none", &format!("IdentityAgent {}", socket.display()));
    let path = server.dir().join("hung_config");
    fs_err::write(&path, config).unwrap();
    let mut waiting = Vec::new();
    for kind in BOTH {
        for mut options in [ConnectOptions::default(), asking(&Scripted::new(&[]))] {
            let mut host = host(&server, kind);
            host.ssh_config_path = Some(path.clone());
            // Long enough for all of them to come to the agent.
            options.connect_timeout = Duration::from_secs(15);
            let trying = tokio::spawn(async move { try_host(&host, &options).await });
            waiting.push((kind, trying));
        }
    }
    for (kind, trying) in waiting {
        let text = tell(&trying.await.unwrap().unwrap_err());
        assert!(text.contains("ssh-agent") && text.contains("within 15 s"), "{kind:?}: {text}");
        assert!(text.contains("IdentityAgent none"), "{kind:?}: {text}");
    }
}

#[tokio::test]
async fn kerberos_that_a_user_asks_for_is_left_to_ssh() {
    let server = Sshd::builder().config("LogLevel DEBUG1").start();
    let host = behind(&server, &[], "GSSAPIAuthentication yes", TransportKind::Native);
    let result = try_host(&host, &ConnectOptions::default()).await;
    result.unwrap_or_else(|error| panic!("{}", tell(&error)));
    server.wait_for_log("remote software version OpenSSH_");
}
