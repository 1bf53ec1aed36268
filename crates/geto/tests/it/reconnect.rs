//! Links that break while a task is on its way: it is run once, and nothing of it is lost.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use geto::{ErrorKind, Event, Fleet, Host, Outcome, Script, Task};
use geto_testkit::{Cut, Direction, Dropbear, Machine, Server, Sshd};
use tokio::sync::Notify;

use crate::ssh::tasks_left;
use crate::support::{kind, runtime};
use crate::world::{World, kill_named, kill_shell, numbers};

/// Writes numbers to both streams while it waits for a file.
fn chatter(gate: &Path) -> String {
    format!(
        "seq 1 20000; seq 1 20000 >&2; until [ -e '{}' ]; do sleep 0.02; done; seq 20001 40000; seq 20001 40000 >&2; exit 7",
        gate.display()
    )
}

#[test]
fn output_goes_on_at_the_exact_byte() {
    for how in ["reset", "fin", "stall", "session", "sshd"] {
        eprintln!("{how}");
        let world = World::new();
        let gate = world.place.dir.path().join("gate");
        let task = world.task(&chatter(&gate));
        let mut seen = 0;
        let (result, broken, back) = world.run(&task, |event| match event {
            // In the middle of what it writes first.
            Event::Stdout(bytes) if seen == 0 => {
                seen = bytes.len();
                match how {
                    "reset" => world.proxy.cut(Cut::Reset),
                    "fin" => world.proxy.cut(Cut::Fin),
                    "stall" => world.proxy.cut(Cut::Stall),
                    "session" => kill_shell(&world.server),
                    _ => world.server.kill_sessions(),
                }
            }
            Event::LinkBack { .. } => fs_err::write(&gate, "").unwrap(),
            _ => {}
        });
        let results = result.unwrap();
        assert_eq!(results.outcome, Outcome::Exited { code: 7 });
        assert_eq!(results.stdout().unwrap(), numbers(40_000));
        assert_eq!(results.stderr().unwrap(), numbers(40_000));
        assert_eq!((broken, back), (1, 1));
        world.check_once();
    }
}

#[test]
fn a_task_outlives_many_links() {
    let server = Dropbear::builder().start();
    // Each link breaks after so many bytes.
    let world = World::of(server, |proxy| {
        proxy.cut_after(Direction::ToClient, 150_000, Cut::Reset).only_first(4)
    });
    let task = world.task("seq 1 100000; head -c 300000 /dev/zero >big; echo end >&2");
    let (result, broken, back) = world.run(&task, |_| {});
    let results = result.unwrap();
    assert_eq!(results.stdout().unwrap(), numbers(100_000));
    assert_eq!(results.stderr().unwrap(), b"end\n");
    assert_eq!(results.files.unwrap().bytes, 300_000);
    assert_eq!((broken, back), (4, 4));
    world.check_once();
}

#[test]
fn files_go_on_where_they_broke() {
    let world = World::of(Sshd::builder().start(), |proxy| {
        proxy.cut_after(Direction::ToClient, 20_000_000, Cut::Reset).only_first(1)
    });
    let task =
        world.task("head -c 30000000 /dev/urandom >big; cksum <big; mkdir d; seq 9 >d/small");
    let (result, broken, _) = world.run(&task, |_| {});
    let results = result.unwrap();
    assert_eq!(broken, 1);
    let files = results.files.as_ref().unwrap();
    let mut sum = std::process::Command::new("sh");
    let sum = sum.args(["-c", "cksum <big"]).current_dir(&files.directory).output().unwrap().stdout;
    assert_eq!(results.stdout().unwrap(), sum);
    assert_eq!(fs_err::read(files.directory.join("d/small")).unwrap(), numbers(9));
    // What had come was not sent again.
    let received = world.traffic(|one| one.to_client_bytes);
    assert!(received < 33_000_000, "{received}");
    world.check_once();
}

#[test]
fn dependencies_go_on_where_they_broke() {
    let world = World::of(Sshd::builder().start(), |proxy| {
        proxy.cut_after(Direction::ToServer, 20_000_000, Cut::Reset).only_first(1)
    });
    let data = world.place.dir.path().join("data");
    fs_err::create_dir(&data).unwrap();
    let script = "head -c 15000000 /dev/urandom >one; head -c 15000000 /dev/urandom >two";
    let made = std::process::Command::new("sh").args(["-c", script]).current_dir(&data).status();
    assert!(made.unwrap().success());
    let task = world.task("cat DEPS/data/one DEPS/data/two | cksum").dependency(&data);
    let (result, broken, _) = world.run(&task, |_| {});
    let results = result.unwrap();
    assert_eq!(broken, 1);
    let mut sum = std::process::Command::new("sh");
    let sum = sum.args(["-c", "cat one two | cksum"]).current_dir(&data).output().unwrap().stdout;
    assert_eq!(results.stdout().unwrap(), sum);
    let sent = world.traffic(|one| one.to_server_bytes);
    assert!(sent < 33_000_000, "{sent}");
    assert_eq!(fs_err::read_dir(parts(&world.server)).unwrap().count(), 0);
    world.check_once();
}

/// Where dependencies are kept that have come in part.
fn parts(server: &Server) -> PathBuf {
    crate::support::machines(&server.inside("~/.cache/geto")).remove(0).join("parts")
}

/// At each step of the way in: login, program, request, script, the word to start, and what follows.
#[test]
fn a_link_that_breaks_anywhere_on_the_way_in_starts_the_task_once() {
    for bytes in (2_000..52_000).step_by(2_500) {
        eprintln!("{bytes}");
        let world = World::of(Sshd::builder().start(), |proxy| {
            proxy.cut_after(Direction::ToServer, bytes, Cut::Reset).only_first(1)
        });
        let mut task = world.task("echo out; echo file >f; exit 3");
        task.stdin = geto::Stdin::Bytes(vec![b'x'; 20_000]);
        let (result, ..) = world.run(&task, |_| {});
        match result {
            Ok(results) => {
                assert_eq!(results.outcome, Outcome::Exited { code: 3 });
                assert_eq!(results.stdout().unwrap(), b"out\n");
                assert_eq!(results.files.unwrap().count, 1);
                world.check_once();
            }
            // Nothing had been sent yet.
            Err(error) => {
                assert_eq!(error.exit_code().0, 125, "{error:?}");
                assert!(!world.runs.exists());
            }
        }
    }
}

#[test]
fn a_supervisor_that_is_killed_takes_its_task_with_it() {
    let world = World::new();
    let task = world.task("echo up; setsid sleep 1000 & sleep 1000");
    let (result, ..) = world.run(&task, |event| {
        if kind(event) == "stdout" {
            kill_named(&world.tasks()[0].join("supervisor"));
        }
    });
    let results = result.unwrap();
    assert!(matches!(&results.outcome, Outcome::Lost { reason } if reason.contains("supervisor")));
    assert_eq!(results.stdout().unwrap(), b"up\n");
    let left = world.server.processes();
    assert!(
        !left.iter().any(|process| process.arguments().contains(&"1000".to_owned())),
        "{left:?}"
    );
    world.check_once();
}

/// A link that is never made again ends in words that find the task.
#[test]
fn a_link_that_does_not_come_back_is_lost_and_the_task_goes_on() {
    let world = World::new();
    let task = world.task("echo up; sleep 1000");
    let name = world.server.name();
    let run = world.fleet.run_on_host(&task, name).reconnect(Duration::from_millis(300));
    let run = run.follow(|event| {
        if kind(&event) == "stdout" {
            world.proxy.refuse(true);
            world.proxy.cut(Cut::Reset);
        }
    });
    let error = runtime().block_on(run.into_future()).unwrap_err();
    assert_eq!((error.kind(), error.exit_code().0), (ErrorKind::Lost, 123), "{error:?}");
    let line = format!("geto attach -H {name} {}", error.task().unwrap());
    assert!(error.hint().unwrap().contains(&line), "{error:?}");
    assert_eq!(world.tasks().len(), 1);
    world.server.kill_processes();
}

/// Ctrl-C while there is no link is told once there is one.
#[test]
fn a_cancel_waits_for_the_link() {
    let world = World::new();
    let task = world.task("echo up; sleep 1000");
    let run = world.fleet.run_on_host(&task, world.server.name());
    let canceller = run.canceller();
    let proxy = Arc::new(&world.proxy);
    let run = run.follow(|event| match event {
        Event::Stdout(_) => {
            proxy.refuse(true);
            proxy.cut(Cut::Reset);
        }
        Event::LinkBroken { .. } => {
            canceller.cancel();
            proxy.refuse(false);
        }
        _ => {}
    });
    let results = runtime().block_on(run.into_future()).unwrap();
    assert_eq!(results.outcome, Outcome::Cancelled);
    world.check_once();
}

/// What the host has never heard of when the link is back is not sent any more after Ctrl-C.
#[test]
fn a_task_that_is_cancelled_is_not_sent_again() {
    let world = World::of(Sshd::builder().start(), |proxy| {
        // The last word of the request does not arrive.
        proxy.cut_after(Direction::ToServer, 26_000, Cut::Stall).only_first(1)
    });
    let mut task = world.task("sleep 1000");
    task.stdin = geto::Stdin::Bytes(vec![b'x'; 100_000]);
    let run = world.fleet.run_on_host(&task, world.server.name());
    let canceller = run.canceller();
    let run = run.follow(|event| {
        if let Event::LinkBroken { .. } = event {
            canceller.cancel();
        }
    });
    let error = runtime().block_on(run.into_future()).unwrap_err();
    assert_eq!((error.kind(), error.exit_code().0), (ErrorKind::Cancelled, 130), "{error:?}");
    assert!(!world.runs.exists());
    check_refused(&world.server);
}

/// Nor is what is being sent once more: the first request may be late, and find its way yet.
#[test]
fn a_task_that_is_cancelled_while_it_is_sent_again_is_refused_from_then_on() {
    let world = World::of(Sshd::builder().start(), |proxy| {
        proxy.cut_after(Direction::ToServer, 26_000, Cut::Stall).only_first(1)
    });
    let mut task = world.task("sleep 1000");
    task.stdin = geto::Stdin::Bytes(vec![b'x'; 100_000]);
    let run = world.fleet.run_on_host(&task, world.server.name());
    let canceller = run.canceller();
    let run = run.follow(|event| {
        // It has just been heard that nothing is there.
        if let Event::LinkBack { .. } = event {
            canceller.cancel();
        }
    });
    let error = runtime().block_on(run.into_future()).unwrap_err();
    assert_eq!((error.kind(), error.exit_code().0), (ErrorKind::Cancelled, 130), "{error:?}");
    assert!(!world.runs.exists());
    check_refused(&world.server);
}

/// The host has a tombstone of the task, and nothing else.
fn check_refused(server: &Server) {
    assert_eq!(tasks_left(server), Vec::<PathBuf>::new());
    assert_eq!(crate::support::below(&server.inside("~/.cache/geto"), "gone").len(), 1);
}

/// A task that waits keeps its place in the queue.
#[test]
fn a_link_that_breaks_while_a_task_waits_costs_it_no_place() {
    let world = World::new();
    let dir = world.place.dir.path();
    let (gate, order) = (dir.join("gate"), dir.join("order"));
    let mut host = world.place.host.clone();
    host.slots = Some(1);
    let mut direct = host.clone();
    direct.ssh_config_path = Some(world.server.ssh_config());
    let first = Task::new(Script::from_commands(
        "first",
        [format!("until [ -e '{}' ]; do sleep 0.02; done", gate.display())],
    ));
    let named = |name: &str| {
        Task::new(Script::from_commands(name, [format!("echo {name} >>'{}'", order.display())]))
    };
    let (second, third) = (named("second"), named("third"));
    let (waits, third_waits) = (Notify::new(), Notify::new());
    runtime().block_on(async {
        let fleet = world.place.fleet();
        fleet.run_on(&first, direct.clone()).detach().await.unwrap();
        let one = world.fleet.run_on(&second, host).follow(|event| match event {
            Event::Waiting { .. } => waits.notify_one(),
            Event::LinkBack { .. } => fs_err::write(&gate, "").unwrap(),
            _ => {}
        });
        let other = fleet.run_on(&third, direct).follow(|event| {
            if let Event::Waiting { .. } = event {
                third_waits.notify_one();
            }
        });
        let (one, other, ()) = tokio::join!(
            one.into_future(),
            async {
                waits.notified().await;
                other.await
            },
            async {
                third_waits.notified().await;
                world.proxy.cut(Cut::Reset);
            }
        );
        assert!(one.unwrap().outcome.success() && other.unwrap().outcome.success());
    });
    assert_eq!(fs_err::read_to_string(order).unwrap(), "second\nthird\n");
}

/// A file whose end was not on the disk when the host stopped may have its length all the same.
#[test]
fn dependencies_are_sent_anew_to_a_host_that_was_restarted() {
    let machine = Machine::new().own_boot_id();
    let world = World::of(Sshd::builder().machine(machine).start(), |proxy| {
        proxy.cut_after(Direction::ToServer, 10_000_000, Cut::Reset).only_first(1)
    });
    let data = world.place.dir.path().join("data");
    let text: Vec<u8> = numbers(2_000_000);
    fs_err::write(&data, &text).unwrap();
    let task = world.task("cat DEPS/data").dependency(&data);
    let (result, broken, _) = world.run(&task, |event| {
        if let Event::LinkBroken { .. } = event {
            let part = || fs_err::read_dir(parts(&world.server)).unwrap().next().unwrap().unwrap();
            let length = part().metadata().unwrap().len();
            fs_err::write(part().path(), vec![0; usize::try_from(length).unwrap()]).unwrap();
            let boot = world.server.inside("/proc/sys/kernel/random/boot_id");
            fs_err::write(boot, "another\n").unwrap();
        }
    });
    assert_eq!(broken, 1);
    assert_eq!(result.unwrap().stdout().unwrap(), text);
    world.check_once();
}

/// The link falls silent after the host has let the task in and before it is sent: the host, which hears
/// nothing of that for hours, counts the slot for that session until the run comes with another.
#[test]
fn a_run_does_not_wait_for_the_slot_of_its_own_dead_session() {
    let mut world = World::new();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut down = Host::new("down");
    down.ssh_config_path = Some(world.server.ssh_config_via(unused));
    world.place.host.slots = Some(1);
    let hosts = [world.place.host.clone(), down];
    let options = world.fleet.connect_options().clone();
    world.fleet =
        Fleet::new(hosts, world.place.dir.path().join("results")).with_connect_options(options);
    let task = world.task("echo here");
    let run = world.fleet.run_on_balanced_host(&task).follow(|event| match event {
        Event::Slot { .. } => world.proxy.cut(Cut::Stall),
        Event::Waiting { busy, .. } => panic!("waits for itself: {busy:?}"),
        _ => {}
    });
    let results = runtime().block_on(run.into_future()).unwrap();
    assert_eq!(results.stdout().unwrap(), b"here\n");
    world.check_once();
    world.end();
}
