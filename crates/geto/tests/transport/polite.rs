//! How much a server is asked to bear.

use std::net::TcpStream;

use geto::transport::connect;
use geto::{ErrorKind, Host, TransportKind};
use geto_testkit::{Server, Sshd};

use crate::pool::{fleet, logins, run, run_at_once};
use crate::support::{BOTH, host, read, tell};

/// What sshd logs when there are more logins than it wants.
const DROPPED: &str = "drop connection";

/// As distributions ship it.
fn stock() -> Server {
    Sshd::builder().config("MaxStartups 10:30:100\nMaxSessions 10").start()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_tasks_at_once_run_on_a_stock_server() {
    let server = stock();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    run_at_once(&fleet, 64).await;
    assert_eq!(fleet.max_sessions(&fleet.hosts()[0]), Some(10));
    assert!(logins(&server) <= 7, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_tasks_at_once_run_by_child_processes() {
    let server = stock();
    let (fleet, _dir) = fleet(&server, TransportKind::Ssh);
    run_at_once(&fleet, 64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_fleets_at_once_run_on_a_stock_server() {
    let server = stock();
    let all: Vec<_> = (0..16)
        .map(|number| {
            let (fleet, dir) = fleet(&server, TransportKind::Native);
            tokio::spawn(async move {
                run(&fleet, number).await;
                drop(dir);
            })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(logins(&server), 16, "{}", server.log());
}

/// Connects as often as `count` says at once, and runs something on each connection.
async fn connect_at_once(host: &Host, count: usize) {
    let all: Vec<_> = (0..count)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move {
                let transport = connect(&host, &Default::default()).await?;
                let mut channel = transport.open("exit 3").await?;
                assert_eq!(read(&mut channel).await.exit, Some(3));
                Ok::<_, geto::Error>(transport)
            })
        })
        .collect();
    let mut open = Vec::new();
    for one in all {
        let opened = one.await.expect("it does not panic");
        open.push(opened.unwrap_or_else(|error| panic!("{}", tell(&error))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_eight_logins_wait_at_a_server() {
    // A server can take a login for pending a moment longer than the client.
    let server = Sshd::builder().config("MaxStartups 12:100:12").start();
    for kind in BOTH {
        connect_at_once(&host(&server, kind), 40).await;
        assert!(!server.log().contains(DROPPED), "{kind:?}: {}", server.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_eight_logins_wait_at_a_jump_host() {
    let jump = Sshd::builder().name("jump").config("MaxStartups 12:100:12").start();
    let server = Sshd::builder().start();
    let jump_section = jump.ssh_config_section(jump.address());
    let section = server.ssh_config_section(server.address());
    let text = format!("{section}  ProxyJump jump\n{jump_section}");
    let config = server.dir().join("jump_config");
    fs_err::write(&config, text).unwrap();
    for kind in BOTH {
        let mut host = host(&server, kind);
        host.ssh_config_path = Some(config.clone());
        connect_at_once(&host, 24).await;
        assert!(!jump.log().contains(DROPPED), "{kind:?}: {}", jump.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_dropped_is_tried_again() {
    for kind in BOTH {
        let server = Sshd::builder().config("MaxStartups 1:100:1").start();
        // Somebody else's login, which keeps all others out.
        let other = TcpStream::connect(server.address()).unwrap();
        tokio::task::block_in_place(|| server.wait_for_log("Connection from"));
        let host = host(&server, kind);
        let connecting = tokio::spawn(async move { connect_at_once(&host, 1).await });
        tokio::task::block_in_place(|| server.wait_for_log(DROPPED));
        drop(other);
        connecting.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_ever_drops_is_unreachable_in_the_end() {
    for kind in BOTH {
        let server = Sshd::builder().config("MaxStartups 1:100:1").start();
        let _other = TcpStream::connect(server.address()).unwrap();
        tokio::task::block_in_place(|| server.wait_for_log("Connection from"));
        let mut options = geto::transport::ConnectOptions::default();
        options.connect_timeout = std::time::Duration::from_secs(1);
        let error = crate::login::try_host(&host(&server, kind), &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", tell(&error));
        assert!(error.hint().unwrap().contains("MaxStartups"), "{}", tell(&error));
    }
}
