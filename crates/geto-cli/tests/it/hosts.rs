//! `geto hosts`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::thread;

use geto_testkit::{Machine, Proxy, Sshd, program};
use serde_json::Value;

use crate::slots::{end, hold, open_gate};
use crate::support::World;

/// Writes a program into a directory of programs, and returns a PATH that has it first.
pub(crate) fn fake_program(world: &World, name: &str, text: &str) -> String {
    let file = world.env.file(format!("bin/{name}"), format!("#!/bin/sh\n{text}\n"));
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", file.parent().unwrap().display())
}

/// Adds a host to geto.ini where nobody says a word: connecting succeeds, and that is all.
fn add_silent_host(world: &World, ini: &str) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    world.env.write_geto_ini(&format!("{ini}silent=127.0.0.1\n[silent]\nport={port}\n"));
    listener
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// Reads what a program prints until it has printed `text`.
fn read_until(from: &mut impl std::io::Read, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut piece = [0; 1024];
        let read = from.read(&mut piece).unwrap();
        assert!(read > 0, "it ended without `{text}`: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    seen
}

/// Starts `geto` on a terminal of its own.
fn on_terminal(world: &World, arguments: &str) -> Child {
    let mut command = world.env.command(program("script", "bsdutils"));
    let line = format!("'{}' {arguments}", env!("CARGO_BIN_EXE_geto"));
    command.args(["-qec", &line, "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[test]
fn hosts_are_shown_with_what_is_wrong_with_them() {
    let (up, down) = (Sshd::builder().name("up").start(), Sshd::builder().name("down").start());
    let world = World::new();
    // Those that answer come first, wherever geto.ini has them.
    world.env.use_servers(&[&down, &up]);
    drop(down);
    let ran = world.geto(&["hosts", "-v"]);
    assert_eq!(ran.code(), 1);
    let text = ran.text();
    let lines: Vec<Vec<&str>> = text.lines().map(words).collect();
    let titles = [
        "HOST",
        "ADDRESS",
        "STATE",
        "LOGIN",
        "SLOTS",
        "RUNNING",
        "LOAD",
        "CPUS",
        "FREE MEMORY",
        "GPUS",
        "FREE DISK",
        "SYSTEM",
        "SHELL",
    ];
    assert_eq!(lines[0], titles);
    assert_eq!(lines[1][..3], ["up", "up", "ready"]);
    assert_eq!(lines[1].len(), titles.len(), "{text}");
    assert!(!lines[1].contains(&"?"), "{text}");
    assert_eq!(lines[2], ["down", "down", "unreachable"]);
    assert!(ran.stderr.contains("hosts are those of `$XDG_CONFIG_HOME/geto/geto.ini`"), "{ran:?}");
    let error = "geto: error: failed to connect to `<address>` on host `down`\n";
    assert!(ran.stderr.contains(error), "{ran:?}");
    assert_eq!(world.geto(&["hosts", "-H", "up"]).code(), 0);
}

#[test]
fn a_host_says_what_it_has() {
    let world = World::new();
    let list = "echo 'GPU 0: A (UUID: x)'; echo '  MIG 1g: B'; echo 'GPU 1: A (UUID: y)'";
    let path = fake_program(&world, "nvidia-smi", list);
    let server = Sshd::builder().name("server1").set_env("PATH", &path).start();
    let ini = world.env.use_servers(&[&server]);
    let ran = world.geto(&["hosts", "--json"]);
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{ran:?}");
    let object = &objects(&ran.text())[0];
    assert_eq!((&object["host"], &object["state"]), (&"server1".into(), &"ready".into()));
    assert_eq!(object["gpus"], 2);
    assert!(object["processors"].as_u64().unwrap() > 0);
    assert!(object["load"].as_f64().unwrap() >= 0.0);
    assert!(object["login"].as_f64().unwrap() > 0.0);
    assert!(object["free_memory"].as_u64().unwrap() > 1 << 20);
    assert!(object["free_disk"].as_u64().is_some());
    assert_eq!(object["user"], server.user());
    assert_eq!(object["missing"], Value::Array(Vec::new()));
    assert_eq!(object.get("faults"), None);
    // geto.ini knows better.
    world.env.write_geto_ini(&format!("{ini}[server1]\ngpus=5\n"));
    assert_eq!(objects(&world.geto(&["hosts", "--json"]).text())[0]["gpus"], 5);
}

#[test]
fn a_dead_host_with_a_long_address_keeps_the_columns() {
    let up = Sshd::builder().name("up").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&up]);
    world.env.write_geto_ini(&format!("{ini}down=127.0.0.1\n[down]\nport=1\n"));
    let text = world.geto(&["hosts"]).text();
    let at: Vec<_> = text.lines().zip(["STATE", "ready", "unreachable"]).collect();
    let at = at.into_iter().map(|(line, word)| line.find(word)).collect::<Vec<_>>();
    assert!(at[0].is_some() && at.iter().all(|place| *place == at[0]), "{text}");
}

#[test]
fn what_all_users_run_is_counted() {
    let world = World::new();
    let servers = [
        Sshd::builder().name("root").start(),
        Sshd::builder().name("alice").machine(Machine::new().user("alice")).start(),
    ];
    let ini = world.env.use_servers(&[&servers[0], &servers[1]]);
    world.env.write_geto_ini(&format!("{ini}[root]\nslots=4\n[alice]\nslots=4\n"));
    let shown = |option: &str| -> Vec<Vec<String>> {
        let ran = world.geto(&["hosts", option]);
        let rows = ran.text().lines().skip(1).map(|line| words(line)[4..6].join("|")).collect();
        assert_eq!(ran.code(), 0, "{ran:?}");
        vec![rows]
    };
    assert_eq!(shown("-v"), [["0/4|0", "0/4|0"]]);
    let first = hold(&world, &["-H", "root", "--slots", "2"]).0;
    let second = hold(&world, &["-H", "alice"]).0;
    let mut waits = world.start(&["run", "-H", "root", "--slots", "2", "-c", ":"]);
    read_until(waits.stderr.as_mut().unwrap(), "waiting: ");
    assert_eq!(shown("-v"), [["3/4|2 render, 1 waiting", "3/4|2 render, 1 waiting"]]);
    assert_eq!(shown("-q"), [["3/4|2, 1 waiting", "3/4|2, 1 waiting"]]);
    let object = &objects(&world.geto(&["hosts", "-H", "root", "--json"]).text())[0];
    assert_eq!((&object["slots"], &object["slots_taken"]), (&4.into(), &3.into()));
    assert_eq!((&object["running"]["render"], &object["waiting"]), (&2.into(), &1.into()));
    open_gate(&world);
    for child in [first, second, waits] {
        end(child);
    }
}

#[test]
fn gpus_of_another_vendor_count_once_each() {
    let world = World::new();
    let list = "for i in 0 0 1 1 2; do echo \"GPU[$i]  : Device\"; done; echo 'GPU none'";
    let path = fake_program(&world, "rocm-smi", list);
    let server = Sshd::builder().name("server1").set_env("PATH", &path).start();
    world.env.use_servers(&[&server]);
    let ran = world.geto(&["hosts", "--json"]);
    assert_eq!(objects(&ran.text())[0]["gpus"], 3, "{ran:?}");
}

#[test]
fn a_host_that_hangs_is_named_with_what_it_hangs_at() {
    let world = World::new();
    let path = fake_program(&world, "nvidia-smi", "sleep 1000");
    let server = Sshd::builder().name("server1").set_env("PATH", &path).start();
    world.env.use_servers(&[&server]);
    let ran = world.geto(&["hosts", "--connect-timeout", "5s"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("after it had told its `disk`"), "{ran:?}");
    assert!(ran.stderr.contains("nvidia-smi"), "{ran:?}");
}

#[test]
fn an_object_is_there_as_soon_as_its_host_has_answered() {
    let server = Sshd::builder().name("up").start();
    let world = World::new();
    let listener = add_silent_host(&world, &world.env.use_servers(&[&server]));
    let mut child = world.start(&["hosts", "--json", "--connect-timeout", "1h"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(objects(&line)[0]["host"], "up");
    drop(listener);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(objects(&rest)[0]["host"], "silent");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_terminal_does_not_wait_for_a_silent_host() {
    let up = Sshd::builder().name("up").start();
    let late = Sshd::builder().name("late").start();
    let proxy = Proxy::builder(late.address()).start();
    proxy.stall();
    let world = World::new();
    let ini = world.env.use_servers_at(&[(&late, proxy.address()), (&up, up.address())]);
    let listener = add_silent_host(&world, &ini);
    let mut child = on_terminal(&world, "hosts --connect-timeout 1h");
    let mut stdout = child.stdout.take().unwrap();
    let first = read_until(&mut stdout, "waiting for `late`, `silent`\r\n");
    assert!(first.starts_with("HOST "), "{first}");
    assert!(first.lines().nth(1).unwrap().starts_with("up "), "{first}");
    // A row for each that comes, and for the dead when it is over.
    proxy.resume();
    let second = read_until(&mut stdout, "\r\n");
    assert!(second.starts_with("late ") && second.contains(" ready "), "{second}");
    drop(listener);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let row = rest.lines().next().unwrap();
    assert!(row.starts_with("silent ") && row.trim().ends_with(" unreachable"), "{rest}");
    assert!(!rest.contains(" ready "), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// Nobody gets a word before all have connected: with fewer at a time the first would give up.
#[test]
fn a_hundred_hosts_are_asked_at_the_same_time() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let numbers = 0..100;
    let world = World::new();
    let hosts: String = numbers.clone().map(|n| format!("h{n}=127.0.1.{n}\n")).collect();
    let ports: String = numbers.clone().map(|n| format!("[h{n}]\nport={port}\n")).collect();
    world.env.write_geto_ini(&format!("[hosts]\n{hosts}{ports}"));
    let accepting = thread::spawn(move || {
        let held: Vec<_> = numbers.map(|_| listener.accept().unwrap()).collect();
        held.len()
    });
    let ran = world.geto(&["hosts", "--connect-timeout", "30s"]);
    assert_eq!(ran.code(), 1);
    assert_eq!(accepting.join().unwrap(), 100);
    assert_eq!(ran.text().matches("unreachable").count(), 100, "{ran:?}");
    assert!(!ran.stderr.contains("no answer within"), "{ran:?}");
}

#[test]
fn an_interrupt_ends_it() {
    let world = World::new();
    let listener = add_silent_host(&world, "[hosts]\n");
    let mut child = world.start(&["hosts", "--connect-timeout", "1h"]);
    // It waits for a word by now.
    let _connection = listener.accept().unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn hosts_are_watched_until_an_interrupt() {
    let server = Sshd::builder().name("up").start();
    let world = World::new();
    let _listener = add_silent_host(&world, &world.env.use_servers(&[&server]));
    let mut child = world.start(&["hosts", "--watch=1s"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut table =
        || -> Vec<String> { lines.by_ref().take_while(|line| !line.is_empty()).collect() };
    // Whether it has answered within the first second is a matter of the machine.
    let ready = (0..).map(|_| table()).find(|table| table[1].contains(" ready ")).unwrap();
    assert!(ready[0].starts_with("HOST "), "{ready:?}");
    assert!(ready[2].starts_with("silent ") && ready[2].ends_with(" waiting"), "{ready:?}");
    // A connection that is lost is made anew, and a host that is gone is shown as that.
    server.kill_sessions();
    let logins = || server.log().matches("Accepted publickey").count();
    assert!((0..).any(|_| table()[1].contains(" ready ") && logins() == 2));
    drop(server);
    let gone = (0..).map(|_| table()).find(|table| table[2].contains(" unreachable")).unwrap();
    assert_eq!(gone.len(), 3, "{gone:?}");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn each_connection_serves_many_rounds() {
    let server = Sshd::builder().name("up").start();
    let world = World::new();
    world.env.use_servers(&[&server]);
    let mut child = world.start(&["hosts", "--watch=1s", "--json"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.take(3) {
        assert_eq!(objects(&line.unwrap())[0]["state"], "ready");
    }
    assert_eq!(server.log().matches("Accepted publickey").count(), 1, "{}", server.log());
    // Who reads no more ends it.
    assert_eq!(child.wait().unwrap().code(), Some(141));
}

/// A host that ends each connection shows that rounds go by while a person is asked.
#[test]
fn nothing_is_drawn_over_a_question() {
    let server = Sshd::builder().name("locked").password("s3cret").start();
    let world = World::new();
    let listener = add_silent_host(&world, &world.env.use_servers(&[&server]));
    let mut child = on_terminal(&world, "hosts --watch=1s");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // Before the question is there, the table may be drawn.
    read_until(&mut stdout, "assword of ");
    for _round in 0..4 {
        drop(listener.accept().unwrap());
    }
    stdin.write_all(b"s3cret\n").unwrap();
    let seen = read_until(&mut stdout, "\r\n");
    assert!(!seen.contains("HOST"), "{seen:?}");
    let seen = read_until(&mut stdout, " ready ");
    assert!(seen.contains("\u{1b}[HHOST ") && !seen.contains("s3cret"), "{seen:?}");
    stdin.write_all(b"\x03").unwrap();
    stdout.read_to_string(&mut String::new()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_terminal_is_drawn_over() {
    let server = Sshd::builder().name("up").start();
    let world = World::new();
    world.env.use_servers(&[&server]);
    let mut child = on_terminal(&world, "hosts --watch=1s");
    let mut stdout = child.stdout.take().unwrap();
    read_until(&mut stdout, "\u{1b}[HHOST ");
    read_until(&mut stdout, "\u{1b}[HHOST ");
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    stdout.read_to_string(&mut String::new()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
