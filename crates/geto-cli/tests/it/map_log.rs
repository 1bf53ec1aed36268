//! What the log of `geto map` says, and what hosts keep of tasks that are not in it.

use geto_testkit::{Cut, Direction, Machine, Proxy, Sshd};

use crate::map::Pair;
use crate::support::{World, entries};

fn lines(path: &std::path::Path) -> Vec<String> {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

impl Pair {
    /// The directories of tasks on both hosts.
    pub(crate) fn tasks(&self) -> Vec<std::path::PathBuf> {
        let homes = self.servers.iter().map(|server| server.home().join(".cache/geto"));
        let machines = homes.flat_map(|home| entries(&home));
        machines.flat_map(|machine| entries(&machine.join("tasks"))).collect()
    }
}

/// It has run: not even `--retries` runs it once more. `--resume` brings what there was no room for.
#[test]
fn a_task_whose_results_were_left_on_its_host_runs_once() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let script = format!("echo $1 >>{}; head -c 10000 /dev/zero >left", counted.display());
    let run = |options: &[&str]| {
        let line =
            [&["map", "--log", "log", "--retries", "3", "--into", "out/{}"], options].concat();
        pair.world.geto(&[&line, &["-c", &script, ":::", "x"][..]].concat())
    };
    let ran = run(&["--max-results", "5000"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert_eq!(lines(&counted), ["x"], "{ran:?}");
    assert_eq!(pair.tasks().len(), 1, "{ran:?}");
    assert!(ran.stderr.contains("1 with results that did not get to their place"), "{ran:?}");
    assert!(ran.stderr.contains("the host keeps all in `/"), "{ran:?}");
    let log = lines(&pair.world.env.cwd().join("log"));
    assert_eq!(log[1].split('\t').nth(6), Some("123"), "{log:?}");
    let ran = run(&["--resume"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(lines(&counted), ["x"], "{ran:?}");
    let left = pair.world.env.cwd().join("out/x/left");
    assert_eq!(fs_err::metadata(left).unwrap().len(), 10_000);
    pair.assert_clean();
}

#[test]
fn a_log_that_finds_no_room_ends_the_batch_and_loses_no_task() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let script = format!("echo $1 >>{}; echo $1 >left", counted.display());
    let logs = pair.world.env.cwd().join("logs");
    fs_err::create_dir(&logs).unwrap();
    // A page and a half of lines.
    let shell = "mount -t tmpfs -o size=4k tmpfs \"$0\" && seq 60 >list && { \"$@\"; echo $? >code; \
        cp logs/log part; mount -o remount,size=1m \"$0\" && \"$@\" --resume; echo $? >>code; cp logs/log whole; }";
    let mut command = pair.world.env.command("/usr/bin/unshare");
    command.args(["--mount", "sh", "-c", shell]).arg(&logs);
    command.args([env!("CARGO_BIN_EXE_geto"), "map", "--inputs", "list", "--into", "out/{}"]);
    command.args(["-c", &script, "--log", "logs/log"]);
    let ran = pair.world.env.run(&mut command);
    let cwd = pair.world.env.cwd();
    assert_eq!(lines(&cwd.join("code")), ["125", "0"], "{ran:?}");
    let said: Vec<_> =
        ran.stderr.lines().filter(|line| line.contains("failed to write the log")).collect();
    assert_eq!(said.len(), 1, "{ran:?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    // Nothing is torn, and what is not there is named.
    let part = fs_err::read_to_string(cwd.join("part")).unwrap();
    assert!(part.ends_with('\n'), "{part}");
    let named = ran
        .stderr
        .split("ended and are not in the log: ")
        .nth(1)
        .and_then(|rest| rest.split([';', 'a']).next());
    for sequence in named.unwrap_or_else(|| panic!("{ran:?}")).trim().split(", ") {
        let _number: u64 = sequence.parse().unwrap();
        assert!(!part.contains(&format!("\n{sequence}\t")), "{ran:?}");
    }
    let mut counted = lines(&counted);
    counted.sort_by_key(|line| line.parse::<u32>().unwrap());
    let all: Vec<_> = (1..=60).map(|number: u32| number.to_string()).collect();
    assert_eq!(counted, all, "{ran:?}");
    let logged = lines(&cwd.join("whole"));
    let mut logged: Vec<u32> =
        logged[1..].iter().map(|line| line.split('\t').next().unwrap().parse().unwrap()).collect();
    logged.sort_unstable();
    assert_eq!(logged, (1..=60).collect::<Vec<_>>(), "{ran:?}");
    pair.assert_clean();
}

/// A session that is cut has not removed what it was told to.
#[test]
fn a_link_that_is_cut_between_two_tasks_leaves_nothing_listed() {
    let world = World::new();
    let server = Sshd::builder().name("a").machine(Machine::new().named("a")).start();
    // Where the host is told to remove the first is found by trying.
    for bytes in (40_000..44_000).step_by(250) {
        let proxy = Proxy::builder(server.address())
            .cut_after(Direction::ToServer, bytes, Cut::Reset)
            .only_first(1)
            .start();
        world.env.use_servers_at(&[(&server, proxy.address())]);
        let ran = world.geto(&["map", "-j1", "-c", "echo $1", ":::", "1", "2", "3", "4"]);
        assert_eq!(ran.code(), 0, "{bytes}: {ran:?}");
        let machines = entries(&server.home().join(".cache/geto"));
        let tasks: Vec<_> = machines.iter().flat_map(|m| entries(&m.join("tasks"))).collect();
        assert!(tasks.is_empty(), "{bytes}: {tasks:?} {ran:?}");
    }
}
