//! A request that comes late, when its repetition has been served: the task runs once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use geto_core::wire::Program;
use geto_testkit::{Shell, system_shells};

const PARTS: [&str; 9] = [
    include_str!("../../src/session/program/base.sh"),
    include_str!("../../src/session/program/claim.sh"),
    include_str!("../../src/session/program/run.sh"),
    include_str!("../../src/session/program/tree.sh"),
    include_str!("../../src/session/program/state.sh"),
    include_str!("../../src/session/program/results.sh"),
    include_str!("../../src/session/program/attach.sh"),
    "",
    include_str!("../../src/session/program/main.sh"),
];

/// A session, by hand.
struct Session {
    shell: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Session {
    fn start(shell: &Shell, work: &Path) -> Self {
        let program = format!("g_nonce=N\n{}", Program::strip(&PARTS.concat()).text());
        // busybox is what its name says.
        let path = work.join("sh");
        if !path.exists() {
            std::os::unix::fs::symlink(&shell.path, &path).unwrap();
        }
        let mut command = Command::new(&path);
        command.args(["-c", "eval \"$1\"", "geto", &program]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut session = Self { shell: child, stdin, stdout };
        session.say(&format!("work {}\n", work.display()));
        session.wait_for("boot");
        session
    }

    fn say(&mut self, line: &str) {
        self.stdin.write_all(line.as_bytes()).unwrap();
    }

    /// Reads frames up to one of that name, and returns its text.
    fn wait_for(&mut self, name: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the end came before {name}");
            let words: Vec<&str> = line.trim_end().rsplit(' ').collect();
            let mut text = vec![0; words[0].parse().unwrap()];
            self.stdout.read_exact(&mut text).unwrap();
            if words[1] == name {
                return String::from_utf8(text).unwrap();
            }
        }
    }

    /// Ends the input, and reads what comes until the session ends.
    fn rest(mut self) -> String {
        drop(self.stdin);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.shell.wait().unwrap();
        rest
    }
}

const ID: &str = "0000-0000-0000-0001";

fn run(attempt: &str, script: &str) -> String {
    format!(
        "run id={ID} attempt={attempt} host=h name=n kind=text interpreter=/bin/sh script={} bring=all since=1 -- --\n{script}",
        script.len()
    )
}

fn under_each_shell(test: impl Fn(&Shell, &Path, &str)) {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let dir = tempfile::tempdir().unwrap();
        let script = format!("echo run >>{}/runs\n", dir.path().display());
        test(&shell, dir.path(), &script);
        assert_eq!(fs_err::read_to_string(dir.path().join("runs")).unwrap(), "run\n");
    }
}

/// The first session stalls before it has read all of its request.
#[test]
fn a_request_that_wakes_up_after_its_repetition_was_served_starts_nothing() {
    for has_claimed in [false, true] {
        under_each_shell(|shell, work, script| {
            let mut late = Session::start(shell, work);
            if has_claimed {
                late.say(&run("a", script));
                let claim = || crate::support::below(work, "tasks").into_iter().next();
                while !claim().is_some_and(|task| task.join("dir/.geto-script").exists()) {}
            }
            let mut second = Session::start(shell, work);
            second.say(&format!("attach id={ID} again=yes out=0 err=0 follow=yes bring=about\n"));
            assert_eq!(second.wait_for("state"), "none 0");
            second.say(&format!("{}go\n", run("b", script)));
            assert!(second.wait_for("ended").contains("status=0"));
            second.say(&format!("ack\nremove {ID}\n"));
            second.wait_for("removed");
            second.rest();
            if has_claimed {
                // It was ended, since nobody could tell it from one that waits for bytes.
                assert_eq!(late.rest(), "");
            } else {
                late.say(&format!("{}go\n", run("a", script)));
                assert!(late.rest().contains("its results were fetched"));
            }
        });
    }
}

/// The late one wins: the repetition is told so, and follows it.
#[test]
fn a_repetition_that_comes_too_late_is_told_so() {
    under_each_shell(|shell, work, script| {
        let mut first = Session::start(shell, work);
        let script = format!("{script}until [ -e {}/gate ]; do sleep 0.02; done\n", work.display());
        first.say(&format!("{}go\n", run("a", &script)));
        first.wait_for("started");
        let mut second = Session::start(shell, work);
        second.say(&run("b", &script));
        assert!(second.wait_for("error").starts_with("exists "));
        let mut third = Session::start(shell, work);
        third.say(&format!("attach id={ID} again=yes out=0 err=0 follow=yes bring=about\n"));
        assert_eq!(third.wait_for("state"), "running");
        third.wait_for("started");
        fs_err::write(work.join("gate"), "").unwrap();
        assert!(third.wait_for("ended").contains("status=0"));
        third.say("ack\n");
        assert!(first.wait_for("ended").contains("status=0"));
        first.say("ack\n");
        first.rest();
        third.rest();
    });
}

/// Between the look at a task and its output somebody else may have removed it: nobody waits for words
/// that don't come.
#[test]
fn a_task_that_vanishes_while_it_is_attached_to_is_told() {
    under_each_shell(|shell, work, script| {
        let mut first = Session::start(shell, work);
        let script = format!("{script}until [ -e {}/gate ]; do sleep 0.02; done\n", work.display());
        first.say(&format!("{}go\n", run("a", &script)));
        first.wait_for("started");
        let task = crate::support::below(work, "tasks").remove(0);
        fs_err::remove_file(task.join("out")).unwrap();
        for follow in ["yes", "no"] {
            let mut second = Session::start(shell, work);
            second.say(&format!("attach id={ID} out=0 err=0 follow={follow} bring=about\n"));
            assert_eq!(second.wait_for("state"), "running");
            second.wait_for("about");
            assert!(second.wait_for("error").starts_with("gone "));
            second.rest();
        }
        fs_err::write(work.join("gate"), "").unwrap();
        first.wait_for("ended");
        first.say("ack\n");
        first.rest();
    });
}
