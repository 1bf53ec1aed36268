//! Links that nobody listens to for a while are no dead ones.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use geto::transport::{ConnectOptions, Prompter};
use geto::{Event, Fleet, Host, Script, Secret, Task, TransportKind};
use geto_testkit::Sshd;

use crate::login::try_host;
use crate::support::{host, tell};

/// Gives a host up after 0.4 s of silence.
fn impatient() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.keepalive_interval = Duration::from_millis(200);
    options.keepalive_max = 1;
    options
}

/// Says a password after a while.
#[derive(Debug)]
struct SlowTypist;

impl Prompter for SlowTypist {
    fn secret(&self, _: &str, _: bool) -> Option<Secret> {
        std::thread::sleep(Duration::from_secs(1));
        Some(Secret::from("slow pw"))
    }

    fn confirm(&self, _: &str) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_may_be_typed_slowly() {
    let server = Sshd::builder().password("slow pw").start();
    let mut options = impatient();
    options.prompter = Arc::new(SlowTypist);
    let result = try_host(&host(&server, TransportKind::Native), &options).await;
    result.unwrap_or_else(|error| panic!("{}", tell(&error)));
}

/// Runs a script, and returns how often its link broke.
async fn run(
    fleet: Fleet,
    host: Host,
    lines: [String; 4],
    on_output: impl Fn() + Sync + Send,
) -> usize {
    let broken = AtomicUsize::new(0);
    let task = Task::new(Script::from_commands("t", lines));
    let result = fleet.run_on(&task, host).follow(|event| match event {
        Event::LinkBroken { .. } => drop(broken.fetch_add(1, Ordering::Relaxed)),
        Event::Stdout(_) => on_output(),
        _ => {}
    });
    result.await.unwrap_or_else(|error| panic!("{}", tell(&error)));
    broken.into_inner()
}

/// The connection to a bastion stands still while the output of one host behind it is not taken; those
/// to the others are none the worse.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_reader_of_one_host_breaks_no_link_behind_the_same_bastion() {
    let jump = Sshd::builder().name("jump").start();
    let servers = ["one", "two"].map(|name| Sshd::builder().name(name).start());
    let dir = tempfile::tempdir().unwrap();
    let mut text = jump.ssh_config_section(jump.address());
    for server in &servers {
        text.push_str(&server.ssh_config_section(server.address()));
        text.push_str("  ProxyJump jump\n");
    }
    let config = dir.path().join("config");
    fs_err::write(&config, text).unwrap();
    let hosts = servers.each_ref().map(|server| {
        let mut host = host(server, TransportKind::Native);
        host.remote_work_path = server.dir().join("work").display().to_string();
        host.ssh_config_path = Some(config.clone());
        host
    });
    let fleet = Fleet::new([], dir.path().join("results")).with_connect_options(impatient());
    let at = |name: &str| dir.path().join(name);
    let until = |path: &Path| format!("until [ -e '{}' ]; do sleep 0.05; done", path.display());
    let touch = |path: &Path| format!("true >'{}'", path.display());
    let (other, stalled, over) = (at("other"), at("stalled"), at("over"));
    let [one, two] = hosts;
    let flood = [until(&other), "head -c 20000000 /dev/zero".into(), String::new(), String::new()];
    // It lasts longer than a dead host is waited for.
    let quiet = [touch(&other), until(&stalled), "sleep 2".into(), touch(&over)];
    let read_slowly = move || {
        if !stalled.exists() {
            fs_err::write(&stalled, "").unwrap();
            while !over.exists() {
                std::thread::yield_now();
            }
        }
    };
    let flooded = tokio::spawn(run(fleet.clone(), one, flood, read_slowly));
    let unhindered = tokio::spawn(run(fleet, two, quiet, || {}));
    assert_eq!((flooded.await.unwrap(), unhindered.await.unwrap()), (0, 0));
}
