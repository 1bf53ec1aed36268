//! Streams of a command, and how it ends.

use geto::TransportKind;
use geto::transport::{Channel, ChannelEvent, ChannelRefused};
use geto_testkit::Sshd;
use tokio::io::AsyncWriteExt as _;

use crate::support::{BOTH, connected, read, run};

#[tokio::test]
async fn bytes_and_exit_status_arrive_as_they_are() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let mut channel = transport.open("cat; echo err >&2; exit 7").await.unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        channel.stdin.write_all(&bytes).await.unwrap();
        channel.stdin.shutdown().await.unwrap();
        let output = read(&mut channel).await;
        assert_eq!(output.exit, Some(7), "{kind:?}");
        assert!(output.stdout == bytes, "{kind:?}");
        assert_eq!(output.stderr, b"err\n", "{kind:?}");
    }
}

#[tokio::test]
async fn one_connection_takes_several_commands() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let (a, b) = tokio::join!(
            run(transport.as_ref(), "echo a; exit 255"),
            run(transport.as_ref(), "echo b; kill -KILL $$"),
        );
        assert_eq!((a.stdout.as_slice(), a.exit), (b"a\n".as_slice(), Some(255)), "{kind:?}");
        // `ssh` does not tell which signal it was.
        let killed = if kind == TransportKind::Ssh { 255 } else { 137 };
        assert_eq!((b.stdout.as_slice(), b.exit), (b"b\n".as_slice(), Some(killed)), "{kind:?}");
    }
}

#[tokio::test]
async fn dropping_stdin_is_the_end_of_input() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let mut channel = transport.open("cat").await.unwrap();
        channel.stdin.write_all(b"x").await.unwrap();
        channel.stdin = Box::pin(tokio::io::sink());
        let output = read(&mut channel).await;
        assert_eq!((output.stdout.as_slice(), output.exit), (b"x".as_slice(), Some(0)), "{kind:?}");
    }
}

#[tokio::test]
async fn much_output_arrives_exactly() {
    const LENGTH: usize = 200 << 20;
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let command = format!("yes 0123456789abcde | head -c {LENGTH}");
        let mut channel = transport.open(&command).await.unwrap();
        let (mut length, mut exit) = (0, None);
        while let Some(event) = channel.events.recv().await {
            match event {
                ChannelEvent::Stdout(bytes) => {
                    let expected = b"0123456789abcde\n".iter().cycle().skip(length % 16);
                    assert!(
                        bytes.iter().zip(expected).all(|(a, b)| a == b),
                        "{kind:?} at {length}"
                    );
                    length += bytes.len();
                }
                ChannelEvent::Exit(status) => exit = Some(status),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((length, exit), (LENGTH, Some(0)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_lost_link_ends_the_events_without_an_exit_status() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let mut channel = transport.open("echo here; cat").await.unwrap();
        let first = channel.events.recv().await;
        assert_eq!(first, Some(ChannelEvent::Stdout("here\n".into())), "{kind:?}");
        server.kill_sessions();
        let output = read(&mut channel).await;
        assert_eq!(output.exit, None, "{kind:?}");
        write_fails(&mut channel).await;
    }
}

#[tokio::test]
async fn a_write_after_the_commands_end_fails() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let mut channel = transport.open("exit 0").await.unwrap();
        assert_eq!(read(&mut channel).await.exit, Some(0), "{kind:?}");
        write_fails(&mut channel).await;
    }
}

/// More than any window or pipe takes: what does not fail would wait for ever.
async fn write_fails(channel: &mut Channel) {
    let bytes = vec![0; 16 << 20];
    let error = channel.stdin.write_all(&bytes).await.expect_err("nobody reads");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_blocked_write_fails_when_the_command_ends() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let mut channel = transport.open("head -c 1 >/dev/null; exit 4").await.unwrap();
        let mut stdin = std::mem::replace(&mut channel.stdin, Box::pin(tokio::io::sink()));
        let bytes = vec![0; 16 << 20];
        let (written, output) = tokio::join!(stdin.write_all(&bytes), read(&mut channel));
        assert!(written.is_err(), "{kind:?}");
        assert_eq!(output.exit, Some(4), "{kind:?}");
    }
}

#[tokio::test]
async fn a_channel_that_is_dropped_makes_room_for_the_next() {
    let server = Sshd::builder().config("MaxSessions 1").start();
    let transport = connected(&server, TransportKind::Native).await;
    let busy = transport.open("cat").await.unwrap();
    let error = transport.open("exit 0").await.unwrap_err();
    assert!(ChannelRefused::is_cause_of(&error), "{error:?}");
    drop(busy);
    // The server takes a moment to see the end of `cat`.
    loop {
        match transport.open("exit 6").await {
            Ok(mut channel) => {
                assert_eq!(read(&mut channel).await.exit, Some(6));
                break;
            }
            Err(error) => assert!(ChannelRefused::is_cause_of(&error), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_lives_as_long_as_its_channels() {
    let server = Sshd::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let mut channel = transport.open("cat").await.unwrap();
        drop(transport);
        channel.stdin.write_all(b"still here").await.unwrap();
        channel.stdin.shutdown().await.unwrap();
        let output = read(&mut channel).await;
        assert_eq!(output.stdout, b"still here", "{kind:?}");
    }
}

#[tokio::test]
async fn dropbear_serves_as_well() {
    let server = geto_testkit::Dropbear::builder().start();
    for kind in BOTH {
        let transport = connected(&server, kind).await;
        let mut channel = transport.open("cat; exit 9").await.unwrap();
        let bytes = vec![b'x'; 3 << 20];
        let mut stdin = std::mem::replace(&mut channel.stdin, Box::pin(tokio::io::sink()));
        let writing = async {
            stdin.write_all(&bytes).await.unwrap();
            stdin.shutdown().await.unwrap();
        };
        let ((), output) = tokio::join!(writing, read(&mut channel));
        assert_eq!((output.stdout.len(), output.exit), (bytes.len(), Some(9)), "{kind:?}");
    }
}
