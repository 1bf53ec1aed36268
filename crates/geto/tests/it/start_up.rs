//! Start-up files of the login shell that read, end, or become something else.

use std::path::PathBuf;
use std::time::Duration;

use geto::transport::ConnectOptions;
use geto::{Error, ErrorKind, Fleet, Outcome, Pick, Script, Task, TransportKind};
use geto_testkit::{Machine, Server, Sshd};

use crate::ssh::{data, host, tasks_left};
use crate::support::{Place, runtime};

/// A server whose bash runs this at its start.
fn server(startup: &str) -> Server {
    let machine = Machine::new().login_shell("/bin/bash").startup_file(format!("{startup}\n"));
    Sshd::builder().machine(machine).start()
}

/// A fleet that does not wait for long.
fn fleet(place: &Place) -> Fleet {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(2);
    place.fleet().with_connect_options(options)
}

/// All that is said of an error.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    format!("{text}; {}", error.hint().unwrap_or_default())
}

#[test]
fn those_that_read_what_is_sent_and_print_it_do_no_harm_when_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    for reads in
        ["head -c 30", "head -c 3000", "dd bs=1M count=1", "cat <<<hi; read a; echo \"$a\""]
    {
        eprintln!("{reads}");
        let server = server(reads);
        let place = Place::of(host(&server));
        let task = Task::new(Script::from_commands("t", ["cat DEPS/data/f; exit 3"]));
        let task = task.dependency(&data);
        let ran =
            runtime().block_on(async { place.fleet().run_on_host(&task, server.name()).await });
        let results = ran.unwrap_or_else(|error| panic!("{}", told(&error)));
        assert_eq!(results.outcome, Outcome::Exited { code: 3 });
        assert_eq!(results.stdout().unwrap(), b"\0\xff\n");
        assert_eq!(tasks_left(&server), Vec::<PathBuf>::new());
    }
}

/// Nothing can be run there. What is said names the start-up files, and whatever else geto is asked for
/// ends alike.
#[test]
fn those_that_never_let_go_are_named() {
    const CERTAIN: Option<ErrorKind> = Some(ErrorKind::NotStarted);
    for (line, kind) in [
        ("cat", Some(ErrorKind::Host)),
        ("exec cat", Some(ErrorKind::Host)),
        ("exit", CERTAIN),
        ("echo no; exit 7", CERTAIN),
        ("exec true", CERTAIN),
        ("exec zsh", CERTAIN),
        ("exec dash", CERTAIN),
        ("exec mksh", CERTAIN),
        ("exec tcsh", CERTAIN),
        // Nobody knows when they end, and what was sent is there.
        ("cat >/dev/null", None),
        ("exec fish", None),
        ("exec sleep 1000", None),
    ] {
        eprintln!("{line}");
        let server = server(line);
        for transport in [TransportKind::Native, TransportKind::Ssh] {
            let mut host = host(&server);
            host.transport = transport;
            let place = Place::of(host);
            let runs = place.dir.path().join("runs");
            let line = format!("echo run >'{}'", runs.display());
            let task = Task::new(Script::from_commands("t", [line]));
            let fleet = fleet(&place);
            let error = runtime()
                .block_on(async { fleet.run_on_host(&task, server.name()).await.unwrap_err() });
            assert!(told(&error).contains("start-up files"), "{}", told(&error));
            match kind {
                Some(kind) => assert_eq!((error.kind(), error.exit_code().0), (kind, 125)),
                None => assert_eq!(error.kind(), ErrorKind::Lost),
            }
            assert!(!runs.exists());
            assert!(!told(&error).contains("3<&0"), "{}", told(&error));
        }
        // What else asks a host of something.
        if !["cat", "exit", "exec sleep 1000"].contains(&line) {
            continue;
        }
        let place = Place::of(host(&server));
        let fleet = fleet(&place);
        let big = place.dir.path().join("big");
        fs_err::write(&big, vec![b'x'; 100_000]).unwrap();
        let task = Task::new(Script::from_argv("t", ["true"]));
        runtime().block_on(async {
            let hosts = vec![place.host.clone(), place.host.clone()];
            let ran = fleet.run_among(&task, hosts, Pick::First).await.unwrap_err();
            let listed = fleet.tasks(&place.host).await.unwrap_err();
            let probed = fleet.probe(&place.host).await.unwrap_err();
            let task = task.clone().dependency(&big);
            let filled = fleet.run_on_host(&task, server.name()).await.unwrap_err();
            for error in [&ran, &listed, &probed, &filled] {
                assert!(told(error).contains("start-up files"), "{line}: {}", told(error));
                assert_eq!(error.exit_code().0, 125, "{line}: {}", told(error));
            }
        });
    }
}
