//! Tasks that outlive the geto that started them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};

use geto_testkit::{Ran, Server, Sshd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{World, entries};

/// A server, and an origin that knows it.
pub(crate) struct Durable {
    pub(crate) world: World,
    pub(crate) server: Server,
}

impl Durable {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let server = Sshd::builder().name("server1").start();
        world.env.use_servers(&[&server]);
        Self { world, server }
    }

    /// A script that says `up`, waits for a gate and ends with 4.
    pub(crate) fn line(&self, gate: &str) -> String {
        let gate = self.world.env.cwd().join(gate);
        let gate = gate.display();
        format!(
            "echo up; echo e >&2; echo x >f; until [ -e '{gate}' ]; do sleep 0.02; done; echo down; exit 4"
        )
    }

    pub(crate) fn open(&self, gate: &str) {
        self.world.env.file(gate, "");
    }

    /// Starts a task and leaves it; returns its id once it has written its first line.
    pub(crate) fn leave(&self, name: &str) -> String {
        let ran = self.world.geto(&["run", "-q", "-D", "-n", name, "-c", &self.line(name)]);
        assert_eq!(ran.code(), 0, "{ran:?}");
        let id = ran.text().trim_end().to_owned();
        let err = self.directory(&id).join("dir/f");
        while fs_err::read(&err).unwrap_or_default() != b"x\n" {
            std::thread::yield_now();
        }
        id
    }

    pub(crate) fn directory(&self, id: &str) -> PathBuf {
        let machines = entries(&self.server.inside("~/.cache/geto"));
        let [machine] = &machines[..] else { panic!("{machines:?}") };
        machine.join("tasks").join(id)
    }

    pub(crate) fn geto(&self, args: &[&str]) -> Ran {
        self.world.geto(args)
    }

    /// `geto` on a machine that has started nothing.
    pub(crate) fn elsewhere(&self, args: &[&str]) -> Ran {
        let mut command = self.world.command(args);
        command.env("XDG_STATE_HOME", self.world.env.cwd().join("elsewhere"));
        self.world.env.run(&mut command)
    }

    pub(crate) fn tasks(&self) -> Vec<Value> {
        let ran = self.geto(&["ps", "--json"]);
        assert_eq!(ran.code(), 0, "{ran:?}");
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts `geto`, and waits for the line `up`.
    pub(crate) fn up(&self, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
        let mut child = self.world.start(args);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        (child, stdout)
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// What a child said until its end.
pub(crate) fn end(
    mut child: Child,
    mut stdout: BufReader<ChildStdout>,
) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code(), out, err)
}

#[test]
fn a_task_that_was_left_is_listed_and_attached_to() {
    let durable = Durable::new();
    let id = durable.leave("job");
    let ran = durable.elsewhere(&["ps"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let table = ran.text();
    let words: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0].join(" "), "TASK SCRIPT HOST STATE SLOT STARTED RUN TIME CPU TIME ORIGIN");
    assert_eq!(words[1][..5], [&*id, "job", "server1", "running", "1"]);
    assert!(words[1].last().unwrap().contains('@'), "{table}");
    let [task] = &durable.tasks()[..] else { panic!() };
    assert_eq!((&task["task"], &task["state"]), (&Value::from(&*id), &"running".into()));
    durable.open("job");
    let ran = durable.geto(&["attach", "job"]);
    assert_eq!((ran.code(), ran.text().as_str()), (4, "up\ndown\n"), "{ran:?}");
    assert_eq!(ran.stderr, "e\ngeto: 1 file, 2 bytes in `$XDG_STATE_HOME/geto/<id>/files`\n");
    // Who started it has removed it.
    assert_eq!(durable.tasks(), Vec::<Value>::new());
    let ran = durable.geto(&["history", "--json", &id]);
    let entry: Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!((&entry["code"], &entry["on_host"]), (&4.into(), &false.into()));
}

#[test]
fn another_origin_attaches_and_leaves_the_task_on_its_host() {
    let durable = Durable::new();
    let id = durable.leave("job");
    durable.open("job");
    let ran = durable.elsewhere(&["attach", "-q", &id[..8]]);
    assert_eq!((ran.code(), ran.text().as_str()), (4, "up\ndown\n"), "{ran:?}");
    assert_eq!(durable.tasks()[0]["state"], "ended");
    let ran = durable.elsewhere(&["attach", "-q", "--rm", "-H", "server1", &id]);
    assert_eq!(ran.code(), 4, "{ran:?}");
    assert_eq!(durable.tasks(), Vec::<Value>::new());
}

#[test]
fn a_geto_that_was_killed_is_gone_on_for() {
    let durable = Durable::new();
    let (mut child, _stdout) = durable.up(&["run", "-n", "job", "-c", &durable.line("gate")]);
    child.kill().unwrap();
    child.wait().unwrap();
    durable.open("gate");
    let ran = durable.geto(&["attach", "-q", "--last"]);
    assert_eq!((ran.code(), ran.text().as_str()), (4, "up\ndown\n"), "{ran:?}");
    let names: Vec<_> = entries(&durable.world.local_work_path());
    assert!(!names.iter().any(|path| path.display().to_string().contains("partial")), "{names:?}");
}

#[test]
fn quit_leaves_a_task_and_interrupt_ends_it() {
    let durable = Durable::new();
    let id = durable.leave("job");
    let (child, stdout) = durable.up(&["attach", "-q", "job"]);
    signal(&child, Signal::QUIT);
    let (code, _, said) = end(child, stdout);
    assert_eq!(code, Some(131), "{said}");
    assert!(said.contains(&format!("`geto attach -H server1 {id}` goes on with it")), "{said}");
    assert_eq!(durable.tasks()[0]["state"], "running");
    let (child, stdout) = durable.up(&["attach", "-q", "-H", "server1", &id]);
    signal(&child, Signal::INT);
    let (code, out, said) = end(child, stdout);
    assert_eq!((code, &*out), (Some(130), ""), "{said}");
    assert_eq!(durable.tasks(), Vec::<Value>::new());
}

#[test]
fn tasks_are_ended_and_removed() {
    let durable = Durable::new();
    let id = durable.leave("job");
    let ran = durable.geto(&["rm", "job"]);
    assert_eq!(ran.code(), 125, "{ran:?}");
    assert!(ran.stderr.contains("`geto kill <id>` ends it"), "{ran:?}");
    let ran = durable.elsewhere(&["kill", &id]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.stderr.contains("task <id> (`job`) on host `server1`: "), "{ran:?}");
    assert_eq!(durable.tasks()[0]["outcome"], "cancelled");
    let ran = durable.geto(&["rm", "--finished", "--older-than", "7d"]);
    assert_eq!((ran.code(), &*ran.stderr), (0, "geto: there is no such task to remove\n"));
    let ran = durable.geto(&["rm", "--finished"]);
    assert_eq!(
        (ran.code(), &*ran.stderr),
        (0, "geto: removed task <id> (`job`) on host `server1`\n")
    );
    assert_eq!(durable.tasks(), Vec::<Value>::new());
}

#[test]
fn words_that_mean_nothing_or_too_much_are_errors() {
    let durable = Durable::new();
    let ids = [durable.leave("job"), durable.leave("job")];
    for ran in [durable.geto(&["kill", "job"]), durable.elsewhere(&["kill", "job"])] {
        assert_eq!(ran.code(), 2, "{ran:?}");
        assert!(ran.stderr.contains("`job` may be one of 2 tasks"), "{ran:?}");
        assert_eq!(ran.stderr.matches("(`job`) on host `server1`").count(), 2, "{ran:?}");
    }
    let ran = durable.geto(&["attach", "nothing"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("there is no task `nothing`"), "{ran:?}");
    // Not even the only one.
    assert_eq!(durable.geto(&["kill", &ids[0]]).code(), 0);
    assert_eq!(durable.geto(&["rm", &ids[0]]).code(), 0);
    let ran = durable.elsewhere(&["kill", ""]);
    assert!(ran.code() == 2 && ran.stderr.contains("there is no task ``"), "{ran:?}");
    assert_eq!(durable.geto(&["kill", &ids[1]]).code(), 0);
}

#[test]
fn a_host_that_is_down_is_a_warning() {
    let durable = Durable::new();
    let id = durable.leave("job");
    let ran = durable.geto(&["ps", "-H", "server1,127.0.0.1:1"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.text().contains(&id) && ran.stderr.contains("geto: warning: "), "{ran:?}");
    assert_eq!(durable.geto(&["kill", "--all"]).code(), 0);
}

#[test]
fn tasks_are_watched_until_an_interrupt() {
    let durable = Durable::new();
    let id = durable.leave("job");
    let mut child = durable.world.start(&["ps", "--watch=1s"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut table =
        || -> Vec<String> { lines.by_ref().take_while(|line| !line.is_empty()).collect() };
    let first = table();
    assert!(first[0].starts_with("TASK ") && first[1].contains(" running "), "{first:?}");
    durable.open("job");
    while !table()[1].contains(" exited 4 ") {}
    assert_eq!(durable.geto(&["rm", &id]).code(), 0);
    while table().len() != 1 {}
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn output_is_printed_while_a_task_runs_and_when_its_results_are_home() {
    let durable = Durable::new();
    durable.leave("job");
    assert_eq!(durable.geto(&["logs", "job"]).text(), "up\n");
    assert_eq!(durable.elsewhere(&["logs", "--stderr", "job"]).text(), "e\n");
    let (child, stdout) = durable.up(&["logs", "-f", "job"]);
    durable.open("job");
    let (code, out, said) = end(child, stdout);
    assert_eq!((code, &*out), (Some(0), "down\n"), "{said}");
    assert_eq!(durable.geto(&["attach", "-q", "job"]).code(), 4);
    assert_eq!(durable.geto(&["logs", "-n", "1", "job"]).text(), "down\n");
    assert_eq!(durable.geto(&["logs", "--stderr", "job"]).text(), "e\n");
}

#[test]
fn tasks_are_waited_for() {
    let durable = Durable::new();
    let id = durable.leave("job");
    let mut command = durable.world.command(&["wait", &id]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    durable.open("job");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(4), vec![], vec![]));
    let ran = durable.geto(&["run", "-q", "-D", "-n", "good", "-c", "true"]);
    let good = ran.text().trim_end().to_owned();
    assert_eq!(durable.geto(&["wait", &good]).code(), 0);
    assert_eq!(durable.geto(&["wait", &good, &id]).code(), 1);
    // The ledger knows of those that are home.
    assert_eq!(durable.geto(&["attach", "-q", &id]).code(), 4);
    assert_eq!(durable.tasks().len(), 1);
    assert_eq!(durable.geto(&["wait", &id]).code(), 4);
}

#[test]
fn a_task_that_is_followed_is_fetched_and_attached_to() {
    let durable = Durable::new();
    let (run, run_out) = durable.up(&["run", "-q", "-n", "job", "-c", &durable.line("job")]);
    let (one, one_out) = durable.up(&["attach", "-q", "job"]);
    let (other, other_out) = durable.up(&["attach", "-q", "job"]);
    for args in [&["fetch", "job"][..], &["fetch", "job", "--into", "out"]] {
        let ran = durable.geto(args);
        assert_eq!(ran.code(), 0, "{ran:?}");
        assert!(ran.stderr.contains("still runs: this is what there is\n"), "{ran:?}");
    }
    assert_eq!(fs_err::read(durable.world.env.cwd().join("out/f")).unwrap(), b"x\n");
    durable.open("job");
    for (child, stdout) in [(run, run_out), (one, one_out), (other, other_out)] {
        let (code, out, said) = end(child, stdout);
        assert_eq!((code, &*out, &*said), (Some(4), "down\n", "e\n"));
    }
    let results = durable.world.results();
    let [home] = &results[..] else { panic!("{results:?}") };
    assert_eq!(fs_err::read(home.join("stdout")).unwrap(), b"up\ndown\n");
    assert_eq!(fs_err::read(home.join("files/f")).unwrap(), b"x\n");
    let names = entries(&durable.world.local_work_path());
    assert!(!names.iter().any(|path| path.to_string_lossy().contains("/.")), "{names:?}");
    assert_eq!(durable.tasks(), Vec::<Value>::new());
}

#[test]
fn a_task_that_is_home_is_said_to_be() {
    let durable = Durable::new();
    let id = durable.leave("job");
    durable.open("job");
    assert_eq!(durable.geto(&["attach", "-q", "job"]).code(), 4);
    let home = "geto: task <id> (`job`) on host `server1`: exited with code 4; its results are in \
                `$XDG_STATE_HOME/geto/<id>`\n";
    for (command, code) in [("attach", 4), ("fetch", 0), ("kill", 0)] {
        let ran = durable.geto(&[command, &id]);
        assert_eq!((ran.code(), &*ran.stderr), (code, home), "{command}");
    }
    for command in ["attach", "fetch"] {
        let ran = durable.geto(&[command, &id, "--into", "out"]);
        assert_eq!(ran.code(), 123, "{ran:?}");
        assert!(ran.stderr.contains("; its results are in `$XDG_STATE_HOME/geto/<id>`"), "{ran:?}");
    }
}

#[test]
fn a_task_that_is_gone_is_not_said_to_be_removed() {
    let durable = Durable::new();
    let id = durable.leave("job");
    assert_eq!(durable.elsewhere(&["kill", &id]).code(), 0);
    assert_eq!(durable.elsewhere(&["rm", "-H", "server1", &id]).code(), 0);
    for _ in 0..2 {
        let ran = durable.geto(&["rm", &id]);
        let gone = "geto: task <id> (`job`) on host `server1` was not there any more\n";
        assert_eq!((ran.code(), &*ran.stderr), (0, gone));
    }
}

#[test]
fn what_a_killed_replacement_left_does_not_stand_in_the_way() {
    let durable = Durable::new();
    let id = durable.leave("job");
    let fetch = || assert_eq!(durable.geto(&["fetch", "job"]).code(), 0);
    fetch();
    let place = durable.world.local_work_path();
    for name in [format!(".{id}.removed"), format!(".{id}.partial")] {
        fs_err::create_dir_all(place.join(&name).join("files/d")).unwrap();
        fs_err::write(place.join(&name).join("stdout"), "half").unwrap();
    }
    fetch();
    assert_eq!(durable.world.results(), [place.join(&id)]);
    assert_eq!(fs_err::read(place.join(&id).join("stdout")).unwrap(), b"up\n");
    assert_eq!(durable.geto(&["kill", &id]).code(), 0);
}

#[test]
fn what_there_is_of_a_task_is_fetched_again_and_again() {
    let durable = Durable::new();
    let id = durable.leave("job");
    for _ in 0..2 {
        let ran = durable.geto(&["fetch", "job", "--into", "out", "--overwrite"]);
        assert_eq!(ran.code(), 0, "{ran:?}");
        assert!(ran.stderr.contains("still runs: this is what there is\n"), "{ran:?}");
        assert_eq!(fs_err::read(durable.world.env.cwd().join("out/f")).unwrap(), b"x\n");
    }
    let ran = durable.geto(&["fetch", &id, "--bring", "nothing*"]);
    assert!(ran.stderr.contains("output in `"), "{ran:?}");
    durable.open("job");
    assert_eq!(durable.geto(&["wait", &id]).code(), 4);
    let ran = durable.geto(&["fetch", "--all"]);
    assert_eq!(
        (ran.code(), &*ran.stderr),
        (0, "geto: 1 file, 2 bytes in `$XDG_STATE_HOME/geto/<id>/files`\n")
    );
    assert_eq!(durable.tasks()[0]["state"], "ended");
}
