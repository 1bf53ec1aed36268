//! What was started is known afterwards.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::World;

/// What `geto history --json` says with these arguments.
fn history(world: &World, args: &[&str]) -> Vec<Value> {
    let ran = world.geto(&[&["history", "--json"], args].concat());
    assert_eq!(ran.stderr, "");
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn run(world: &World, args: &[&str]) -> i32 {
    world.geto(&[&["run", "-q"], args].concat()).code()
}

/// A world in which four tasks were started.
fn used() -> World {
    let world = World::new();
    assert_eq!(run(&world, &["-n", "build", "-c", "echo x >f; exit 3"]), 3);
    assert_eq!(run(&world, &["-n", "test", "--into", "out", "-c", "echo x >f"]), 0);
    assert_eq!(run(&world, &["-n", "test", "-c", "kill -9 $$"]), 137);
    assert_eq!(run(&world, &["-n", "broken", "-c", "#!/no/such/interpreter"]), 125);
    world
}

#[test]
fn a_table_lists_what_was_started_newest_first() {
    let world = used();
    let ran = world.geto(&["history"]);
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
    let table = world.env.redact(&ran.text());
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let table: Vec<_> = table.lines().map(words).collect();
    insta::assert_snapshot!(table.join("\n"), @"
    TASK SCRIPT HOST STARTED OUTCOME RUN TIME RESULTS
    <id> broken local not started
    <id> test local <date> signal 9 <time> $XDG_STATE_HOME/geto/<id>
    <id> test local <date> exited 0 <time> $CWD/out
    <id> build local <date> exited 3 <time> $XDG_STATE_HOME/geto/<id>
    ");
}

#[test]
fn tasks_can_be_chosen_by_id_script_host_outcome_and_time() {
    let world = used();
    let scripts = |args: &[&str]| -> String {
        let entries = history(&world, args);
        entries
            .iter()
            .map(|entry| entry["script"].as_str().unwrap().chars().next().unwrap())
            .collect()
    };
    assert_eq!(
        (scripts(&[]), scripts(&["-n", "2"]), scripts(&["-n", "0"])),
        ("bttb".into(), "bt".into(), "bttb".into())
    );
    assert_eq!(
        (scripts(&["--script", "t*"]), scripts(&["test", "build"])),
        ("tt".into(), "ttb".into())
    );
    assert_eq!(
        (scripts(&["-H", "loc*"]), scripts(&["-H", "other,x"])),
        ("bttb".into(), String::new())
    );
    assert_eq!(scripts(&["--outcome", "exited"]), "tb");
    assert_eq!(scripts(&["--outcome", "signalled,not-started"]), "bt");
    assert_eq!(
        (scripts(&["--since", "1h"]), scripts(&["--since", "0"])),
        ("bttb".into(), String::new())
    );
    let id = history(&world, &["build"])[0]["task"].as_str().unwrap().to_owned();
    assert_eq!((scripts(&[&id]), scripts(&[&id[..10]])), ("b".into(), "b".into()));
    let ran = world.geto(&["history", "nothing"]);
    assert_eq!((ran.code(), ran.text().as_str()), (1, ""));
    assert_eq!(ran.stderr, "geto: there is no such task in the ledger\n");
    assert_eq!(world.geto(&["history", "--outcome", "good"]).code(), 2);
}

#[test]
fn objects_tell_all_that_the_ledger_knows() {
    let world = used();
    let entry = &history(&world, &["build"])[0];
    let keys: Vec<&String> = entry.as_object().unwrap().keys().collect();
    let expected = "task script host address directory state error asked started ended run_time \
                    outcome code results results_removed files on_host";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        (&entry["state"], &entry["outcome"], &entry["code"]),
        (&"exited".into(), &"exited".into(), &3.into())
    );
    assert_eq!((&entry["files"]["count"], &entry["on_host"]), (&1.into(), &false.into()));
    let results = entry["results"].as_str().unwrap();
    assert!(results.ends_with(entry["task"].as_str().unwrap()), "{entry}");
    for key in ["asked", "started", "ended"] {
        assert!(entry[key].as_str().unwrap().ends_with('Z'), "{entry}");
    }
    let entry = &history(&world, &["broken"])[0];
    assert_eq!((&entry["state"], &entry["error"]), (&"not-started".into(), &"not-started".into()));
    assert!(entry["outcome"].is_null() && entry["results"].is_null(), "{entry}");
}

#[test]
fn nothing_is_listed_and_made_where_nothing_was_started() {
    let world = World::new();
    let ran = world.geto(&["history"]);
    assert_eq!((ran.code(), ran.text().as_str()), (0, ""));
    assert_eq!(ran.stderr, "geto: there is no such task in the ledger\n");
    assert!(!world.local_work_path().exists());
}

#[test]
fn many_processes_at_once_are_all_listed() {
    let world = World::new();
    let args = ["run", "--no-slot", "-c", "true"];
    let children: Vec<_> = (0..12).map(|_| world.start(&args)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("recorded"), "{said}");
    }
    assert_eq!(history(&world, &["-n", "0", "--outcome", "exited"]).len(), 12);
}

#[test]
fn a_geto_that_is_killed_leaves_an_entry_without_an_outcome() {
    let world = World::new();
    let mut child = world.start(&["run", "-n", "job", "-c", "echo up; exec sleep 1000"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    child.kill().unwrap();
    child.wait().unwrap();
    let entry = &history(&world, &["job"])[0];
    assert_eq!((&entry["state"], &entry["host"]), (&"unknown".into(), &"local".into()));
    assert!(entry["outcome"].is_null() && entry["ended"].is_null(), "{entry}");
    // The task goes on where it is.
    let [task] = &world.tasks()[..] else { panic!("{:?}", world.tasks()) };
    assert!(task.ends_with(entry["task"].as_str().unwrap()));
    let id = entry["task"].as_str().unwrap();
    end_processes(&format!("GETO_TASK_ID={id}"));
}

/// Ends the processes that have this in their environment, as nobody else does.
fn end_processes(variable: &str) {
    for process in fs_err::read_dir("/proc").unwrap().flatten() {
        let environment = fs_err::read(process.path().join("environ")).unwrap_or_default();
        let is_it = environment.split(|byte| *byte == 0).any(|word| word == variable.as_bytes());
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(|_| is_it).and_then(Pid::from_raw) {
            kill_process(pid, Signal::KILL).unwrap();
        }
    }
}

/// `geto` where a file or directory can't be written to, not even by root.
fn with_read_only(world: &World, path: &std::path::Path, args: &[&str]) -> Command {
    let mut command = world.env.command("/usr/bin/unshare");
    let line = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"";
    command.args(["--mount", "sh", "-c", line]).arg(path);
    command.arg(env!("CARGO_BIN_EXE_geto")).args(args).stdin(Stdio::null());
    command
}

#[test]
fn a_ledger_that_can_not_be_written_is_a_warning_and_can_be_read() {
    let world = World::new();
    assert_eq!(run(&world, &["-n", "first", "-c", "true"]), 0);
    let ledger = world.local_work_path().join("ledger.db");
    let args = ["run", "--no-slot", "-n", "second", "-c", "exit 7"];
    let ran = world.env.run(&mut with_read_only(&world, &ledger, &args));
    assert_eq!(ran.code(), 7);
    insta::assert_snapshot!(ran.stderr, @"
    geto: no host is named and there is no geto.ini: running on `local`
    geto: warning: what runs is not recorded: failed to write to the ledger `$XDG_STATE_HOME/geto/ledger.db`: attempt to write a readonly database; make it writable for you, or set another `local_work_path` in geto.ini
    ");
    let ran = world.env.run(&mut with_read_only(&world, &ledger, &["history", "--json"]));
    assert_eq!((ran.code(), ran.text().lines().count()), (0, 1), "{ran:?}");
    let place = world.local_work_path();
    let ran = world.env.run(&mut with_read_only(&world, &place, &["history", "--json"]));
    assert_eq!((ran.code(), ran.text().lines().count()), (0, 1), "{ran:?}");
}

#[test]
fn a_broken_ledger_is_a_clear_error() {
    let world = World::new();
    assert_eq!(run(&world, &["-c", "true"]), 0);
    for path in crate::support::entries(&world.local_work_path()) {
        if path.is_file() {
            fs_err::write(path, [b'x'; 8192]).unwrap();
        }
    }
    let ran = world.geto(&["history"]);
    assert_eq!(ran.code(), 125);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: failed to open the ledger `$XDG_STATE_HOME/geto/ledger.db`
      caused by: file is not a database
      hint: move it away (`mv $XDG_STATE_HOME/geto/ledger.db $XDG_STATE_HOME/geto/ledger.db.broken`): a new one is made
    ");
}

/// Its host knows nothing of it any more, which says nothing about it.
#[test]
fn a_task_that_is_home_is_not_lost_over_another_look_at_its_host() {
    let world = World::new();
    assert_eq!(run(&world, &["-H", "local", "-n", "job", "-c", "exit 3"]), 3);
    let id = history(&world, &[])[0]["task"].as_str().unwrap().to_owned();
    assert_eq!(world.geto(&["attach", "-H", "local", "--into", "out", &id]).code(), 123);
    let entry = &history(&world, &[])[0];
    assert_eq!((&entry["outcome"], &entry["code"]), (&"exited".into(), &3.into()), "{entry}");
}
