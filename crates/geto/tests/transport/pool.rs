//! The connections of a fleet.

use geto::{ErrorKind, Fleet, Results, Script, Task, TransportKind};
use geto_testkit::{Server, Sshd};

use crate::support::{host, tell};

/// What sshd logs of each login.
const LOGIN: &str = "Accepted publickey for";

/// A fleet of the server, and the place where it keeps results.
pub(crate) fn fleet(server: &Server, kind: TransportKind) -> (Fleet, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a writable TMPDIR");
    let mut host = host(server, kind);
    host.remote_work_path = server.dir().join("work").display().to_string();
    (Fleet::new([host], dir.path()), dir)
}

fn script(number: usize) -> Task {
    Task::new(Script::from_commands("t", [format!("echo {number}")]))
}

/// Runs a script on the fleet's host, and fails with all that an error says.
pub(crate) async fn run(fleet: &Fleet, number: usize) -> Results {
    let task = match number % 2 {
        0 => script(number),
        _ => Task::new(Script::from_argv("echo", ["echo".to_owned(), number.to_string()])),
    };
    let results = fleet.run_on_host(&task, &fleet.hosts()[0].name).await;
    let results = results.unwrap_or_else(|error| panic!("{number}: {}", tell(&error)));
    assert_eq!(results.stdout().expect("it is kept"), format!("{number}\n").as_bytes());
    assert_eq!(results.warnings, [""; 0]);
    results
}

/// Runs `count` tasks at once.
pub(crate) async fn run_at_once(fleet: &Fleet, count: usize) {
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let fleet = fleet.clone();
            tokio::spawn(async move { run(&fleet, number).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
}

pub(crate) fn logins(server: &Server) -> usize {
    server.log().matches(LOGIN).count()
}

#[tokio::test]
async fn tasks_of_a_fleet_share_one_connection() {
    let server = Sshd::builder().start();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    run(&fleet, 0).await;
    run(&fleet.clone(), 1).await;
    fleet.probe(&fleet.hosts()[0]).await.unwrap();
    run_at_once(&fleet, 8).await;
    assert_eq!(logins(&server), 1, "{}", server.log());
    assert_eq!(fleet.max_sessions(&fleet.hosts()[0]), None);
}

#[tokio::test]
async fn tasks_that_are_first_share_one_login() {
    let server = Sshd::builder().start();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    run_at_once(&fleet, 16).await;
    assert_eq!(logins(&server), 1, "{}", server.log());
}

#[tokio::test]
async fn a_login_that_fails_fails_once_for_all_who_wait() {
    let (server, other) = (Sshd::builder().start(), Sshd::builder().start());
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    let mut host = fleet.hosts()[0].clone();
    host.privkey_path = Some(other.key().to_owned());
    let config = fs_err::read_to_string(server.ssh_config()).unwrap();
    let own = format!("IdentityFile {}", server.key().display());
    fs_err::write(server.ssh_config(), config.replace(&own, "IdentityFile none")).unwrap();
    let task = script(0);
    let runs = || async { fleet.run_on(&task, host.clone()).await.map(drop).unwrap_err() };
    let errors = tokio::join!(runs(), runs(), runs(), runs());
    for error in [errors.0, errors.1, errors.2, errors.3] {
        assert_eq!(error.kind(), ErrorKind::Authentication, "{}", tell(&error));
        assert!(tell(&error).contains("publickey"), "{}", tell(&error));
    }
    assert_eq!(server.log().matches("Connection from").count(), 1, "{}", server.log());
    // Whoever comes later has another try.
    runs().await;
    server.wait_for_log("Connection from");
    assert_eq!(server.log().matches("Connection from").count(), 2, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_given_up_is_taken_over() {
    let server = Sshd::builder().start();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    let task = script(0);
    let first = tokio::spawn({
        let (fleet, task) = (fleet.clone(), task.clone());
        async move { fleet.run_on_host(&task, "server").await.map(drop) }
    });
    tokio::task::block_in_place(|| server.wait_for_log("Connection from"));
    let second = tokio::spawn({
        let fleet = fleet.clone();
        async move { run(&fleet, 2).await }
    });
    first.abort();
    second.await.unwrap();
}

#[tokio::test]
async fn a_server_with_few_channels_gets_further_connections() {
    let server = Sshd::builder().config("MaxSessions 3").start();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    run_at_once(&fleet, 16).await;
    assert_eq!(fleet.max_sessions(&fleet.hosts()[0]), Some(3));
    // Some of the sixteen may have ended before the last connection was due.
    assert!((2..=6).contains(&logins(&server)), "{}", server.log());
}

#[tokio::test]
async fn a_server_without_channels_is_an_error() {
    let server = Sshd::builder().config("MaxSessions 0").start();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    let task = script(0);
    let error = fleet.run_on_host(&task, "server").await.unwrap_err();
    assert!(tell(&error).contains("MaxSessions"), "{}", tell(&error));
}

#[tokio::test]
async fn a_dead_connection_is_replaced() {
    let server = Sshd::builder().start();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    run(&fleet, 0).await;
    server.kill_sessions();
    run_at_once(&fleet, 4).await;
    assert_eq!(logins(&server), 2, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_with_the_fleet() {
    let server = Sshd::builder().start();
    let (fleet, _dir) = fleet(&server, TransportKind::Native);
    let clone = fleet.clone();
    run(&fleet, 0).await;
    drop(fleet);
    run(&clone, 1).await;
    assert_eq!(logins(&server), 1, "{}", server.log());
    drop(clone);
    tokio::task::block_in_place(|| server.wait_for_log("Connection closed by"));
}

#[tokio::test]
async fn hosts_behind_a_bastion_share_one_connection_to_it() {
    let jump = Sshd::builder().name("jump").start();
    let server = Sshd::builder().start();
    let mut text = jump.ssh_config_section(jump.address());
    for number in 0..12 {
        let section = server.ssh_config_section(server.address());
        text.push_str(&section.replace("Host server", &format!("Host server{number}")));
        text.push_str("  ProxyJump jump\n");
    }
    let config = server.dir().join("bastion_config");
    fs_err::write(&config, text).unwrap();
    let (plain, _dir) = fleet(&server, TransportKind::Native);
    let mut fleets = Vec::new();
    for number in 0..12 {
        let mut host = plain.hosts()[0].clone();
        host.name = format!("server{number}");
        host.address = host.name.clone();
        host.ssh_config_path = Some(config.clone());
        fleets.push(host);
    }
    let all: Vec<_> = fleets
        .into_iter()
        .map(|host| {
            let fleet = plain.clone();
            tokio::spawn(async move {
                let result = fleet.run_on(&script(1), host).await.map(drop);
                result.unwrap_or_else(|error| panic!("{}", tell(&error)));
            })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(logins(&jump), 1, "{}", jump.log());
    assert_eq!(logins(&server), 12, "{}", server.log());
}
