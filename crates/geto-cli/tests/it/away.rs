//! An origin that moves to another network, and one that sleeps.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use geto_testkit::{Cable, Machine, Server, Sshd};
use rustix::process::Signal;

use crate::durable::signal;
use crate::support::{World, entries};

/// How long what is expected to happen may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A second of silence is asked about, and two more are the end of a link.
const ALIVE: &str = "ServerAliveInterval 1";
const ALIVE_LIMIT: Duration = Duration::from_secs(3);

/// An origin with a cable to its host.
struct Away {
    world: World,
    server: Server,
    cable: Cable,
}

/// A task that counts until a gate is open, and the geto that shows it.
struct Counting {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// What was read of either.
    out: String,
    said: String,
}

impl Away {
    fn of(sshd: Sshd) -> Self {
        let machine = Machine::new().own_network();
        let server = sshd.name("server1").machine(machine).everywhere().start();
        let cable = Cable::lay(&server);
        cable.give_address(2);
        let world = World::new();
        let ini = world.env.use_servers_at(&[(&server, cable.server())]);
        let config = ini.lines().find_map(|line| line.strip_prefix("ssh_config_path=")).unwrap();
        let text = fs_err::read_to_string(config).unwrap();
        fs_err::write(config, format!("Host *\n  {ALIVE}\n{text}")).unwrap();
        Self { world, server, cable }
    }

    fn run(&self, options: &[&str]) -> Counting {
        let cwd = self.world.env.cwd();
        let line = format!(
            "echo run >>'{0}/runs'; n=0; until [ -e '{0}/gate' ]; do n=$((n + 1)); echo $n; \
             echo $n >&2; sleep 0.01; done; echo $n >last; exit 7",
            cwd.display()
        );
        let mut args = vec!["run"];
        args.extend(options);
        args.extend(["-c", &line]);
        let mut command: Command = self.cable.at_origin(&self.world.command(&args));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut counting =
            Counting { child, stdout, stderr, out: String::new(), said: String::new() };
        counting.stdout.read_line(&mut counting.out).unwrap();
        assert_eq!(counting.out, "1\n");
        counting
    }

    /// Lets the task end, and looks that all of it has come, once.
    fn end(&self, counting: Counting) -> String {
        self.world.env.file("gate", "");
        let Counting { mut child, mut stdout, mut stderr, mut out, mut said } = counting;
        std::thread::scope(|scope| {
            scope.spawn(|| stdout.read_to_string(&mut out).unwrap());
            stderr.read_to_string(&mut said).unwrap();
        });
        assert_eq!(child.wait().unwrap().code(), Some(7), "{said}");
        let result = self.world.result();
        let last = fs_err::read_to_string(result.join("files/last")).unwrap();
        let last: u32 = last.trim().parse().unwrap();
        let numbers: String = (1..=last).map(|number| format!("{number}\n")).collect();
        assert!(out == numbers, "{out}");
        for name in ["stdout", "stderr"] {
            assert!(fs_err::read_to_string(result.join(name)).unwrap() == numbers, "{name}");
        }
        let runs = fs_err::read_to_string(self.world.env.cwd().join("runs")).unwrap();
        assert_eq!(runs, "run\n");
        let machines = entries(&self.server.inside("~/.cache/geto"));
        let begun = Instant::now();
        while !entries(&machines[0].join("tasks")).is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{said}");
        }
        // That nobody has its old address any more the server does not hear.
        self.server.kill_sessions();
        while !self.server.processes().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.server.processes());
        }
        said
    }
}

impl Counting {
    /// Waits until geto has said this.
    fn hear(&mut self, text: &str) {
        while !self.said.contains(text) {
            let count = self.stderr.read_line(&mut self.said).unwrap();
            assert_ne!(count, 0, "{}", self.said);
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// Stops the process, as all are while a machine sleeps; and lets it go on after that.
    fn sleep_while(&self, what: impl FnOnce()) {
        signal(&self.child, Signal::STOP);
        let begun = Instant::now();
        while !self.is_stopped() {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        what();
        signal(&self.child, Signal::CONT);
    }
}

const BROKE: &str = "the link to `server1` broke, making it again: ";
const BACK: &str = "the link to `server1` is back after ";

/// As when a laptop is carried to another network: nobody closes the old connection.
#[test]
fn an_origin_whose_address_changes_goes_on_at_the_exact_byte() {
    let away = Away::of(Sshd::builder());
    let mut counting = away.run(&[]);
    away.cable.give_address(3);
    counting.hear(BROKE);
    counting.hear(BACK);
    let said = away.end(counting);
    assert_eq!((said.matches(BROKE).count(), said.matches(BACK).count()), (1, 1), "{said}");
    for address in ["10.77.0.2", "10.77.0.3"] {
        away.server.wait_for_log(&format!("Accepted publickey for root from {address} "));
    }
}

/// It misses one look at the link, and not as many as it has slept through.
#[test]
fn a_geto_that_has_slept_finds_its_link_as_it_was() {
    let away = Away::of(Sshd::builder());
    let counting = away.run(&[]);
    counting.sleep_while(|| std::thread::sleep(ALIVE_LIMIT * 3 / 2));
    let said = away.end(counting);
    assert!(!said.contains(BROKE), "{said}");
}

/// The host has given up its link meanwhile, and the time for making it again has not begun before.
#[test]
fn a_geto_that_has_slept_for_longer_than_its_host_waits_goes_on_over_another_link() {
    let sshd = Sshd::builder().config("ClientAliveInterval 1\nClientAliveCountMax 1");
    let away = Away::of(sshd);
    let mut counting = away.run(&["--reconnect", "1s"]);
    counting.sleep_while(|| away.server.wait_for_log("Timeout, client not responding"));
    counting.hear(BROKE);
    counting.hear(BACK);
    away.end(counting);
}

/// Where there is no network before the sleep and for a while after it, only the latter counts.
#[test]
fn the_time_to_make_a_link_again_begins_anew_after_a_sleep() {
    let away = Away::of(Sshd::builder());
    let mut counting = away.run(&["--reconnect", "3s"]);
    away.cable.plug(false);
    counting.hear(BROKE);
    // The first tries fail at once: there is no way.
    std::thread::sleep(Duration::from_millis(300));
    counting.sleep_while(|| std::thread::sleep(Duration::from_secs(4)));
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(counting.child.try_wait().unwrap(), None, "it has given up");
    away.cable.plug(true);
    counting.hear(BACK);
    away.end(counting);
}
