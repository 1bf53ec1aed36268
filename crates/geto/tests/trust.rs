//! Host keys of real servers, fetched and written to known_hosts.

#![expect(clippy::unwrap_used, reason = "a test ends there")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use geto::ErrorKind;
use geto::trust::{FetchError, HostKey, add_to_known_hosts, fetch_host_keys, fetch_host_keys_over};
use geto_core::known_hosts::HostIdentity;
use geto_testkit::{Dropbear, KeyKind, Server, Sshd};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);

fn host(server: &Server) -> HostIdentity<'static> {
    HostIdentity { host: "n1.lab", port: server.port(), alias: None }
}

async fn fetch(server: &Server) -> Vec<HostKey> {
    fetch_host_keys(&server.host(), server.port(), PATIENCE).await.unwrap()
}

fn fingerprints(known_hosts: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    fs_err::write(&path, known_hosts).unwrap();
    let said = Command::new("ssh-keygen").arg("-lf").arg(path).output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    let mut found: Vec<_> =
        said.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    found.sort();
    found
}

#[tokio::test]
async fn every_type_of_key_is_fetched_with_the_fingerprint_of_ssh_keygen() {
    let kinds = [KeyKind::Rsa, KeyKind::Ecdsa, KeyKind::Ed25519];
    let server = Sshd::builder().host_keys(&kinds).start();
    let keys = fetch(&server).await;
    let types: Vec<_> = keys.iter().map(HostKey::key_type).collect();
    assert_eq!(types, ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]);
    let mut ours: Vec<_> = keys.iter().map(|key| key.fingerprint().to_owned()).collect();
    ours.sort();
    let lines = server.known_hosts_lines(server.address());
    assert_eq!(ours, fingerprints(&lines), "{lines}");
}

#[tokio::test]
async fn a_certificate_does_not_hide_the_key() {
    let server = Sshd::builder().host_certificate().start();
    let keys = fetch(&server).await;
    assert_eq!(keys.iter().map(HostKey::key_type).collect::<Vec<_>>(), ["ssh-ed25519"]);
}

#[tokio::test]
async fn keys_of_dropbear_are_fetched() {
    let server = Dropbear::builder().start();
    let keys = fetch(&server).await;
    // It offers RSA too and fails over it, since it has no such key.
    assert_eq!(keys.iter().map(HostKey::key_type).collect::<Vec<_>>(), ["ssh-ed25519"]);
}

#[tokio::test]
async fn what_is_no_ssh_server_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hang_up = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = fetch_host_keys("127.0.0.1", port, PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(error.to_string(), format!("failed to fetch the host keys of `127.0.0.1:{port}`"));
    hang_up.abort();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect(address);
    let found = fetch_host_keys_over(connect, Duration::from_millis(50)).await;
    assert!(matches!(found, Err(FetchError::TimedOut)), "{found:?}");
}

#[tokio::test]
async fn what_was_added_is_what_ssh_trusts() {
    let server = Sshd::builder().start();
    let keys = fetch(&server).await;
    let dir = tempfile::tempdir().unwrap();
    for hash in [false, true] {
        let path = dir.path().join(format!("new-{hash}/known_hosts"));
        assert_eq!(add_to_known_hosts(&path, &host(&server), hash, &keys).unwrap(), keys.len());
        let text = fs_err::read_to_string(&path).unwrap();
        assert_eq!(text.contains("n1.lab"), !hash, "{text}");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let known = format!("UserKnownHostsFile={}", path.display());
        // The name that was trusted is looked up, at the address of the server.
        let way =
            format!("exec 3<>/dev/tcp/{}/{}; cat <&3 & cat >&3", server.host(), server.port());
        let proxy = format!("ProxyCommand=bash -c '{way}'");
        let output = Command::new("ssh")
            .args(["-F", "none", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes"])
            .args(["-o", "GlobalKnownHostsFile=none", "-o", &known])
            .args(["-o", &proxy, "-p", &server.port().to_string()])
            .arg("-i")
            .arg(server.key())
            .args(["-l", server.user(), "n1.lab", "echo in"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "in\n", "{said}");
    }
}

#[tokio::test]
async fn a_line_is_never_added_twice_nor_glued_to_another() {
    let server = Sshd::builder().host_keys(&[KeyKind::Ed25519, KeyKind::Ecdsa]).start();
    let keys = fetch(&server).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known_hosts");
    fs_err::write(&path, "# without an end of line").unwrap();
    let (first, doubled) = (&keys[..1], [keys.clone(), keys.clone()].concat());
    assert_eq!(add_to_known_hosts(&path, &host(&server), true, first).unwrap(), 1);
    assert_eq!(add_to_known_hosts(&path, &host(&server), false, &doubled).unwrap(), 1);
    let text = fs_err::read_to_string(&path).unwrap();
    assert_eq!(add_to_known_hosts(&path, &host(&server), true, &keys).unwrap(), 0);
    assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("# without an end of line\n") && text.ends_with('\n'), "{text}");
}

#[tokio::test]
async fn another_key_and_a_revoked_one_are_refused() {
    let (server, other) = (Sshd::builder().start(), Sshd::builder().start());
    let (keys, others) = (fetch(&server).await, fetch(&other).await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known_hosts");
    add_to_known_hosts(&path, &host(&server), false, &keys).unwrap();
    let before = fs_err::read_to_string(&path).unwrap();
    let error = add_to_known_hosts(&path, &host(&server), false, &others).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostKey);
    assert!(error.hint().unwrap().contains("ssh-keygen -R"), "{error:?}");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), before);

    let line = before.split_once(' ').unwrap().1;
    fs_err::write(&path, format!("@revoked * {line}")).unwrap();
    let error = add_to_known_hosts(&path, &host(&server), false, &keys).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostKey);
    assert!(!fs_err::read_to_string(&path).unwrap().contains("n1.lab"));
}
