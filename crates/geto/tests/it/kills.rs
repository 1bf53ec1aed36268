//! Processes of a host that are killed at each step of a task's way there and back.

use std::path::PathBuf;
use std::thread;

use geto::{Error, Event, Outcome, Results, Script, Stdin, Task};
use geto_testkit::{Direction, Machine, Server, Sshd, system_shells};

use crate::support::{pid_file, runtime};
use crate::world::{Whole, World, kill_named, numbers};

const WHOLE: Whole = Whole { numbers: 4_000, file_bytes: 20_000 };
/// So large that its end comes long after its beginning.
const STDIN_BYTES: usize = 100_000;

fn task(world: &World) -> Task {
    let mut task = world.task(&WHOLE.line());
    task.stdin = Stdin::Bytes(vec![b'x'; STDIN_BYTES]);
    task
}

/// Kills the shells that read the channels of the sessions.
fn kill_shells(server: &Server) {
    let all = server.processes();
    let is_sshd =
        |pid| all.iter().any(|process| process.pid == pid && process.name.starts_with("sshd"));
    for process in &all {
        if !process.name.starts_with("sshd") && is_sshd(process.parent) {
            process.kill();
        }
    }
}

/// Runs the task, and kills once so many bytes have gone that way.
fn kill_at(
    server: Server,
    (direction, bytes): (Direction, u64),
    kill: fn(&Server),
) -> (Server, bool) {
    let world = World::of(server, |proxy| proxy);
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            world.proxy.wait_for_bytes(direction, bytes);
            kill(&world.server);
        });
        world.run(&task(&world), |_| {}).0
    });
    let is_started = WHOLE.check(&world, result);
    (world.end(), is_started)
}

/// The shell that reads the channel, or sshd's own process: another session goes on.
#[test]
fn a_session_that_is_killed_anywhere_is_gone_on_for() {
    let world = World::new();
    assert!(WHOLE.check(&world, world.run(&task(&world), |_| {}).0));
    let size = world.traffic(|one| one.to_client_bytes);
    let mut server = world.end();
    let there = [5_000, 15_000, 30_000, 100_000].map(|bytes| (Direction::ToServer, bytes));
    let back = (0..9).map(|part| (Direction::ToClient, size * (part * 10 + 15) / 100));
    for place in there.into_iter().chain(back) {
        for kill in [kill_shells, Server::kill_sessions] {
            eprintln!("{place:?}");
            server = kill_at(server, place, kill).0;
        }
    }
}

/// Kills the session of the task, all of it but the supervisor and what that runs.
fn kill_session(world: &World) {
    let text = fs_err::read_to_string(world.tasks()[0].join("supervisor")).unwrap();
    let supervisor = text.split_whitespace().last().unwrap().split(':').next().unwrap();
    let all = world.server.processes();
    let is_sshd =
        |pid| all.iter().any(|process| process.pid == pid && process.name.starts_with("sshd"));
    let shells: Vec<u32> = all
        .iter()
        .filter(|process| !process.name.starts_with("sshd") && is_sshd(process.parent))
        .map(|process| process.pid)
        .collect();
    for process in &all {
        let is_its = shells.contains(&process.pid) || shells.contains(&process.parent);
        if is_its && process.pid.to_string() != supervisor {
            process.kill();
        }
    }
}

/// In the moment before the script starts, of which nobody is left to tell.
#[test]
fn a_session_that_is_killed_before_the_start_does_not_matter_to_the_script() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new().system_shell(&shell.path);
        let world = World::of(Sshd::builder().machine(machine).start(), |proxy| proxy);
        let gate = world.place.dir.path().join("gate");
        let world =
            world.with_setup(format!("until [ -e '{}' ]; do sleep 0.02; done", gate.display()));
        let result = thread::scope(|scope| {
            scope.spawn(|| {
                let pid =
                    || fs_err::read_to_string(pid_file(&world.tasks().into_iter().next()?)).ok();
                while !pid().is_some_and(|pid| pid.ends_with('\n')) {
                    thread::yield_now();
                }
                kill_session(&world);
                fs_err::write(&gate, "").unwrap();
            });
            world.run(&task(&world), |_| {}).0
        });
        assert!(WHOLE.check(&world, result));
        world.end();
    }
}

/// What a task without its supervisor comes to: it is known, or that it isn't is said.
fn check_lost(world: &World, result: Result<Results, Error>) {
    let starts = world.starts();
    match result {
        Ok(results) if matches!(results.outcome, Outcome::Exited { .. }) => {
            assert!(WHOLE.check(world, Ok(results)));
        }
        Ok(results) => {
            let Outcome::Lost { reason } = &results.outcome else { panic!("{results:?}") };
            assert!(reason.contains("supervisor was killed"), "{reason}");
            let whole = numbers(WHOLE.numbers);
            assert!(whole.starts_with(&results.stdout().unwrap()));
            assert!(whole.starts_with(&results.stderr().unwrap()));
            assert!(starts <= 1);
        }
        Err(error) => {
            let code = error.exit_code().0;
            assert!(code == 123 || code == 125, "{error:?}");
            assert!(starts <= usize::from(code == 123), "{error:?}");
        }
    }
}

/// Before the script is started, while it runs, and while its end is written down.
#[test]
fn a_supervisor_that_is_killed_anywhere_runs_nothing_twice() {
    let mut server = Sshd::builder().start();
    for file in ["supervisor", "pid", "started", "out", "over", "times", "room"] {
        eprintln!("{file}");
        let world = World::of(server, |proxy| proxy);
        let (result, ..) = thread::scope(|scope| {
            scope.spawn(|| {
                let at = |name: &str| {
                    let task = world.tasks().into_iter().next()?;
                    Some(if name == "pid" { pid_file(&task) } else { task.join(name) })
                };
                let is_there = |path: PathBuf| {
                    fs_err::metadata(&path)
                        .is_ok_and(|file| file.len() > 0 || path.ends_with("over"))
                };
                let mut seen = false;
                while !at(file).is_some_and(is_there) {
                    // It came and went too fast.
                    if seen && world.tasks().is_empty() {
                        return;
                    }
                    seen |= at("claim").is_some_and(is_there);
                }
                if let Some(path) = at("supervisor").filter(|path| path.exists()) {
                    let _gone = std::panic::catch_unwind(|| kill_named(&path));
                }
            });
            world.run(&task(&world), |_| {})
        });
        check_lost(&world, result);
        // Tickets of the dead are removed by the next session.
        let next = Task::new(Script::from_commands("next", ["echo next"]));
        let next = runtime()
            .block_on(async { world.fleet.run_on_host(&next, world.server.name()).await.unwrap() });
        assert_eq!(next.stdout().unwrap(), b"next\n");
        server = world.end();
    }
}

/// The link is cut and the supervisor killed before it is back: nobody has told of the end.
#[test]
fn a_supervisor_that_is_killed_while_there_is_no_link_is_told_of() {
    let world = World::new();
    let task = world.task("seq 4000; seq 4000 >&2; setsid sleep 1000 & sleep 1000");
    let mut killed = false;
    let (result, ..) = world.run(&task, |event| match event {
        Event::Stdout(_) if !killed => {
            killed = true;
            world.proxy.refuse(true);
            world.server.kill_sessions();
        }
        Event::LinkBroken { .. } => {
            kill_named(&world.tasks()[0].join("supervisor"));
            world.proxy.refuse(false);
        }
        _ => {}
    });
    let results = result.unwrap();
    assert!(matches!(&results.outcome, Outcome::Lost { reason } if reason.contains("supervisor")));
    assert_eq!(results.stdout().unwrap(), numbers(4_000));
    assert_eq!(results.stderr().unwrap(), numbers(4_000));
    assert_eq!(world.starts(), 1);
    let next = Task::new(Script::from_commands("next", ["echo next"]));
    runtime()
        .block_on(async { world.fleet.run_on_host(&next, world.server.name()).await.unwrap() });
    world.end();
}
