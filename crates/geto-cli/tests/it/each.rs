//! `geto each`.

use std::io::Read as _;
use std::net::TcpListener;

use geto_testkit::{Server, Sshd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{World, entries, names};

/// A fleet of hosts `node1`, `node2`, … that are one server under several names.
struct Nodes {
    world: World,
    server: Server,
    ini: String,
}

impl Nodes {
    fn start(count: usize) -> Self {
        Self::with(count, "MaxStartups 1000")
    }

    /// Starts them with that in sshd_config.
    fn with(count: usize, config: &str) -> Self {
        let world = World::new();
        let server = Sshd::builder().name("node*").config(config).start();
        let ini = world.env.use_servers(&[&server]);
        let nodes: String = (1..=count).map(|n| format!("node{n}=node{n}\n")).collect();
        let ini = ini.replace("node*=node*\n", &nodes);
        world.env.write_geto_ini(&ini);
        Self { world, server, ini }
    }

    /// Adds a host, before all others, where nobody says a word.
    fn add_silent(&self) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ini = self.ini.replace("[hosts]\n", "[hosts]\nsilent=127.0.0.1\n");
        self.world.env.write_geto_ini(&format!("{ini}[silent]\nport={port}\n"));
        listener
    }
}

const ODD_ONE: &str =
    "case $GETO_HOST in node3) echo odd; echo bad >&2; exit 4;; *) printf same;; esac";

#[test]
fn equal_hosts_are_shown_once_and_most_common_first() {
    let nodes = Nodes::start(5);
    let ran = nodes.world.geto(&["each", "-c", ODD_ONE]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let shown = "== node[1-2,4-5] (4 hosts)\nsame\n== node3: exited with code 4\nodd\n";
    assert_eq!(ran.text(), shown);
    let shown = "== node3: exited with code 4: stderr\nbad\ngeto: 5 hosts: 4 ok, 1 exit code 4; ";
    assert!(ran.stderr.starts_with(shown), "{ran:?}");
    let ran = nodes.world.geto(&["each", "-q", "-x", "node3", "-c", ODD_ONE]);
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.text(), "== node[1-2,4-5] (4 hosts)\nsame\n");
}

#[test]
fn others_are_compared_with_the_most_common() {
    let nodes = Nodes::start(3);
    let script = "echo a; [ $GETO_HOST = node2 ] && echo x || echo b; echo c";
    let ran = nodes.world.geto(&["each", "--diff", "-c", script]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let shown = "== node[1,3] (2 hosts)\na\nb\nc\n== node2\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n";
    assert_eq!(ran.text(), shown);
    let script = "echo same; [ $GETO_HOST != node2 ]";
    let ran = nodes.world.geto(&["each", "--diff", "-c", script]);
    let shown = "== node[1,3] (2 hosts)\nsame\n== node2: exited with code 1: no difference\n";
    assert_eq!(ran.text(), shown);
}

#[test]
fn live_lines_have_their_host_in_front() {
    let nodes = Nodes::start(3);
    let script = "echo one; printf two; echo err >&2; [ $GETO_HOST != node2 ]";
    let ran = nodes.world.geto(&["each", "--live", "-H", "node[12]", "-c", script]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let text = ran.text();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[node1] one", "[node1] two", "[node2] one", "[node2] two"]);
    for line in ["[node1] err\n", "[node2] err\n", "geto: `node2` exited with code 1\n"] {
        assert!(ran.stderr.contains(line), "{ran:?}");
    }
    // One host alone is shown so, too.
    let ran = nodes.world.geto(&["each", "-q", "-H", "node1", "--", "echo", "hello"]);
    assert_eq!((ran.code(), ran.text().as_str()), (0, "[node1] hello\n"), "{ran:?}");
}

#[test]
fn files_of_each_host_have_a_directory_of_their_own() {
    let nodes = Nodes::start(2);
    let script = "echo $GETO_HOST >name";
    let ran = nodes.world.geto(&["each", "--into", "out", "-c", script]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("hint: `out/{host}` is a directory for each"), "{ran:?}");
    assert_eq!(nodes.world.results().len(), 0);
    let ran = nodes.world.geto(&["each", "--into", "out/{host}", "-c", script]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    for name in ["node1", "node2"] {
        let file = nodes.world.env.cwd().join("out").join(name).join("name");
        assert_eq!(fs_err::read_to_string(file).unwrap(), format!("{name}\n"));
    }
    assert_eq!(nodes.world.results().len(), 2);
    for result in nodes.world.results() {
        assert_eq!(names(&result), ["outcome.json", "stderr", "stdout"]);
    }
}

#[test]
fn a_host_that_does_not_answer_holds_up_nobody() {
    let nodes = Nodes::start(3);
    let silent = nodes.add_silent();
    // Not even where one host has its turn at a time.
    let line = ["each", "--fanout", "1", "--connect-timeout", "10m", "--", "echo", "up"];
    let mut geto = nodes.world.start(&line);
    let mut stdout = geto.stdout.take().unwrap();
    let mut seen = String::new();
    while !seen.contains("up\n") {
        let mut piece = [0; 256];
        let read = stdout.read(&mut piece).unwrap();
        assert!(read > 0, "it ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    assert_eq!(seen, "== node[1-3] (3 hosts)\nup\n");
    assert!(geto.try_wait().unwrap().is_none(), "it waits for the other");
    drop(silent.accept().unwrap());
    drop(silent);
    let ended = geto.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(stderr.contains("on host `silent`"), "{stderr}");
    assert!(stderr.contains("4 hosts: 3 ok, 1 unreachable; "), "{stderr}");
}

#[test]
fn as_many_hosts_as_are_wanted_run_at_once() {
    let nodes = Nodes::start(4);
    let meet = nodes.world.env.tmp().join("meet");
    fs_err::create_dir(&meet).unwrap();
    // Each waits until all are there.
    let script = format!(
        "cd {} && : >$GETO_HOST && until set -- * && [ $# = 4 ]; do sleep 0.05; done; echo all",
        meet.display()
    );
    let ran = nodes.world.geto(&["each", "-t", "1m", "-c", &script]);
    assert_eq!(ran.text(), "== node[1-4] (4 hosts)\nall\n", "{ran:?}");
    // Each finds nobody else.
    let script = format!("cd {} && mkdir alone && sleep 0.1 && rmdir alone", meet.display());
    let ran = nodes.world.geto(&["each", "--fanout", "1", "-c", &script]);
    assert_eq!(ran.code(), 0, "{ran:?}");
}

#[test]
fn sixty_four_hosts_behind_one_stock_server_all_run() {
    let nodes = Nodes::with(64, "MaxStartups 10:30:100\nMaxSessions 10");
    let ran = nodes.world.geto(&["each", "-c", "echo up"]);
    assert_eq!((ran.code(), ran.text().as_str()), (0, "== node[1-64] (64 hosts)\nup\n"), "{ran:?}");
    assert!(!nodes.server.log().contains("drop connection"), "{}", nodes.server.log());
}

/// Each is a process of its own, so nothing but patience keeps them from losing.
#[test]
fn processes_that_a_stock_server_drops_come_back() {
    let nodes = Nodes::with(1, "MaxStartups 10:30:100\nMaxSessions 10");
    let args = ["run", "-q", "--no-slot", "-c", "echo up"];
    let children: Vec<_> = (0..32).map(|_| nodes.world.start(&args)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(0), &b"up\n"[..]),
            "{output:?}"
        );
    }
}

#[test]
fn ctrl_c_ends_all_of_them() {
    let nodes = Nodes::start(3);
    let meet = nodes.world.env.tmp().join("meet");
    fs_err::create_dir(&meet).unwrap();
    let script = format!("echo here; : >{}/$GETO_HOST; exec sleep 1000", meet.display());
    let geto = nodes.world.start(&["each", "-c", &script]);
    while entries(&meet).len() < 3 {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&geto), Signal::INT).unwrap();
    let ended = geto.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(stderr.contains("3 hosts: 0 ok, 3 cancelled; "), "{stderr}");
    let shown = "== node[1-3] (3 hosts): cancelled\nhere\n";
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), shown);
    let left = nodes.server.processes();
    assert!(!left.iter().any(|process| format!("{process:?}").contains("sleep 1000")), "{left:?}");
}

#[test]
fn programs_read_which_host_each_event_is_of() {
    let nodes = Nodes::start(2);
    let silent = nodes.add_silent();
    drop(silent);
    let ran = nodes.world.geto(&["each", "--json", "--", "echo", "hello"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let text = ran.text();
    let objects: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str, host: &str| -> Vec<&Value> {
        objects.iter().filter(|one| one["event"] == event && one["host"] == host).collect()
    };
    for node in ["node1", "node2"] {
        assert_eq!(of("stdout", node)[0]["text"], "hello\n", "{text}");
        assert_eq!(of("results", node)[0]["code"], 0, "{text}");
    }
    assert_eq!(of("error", "silent")[0]["kind"], "unreachable", "{text}");
    let last = objects.last().unwrap();
    assert_eq!(
        (&last["event"], &last["hosts"], &last["ok"]),
        (&"summary".into(), &3.into(), &2.into())
    );
    assert_eq!(last["others"]["unreachable"], 1, "{text}");
}

#[test]
fn hosts_with_the_same_fault_are_named_together() {
    let nodes = Nodes::start(2);
    let ini = nodes.ini.replace("[hosts]\n", "[hosts]\ngone1=127.0.0.1\ngone2=127.0.0.1\n");
    let ini = format!("{ini}[gone1]\nport=1\n[gone2]\nport=1\n");
    nodes.world.env.write_geto_ini(&ini);
    let ran = nodes.world.geto(&["each", "--", "true"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert_eq!(ran.text(), "== node[1-2] (2 hosts)\n");
    assert!(ran.stderr.contains("geto: error: gone[1-2] (2 hosts): unreachable\n"), "{ran:?}");
    assert!(ran.stderr.contains("4 hosts: 2 ok, 2 unreachable; "), "{ran:?}");
}
