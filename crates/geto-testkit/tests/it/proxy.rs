//! The proxy.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use geto_testkit::{Cut, Direction, Proxy, ProxyBuilder, Sshd};

use crate::stdout;

/// Returns both ends of a connection through the proxy that `build` makes.
fn pair(build: impl FnOnce(ProxyBuilder) -> Proxy) -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let proxy = build(Proxy::builder(listener.local_addr().expect("it is bound")));
    let client = TcpStream::connect(proxy.address()).expect("it listens");
    let (server, _) = listener.accept().expect("the proxy connects");
    (proxy, client, server)
}

#[test]
fn ssh_works_through_it_and_is_counted() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address()).delay(Duration::from_millis(10)).start();
    let config = server.ssh_config_via(proxy.address());
    let mut counted = Vec::new();
    for _ in 0..2 {
        let mut ssh = server.ssh_with(&config, &[]);
        assert_eq!(stdout(ssh.arg("head -c 300000 /dev/zero | tr '\\0' x")).len(), 300_000);
        let traffic = *proxy.wait_for_close().last().unwrap();
        assert!(traffic.to_client_bytes > 300_000 && traffic.to_server_bytes > 1000, "{traffic:?}");
        counted.push(traffic.round_trips);
    }
    assert!((4..=15).contains(&counted[0]), "{counted:?}");
    assert_eq!(counted[0], counted[1]);
}

#[test]
fn counts_questions_that_had_to_wait_for_answers() {
    let (proxy, mut client, mut server) =
        pair(|proxy| proxy.delay(Duration::from_millis(20)).start());
    let mut buffer = [0; 2];
    for _ in 0..3 {
        client.write_all(b"a?").unwrap();
        server.read_exact(&mut buffer).unwrap();
        server.write_all(b"a!").unwrap();
        client.read_exact(&mut buffer).unwrap();
    }
    // Two questions at once are one round trip more, not two.
    client.write_all(b"b?").unwrap();
    client.write_all(b"c?").unwrap();
    for answer in [b"b!", b"c!"] {
        server.read_exact(&mut buffer).unwrap();
        server.write_all(answer).unwrap();
        client.read_exact(&mut buffer).unwrap();
    }
    proxy.wait_for_bytes(Direction::ToClient, 10);
    let traffic = proxy.connections()[0];
    assert_eq!((traffic.round_trips, traffic.turns, traffic.open), (4, 4, true));
    assert_eq!((traffic.to_server_bytes, traffic.to_client_bytes), (10, 10));
}

#[test]
fn delay_does_not_limit_bandwidth() {
    let started = Instant::now();
    let (_proxy, mut client, mut server) =
        pair(|proxy| proxy.delay(Duration::from_millis(100)).start());
    let sender = std::thread::spawn(move || client.write_all(&vec![7; 32 << 20]));
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    sender.join().unwrap().unwrap();
    assert_eq!(got.len(), 32 << 20);
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[test]
fn bandwidth_is_limited() {
    let started = Instant::now();
    let (_proxy, mut client, mut server) = pair(|proxy| proxy.bandwidth(200_000).start());
    client.write_all(&[7; 60_000]).unwrap();
    server.read_exact(&mut [0; 60_000]).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(295));
}

#[test]
fn cuts_after_exactly_so_many_bytes() {
    for cut in [Cut::Reset, Cut::Fin] {
        let (proxy, mut client, mut server) =
            pair(|proxy| proxy.cut_after(Direction::ToClient, 5, cut).start());
        server.write_all(b"0123456789").unwrap();
        let mut got = Vec::new();
        let end = client.read_to_end(&mut got);
        assert_eq!(end.is_err(), cut == Cut::Reset, "{end:?}");
        if cut == Cut::Fin {
            assert_eq!(got, b"01234");
        }
        drop((client, server));
        assert_eq!(proxy.wait_for_close()[0].to_client_bytes, 5);
    }
}

#[test]
fn only_the_first_connections_are_faulty() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address())
        .cut_after(Direction::ToServer, 100, Cut::Reset)
        .only_first(1)
        .start();
    let config = server.ssh_config_via(proxy.address());
    let ssh = || server.ssh_with(&config, &[]);
    assert_eq!(ssh().arg("true").stderr(Stdio::null()).status().unwrap().code(), Some(255));
    assert_eq!(stdout(ssh().arg("echo in")), "in\n");
}

#[test]
fn stall_holds_bytes_until_resume_and_cut_ends_it() {
    let (proxy, mut client, mut server) = pair(ProxyBuilder::start);
    proxy.stall();
    client.write_all(b"late").unwrap();
    assert_eq!(proxy.connections()[0].to_server_bytes, 0);
    proxy.resume();
    let mut got = [0; 4];
    server.read_exact(&mut got).unwrap();
    proxy.wait_for_bytes(Direction::ToServer, 4);
    proxy.cut(Cut::Stall);
    proxy.cut(Cut::Fin);
    assert_eq!(client.read(&mut got).unwrap(), 0);
    assert_eq!(server.read(&mut got).unwrap(), 0);
}

#[test]
fn refuses_new_connections_when_told() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address()).start();
    let config = server.ssh_config_via(proxy.address());
    proxy.refuse(true);
    let status = server.ssh_with(&config, &[]).arg("true").stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(255));
    proxy.refuse(false);
    assert_eq!(stdout(server.ssh_with(&config, &[]).arg("echo in")), "in\n");
    assert_eq!(proxy.wait_for_close().len(), 1);
}
