//! A request that comes late, when its repetition has been served: the task runs once.

use std::path::{Path, PathBuf};

use geto_testkit::{Shell, system_shells};

use crate::by_hand::Session;

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

/// Its origin has heard that nothing is there and wants nothing any more, while the first request is on its
/// way: a task that has run by then keeps its results, and one that has not is refused.
#[test]
fn what_is_called_off_too_late_keeps_its_results() {
    under_each_shell(|shell, work, script| {
        let mut first = Session::start(shell, work);
        first.say(&format!("{}go\n", run("a", script)));
        assert!(first.wait_for("ended").contains("status=0"));
        first.say("ack\n");
        first.rest();
        let mut second = Session::start(shell, work);
        second.say(&format!("remove {ID} early\n"));
        assert_eq!(second.wait_for("error"), "remove the task was started");
        second.say(&format!("attach id={ID} again=yes out=0 err=0 follow=yes bring=about\n"));
        assert_eq!(second.wait_for("state"), "ended");
        second.kill();
        let unknown = "0000-0000-0000-0002";
        let mut third = Session::start(shell, work);
        third.say(&format!("remove {unknown} early\n"));
        third.wait_for("removed");
        third.say(&run("b", script).replacen(ID, unknown, 1));
        assert!(third.wait_for("error").starts_with("exists "));
        third.kill();
    });
}

/// Nobody has heard of its start, its own directory is gone, and it runs: it is not started once more, and
/// ends at its time though nobody follows it.
#[test]
fn a_task_that_has_removed_its_directory_is_not_started_again_and_ends_at_its_time() {
    // Of its own: what ends a task looks for its id in every process.
    let own = std::process::id();
    let id = format!("0000-0001-{:04x}-{:04x}", own >> 16, own & 0xffff);
    let run = |attempt: &str, script: &str| run(attempt, script).replacen(ID, &id, 1);
    under_each_shell(|shell, work, script| {
        let mut first = Session::start(shell, work);
        let removes = format!(
            "{script}echo $$ >{0}/pid\nuntil [ -e {0}/gate ]; do sleep 0.02; done\nrm -rf \"${{PWD%/*}}\"; exec sleep 1000\n",
            work.display()
        );
        let request = run("a", &removes).replacen(" bring=all", " timeout=3 bring=all", 1);
        first.say(&format!("{request}go\n"));
        first.wait_for("started");
        first.kill();
        fs_err::write(work.join("gate"), "").unwrap();
        while !crate::support::below(work, "tasks").is_empty() {
            std::thread::yield_now();
        }
        let mut second = Session::start(shell, work);
        second.say(&format!("attach id={id} again=yes out=0 err=0 follow=yes bring=about\n"));
        assert_eq!(second.wait_for("state"), "gone 0");
        second.say(&run("b", script));
        assert!(second.wait_for("error").starts_with("exists "));
        let pid = fs_err::read_to_string(work.join("pid")).unwrap();
        // The supervisor removes this last.
        while !crate::support::below(work, "pids").is_empty() {
            std::thread::yield_now();
        }
        assert!(!Path::new("/proc").join(pid.trim()).exists());
        let mut third = Session::start(shell, work);
        third.say(&run("c", script));
        assert!(third.wait_for("error").starts_with("exists "));
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

/// One that was claimed when another session removed the task.
#[test]
fn a_request_that_claims_a_removed_task_does_not_start_it() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let dir = tempfile::tempdir().unwrap();
        let mut late = Session::start(&shell, dir.path());
        late.say(&run("a", &format!("echo run >>{}/runs\n", dir.path().display())));
        let task = task_with(dir.path(), "dir/.geto-script");
        let gone = task.parent().unwrap().with_file_name("gone");
        fs_err::write(gone.join(ID), "").unwrap();
        late.say("go\n");
        assert!(late.wait_for("error").starts_with("exists "));
        late.rest();
        assert!(!dir.path().join("runs").exists());
        let mut next = Session::start(&shell, dir.path());
        next.say(&format!("attach id={ID} out=0 err=0 follow=yes bring=about\n"));
        assert_eq!(next.wait_for("state"), "gone 0");
        next.rest();
    }
}

/// The directory of the only task, once it has such a file.
fn task_with(work: &Path, file: &str) -> PathBuf {
    loop {
        match crate::support::below(work, "tasks").into_iter().next() {
            Some(task) if task.join(file).exists() => return task,
            _ => std::thread::yield_now(),
        }
    }
}

/// Where nobody can tell whose number a process has, it goes on when its link is closed at last.
#[test]
fn a_request_that_was_taken_away_leaves_the_task_of_its_repetition_alone() {
    let no_proc =
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc; exec \"$@\"", "sh"];
    under_each_shell(|shell, work, script| {
        let mut late = Session::start_by(&no_proc, shell, work);
        let script =
            format!("{script}until [ -e {}/gate ]; do sleep 0.02; done; cat\n", work.display());
        let with_stdin = |attempt: &str| {
            let request = run(attempt, &script);
            request.replacen(" bring=all", " stdin=6 bring=all", 1)
        };
        // All but the last bytes of the script.
        let request = with_stdin("a");
        late.say(&request[..request.len() - 5]);
        task_with(work, "dir/.geto-script");
        let mut second = Session::start_by(&no_proc, shell, work);
        second.say(&format!("attach id={ID} again=yes out=0 err=0 follow=yes bring=about\n"));
        assert_eq!(second.wait_for("state"), "none 0");
        second.say(&format!("{}input\ngo\n", with_stdin("b")));
        second.wait_for("started");
        late.rest();
        fs_err::write(work.join("gate"), "").unwrap();
        assert_eq!(second.wait_for("out"), "input\n");
        assert!(second.wait_for("ended").contains("status=0"));
        second.say("ack\n");
        second.rest();
    });
}

/// mksh reckons in 32 bits.
#[test]
fn output_of_gigabytes_is_found_at_its_exact_byte() {
    const SIZE: u64 = 3_000_000_000;
    under_each_shell(|shell, work, script| {
        let script = format!(
            "{script}until [ -e {}/gate ]; do sleep 0.02; done; echo late\n",
            work.display()
        );
        let mut first = Session::start(shell, work);
        first.say(&format!("{}go\n", run("a", &script)));
        first.wait_for("started");
        first.kill();
        let task = task_with(work, "out");
        fs_err::OpenOptions::new()
            .write(true)
            .open(task.join("out"))
            .unwrap()
            .set_len(SIZE)
            .unwrap();
        let mut all = Session::start(shell, work);
        all.say(&format!("attach id={ID} out=0 err=0 follow=no bring=none\n"));
        assert_eq!(all.wait_for_length("out") as u64, SIZE);
        all.kill();
        let mut end = Session::start(shell, work);
        end.say(&format!("attach id={ID} out=end err=0 follow=yes bring=none\n"));
        assert_eq!(end.wait_for("from"), format!("{SIZE} 0"));
        fs_err::write(work.join("gate"), "").unwrap();
        assert_eq!(end.wait_for("out"), "late\n");
        end.wait_for("ended");
        end.say("ack\n");
        end.rest();
        let mut some = Session::start(shell, work);
        some.say(&format!("attach id={ID} out={} err=0 follow=yes bring=none\n", SIZE - 2));
        assert_eq!(some.wait_for("out"), "\0\0late\n");
        some.wait_for("ended");
        some.say("ack\n");
        some.rest();
    });
}

/// Nobody can tell whether it lives: its ticket is that of another container.
#[test]
fn a_session_that_ends_late_leaves_the_ticket_of_who_came_instead() {
    under_each_shell(|shell, work, script| {
        let lock = work.join("lock");
        let ticket = || {
            let mut place = crate::support::below(&lock, "").into_iter();
            place.find_map(|path| path.file_name()?.to_str()?.starts_with("t.").then_some(path))
        };
        let slots = format!("lock={} slots=1 gpus=0 max=0 load=0 have=1", lock.display());
        let mut late = Session::to_take_slots(shell, work);
        late.say(&format!("ticket id={ID} {slots}\n"));
        late.wait_for("slot");
        let path = ticket().unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        let mut words: Vec<&str> = text.splitn(7, ' ').collect();
        words[5] = "elsewhere";
        fs_err::write(&path, words.join(" ")).unwrap();
        let script = format!("{script}until [ -e {}/gate ]; do sleep 0.02; done\n", work.display());
        let mut second = Session::to_take_slots(shell, work);
        let request =
            run("b", &script).replacen(" bring=", &format!(" {slots} again=yes bring="), 1);
        second.say(&format!("{request}go\n"));
        second.wait_for("started");
        assert_eq!(ticket().as_deref(), Some(&*path), "it has the same number");
        late.rest();
        assert!(ticket().is_some(), "{}", shell.name);
        fs_err::write(work.join("gate"), "").unwrap();
        assert!(second.wait_for("ended").contains("status=0"));
        second.say("ack\n");
        second.rest();
        assert_eq!(ticket(), None);
    });
}
