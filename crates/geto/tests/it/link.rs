//! Links that break, stall, or give little.

use std::time::Duration;

use geto::transport::ConnectOptions;
use geto::{ErrorKind, Host, Script, Task};
use geto_testkit::{Cut, Proxy, Sshd};

use crate::ssh::tasks_left;
use crate::support::{Place, kind, runtime};

/// What a task that may have started ends in is never guessed: not ssh's 255, not the script's.
#[test]
fn a_link_that_breaks_is_lost_and_no_exit_code() {
    for cut in [Cut::Reset, Cut::Fin] {
        let server = Sshd::builder().start();
        let proxy = Proxy::builder(server.address()).start();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
        let place = Place::of(host);
        let fleet = place.fleet();
        let task = Task::new(Script::from_commands("t", ["echo up; sleep 1000"]));
        let run = fleet.run_on_host(&task, server.name()).reconnect(Duration::ZERO);
        let run = run.follow(|event| {
            if kind(&event) == "stdout" {
                proxy.cut(cut);
            }
        });
        let error = runtime().block_on(run.into_future()).unwrap_err();
        assert_eq!((error.kind(), error.exit_code().0), (ErrorKind::Lost, 123));
        assert!(error.hint().unwrap().contains("tasks/"), "{error:?}");
        server.kill_processes();
    }
}

/// A laptop that sleeps, a router that forgot: nothing comes, and no end either.
#[test]
fn a_link_that_stalls_is_given_up_by_keepalives() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address()).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
    let place = Place::of(host);
    let mut options = ConnectOptions::default();
    options.keepalive_interval = Duration::from_millis(200);
    options.keepalive_max = 2;
    let fleet = place.fleet().with_connect_options(options);
    let task = Task::new(Script::from_commands("t", ["echo up; sleep 1000"]));
    let run = fleet.run_on_host(&task, server.name()).reconnect(Duration::ZERO);
    let run = run.follow(|event| {
        if kind(&event) == "stdout" {
            proxy.stall();
        }
    });
    let error = runtime().block_on(run.into_future()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    server.kill_processes();
}

#[test]
fn one_channel_at_a_time_is_enough_for_large_files_too() {
    let server = Sshd::builder().config("MaxSessions 1").start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config());
    let place = Place::of(host);
    let task =
        Task::new(Script::from_commands("t", ["head -c 3000000 /dev/urandom >big; echo x >small"]));
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.warnings, [""; 0]);
    assert_eq!(results.files.unwrap().bytes, 3_000_002);
}

/// A stream that breaks in the middle of the files leaves no half result, and the host's copy.
#[test]
fn a_link_that_breaks_among_the_files_leaves_them_on_the_host() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address()).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
    let place = Place::of(host);
    let fleet = place.fleet();
    let task = Task::new(Script::from_commands("t", ["head -c 30000000 /dev/zero >big"]));
    let run = fleet.run_on_host(&task, server.name()).reconnect(Duration::ZERO);
    let run = run.follow(|event| {
        if let geto::Event::Receiving { bytes } = event
            && bytes > 1_000_000
        {
            proxy.cut(Cut::Reset);
        }
    });
    let error = runtime().block_on(run.into_future()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Results, "{error:?}");
    let here = place.dir.path().join("results").join(error.task().unwrap().to_string());
    assert!(here.join("outcome.json").exists() && !here.join("files").exists());
    let hint = error.hint().unwrap();
    assert!(hint.contains("the host keeps all in `"), "{hint}");
    let directory = hint.split("keeps all in `").nth(1).unwrap().trim_end_matches('`');
    assert_eq!(fs_err::metadata(server.inside(directory).join("big")).unwrap().len(), 30_000_000);
}

/// geto does not wait for the answer of a far host; what it has asked for happens all the same.
#[test]
fn a_far_host_forgets_the_task_after_geto_has_gone() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address()).delay(Duration::from_millis(100)).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
    let place = Place::of(host);
    let task = Task::new(Script::from_commands("t", ["echo x >f"]));
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    assert_eq!(results.files.unwrap().count, 1);
    assert_eq!(tasks_left(&server), [""; 0].map(std::path::PathBuf::from));
}
