//! `geto map` when hosts, links and geto itself die, and when it is interrupted.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use geto_testkit::{Cut, Machine, Proxy, Sshd, system_shells};
use rustix::process::{Pid, Signal, kill_process};

use crate::map::Pair;
use crate::slow::Slow;
use crate::support::World;

fn lines(path: &Path) -> usize {
    fs_err::read_to_string(path).unwrap_or_default().lines().count()
}

/// Waits for something that others bring about; the test runner ends a test that hangs.
fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

#[test]
fn hosts_end_tasks_whose_origin_is_gone_under_each_shell() {
    let world = World::new();
    let servers: Vec<_> = system_shells()
        .iter()
        .map(|shell| {
            let name = shell.name.replace(' ', "-");
            let machine = Machine::new().named(&name).system_shell(&shell.path);
            Sshd::builder().name(&name).machine(machine).start()
        })
        .collect();
    world.env.use_servers(&servers.iter().collect::<Vec<_>>());
    let counted = world.env.cwd().join("counted");
    let script = format!("echo >>{}; exec sleep 1000", counted.display());
    let line = ["map", "--lease", "3s", "-j1", "-c", &script, ":::", "1", "2", "3", "4", "5", "6"];
    let mut geto = world.start(&line);
    until(|| lines(&counted) == 6);
    let runs = |server: &geto_testkit::Server| {
        server.processes().iter().any(|process| process.arguments() == ["sleep", "1000"])
    };
    for server in &servers {
        assert!(runs(server), "{}", server.name());
    }
    geto.kill().unwrap();
    geto.wait().unwrap();
    for server in &servers {
        until(|| !runs(server));
        until(|| server.processes().is_empty());
    }
}

/// Nobody knows what is left of it, so it is not started once more.
#[test]
fn a_task_whose_supervisor_was_killed_is_not_repeated() {
    let world = World::new();
    let counted = world.env.cwd().join("counted");
    let script = format!("echo >>{}; kill -9 $PPID; exec sleep 1000", counted.display());
    let args = ["map", "-H", "local", "--no-slot", "-j1", "-c", &script, ":::", "1", "2"];
    let ran = world.geto(&args);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert_eq!(lines(&counted), 2, "{ran:?}");
}

#[test]
fn tasks_of_a_host_that_dies_run_elsewhere_once_they_are_dead() {
    let world = World::new();
    let start = |name: &str| Sshd::builder().name(name).machine(Machine::new().named(name)).start();
    let (a, b) = (start("a"), start("b"));
    let proxy = Proxy::builder(a.address()).start();
    world.env.use_servers_at(&[(&a, proxy.address()), (&b, b.address())]);
    let counted = world.env.cwd().join("counted");
    let script = format!(
        "echo $1 $GETO_HOST >>{}; [ $GETO_HOST = b ] || exec sleep 1000",
        counted.display()
    );
    let geto = world.start(&["map", "--lease", "2s", "-j1", "-c", &script, ":::", "1", "2", "3"]);
    until(|| lines(&counted) == 3);
    proxy.refuse(true);
    proxy.cut(Cut::Reset);
    until(|| lines(&counted) == 4);
    let left = a.processes();
    assert!(left.iter().all(|process| process.arguments() != ["sleep", "1000"]), "{left:?}");
    let ran = geto.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let text = fs_err::read_to_string(&counted).unwrap();
    let (first, last) = (text.lines().find(|line| line.ends_with('a')), text.lines().last());
    assert_eq!(first.unwrap().replace('a', "b"), last.unwrap(), "{text}");
}

#[test]
fn ctrl_c_starts_no_more_then_ends_then_leaves() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let gate = pair.world.env.cwd().join("gate");
    let script = format!(
        "echo >>{}; until [ -e {} ]; do sleep 0.1; done",
        counted.display(),
        gate.display()
    );
    let start = || {
        let before = lines(&counted);
        let mut geto =
            pair.world.start(&["map", "-H", "a", "-j1", "-c", &script, ":::", "1", "2", "3"]);
        until(|| lines(&counted) > before);
        let said = BufReader::new(geto.stderr.take().unwrap());
        (geto, said)
    };
    let interrupt = |geto: &std::process::Child| {
        let pid = Pid::from_raw(i32::try_from(geto.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    };
    let wait_for = |said: &mut BufReader<_>, text: &str| {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "never said: {text}");
        }
    };
    // Once: what runs may end.
    let (mut geto, mut said) = start();
    interrupt(&geto);
    wait_for(&mut said, "no more tasks are started; 1 run to their end");
    fs_err::write(&gate, "").unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("1 task: 1 ok"), "{rest}");
    assert_eq!(geto.wait().unwrap().code(), Some(130));
    assert_eq!(lines(&counted), 1);
    fs_err::remove_file(&gate).unwrap();
    // Twice: it is ended.
    let (mut geto, mut said) = start();
    interrupt(&geto);
    wait_for(&mut said, "no more tasks are started");
    interrupt(&geto);
    wait_for(&mut said, "ending 1 tasks that run");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("1 cancelled"), "{rest}");
    assert_eq!(geto.wait().unwrap().code(), Some(130));
    pair.assert_clean();
    // Three times: it is left. A task that takes its time to end is still there.
    let script = format!("trap '' TERM; {script}");
    let mut geto = pair.world.start(&["map", "-H", "a", "-j1", "-c", &script, ":::", "1"]);
    let mut said = BufReader::new(geto.stderr.take().unwrap());
    until(|| lines(&counted) == 3);
    for text in ["no more tasks are started", "ending 1 tasks that run", "goes on on host `a`"] {
        interrupt(&geto);
        wait_for(&mut said, text);
    }
    assert_eq!(geto.wait().unwrap().code(), Some(130));
    fs_err::write(&gate, "").unwrap();
}

#[test]
fn failures_halt_the_batch_and_are_repeated_as_asked() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let script = format!("echo $1 >>{}; exit $1", counted.display());
    let run = |options: &[&str], inputs: &[&str]| {
        drop(fs_err::remove_file(&counted));
        let all = [&["map", "-H", "a", "-j1"], options, &["-c", &script, ":::"], inputs].concat();
        let ran = pair.world.geto(&all);
        (ran.code(), fs_err::read_to_string(&counted).unwrap().replace('\n', " "), ran.stderr)
    };
    let (code, text, said) = run(&["--max-failures", "2"], &["1", "0", "2", "0", "0"]);
    assert_eq!((code, text.as_str()), (2, "1 0 2 "), "{said}");
    assert!(said.contains("no more tasks are started: soon,fail=2"), "{said}");
    let (code, text, _) = run(&["--halt", "now,success=1"], &["1", "0", "2"]);
    assert_eq!((code, text.as_str()), (1, "1 0 "));
    let (code, text, said) = run(&["--retries", "2", "--retry-exit", "75"], &["3", "75"]);
    assert_eq!((code, text.matches("75").count(), text.matches('3').count()), (2, 3, 1), "{said}");
    assert!(said.contains("2 tried again"), "{said}");
    pair.assert_clean();
}

#[test]
fn a_second_copy_of_a_straggler_wins_and_the_first_is_ended() {
    let pair = Pair::start();
    let first = pair.world.env.cwd().join("first");
    let script = format!(
        "[ $1 != 6 ] || ! mkdir {} 2>/dev/null || exec sleep 1000; echo $1",
        first.display()
    );
    let line = ["map", "-q", "--speculate", "-c", &script, ":::", "1", "2", "3", "4", "5", "6"];
    let ran = pair.world.geto(&line);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(ran.text().lines().filter(|line| *line == "6").count(), 1, "{ran:?}");
    for server in &pair.servers {
        let left = server.processes();
        assert!(left.iter().all(|process| process.arguments() != ["sleep", "1000"]), "{left:?}");
    }
    pair.assert_clean();
}

/// The file system that files go to may take its time, while leases of others are to be kept.
#[test]
fn files_that_take_long_to_place_end_no_other_task() {
    let world = World::new();
    let slow = Slow::new(&world);
    let gate = world.env.cwd().join("gate");
    let counted = world.env.cwd().join("counted");
    let script = format!(
        "[ $1 = first ] && exec touch file; echo >>{}; until [ -e {} ]; do sleep 0.1; done",
        counted.display(),
        gate.display()
    );
    let options = ["map", "-H", "local", "--no-slot", "-j2", "--lease", "2s", "--into", "slow/{}"];
    let line = [&options[..], &["-c", &script, ":::", "first", "second"]].concat();
    let geto = world.start(&line);
    until(|| world.results().iter().any(|result| result.join("files/file").exists()));
    until(|| lines(&counted) == 1);
    // What was told until then is over.
    let leases = || world.tasks().into_iter().filter_map(|task| read(&task.join("lease"))).max();
    let lease = leases().unwrap();
    until(|| uptime() > lease + 1);
    fs_err::write(&gate, "").unwrap();
    slow.go_on();
    let ran = geto.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(lines(&counted), 1, "{ran:?}");
    assert!(slow.place.join("first/file").exists());
}

/// The first number in a file, without its fraction.
fn read(path: &Path) -> Option<u64> {
    let text = fs_err::read_to_string(path).ok()?;
    text.split(['.', ' ', '\n']).next()?.parse().ok()
}

fn uptime() -> u64 {
    read(Path::new("/proc/uptime")).unwrap()
}
