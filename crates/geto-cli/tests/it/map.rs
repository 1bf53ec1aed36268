//! `geto map`: many tasks on two real servers.

use std::collections::BTreeSet;

use geto_testkit::{Machine, Server, Sshd};

use crate::support::{World, entries};

/// Two hosts, `a` and `b`.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) servers: [Server; 2],
}

impl Pair {
    pub(crate) fn start() -> Self {
        let world = World::new();
        let servers = ["a", "b"].map(|name| {
            let machine = Machine::new().named(name);
            Sshd::builder().name(name).machine(machine).config("MaxStartups 1000").start()
        });
        let ini = world.env.use_servers(&[&servers[0], &servers[1]]);
        world.env.write_geto_ini(&format!("{ini}[a]\nslots=2\n[b]\nslots=2\n"));
        Self { world, servers }
    }

    /// Nothing is left on either host.
    pub(crate) fn assert_clean(&self) {
        for server in &self.servers {
            let machines = entries(&server.home().join(".cache/geto"));
            let tasks: Vec<_> =
                machines.iter().flat_map(|machine| entries(&machine.join("tasks"))).collect();
            assert!(tasks.is_empty(), "{tasks:?}");
        }
    }
}

/// Lines in their order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn each_input_is_a_task_on_one_of_the_hosts() {
    let pair = Pair::start();
    let ran =
        pair.world.geto(&["map", "-H", "a,b", "--", "echo", "{}", "{host}", ":::", "1", "2", "3"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let text = ran.text();
    let numbers: Vec<_> = sorted(&text).iter().map(|line| &line[..1]).collect();
    assert_eq!(numbers, ["1", "2", "3"], "{ran:?}");
    let hosts: BTreeSet<_> = text.lines().map(|line| &line[2..]).collect();
    assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["a", "b"], "{ran:?}");
    assert!(ran.stderr.starts_with("geto: 3 tasks: 3 ok; "), "{ran:?}");
    pair.assert_clean();
}

#[test]
fn failures_are_counted_and_equal_ones_are_told_once() {
    let pair = Pair::start();
    let script = "echo \"out $1\"; echo \"no $1\" >&2; [ \"$1\" = 2 ] || exit 4";
    let ran = pair.world.geto(&["map", "-c", script, ":::", "1", "2", "3"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert_eq!(sorted(&ran.text()), ["out 1", "out 2", "out 3"]);
    assert!(ran.stderr.contains("geto: 3 tasks: 1 ok, 2 exit code 4; "), "{ran:?}");
    assert_eq!(ran.stderr.matches("exit code 4 (2): `").count(), 1, "{ran:?}");
    assert!(ran.stderr.contains(" said `no "), "{ran:?}");
    pair.assert_clean();
}

#[test]
fn without_hosts_it_says_so_and_does_not_load_this_machine() {
    let world = World::new();
    let ran = world.geto(&["map", "--", "echo", ":::", "1"]);
    assert_eq!((ran.code(), ran.text().as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains("there are no hosts to run on"), "{ran:?}");
    let ran = world.geto(&["map", "-q", "-H", "local", "--", "echo", ":::", "1"]);
    assert_eq!((ran.code(), ran.text().as_str()), (0, "1\n"), "{ran:?}");
}

#[test]
fn inputs_come_from_words_files_and_stdin_and_are_replaced_as_in_gnu_parallel() {
    let pair = Pair::start();
    let file = |name: &str, text: &str| pair.world.env.file(name, text);
    file("in/one.txt", "first");
    file("in/two.txt", "second");
    file("list", "in/one.txt\nin/two.txt\n");
    file("table.csv", "name,size\nx,1\n\"y z\",2\n");
    file("lines.json", "{\"k\":\"v\"}\n{\"k\":7}\n");
    let lines = |args: &[&str]| {
        let ran = pair.world.geto(&[&["map", "-q"], args].concat());
        assert_eq!(ran.code(), 0, "{args:?}: {ran:?}");
        let text = ran.text();
        sorted(&text).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let echo = ["--", "echo"];
    assert_eq!(
        lines(&[&echo[..], &["{1}-{2}", ":::", "a", "b", ":::", "1", "2"]].concat()),
        ["a-1", "a-2", "b-1", "b-2"]
    );
    assert_eq!(
        lines(&[&echo[..], &["{}", ":::", "a", "b", ":::+", "1", "2"]].concat()),
        ["a 1", "b 2"]
    );
    // A file of its own for each, by the name that `{dep}` has for it.
    assert_eq!(
        lines(&[
            "-d",
            "{}",
            "-e",
            "B={/.}",
            "-c",
            "echo $B $(cat $1)",
            "--",
            "{dep}",
            "::::",
            "list"
        ]),
        ["one first", "two second"]
    );
    assert_eq!(
        lines(&["--inputs", "table.csv", "--csv", "--", "echo", "{name}={2}"]),
        ["x=1", "y z=2"]
    );
    assert_eq!(lines(&["--inputs", "lines.json", "--json-lines", "--", "echo", "{k}"]), ["7", "v"]);
    assert_eq!(
        lines(&["--colsep", ":", "--", "echo", "{2}{1}", ":::", "a:b", "c:d"]),
        ["ba", "dc"]
    );
    let mut from_stdin =
        pair.world.command(&["map", "-q", "-0", "--inputs", "-", "--", "echo", "<{}>"]);
    let list = file("nul", "a b\0c\0");
    from_stdin.stdin(fs_err::File::open(list).unwrap().into_parts().0);
    let ran = pair.world.env.run(&mut from_stdin);
    assert_eq!(sorted(&ran.text()), ["<a b>", "<c>"], "{ran:?}");
    let ran = pair.world.geto(&["map", "--inputs", "table.csv", "--csv", "--", "echo", "{nam}"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("no column is called `nam`; did you mean `name`"), "{ran:?}");
    pair.assert_clean();
}

#[test]
fn files_come_home_where_into_says_and_replace_nothing() {
    let pair = Pair::start();
    let script = "echo $1 >result";
    let ran =
        pair.world.geto(&["map", "-q", "--into", "res/{/.}", "-c", script, ":::", "x/a.txt", "b"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let read = |name: &str| fs_err::read_to_string(pair.world.env.cwd().join(name)).unwrap();
    assert_eq!((read("res/a/result"), read("res/b/result")), ("x/a.txt\n".into(), "b\n".into()));
    // Both claim one path: one of them is not placed, and what came first stays.
    let line = ["-j1", "-H", "a", "--into", "res/c", "-c", script, ":::", "1", "2"];
    let ran = pair.world.geto(&[&["map"], &line[..]].concat());
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("there is already `result`"), "{ran:?}");
    assert_eq!(read("res/c/result"), "1\n");
    pair.assert_clean();
}

#[test]
fn two_tasks_that_claim_one_path_are_an_error_whatever_may_be_replaced() {
    let pair = Pair::start();
    let read = |name: &str| fs_err::read_to_string(pair.world.env.cwd().join(name)).unwrap();
    pair.world.env.file("res/one/result", "old");
    fs_err::os::unix::fs::symlink("one", pair.world.env.cwd().join("res/two")).unwrap();
    // The second leaves another file besides, and goes there by another name.
    let script = "mkdir sub; echo $1 >result; echo $1 >sub/$1";
    let line = ["map", "-j1", "-H", "a", "--overwrite", "--into", "res/{}", "-c", script];
    let ran = pair.world.geto(&[&line[..], &[":::", "one", "two"]].concat());
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("there is already `result` of task 1 (the script"), "{ran:?}");
    assert_eq!(read("res/one/result"), "one\n");
    let names = crate::support::names(&pair.world.env.cwd().join("res/one"));
    assert_eq!(names, ["result", "sub", "sub/one"], "{ran:?}");
    pair.assert_clean();
}

#[test]
fn what_a_failed_attempt_left_is_replaced_by_the_next_one() {
    let pair = Pair::start();
    let failed = pair.world.env.cwd().join("failed");
    let script =
        format!("mkdir {} 2>/dev/null && r=1 || r=0; echo $r >left; exit $r", failed.display());
    for overwrite in [&[][..], &["--overwrite"]] {
        let line = [&["map", "--retries", "1", "--into", "res"], overwrite].concat();
        let ran = pair.world.geto(&[&line, &["-c", &script, ":::", "x"][..]].concat());
        assert_eq!(ran.code(), 0, "{ran:?}");
        let left = pair.world.env.cwd().join("res/left");
        assert_eq!(fs_err::read_to_string(&left).unwrap(), "0\n", "{ran:?}");
        fs_err::remove_dir(&failed).unwrap();
        if overwrite.is_empty() {
            fs_err::remove_file(left).unwrap();
        }
    }
    pair.assert_clean();
}

#[test]
fn output_is_tagged_streamed_kept_in_order_and_kept_in_files() {
    let pair = Pair::start();
    let script = "echo $1; echo e$1 >&2; printf end";
    let run = |options: &[&str]| {
        let inputs = ["-c", script, ":::", "1", "2", "3", "4", "5"];
        let ran = pair.world.geto(&[&["map", "-q"], options, &inputs[..]].concat());
        assert_eq!(ran.code(), 0, "{ran:?}");
        ran
    };
    let ran = run(&["-k", "--tag", "--results", "out"]);
    let expected: String = (1..=5).map(|n| format!("{n}\t{n}\n{n}\tend\n")).collect();
    assert_eq!(ran.text(), expected);
    assert_eq!(ran.stderr, (1..=5).map(|n| format!("{n}\te{n}\n")).collect::<String>());
    let kept = |name: &str| fs_err::read_to_string(pair.world.env.cwd().join(name)).unwrap();
    assert_eq!((kept("out/1/3/stdout"), kept("out/1/3/stderr")), ("3\nend".into(), "e3\n".into()));
    let ran = run(&["--stream", "--tag"]);
    let text = ran.text();
    assert_eq!(sorted(&text), sorted(&expected));
    let ran = pair.world.geto(&["map", "--json", "-c", script, ":::", "7"]);
    let objects: Vec<serde_json::Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
    for event in ["attempt", "started", "stdout", "ended", "done", "summary"] {
        assert!(events.contains(&event), "{events:?}");
    }
    let done = objects.iter().find(|object| object["event"] == "done").unwrap();
    assert_eq!((&done["fate"], &done["input"][0]), (&"succeeded".into(), &"7".into()));
    assert_eq!(objects.last().unwrap()["ok"], 1);
}

#[test]
fn a_log_says_what_is_not_to_be_run_again() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let script = format!("echo $1 >>{}; [ $1 != 2 ] || exit 3", counted.display());
    let run = |options: &[&str], inputs: &[&str]| {
        let line = [&["map", "--log", "log"], options, &["-c", &script, ":::"], inputs].concat();
        let ran = pair.world.geto(&line);
        let counts = fs_err::read_to_string(&counted).unwrap_or_default();
        drop(fs_err::remove_file(&counted));
        let counts = sorted(&counts).join(" ");
        (ran.code(), counts, ran.stderr)
    };
    let (code, counts, _) = run(&[], &["1", "2", "3"]);
    assert_eq!((code, counts.as_str()), (1, "1 2 3"));
    let log = fs_err::read_to_string(pair.world.env.cwd().join("log")).unwrap();
    assert!(log.starts_with(
        "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
    ));
    let of_two: Vec<_> =
        log.lines().find(|line| line.starts_with("2\t")).unwrap().split('\t').collect();
    assert_eq!((of_two.len(), of_two[6], of_two[7]), (9, "3", "0"), "{log}");
    // By what they are, not by their place.
    let (code, counts, said) = run(&["--resume"], &["0", "3", "2", "1"]);
    assert_eq!((code, counts.as_str()), (0, "0"));
    assert!(said.contains("3 were done before"), "{said}");
    let (code, counts, _) = run(&["--resume-failed"], &["0", "3", "2", "1"]);
    assert_eq!((code, counts.as_str()), (1, "2"));
    pair.assert_clean();
    // What has no end is not read.
    let ran = pair.world.geto(&["map", "--log", "/dev/zero", "--", "echo", ":::", "1"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("it is no regular file"), "{ran:?}");
    // Another file that is given by mistake stays as it is.
    pair.world.env.file("log", "my diary\n");
    let (code, counts, said) = run(&[], &["1"]);
    assert_eq!((code, counts.as_str()), (2, ""), "{said}");
    assert_eq!(fs_err::read_to_string(pair.world.env.cwd().join("log")).unwrap(), "my diary\n");
}

#[test]
fn a_dry_run_of_many_inputs_takes_little_memory() {
    let pair = Pair::start();
    pair.world.env.file("data", "12345");
    let ran =
        pair.world.geto(&["map", "--dry-run", "-d", "data", "--", "echo", "{}", ":::", "a b", "c"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(ran.text(), "a\t1 file\t5 bytes\techo 'a b'\nb\t1 file\t5 bytes\techo c\n");
    let script = "seq 200000 | ( ulimit -v 2000000; exec \"$0\" map --dry-run -j 2 --inputs - -- echo {} ) | tail -n 1";
    let mut command = pair.world.env.command("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_geto")]);
    let ran = pair.world.env.run(&mut command);
    assert!(ran.text().ends_with("\techo 200000\n"), "{ran:?}");
}

/// Starts `geto map` over tasks that count themselves, and kills it when `enough` says so.
fn killed(pair: &Pair, line: &[&str], enough: impl Fn() -> bool) {
    let mut geto = pair.world.start(line);
    while !enough() {
        assert!(geto.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    // Its process has that of `unshare`, which becomes it.
    geto.kill().unwrap();
    geto.wait().unwrap();
}

#[test]
fn after_kill_9_each_input_is_run_once_and_what_runs_is_taken_over() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let gate = pair.world.env.cwd().join("gate");
    let script = format!(
        "echo $1 >>{}; case $1 in ?0) until [ -e {} ]; do sleep 0.05; done;; esac; echo out $1 >left",
        counted.display(),
        gate.display()
    );
    let inputs: Vec<String> = (11..=40).map(|n| n.to_string()).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let line = |options: &[&'static str]| {
        let options = [&["map", "--log", "log", "--into", "out/{}"], options].concat();
        [&options, &["-c", &script, ":::"][..], &inputs].concat()
    };
    let counts = || fs_err::read_to_string(&counted).unwrap_or_default().lines().count();
    // Two of them wait, among others.
    killed(&pair, &line(&[]), || counts() >= 14);
    let log = || fs_err::read_to_string(pair.world.env.cwd().join("log")).unwrap_or_default();
    let logged = log().lines().count() - 1;
    assert!(logged < 30, "{logged}");
    fs_err::write(&gate, "").unwrap();
    let ran = pair.world.geto(&line(&["--resume"]));
    assert_eq!(ran.code(), 0, "{ran:?}");
    let text = fs_err::read_to_string(&counted).unwrap();
    assert_eq!(sorted(&text), inputs, "{ran:?}");
    let text = log();
    let mut entries: Vec<_> =
        text.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect();
    entries.sort_unstable_by_key(|seq| seq.parse::<u32>().unwrap());
    let all: Vec<_> = (1..=30).map(|n| n.to_string()).collect();
    assert_eq!(entries, all);
    for input in &inputs {
        let file = pair.world.env.cwd().join("out").join(input).join("left");
        assert_eq!(fs_err::read_to_string(file).unwrap(), format!("out {input}\n"));
    }
    pair.assert_clean();
}

/// The geto that was killed had been told to end it, or somebody else has: it was not run to its end.
#[test]
fn a_task_that_was_cancelled_before_a_resume_is_run_again() {
    let pair = Pair::start();
    let counted = pair.world.env.cwd().join("counted");
    let gate = pair.world.env.cwd().join("gate");
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    let script = format!("echo >>{}; {wait}", counted.display());
    let line = |options: &[&'static str]| {
        [&["map", "--log", "log"], options, &["-c", &script, ":::", "1"]].concat()
    };
    let counts = || fs_err::read_to_string(&counted).unwrap_or_default().lines().count();
    killed(&pair, &line(&[]), || counts() == 1);
    let ran = pair.world.geto(&["kill", "--all"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    fs_err::write(&gate, "").unwrap();
    let ran = pair.world.geto(&line(&["--resume"]));
    assert_eq!((ran.code(), counts()), (0, 2), "{ran:?}");
    let log = fs_err::read_to_string(pair.world.env.cwd().join("log")).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
    pair.assert_clean();
}
