//! What `geto map` shows of a batch: on a terminal, in the end, and before it is run.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;

use geto_testkit::program;

use crate::map::Pair;

const GETO: &str = env!("CARGO_BIN_EXE_geto");

#[test]
fn a_terminal_shows_how_far_it_has_come_and_a_pipe_gets_nothing_of_it() {
    let pair = Pair::start();
    let gate = pair.world.env.cwd().join("gate");
    pair.world.env.file("list", "1\n2\n3\n4\n5\n6\n7\n8\n");
    let line = format!(
        "[ $1 -gt 2 ] || exit 3; echo out; [ $1 -lt 5 ] || until [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    for source in ["--inputs list -c", "-c"] {
        let inputs = if source == "-c" { "::: 1 2 3 4 5 6 7 8" } else { "" };
        let mut command = pair.world.env.command(program("script", "bsdutils"));
        let line = format!("'{GETO}' map --max-failures 99 {source} '{line}' {inputs}");
        let mut child = command
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut seen = String::new();
        // Four are done, of which two failed, and four fill both hosts.
        let wanted = [
            "4 of 8  2 failed  4 running  ",
            "/s  ",
            " left",
            "  a  2/2 running  ",
            "  b  2/2 running  ",
        ];
        while !wanted.iter().all(|text| seen.contains(text)) {
            let mut piece = [0; 4096];
            let read = stdout.read(&mut piece).unwrap();
            assert!(read > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        fs_err::write(&gate, "").unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2), "{rest}");
        assert!(rest.contains("geto: 8 tasks: 6 ok, 2 exit code 3; "), "{rest}");
        fs_err::remove_file(&gate).unwrap();
    }
    fs_err::write(&gate, "").unwrap();
    let ran = pair.world.geto(&["map", "--inputs", "list", "-c", &line]);
    assert_eq!(ran.text(), "out\n".repeat(6));
    for text in ["running", " left", "\u{2588}", "\u{2591}", "\u{1b}", "\r"] {
        assert!(!ran.stderr.contains(text), "{ran:?}");
    }
    pair.assert_clean();
}

#[test]
fn the_end_says_what_it_came_to() {
    let pair = Pair::start();
    let script =
        "case $1 in 1|2) echo why >&2; exit 4;; 3) sleep 1;; 4) kill -9 $$;; esac; echo $1 >left";
    let line = ["map", "--retries", "1", "--retry-exit", "4", "-c", script, ":::"];
    let inputs = ["1", "2", "3", "4", "5", "6"];
    let ran = pair.world.geto(&[&line[..], &inputs].concat());
    assert_eq!(ran.code(), 3, "{ran:?}");
    let lines: Vec<_> = ran.stderr.lines().filter_map(|line| line.strip_prefix("geto: ")).collect();
    let has =
        |text: &str| assert!(lines.iter().any(|line| line.starts_with(text)), "{text}: {ran:?}");
    has("6 tasks: 3 ok, 1 ended by signal 9, 2 exit code 4, 2 tried again; ");
    has("3 files, 6 bytes in `$XDG_STATE_HOME/geto/<task>/files`");
    // Equal ones once, with the first as an example.
    assert_eq!(ran.stderr.matches(" said `why`; all of it is in `").count(), 1, "{ran:?}");
    has("exit code 4 (2): `");
    has("ended by signal 9 (1): `4` on `");
    has("slowest: `3` ");
    let of = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(&format!("`{name}`: "))).unwrap();
        assert!(line.contains(" tasks, busy for ") && line.ends_with(" on 2 slots"), "{line}");
        line.split(' ').nth(1).unwrap().parse::<u32>().unwrap()
    };
    // Attempts that were repeated are among them.
    assert_eq!(of("a") + of("b"), 8, "{ran:?}");
    assert!(lines.last().unwrap().ends_with(" % of the slots' time was used"), "{ran:?}");
    let ran = pair.world.geto(&[&line[..1], &["--json"], &line[1..], &inputs].concat());
    let object: serde_json::Value =
        serde_json::from_str(ran.text().lines().last().unwrap()).unwrap();
    assert_eq!(
        (&object["event"], &object["tasks"], &object["ok"]),
        (&"summary".into(), &6.into(), &3.into())
    );
    assert_eq!((&object["others"]["exit code 4"], &object["files"]), (&2.into(), &3.into()));
    assert_eq!((&object["repeated"], &object["hosts"][1]["slots"]), (&2.into(), &2.into()));
    let efficiency = object["efficiency"].as_f64().unwrap();
    assert!(efficiency > 0.0 && efficiency <= 1.0, "{object}");
    pair.assert_clean();
}

#[test]
fn a_dry_run_prints_what_each_task_would_move_and_where_to() {
    let pair = Pair::start();
    for (name, text) in [("x.txt", "12345"), ("d/one", "1"), ("d/two", "22")] {
        pair.world.env.file(name, text);
    }
    let line =
        ["map", "--dry-run", "-d", "{}", "--into", "out/{/.}", "--", "wc", "{dep}", "{host}"];
    let inputs = [":::", "x.txt", "d"];
    let ran = pair.world.geto(&[&line[..], &inputs].concat());
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(
        ran.text(),
        "a\t1 file\t5 bytes\twc DEPS/x.txt a\nb\t2 files\t3 bytes\twc DEPS/d b\n"
    );
    let ran = pair.world.geto(&[&line[..1], &["--json"], &line[1..], &inputs].concat());
    let objects: Vec<serde_json::Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let plan = |seq: u64, host: &str, command: &str, files: u64, bytes: u64, into: &str| {
        serde_json::json!({
            "event": "plan", "seq": seq, "host": host, "command": command, "files": files,
            "bytes": bytes, "into": into,
        })
    };
    let expected = [
        plan(1, "a", "wc DEPS/x.txt a", 1, 5, "out/x"),
        plan(2, "b", "wc DEPS/d b", 2, 3, "out/d"),
    ];
    assert_eq!(objects, expected);
    // Nothing was sent: there was nothing to log in for.
    assert!(pair.world.results().is_empty() && pair.tasks().is_empty());
    assert!(!pair.servers[0].home().join(".cache/geto").exists());
}

#[test]
fn lines_that_were_written_for_gnu_parallel_are_warned_of() {
    let pair = Pair::start();
    let ran = pair.world.geto(&["map", "-c", "echo '{}'", ":::", "$(id)"]);
    assert_eq!(ran.text(), "{}\n", "{ran:?}");
    assert!(ran.stderr.contains("`{}` in a `-c` line is not replaced"), "{ran:?}");
    assert!(ran.stderr.contains("write `-c 'echo \"$1\"'`"), "{ran:?}");
    let ran = pair.world.geto(&["map", "-c", "echo \"$1\"", ":::", "$(id)"]);
    assert_eq!(ran.text(), "$(id)\n", "{ran:?}");
    assert!(!ran.stderr.contains("is not replaced"), "{ran:?}");
}

/// Others take its work; that it has none is said once, with the reason.
#[test]
fn a_host_that_can_not_be_reached_is_named_once_and_its_tasks_run_elsewhere() {
    let pair = Pair::start();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let [a, b] = &pair.servers;
    let ini = pair.world.env.use_servers_at(&[(a, a.address()), (b, unused)]);
    pair.world.env.write_geto_ini(&format!("{ini}[a]\nslots=2\n[b]\nslots=2\n"));
    let inputs = ["1", "2", "3", "4", "5", "6"];
    let ran = pair.world.geto(&[&["map", "--", "echo", ":::"][..], &inputs].concat());
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(ran.text().lines().count(), 6);
    let warned: Vec<_> = ran.stderr.lines().filter(|line| line.contains("warning: ")).collect();
    assert!(matches!(&warned[..], [one] if one.contains("on host `b`")), "{ran:?}");
    assert!(ran.stderr.contains("Connection refused"), "{ran:?}");
    pair.assert_clean();
}

#[test]
fn errors_are_said_also_when_nothing_else_is_to_be() {
    let pair = Pair::start();
    let ran = pair.world.geto(&["map", "-q", "-d", "{}", "--", "true", ":::", "missing"]);
    assert_ne!(ran.code(), 0, "{ran:?}");
    assert!(ran.stderr.starts_with("geto: error: not started"), "{ran:?}");
    assert!(ran.stderr.contains("missing"), "{ran:?}");
    pair.world.env.file("file", "");
    let ran = pair.world.geto(&["map", "-q", "--results", "file", "--", "true", ":::", "1"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("failed to make `file` for the outputs"), "{ran:?}");
}
