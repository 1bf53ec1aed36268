//! A geto that is killed, and a disk that is full here, at each step of a task's way.

#![expect(clippy::print_stderr, reason = "a test that fails names the step it was at")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use geto_testkit::{Cut, Direction, Proxy, Server, Sshd};
use serde_json::Value;

use crate::support::{World, entries, names};

/// How long what is expected to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host behind a proxy, and a task that counts its starts.
struct Faults {
    world: World,
    server: Server,
    proxy: Proxy,
    runs: PathBuf,
}

impl Faults {
    fn of(server: Server) -> Self {
        let world = World::new();
        let proxy = Proxy::builder(server.address()).start();
        world.env.use_servers_at(&[(&server, proxy.address())]);
        world.env.file("input", vec![b'x'; 100_000]);
        let runs = world.env.cwd().join("runs");
        Self { world, server, proxy, runs }
    }

    fn line(&self, rest: &str) -> String {
        format!("echo run >>'{}'; {rest}", self.runs.display())
    }

    fn starts(&self) -> usize {
        fs_err::read_to_string(&self.runs).unwrap_or_default().lines().count()
    }

    /// What the host tells of, once it is past the beginning.
    fn tasks(&self) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let ran = self.world.geto(&["ps", "--json"]);
            assert_eq!(ran.code(), 0, "{ran:?}");
            let tasks: Vec<Value> =
                ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if !tasks.iter().any(|task| task["state"] == "sending") {
                return tasks;
            }
            assert!(begun.elapsed() < PATIENCE, "{tasks:?}");
        }
    }

    /// Looks that nothing is left on either side.
    fn end(self) -> Server {
        let Self { world, server, proxy, .. } = self;
        // What a killed geto leaves here is removed after an hour.
        for path in entries(&world.local_work_path()) {
            let touched = Command::new("touch").args(["-d", "2 hours ago"]).arg(path).status();
            assert!(touched.unwrap().success());
        }
        assert_eq!(world.geto(&["clean"]).code(), 0);
        let here = names(&world.local_work_path());
        assert!(!here.iter().any(|name| name.starts_with('.')), "{here:?}");
        drop(proxy);
        let begun = Instant::now();
        loop {
            let left: Vec<_> =
                server.processes().iter().map(geto_testkit::Process::arguments).collect();
            let machines = entries(&server.inside("~/.cache/geto"));
            let tasks: Vec<_> =
                machines.iter().flat_map(|machine| entries(&machine.join("tasks"))).collect();
            let locks = entries(&world.env.tmp().join("geto_lock"));
            let tickets: Vec<_> = locks
                .iter()
                .flat_map(|machine| names(machine))
                .filter(|name| name.starts_with("t."))
                .collect();
            if left.is_empty() && tasks.is_empty() && tickets.is_empty() {
                return server;
            }
            assert!(begun.elapsed() < PATIENCE, "left: {left:?} {tasks:?} {tickets:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

const WHOLE: &str = "seq 4000; seq 4000 >&2; yes | head -c 300000 >f; exit 4";

fn run(faults: &Faults) -> Child {
    let line = faults.line(WHOLE);
    let mut command = faults.world.command(&["run", "-q", "--stdin=input", "-c", &line]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn numbers(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_geto_that_is_killed_anywhere_is_gone_on_for_or_has_started_nothing() {
    let faults = Faults::of(Sshd::builder().name("server1").start());
    assert_eq!(run(&faults).wait().unwrap().code(), Some(4));
    let connections = faults.proxy.connections();
    let size: u64 = connections.iter().map(|one| one.to_client_bytes).sum();
    let mut server = faults.end();
    let there = [3_000, 12_000, 30_000, 80_000, 130_000].map(|bytes| (Direction::ToServer, bytes));
    // Not the very end: no run sends as many frames as another.
    let back = (1..=10).map(|part| (Direction::ToClient, size * part / 10 - 5_000));
    for (direction, bytes) in there.into_iter().chain(back) {
        eprintln!("{direction:?} {bytes}");
        let faults = Faults::of(server);
        let mut geto = run(&faults);
        faults.proxy.wait_for_bytes(direction, bytes);
        geto.kill().unwrap();
        geto.wait().unwrap();
        match &faults.tasks()[..] {
            [] => {
                let results = faults.world.results();
                let home = results.iter().filter(|path| path.join("outcome.json").exists());
                let home = home.filter(|path| !path.to_string_lossy().contains("/.")).count();
                assert!(faults.starts() == home && home <= 1, "{home}");
            }
            [task] => {
                let id = task["task"].as_str().unwrap();
                let ran = faults.world.geto(&["attach", "-q", id]);
                assert_eq!((ran.code(), ran.text()), (4, numbers(4_000)), "{ran:?}");
                let results = faults.world.local_work_path().join(id);
                assert_eq!(fs_err::read_to_string(results.join("stderr")).unwrap(), numbers(4_000));
                let file = fs_err::read_to_string(results.join("files/f")).unwrap();
                assert_eq!(file, "y\n".repeat(150_000));
                assert_eq!(faults.starts(), 1);
            }
            tasks => panic!("{tasks:?}"),
        }
        server = faults.end();
    }
}

/// Output, or files, for which there is no room here, after a link that broke: that is said, and the
/// host keeps all.
#[test]
fn a_disk_that_is_full_here_after_the_link_is_back_loses_nothing() {
    let mut server = Sshd::builder().name("server1").start();
    for fill in ["yes | head -c 3000000", "yes | head -c 3000000 >f; echo end"] {
        eprintln!("{fill}");
        let faults = Faults::of(server);
        let gate = faults.world.env.cwd().join("gate");
        let line = faults.line(&format!(
            "seq 4000; until [ -e '{}' ]; do sleep 0.02; done; {fill}; exit 4",
            gate.display()
        ));
        let results = faults.world.local_work_path();
        fs_err::create_dir_all(&results).unwrap();
        let mut command = faults.world.env.command("/usr/bin/unshare");
        let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
        command.args(["--mount", "sh", "-c", mount]).arg(&results);
        command.args([env!("CARGO_BIN_EXE_geto"), "run", "-c", &line]);
        let ran = thread::scope(|scope| {
            scope.spawn(|| {
                faults.proxy.wait_for_bytes(Direction::ToClient, 15_000);
                faults.proxy.cut(Cut::Reset);
                fs_err::write(&gate, "").unwrap();
            });
            faults.world.env.run(&mut command)
        });
        assert_eq!(ran.code(), 123, "{ran:?}");
        assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
        let [task] = &faults.tasks()[..] else { panic!("{ran:?}") };
        let id = task["task"].as_str().unwrap();
        let ran = faults.world.geto(&["attach", "-q", "--rm", "-H", "server1", id]);
        assert_eq!(ran.code(), 4, "{ran:?}");
        let whole = "y\n".repeat(1_500_000);
        if fill.contains(">f") {
            assert_eq!(ran.text(), format!("{}end\n", numbers(4_000)));
            assert!(fs_err::read_to_string(results.join(id).join("files/f")).unwrap() == whole);
        } else {
            assert!(ran.text() == numbers(4_000) + &whole);
        }
        assert_eq!(faults.starts(), 1);
        server = faults.end();
    }
}
