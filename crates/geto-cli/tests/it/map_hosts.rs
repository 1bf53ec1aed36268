//! Hosts of `geto map` that are full, slow, or die.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr};

use geto_testkit::{Machine, Sshd};
use rustix::process::{Pid, Signal, kill_process};

use crate::map::Pair;
use crate::slots::{end, hold, open_gate};
use crate::support::{World, entries};

fn lines(path: &std::path::Path) -> Vec<String> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits for something that others bring about; the test runner ends a test that hangs.
fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

/// geto, and what it says.
struct Geto {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Geto {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut child = world.start(args);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// Waits for a line that says this.
    fn says(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "never said: {text}");
        }
    }

    /// Waits for its end; returns its exit code and what it wrote to stdout.
    fn end(mut self) -> (Option<i32>, String) {
        std::io::copy(&mut self.stderr, &mut std::io::sink()).unwrap();
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

/// As `geto run` does, and in one line with it.
#[test]
fn a_task_waits_in_line_where_others_have_all_slots() {
    let world = World::new();
    let server = Sshd::builder().name("h1").machine(Machine::new().named("h1")).start();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&format!("{ini}[h1]\nslots=1\n"));
    let (holder, _) = hold(&world, &[]);
    let order = world.env.cwd().join("order");
    let script = format!("echo $1 >>{}", order.display());
    let line = ["map", "-v", "-j2", "--lease", "3s", "-c", &script, ":::", "first", "last"];
    let mut map = Geto::start(&world, &line);
    map.says("waits: 1 of 1 slots taken on host `h1`; 0 ahead");
    let mut run = Geto::start(&world, &["run", "-c", &script, "--", "second"]);
    run.says("1 ahead");
    // Its lease does not run out while it waits: what it was given at first is over.
    let tasks = entries(&server.home().join(".cache/geto/h1/tasks")).into_iter();
    let leases: Vec<_> = tasks.filter_map(|task| lines(&task.join("lease")).pop()).collect();
    let [lease] = &leases[..] else { panic!("{leases:?}") };
    until(|| {
        let uptime = lines("/proc/uptime".as_ref())[0].split('.').next().unwrap().to_owned();
        uptime.parse::<u64>().unwrap() > lease.parse::<u64>().unwrap() + 1
    });
    open_gate(&world);
    assert_eq!(map.end().0, Some(0));
    assert_eq!(run.end().0, Some(0));
    assert_eq!(end(holder).0, Some(0));
    // One of its two tasks came before, and asked for the other slot only when it had been let in.
    let order = lines(&order);
    assert_eq!((order.len(), order[1].as_str()), (3, "second"), "{order:?}");
}

/// Who waits in line has not been started, and is not any more.
#[test]
fn an_interrupt_takes_tasks_out_of_the_line() {
    let world = World::new();
    let server = Sshd::builder().name("h1").machine(Machine::new().named("h1")).start();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&format!("{ini}[h1]\nslots=1\n"));
    let (holder, _) = hold(&world, &[]);
    let mut map = Geto::start(&world, &["map", "-v", "-c", "echo ran", ":::", "1", "2"]);
    map.says("0 ahead");
    kill_process(Pid::from_child(&map.child), Signal::INT).unwrap();
    map.says("1 task: 0 ok, 1 cancelled");
    assert_eq!(map.end(), (Some(130), String::new()));
    open_gate(&world);
    assert_eq!(end(holder).0, Some(0));
}

#[test]
fn a_host_that_turns_slow_gets_no_tasks_for_a_while() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    // The fifth task on `b` and those after it take far longer than any on `a`.
    let script = format!(
        "echo $GETO_HOST >>{0}; [ $GETO_HOST = a ] || [ $(grep -c b {0}) -lt 5 ] || sleep 2; sleep 0.1",
        counted.display()
    );
    let line = ["map", "--json", "-j1", "--inputs", "list", "-c", &script];
    let inputs: String = (0..120).map(|number| format!("{number}\n")).collect();
    pair.world.env.file("list", &inputs);
    let ran = pair.world.geto(&line);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let objects: Vec<serde_json::Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let slow: Vec<_> = objects.iter().filter(|object| object["event"] == "slow").collect();
    assert_eq!(slow[0]["host"], "b", "{slow:?}");
    assert!(slow.iter().all(|slow| slow["host"] == "b"), "{slow:?}");
    assert_eq!(lines(&counted).len(), 120);
    pair.assert_clean();
}

#[test]
fn tasks_whose_sessions_are_killed_run_once_and_leave_nothing() {
    let pair = Pair::start();
    let [a, _] = &pair.servers;
    let counted = pair.world.env.cwd().join("counted");
    let gate = pair.world.env.cwd().join("gate");
    let script = format!(
        "echo $1 $GETO_HOST >>{}; case $GETO_HOST in a) until [ -e {} ]; do sleep 0.05; done;; esac",
        counted.display(),
        gate.display()
    );
    let line = ["map", "-j2", "--lease", "3s", "-c", &script, ":::", "1", "2", "3", "4", "5", "6"];
    let geto = pair.world.start(&line);
    until(|| lines(&counted).iter().filter(|line| line.ends_with('a')).count() == 2);
    // The tasks go on, and geto goes on with them.
    a.kill_sessions();
    fs_err::write(&gate, "").unwrap();
    let ran = geto.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let mut started: Vec<_> = lines(&counted).iter().map(|line| line[..1].to_owned()).collect();
    started.sort_unstable();
    assert_eq!(started, ["1", "2", "3", "4", "5", "6"]);
    pair.assert_clean();
}

#[test]
fn host_retries_say_how_often_a_host_may_fail_a_task() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    // Nothing can be started where there is no place for it.
    for server in &pair.servers {
        fs_err::write(server.home().join(".cache"), "no directory").unwrap();
    }
    let script = format!("echo >>{}", counted.display());
    for (retries, tried) in [("0", 0), ("2", 2)] {
        let ran =
            pair.world.geto(&["map", "--host-retries", retries, "-j1", "-c", &script, ":::", "1"]);
        assert_eq!(ran.code(), 1, "{ran:?}");
        assert!(ran.stderr.contains("1 not started"), "{ran:?}");
        let again = format!("{tried} tried again");
        assert_eq!(ran.stderr.contains("tried again"), tried > 0, "{ran:?}");
        assert!(tried == 0 || ran.stderr.contains(&again), "{ran:?}");
    }
    assert!(lines(&counted).is_empty());
}

/// The machine is gone with what ran there, in the middle of it.
#[test]
fn a_task_that_was_lost_with_its_server_is_charged_to_host_retries() {
    for (retries, expected) in [("0", (1, "3 ok, 1 lost")), ("1", (0, "4 ok, 1 tried again"))] {
        let world = World::new();
        let start =
            |name: &str| Sshd::builder().name(name).machine(Machine::new().named(name)).start();
        let (a, b) = (start("a"), start("b"));
        let ini = world.env.use_servers(&[&a, &b]);
        world.env.write_geto_ini(&format!("{ini}[a]\nslots=1\n[b]\nslots=3\n"));
        let counted = world.env.cwd().join("counted");
        let gate = world.env.cwd().join("gate");
        let script = format!(
            "echo $GETO_HOST >>{}; [ $GETO_HOST = b ] || exec sleep 1000; until [ -e {} ]; do sleep 0.05; done",
            counted.display(),
            gate.display()
        );
        let line = ["map", "--lease", "2s", "--host-retries", retries, "-c", &script];
        let geto = world.start(&[&line[..], &[":::", "1", "2", "3", "4"]].concat());
        until(|| lines(&counted).len() == 4);
        assert_eq!(lines(&counted).iter().filter(|host| *host == "a").count(), 1);
        drop(a);
        fs_err::write(&gate, "").unwrap();
        let ran = geto.wait_with_output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(expected.0), "{said}");
        assert!(said.contains(&format!("4 tasks: {}; ", expected.1)), "{said}");
        assert_eq!(lines(&counted).len(), if retries == "0" { 4 } else { 5 }, "{said}");
    }
}

/// By what is sent, too: only what has changed is run again.
#[test]
fn a_task_whose_content_has_changed_is_run_again() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let file = |name: &str, text: &str| pair.world.env.file(name, text);
    let script =
        |text: &str| file("job.sh", &format!("echo $1 >>{}; cat $1 {text}", counted.display()));
    let run = |resume: &[&str]| {
        drop(fs_err::remove_file(&counted));
        let line = [&["map", "--log", "log", "--resume-key", "content"], resume].concat();
        let ran = pair
            .world
            .geto(&[&line, &["-d", "{}", "job.sh", "{dep}", ":::", "x", "y"][..]].concat());
        assert_eq!(ran.code(), 0, "{ran:?}");
        let mut ran = lines(&counted);
        ran.sort_unstable();
        ran
    };
    script("");
    file("x", "1");
    file("y", "1");
    assert_eq!(run(&[]), ["DEPS/x", "DEPS/y"]);
    assert_eq!(run(&["--resume"]), [""; 0]);
    file("x", "2");
    assert_eq!(run(&["--resume"]), ["DEPS/x"]);
    script("/dev/null");
    assert_eq!(run(&["--resume"]), ["DEPS/x", "DEPS/y"]);
    pair.assert_clean();
}
