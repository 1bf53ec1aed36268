//! What commands about tasks say, and what they remember.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;

use geto_testkit::program;
use rustix::process::Signal;
use serde_json::Value;

use crate::durable::{Durable, signal};
use crate::support::{World, names};

/// A memory that a program which reads a whole file would exceed.
const MEMORY_KB_MAX: u64 = 60_000;

impl Durable {
    fn entry(&self, id: &str) -> Value {
        let ran = self.geto(&["history", "--json", id]);
        serde_json::from_str(&ran.text()).unwrap()
    }

    /// Starts tasks that have ended when this returns.
    fn leave_ended(&self, count: usize) -> Vec<String> {
        let ids = (0..count).map(|_| {
            let ran = self.geto(&["run", "-q", "-D", "--no-slot", "-n", "short", "-c", ":"]);
            assert_eq!(ran.code(), 0, "{ran:?}");
            ran.text().trim_end().to_owned()
        });
        let ids: Vec<_> = ids.collect();
        for id in &ids {
            assert_eq!(self.geto(&["wait", id]).code(), 0);
        }
        ids
    }

    fn logins(&self) -> usize {
        self.server.log().matches("Accepted publickey").count()
    }

    fn sessions(&self) -> usize {
        self.server.log().matches("Starting session: ").count()
    }
}

#[test]
fn the_ledger_learns_what_becomes_of_tasks() {
    let durable = Durable::new();
    let first = durable.leave("job");
    assert_eq!(durable.geto(&["kill", "job"]).code(), 0);
    let entry = durable.entry(&first);
    assert_eq!((&entry["state"], &entry["on_host"]), (&"cancelled".into(), &Value::Null));
    assert!(entry["run_time"].as_f64().unwrap() > 0.0, "{entry}");
    assert_eq!(durable.geto(&["rm", "job"]).code(), 0);
    // Removed without an end that was seen.
    let second = durable.leave("job");
    assert_eq!(durable.elsewhere(&["kill", &second]).code(), 0);
    assert_eq!(durable.geto(&["rm", "job"]).code(), 0);
    let third = durable.leave("job");
    assert_eq!(durable.geto(&["logs", "job"]).text(), "up\n");
    // What others do is learnt when the host is asked.
    assert_eq!(durable.elsewhere(&["kill", &third]).code(), 0);
    assert_eq!(durable.entry(&third)["state"], "unknown");
    assert_eq!(durable.tasks().len(), 1);
    assert_eq!(durable.entry(&third)["state"], "cancelled");
    let fourth = durable.leave("job");
    assert_eq!(durable.elsewhere(&["kill", &fourth]).code(), 0);
    assert_eq!(durable.elsewhere(&["rm", "--finished"]).code(), 0);
    assert_eq!(durable.tasks(), [""; 0]);
    assert_eq!(durable.entry(&fourth)["on_host"], false);
    durable.leave("job");
    let ran = durable.geto(&["kill", "job"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
}

#[test]
fn a_task_whose_id_can_not_be_told_is_no_task_that_was_not_started() {
    let durable = Durable::new();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = durable.world.command(&["run", "-D", "-n", "job", "-c", &durable.line("g")]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(123), "{said}");
    let id = durable.tasks()[0]["task"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("`geto attach -H server1 {id}` goes on with it")), "{said}");
    assert_eq!(durable.geto(&["kill", &id]).code(), 0);
}

#[test]
fn what_was_said_at_the_start_holds_for_who_goes_on() {
    let durable = Durable::new();
    let line = "head -c 100000 /dev/zero >f";
    let run = ["run", "-q", "-D", "--keep", "--max-results", "64K", "-n", "job", "-c", line];
    let id = durable.geto(&run).text().trim_end().to_owned();
    for command in ["attach", "fetch"] {
        let ran = durable.geto(&[command, &id]);
        assert_eq!(ran.code(), 123, "{ran:?}");
        assert!(ran.stderr.contains("larger than the limit of 65536 bytes"), "{ran:?}");
        let hint = "; `geto fetch -H server1 <id> --max-results SIZE` brings all";
        assert!(ran.stderr.contains(hint), "{ran:?}");
        assert_eq!(durable.geto(&[command, "--max-results", "1M", &id]).code(), 0);
    }
    assert_eq!(durable.tasks().len(), 1);
    let ran = durable.geto(&["attach", "-q", "--rm", "--max-results", "1M", &id]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(durable.tasks(), [""; 0]);
}

#[test]
fn a_task_whose_script_was_never_started_is_not_lost() {
    let durable = Durable::new();
    let text = durable.world.env.use_servers(&[&durable.server]);
    durable.world.env.write_geto_ini(&format!("{text}[server1]\nsetup=exit 9\n"));
    let ran = durable.geto(&["run", "--keep", "-H", "server1", "-n", "job", "-c", "echo ran"]);
    assert_eq!((ran.code(), ran.text()), (125, String::new()), "{ran:?}");
    let [task] = &durable.tasks()[..] else { panic!("{ran:?}") };
    assert_eq!((&task["state"], &task["outcome"]), (&"ended".into(), &"not-started".into()));
    assert_eq!(task["reason"], "`setup` ended with status 9");
    let id = task["task"].as_str().unwrap();
    assert!(durable.geto(&["ps"]).text().contains("  not started  "));
    assert_eq!(durable.geto(&["wait", id]).code(), 125);
    assert_eq!(durable.geto(&["attach", id]).code(), 125);
    assert_eq!(durable.elsewhere(&["wait", id]).code(), 125);
    assert_eq!(durable.entry(id)["state"], "not-started");
}

#[test]
fn many_tasks_of_a_host_take_few_sessions() {
    let durable = Durable::new();
    durable.leave_ended(10);
    let (sessions, logins) = (durable.sessions(), durable.logins());
    assert_eq!(durable.geto(&["rm", "--finished"]).code(), 0);
    // One to list them, one to remove them.
    assert_eq!((durable.sessions() - sessions, durable.logins() - logins), (2, 1));
    assert_eq!(durable.tasks(), [""; 0]);
}

#[test]
fn a_machine_of_two_names_has_each_task_once() {
    let durable = Durable::new();
    let text = durable.world.env.use_servers(&[&durable.server]);
    durable.world.env.write_geto_ini(&text.replace("[hosts]\n", "[hosts]\ntwin=server1\n"));
    let id = durable.leave("job");
    assert_eq!(durable.tasks().len(), 1);
    for word in ["job", &id] {
        let ran = durable.elsewhere(&["logs", word]);
        assert_eq!((ran.code(), &*ran.text()), (0, "up\n"), "{ran:?}");
    }
    let ran = durable.elsewhere(&["kill", "--all"]);
    assert_eq!((ran.code(), ran.stderr.matches("`job`").count()), (0, 1), "{ran:?}");
}

#[test]
fn all_tasks_are_not_all_when_a_host_does_not_answer() {
    let durable = Durable::new();
    durable.leave_ended(2);
    for command in [&["wait", "--all"][..], &["fetch", "--all"], &["rm", "--finished"]] {
        let ran = durable.geto(&[command, &["-H", "server1,127.0.0.1:1"]].concat());
        assert_eq!(ran.code(), 1, "{command:?}: {ran:?}");
        assert!(ran.stderr.contains("geto: warning: "), "{ran:?}");
    }
    assert_eq!(durable.tasks(), [""; 0]);
    let ran = durable.geto(&["kill", "--all", "-H", "server1,127.0.0.1:1"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
}

#[test]
fn a_task_that_nobody_knows_is_not_removed() {
    let durable = Durable::new();
    let ran = durable.geto(&["rm", "-H", "server1", "0000-0000-0000-0001"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("there is no task"), "{ran:?}");
}

#[test]
fn files_of_several_tasks_are_not_mixed() {
    let durable = Durable::new();
    let ids = [durable.leave("one"), durable.leave("two")];
    let ran = durable.geto(&["fetch", "--all", "--into", "out", "--overwrite"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("`{task}` in the name of the directory"), "{ran:?}");
    assert!(!durable.world.env.cwd().join("out").exists());
    assert_eq!(durable.geto(&["fetch", "--all", "--into", "out-{task}"]).code(), 0);
    for id in ids {
        assert_eq!(names(&durable.world.env.cwd().join(format!("out-{id}"))), ["f"]);
    }
    assert_eq!(durable.geto(&["kill", "--all"]).code(), 0);
}

#[test]
fn whoever_leaves_before_the_login_says_nothing_of_the_start() {
    let durable = Durable::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let child = durable.world.start(&["attach", "-H", &host, "0000-0000-0000-0001"]);
    let _connected = silent.accept().unwrap();
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{said}");
    let line = format!("`geto attach -H {host} 0000-0000-0000-0001` goes on with it");
    assert!(said.contains("is left as it is") && said.contains(&line), "{said}");
}

#[test]
fn output_that_is_here_is_printed_in_little_memory() {
    let world = World::new();
    assert_eq!(world.geto(&["run", "-q", "-n", "job", "-c", "echo x"]).code(), 0);
    let path = world.result().join("stdout");
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(300 << 20).unwrap();
    file.write_all(b"\nlast\n").unwrap();
    let memory = world.env.tmp().join("memory");
    for (args, size) in [(&["-n", "1"][..], 5), (&[], (300 << 20) + 6)] {
        let mut command = world.env.command(program("time", "time"));
        command.args(["-q", "-f", "%M", "-o"]).arg(&memory).args(["sh", "-c", "\"$@\" | wc -c"]);
        command.args(["sh", env!("CARGO_BIN_EXE_geto"), "logs", "job"]).args(args);
        let ran = world.env.run(&mut command);
        assert_eq!(ran.text().trim(), size.to_string(), "{ran:?}");
        let used: u64 = fs_err::read_to_string(&memory).unwrap().trim().parse().unwrap();
        assert!(used < MEMORY_KB_MAX, "{used} KB");
    }
}
