//! Hosts that do not answer, when there is a choice.

use std::time::Duration;

use geto::transport::ConnectOptions;
use geto::{Event, Fleet, Host, Pick, Script, Task, TransportKind};
use geto_testkit::{Machine, Proxy, Server, Sshd};

use crate::support::{host, tell};

fn own_lock(server: &Server) -> Host {
    let mut host = host(server, TransportKind::Native);
    host.remote_lock_path = "~/geto_lock".to_owned();
    host
}

/// A fleet that waits two seconds for each host.
fn fleet(hosts: [Host; 2], dir: &tempfile::TempDir) -> Fleet {
    let mut options = ConnectOptions::default();
    options.connect_timeout = Duration::from_secs(2);
    Fleet::new(hosts, dir.path()).with_connect_options(options)
}

/// Runs a task on the first host with room; returns which that was, and the warnings.
async fn run(fleet: &Fleet) -> (String, Vec<String>) {
    let task = Task::new(Script::from_argv("true", ["true".to_owned()]));
    let mut warnings = Vec::new();
    let run = fleet.run_among(&task, fleet.hosts().to_vec(), Pick::First);
    let run = run.follow(|event| {
        if let Event::Warning(text) = event {
            warnings.push(text);
        }
    });
    let results = run.await.unwrap_or_else(|error| panic!("{}", tell(&error)));
    (results.host, warnings)
}

const ASIDE: &str =
    "host `late` is left out: it did not answer in time before, and is asked again meanwhile";

#[test]
fn a_dead_host_keeps_nobody_waiting_twice_and_comes_back() {
    let (up, late) = (Sshd::builder().name("up").start(), Sshd::builder().name("late").start());
    let proxy = Proxy::builder(late.address()).start();
    proxy.stall();
    let mut dead = own_lock(&late);
    dead.ssh_config_path = Some(late.ssh_config_via(proxy.address()));
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet([dead, own_lock(&up)], &dir);
    let testing = async {
        let (first, warnings) = run(&fleet).await;
        assert_eq!(first, "up");
        let why = "host `late` is left out: failed to connect";
        assert!(warnings[0].starts_with(why), "{warnings:?}");
        for _ in 0..3 {
            assert_eq!(run(&fleet.clone()).await, ("up".to_owned(), vec![ASIDE.to_owned()]));
        }
        proxy.resume();
        while run(&fleet).await.0 != "late" {}
        assert_eq!(run(&fleet).await, ("late".to_owned(), Vec::new()));
    };
    // The proxy has a runtime of its own, and can't be made in another.
    tokio::runtime::Runtime::new().unwrap().block_on(testing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_shell_is_silent_is_left_out_too() {
    let machine = Machine::new().login_shell("/bin/bash").startup_file("sleep 1000\n");
    let up = Sshd::builder().name("up").start();
    let late = Sshd::builder().name("late").machine(machine).start();
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet([own_lock(&late), own_lock(&up)], &dir);
    let (first, warnings) = run(&fleet).await;
    assert_eq!(first, "up");
    let why = "host `late` is left out: failed to get an answer on host `late`: its shell was \
               silent for 2 s; see what its start-up files do";
    assert_eq!(warnings, [why]);
    assert_eq!(run(&fleet).await, ("up".to_owned(), vec![ASIDE.to_owned()]));
}
