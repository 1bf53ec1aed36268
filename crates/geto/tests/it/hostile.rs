//! Hosts that answer wrongly, by a transport of our own.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use geto::bytes::Bytes;
use geto::transport::{Channel, ChannelEvent, Transport};
use geto::{Error, ErrorKind, Event, Patience, Script, Task};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::support::{Place, runtime};

/// A host that says what a test wants, once it has been told the nonce; `{N}` stands for it.
#[derive(Debug)]
struct Liar {
    says: Vec<u8>,
    /// How often that is repeated at the end.
    forever: Option<Vec<u8>>,
    /// How much time passes before each time, which must be paused.
    pause: Duration,
    status: Option<u32>,
}

#[async_trait]
impl Transport for Liar {
    async fn open(&self, _command: &str) -> Result<Channel, Error> {
        let (stdin, mut heard) = tokio::io::duplex(1 << 20);
        let (events, receiver) = mpsc::channel(16);
        let (says, forever, status) = (self.says.clone(), self.forever.clone(), self.status);
        let pause = self.pause;
        tokio::spawn(async move {
            let mut text = Vec::new();
            let nonce = loop {
                let at = text.windows(8).position(|window| window == b"g_nonce=");
                // It waits until the task could have been started. More may have come by then.
                if let Some(nonce) = at.and_then(|at| text.get(at + 8..at + 40))
                    && text.windows(4).any(|window| window == b"\ngo\n")
                {
                    break nonce.to_vec();
                }
                let mut piece = [0; 4096];
                let read = heard.read(&mut piece).await.unwrap();
                assert!(read > 0, "no nonce came");
                text.extend_from_slice(&piece[..read]);
            };
            let with_nonce = |text: &[u8]| {
                let text = text.utf8_chunks().fold(Vec::new(), |mut all, chunk| {
                    let nonce = std::str::from_utf8(&nonce).unwrap();
                    all.extend_from_slice(chunk.valid().replace("{N}", nonce).as_bytes());
                    all.extend_from_slice(chunk.invalid());
                    all
                });
                ChannelEvent::Stdout(Bytes::from(text))
            };
            if events.send(with_nonce(&says)).await.is_err() {
                return;
            }
            while let Some(forever) = &forever {
                if !pause.is_zero() {
                    // A thread that unpacks keeps paused time from passing by itself.
                    tokio::time::advance(pause).await;
                }
                if events.send(with_nonce(forever)).await.is_err() {
                    return;
                }
            }
            if let Some(status) = status {
                drop(events.send(ChannelEvent::Exit(status)).await);
            }
            // Until nobody wants to hear more, as a channel that stays open.
            drop(events);
            while matches!(heard.read(&mut [0; 4096]).await, Ok(1..)) {}
        });
        Ok(Channel { stdin: Box::pin(stdin), events: receiver })
    }
}

fn error_of(says: &[u8], forever: Option<&[u8]>, status: Option<u32>) -> (Error, Place) {
    let place = Place::new();
    let liar = Liar {
        says: says.to_vec(),
        forever: forever.map(<[u8]>::to_vec),
        pause: Duration::ZERO,
        status,
    };
    let transport: Arc<dyn Transport> = Arc::new(liar);
    let mut task = Task::new(Script::from_commands("t", [":"]));
    task.max_results = Some(1 << 20);
    let error = runtime().block_on(place.try_run(&task, &transport)).unwrap_err();
    (error, place)
}

const BEGIN: &str = "{N} hello 1\n1{N} started 2\n/t";
const REPORT: &str = "status=0 why= started=yes start=1 end=2 cpu=0 0 full= left= .";

fn begun(rest: &str) -> Vec<u8> {
    format!("{BEGIN}{rest}").into_bytes()
}

fn ended(rest: &str) -> Vec<u8> {
    begun(&format!("{{N}} ended {}\n{REPORT}{rest}", REPORT.len()))
}

/// What it is, what the host says, what it repeats, how its channel ends, and what comes of it.
type Case = (&'static str, Vec<u8>, Option<Vec<u8>>, Option<u32>, ErrorKind);

#[test]
fn lies_end_in_an_error_and_no_results() {
    let stdout = format!("{{N}} out 1000\n{}", "x".repeat(1000));
    let cases: Vec<Case> = vec![
        ("nothing but an end", vec![], None, Some(0), ErrorKind::NotStarted),
        ("nothing at all", vec![], None, None, ErrorKind::Lost),
        ("noise without end", vec![], Some(vec![b'x'; 65536]), None, ErrorKind::Lost),
        ("no frame", begun("nonsense\n"), None, None, ErrorKind::Lost),
        (
            "another nonce",
            begun(&format!("{} out 1\nx", "0".repeat(32))),
            None,
            None,
            ErrorKind::Lost,
        ),
        ("a header without end", begun(&"x".repeat(9999)), None, None, ErrorKind::Lost),
        ("a text beyond bounds", begun("{N} ended 99999999999\n"), None, None, ErrorKind::Lost),
        ("a length that is none", begun("{N} out -1\n"), None, None, ErrorKind::Lost),
        (
            "a place beyond all",
            begun("{N} from 22\n18446744073709551615 0{N} out 1\nx"),
            None,
            Some(0),
            ErrorKind::Lost,
        ),
        ("no end of the task", begun("{N} out 1\nx"), None, Some(0), ErrorKind::Lost),
        ("output beyond the limit", begun(""), Some(stdout.into_bytes()), None, ErrorKind::Results),
        ("no files", ended(""), None, Some(0), ErrorKind::Results),
        ("files that are none", ended("{N} files 5\nhello"), None, Some(0), ErrorKind::Results),
        ("half of the files", ended("{N} files 9999\nhello"), None, None, ErrorKind::Results),
        (
            "large files that are none",
            ended("{N} large 0\n"),
            Some(vec![7; 65536]),
            None,
            ErrorKind::Results,
        ),
        (
            "padding without end",
            ended("{N} large 0\n"),
            Some(vec![0; 65536]),
            None,
            ErrorKind::Results,
        ),
        (
            "answers without end",
            begun(""),
            Some(b"{N} leftover 1\nx{N} started 1\n/".to_vec()),
            None,
            ErrorKind::Lost,
        ),
        (
            "small files without end",
            ended("{N} files 18446744073709551615\n"),
            Some(vec![0; 65536]),
            None,
            ErrorKind::Results,
        ),
        (
            "answers instead of files",
            ended(""),
            Some(b"{N} out 1\nx{N} load 0\n".to_vec()),
            None,
            ErrorKind::Results,
        ),
        ("a refusal", begun("{N} error 9\nx \u{1b}[2Jevil"), None, None, ErrorKind::Lost),
    ];
    for (what, says, forever, status, kind) in cases {
        eprintln!("{what}");
        let (error, place) = error_of(&says, forever.as_deref(), status);
        assert_eq!(error.kind(), kind, "{what}: {error:?}");
        let mut text = format!("{error} {:?}", error.hint());
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(!text.chars().any(char::is_control), "{what}: {text:?}");
        // At most what was said before the lie: output and outcome, but no files.
        for result in fs_err::read_dir(place.dir.path().join("results")).unwrap() {
            let result = result.unwrap().path();
            if result.is_file() {
                continue;
            }
            let names = fs_err::read_dir(result).unwrap();
            let mut names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["outcome.json", "stderr", "stdout"], "{what}");
        }
    }
}

/// Runs a task on a host that says one byte each `pause`, in time that passes at once, until the
/// host is given up.
fn given_up(says: &[u8], pause: Duration, task: &Task, wait: Patience) -> Error {
    let place = Place::new();
    let transport: Arc<dyn Transport> =
        Arc::new(Liar { says: says.to_vec(), forever: Some(b"0".to_vec()), pause, status: None });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let fleet = place.fleet();
    let run = fleet.run_on_host(task, "local").patience(wait).over(transport);
    let canceller = run.canceller();
    // Where a task runs for as long as it likes, its user ends it.
    let cancels = task.timeout.is_none();
    let run = run.follow(move |event| match event {
        Event::Started { .. } if cancels => canceller.cancel(),
        _ => {}
    });
    runtime.unwrap().block_on(async { run.await.unwrap_err() })
}

#[test]
fn a_byte_a_minute_ends_in_bounded_time() {
    let task = Task::new(Script::from_commands("t", [":"]));
    let limited = task.clone().timeout(Duration::from_secs(600));
    let hello = |rest: &str| format!("{{N}} hello 1\n1{rest}").into_bytes();
    let waiting = hello("{N} waiting 11\nslots 1 1 0");
    let wait = Patience::AtMost(Duration::from_secs(600));
    for (what, says, pause, task, kind, seconds) in [
        ("no answer", vec![], 60, &task, ErrorKind::Lost, None),
        ("noise", vec![], 2, &task, ErrorKind::Lost, None),
        ("no claim", hello(""), 60, &task, ErrorKind::Lost, Some(300)),
        ("no start", hello("{N} work 2\n/w"), 60, &task, ErrorKind::Lost, Some(300)),
        ("no slot", waiting, 60, &task, ErrorKind::Lost, Some(900)),
        ("no end in time", begun("{N} out 99\n"), 60, &limited, ErrorKind::Lost, Some(900)),
        ("no end", begun("{N} out 99\n"), 60, &task, ErrorKind::Lost, Some(300)),
        ("no files", ended("{N} fi"), 60, &task, ErrorKind::Results, Some(600)),
        ("slow files", ended("{N} files 99\n"), 60, &task, ErrorKind::Results, Some(600)),
        ("slow large files", ended("{N} large 0\n"), 60, &task, ErrorKind::Results, Some(600)),
    ] {
        let error = given_up(&says, Duration::from_secs(pause), task, wait);
        assert_eq!(error.kind(), kind, "{what}: {error:?}");
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        match seconds {
            Some(seconds) => {
                assert_eq!(cause, format!("it gave no answer within {seconds} s"), "{what}");
            }
            None => assert!(error.to_string().contains("from the login shell"), "{error:?}"),
        }
    }
}
