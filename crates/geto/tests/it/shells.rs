//! The host's program under each shell that /bin/sh may be.

use std::time::Duration;

use geto::{Bring, ErrorKind, Outcome, Script, ScriptBody, Stdin, Task};

use crate::support::{Place, kind, under_each_shell};

/// A task whose script is run by dash, whatever the session runs in.
fn script(text: &str) -> Task {
    Task::new(Script::from_text("test", format!("#!/usr/bin/dash\n{text}")))
}

fn every_byte() -> Vec<u8> {
    (1..=255).collect()
}

#[test]
fn output_and_status_come_home_exactly() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let task = script("printf 'a\\0b\\r\\n\\377'; printf 'e\\0' >&2; exit 255");
        let results = place.run(&task, &transport).await;
        assert_eq!(results.outcome, Outcome::Exited { code: 255 });
        assert_eq!(results.stdout().unwrap(), b"a\0b\r\n\xff");
        assert_eq!(results.stderr().unwrap(), b"e\0");
        assert_eq!(results.warnings, [""; 0]);
        assert!(place.tasks().is_empty());
    });
}

#[test]
fn output_that_is_opened_by_name_is_not_truncated() {
    under_each_shell(|transport, shell| async move {
        let place = Place::new();
        let task = script(
            "echo 1; echo 2 >/dev/stdout; echo 3; for i in 4 5 6; do echo $i >/dev/stderr; done",
        );
        let results = place.run(&task, &transport).await;
        assert_eq!(results.stdout().unwrap(), b"1\n2\n3\n", "{}", shell.name);
        assert_eq!(results.stderr().unwrap(), b"4\n5\n6\n", "{}", shell.name);
    });
}

#[test]
fn arguments_and_variables_arrive_unchanged() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let odd: [&[u8]; 9] =
            [b"", b" ", b"-n", b"a\nb\n", b"$(touch x)`y`", b"'\"\\", b"*", b"~", b"\xff\xc3"];
        let mut task = script("printf '%s\\0' \"$@\" \"$V\" \"$GETO_SCRIPT\"");
        task = odd.iter().fold(task, |task, arg| task.arg(*arg)).arg(every_byte());
        task = task.env("V", String::from_utf8(vec![b'\n', b'\'', b'\\', b'n']).unwrap());
        let results = place.run(&task, &transport).await;
        let mut expected: Vec<u8> = Vec::new();
        for word in odd.iter().copied().chain([&*every_byte(), b"\n'\\n", b"test"]) {
            expected.extend_from_slice(word);
            expected.push(0);
        }
        assert_eq!(results.stdout().unwrap(), expected);
    });
}

/// Shells reckon with the values of some variables, and run commands that stand in them; zsh changes
/// the user when it is told another number or name.
#[test]
fn variables_that_shells_keep_for_themselves_are_like_all_others() {
    const NAMES: &str = "RANDOM SECONDS LINENO HISTCMD GROUPS COLUMNS LINES TMOUT USERNAME GID EGID \
                         SHLVL MAILCHECK EPOCHSECONDS FUNCNAME DIRSTACK ERRNO IFS argv path status run";
    under_each_shell(|transport, shell| async move {
        let place = Place::new();
        let evil = place.dir.path().join("evil");
        let value = format!("a[$(touch {})]", evil.display());
        let task = Task::new(Script::from_argv("env", ["/usr/bin/printenv"]));
        let task = NAMES
            .split_whitespace()
            .fold(task, |task, name| task.arg(name).env(name, value.as_str()));
        let results = place.run(&task, &transport).await;
        let stdout = String::from_utf8(results.stdout().unwrap()).unwrap();
        let expected = vec![value.as_str(); NAMES.split_whitespace().count()];
        assert_eq!(stdout.lines().collect::<Vec<_>>(), expected, "{}", shell.name);
        // These some shells let nobody set: then nothing is started.
        for name in ["UID", "EUID", "PPID", "OPTIND", "HISTSIZE"] {
            let task = Task::new(Script::from_argv("env", ["/usr/bin/printenv", name]));
            match place.try_run(&task.env(name, value.as_str()), &transport).await {
                Ok(results) => {
                    assert_eq!(results.stdout().unwrap(), format!("{value}\n").as_bytes());
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotStarted, "{error:?}"),
            }
        }
        assert!(!evil.exists(), "{}", shell.name);
    });
}

#[test]
fn a_command_runs_as_it_stands() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let task = Task::new(Script::from_argv("p", ["printf", "%s|"])).arg("a b").arg("$HOME");
        assert_eq!(place.run(&task, &transport).await.stdout().unwrap(), b"a b|$HOME|");
        let task = Task::new(Script::from_argv("p", ["no-such-command"]));
        assert_eq!(place.run(&task, &transport).await.outcome, Outcome::Exited { code: 127 });
    });
}

#[test]
fn scripts_and_input_of_any_bytes_and_size_arrive() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let mut text = b"#!/usr/bin/dash\ncat; tail -c 8 \"$0\"; exit\n".to_vec();
        text.extend(std::iter::repeat_n(0, 300_000));
        text.extend_from_slice(b"\0\xff\r\nend\n");
        let input: Vec<u8> = (0..=255).cycle().take(200_001).collect();
        let task = Task::new(Script::from_text("long", text)).stdin(Stdin::Bytes(input.clone()));
        let stdout = place.run(&task, &transport).await.stdout().unwrap();
        assert!(stdout == [&input[..], b"\0\xff\r\nend\n"].concat());
    });
}

#[test]
fn a_signal_is_told_from_an_exit_code() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let results = place.run(&script("kill -9 $$"), &transport).await;
        assert_eq!(results.outcome, Outcome::Signalled { signal: 9 });
    });
}

#[test]
fn files_come_home_small_and_large() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        for size in [10, 1_000_000] {
            let task =
                script(&format!("mkdir d; head -c {size} /dev/zero >d/f; ln -s f d/l; exit 7"));
            let results = place.run(&task, &transport).await;
            assert_eq!(results.outcome, Outcome::Exited { code: 7 });
            let files = results.files.unwrap();
            assert_eq!(fs_err::read(files.directory.join("d/f")).unwrap(), vec![0; size]);
            assert_eq!(fs_err::read_link(files.directory.join("d/l")).unwrap().to_str(), Some("f"));
            assert!(!files.directory.join(".geto-script").exists());
            assert!(place.tasks().is_empty());
        }
    });
}

#[test]
fn only_what_was_asked_for_comes_home() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let make =
            "mkdir -p out DEPS; echo 1 >out/a.txt; echo 2 >out/b; echo 3 >DEPS/c.txt; >'o t.txt'";
        let bring = |globs: &[&str]| Bring::Globs(globs.iter().map(ToString::to_string).collect());
        let task = script(make).bring(bring(&["out/*.txt", "DEPS/c*", "o t.*"]));
        let files = place.run(&task, &transport).await.files.unwrap();
        assert_eq!(files.count, 3);
        assert!(
            files.directory.join("DEPS/c.txt").exists() && !files.directory.join("out/b").exists()
        );
        // Whatever zsh makes of it.
        let task = script("mkdir -p a/b; >a/f; >a/b/f; >f").bring(bring(&["**/f"]));
        assert_eq!(place.run(&task, &transport).await.files.unwrap().count, 1);
        let results = place.run(&script(make).bring(Bring::Nothing), &transport).await;
        assert_eq!(results.files, None);
    });
}

#[test]
fn dependencies_stand_below_deps() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let data = place.dir.path().join("da ta");
        fs_err::create_dir_all(data.join("x/y")).unwrap();
        fs_err::write(data.join("x/\n"), "odd").unwrap();
        let results =
            place.run(&script("cat 'DEPS/da ta/x/\n'").dependency(&data), &transport).await;
        assert_eq!(results.stdout().unwrap(), b"odd");
        assert_eq!(results.files, None);
    });
}

#[test]
fn a_timeout_ends_the_whole_tree() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let task = script("sleep 1000 & echo up; while :; do sleep 1000; done")
            .timeout(Duration::from_secs(1));
        let results = place.run(&task, &transport).await;
        assert_eq!(results.outcome, Outcome::TimedOut);
        assert_eq!(results.stdout().unwrap(), b"up\n");
    });
}

#[test]
fn interrupts_are_not_ignored_by_a_task() {
    under_each_shell(|transport, shell| async move {
        let place = Place::new();
        let task = Task::new(Script::from_argv("s", ["grep", "SigIgn", "/proc/self/status"]));
        let stdout = place.run(&task, &transport).await.stdout().unwrap();
        let line = String::from_utf8(stdout).unwrap();
        let mask = u64::from_str_radix(line.trim().trim_start_matches("SigIgn:\t"), 16).unwrap();
        // Above 31 are those that the C library keeps for itself.
        assert_eq!(mask & 0x7fff_ffff, 0, "{}: {line}", shell.name);
    });
}

#[test]
fn a_missing_interpreter_is_named_and_nothing_is_left() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let task = Task::new(Script::from_text("x", "#!/no/such/interpreter -x\n"));
        let error = place.try_run(&task, &transport).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotStarted);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("/no/such/interpreter: "), "{cause}");
        assert!(place.tasks().is_empty());
    });
}

#[test]
fn a_cancel_ends_the_task() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let fleet = place.fleet();
        let task = script("echo up; sleep 1000; echo down");
        let run = fleet.run_on_host(&task, "local").over(transport);
        let canceller = run.canceller();
        let results = run
            .follow(move |event| {
                if kind(&event) == "stdout" {
                    canceller.cancel();
                }
            })
            .await
            .unwrap();
        assert_eq!(results.outcome, Outcome::Cancelled);
        assert_eq!(results.stdout().unwrap(), b"up\n");
    });
}

#[test]
fn the_environment_is_that_of_the_login() {
    under_each_shell(|transport, shell| async move {
        let place = Place::new();
        let task = Task::new(Script::from_argv("env", ["env", "-0"]));
        let stdout = place.run(&task, &transport).await.stdout().unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let mut names: Vec<&str> =
            text.split('\0').filter_map(|line| line.split('=').next()).collect();
        names.retain(|name| !name.is_empty() && std::env::var_os(name).is_none());
        // Shells set these by themselves, the last two only ksh93 and zsh.
        names.retain(|name| {
            !["PWD", "OLDPWD", "SHLVL", "_", "_AST_FEATURES", "LOGNAME"].contains(name)
        });
        names.sort_unstable();
        let own = ["GETO_CPUS", "GETO_HOST", "GETO_SCRIPT", "GETO_SLOT", "GETO_TASK_ID"];
        assert_eq!(names, own, "{}", shell.name);
        assert_eq!(text.contains("LC_ALL="), std::env::var_os("LC_ALL").is_some());
        assert!(matches!(task.script.body(), ScriptBody::Command(_)));
    });
}

#[test]
fn a_command_whose_name_begins_with_a_dash_is_no_option() {
    under_each_shell(|transport, shell| async move {
        for nice in [None, Some(5)] {
            let mut place = Place::new();
            place.host.nice = nice;
            for words in [&["--version"][..], &["-f", "true"], &["-c", "true"]] {
                let task = Task::new(Script::from_argv("t", words.iter().copied()));
                let results = place.run(&task, &transport).await;
                let code = Outcome::Exited { code: 127 };
                assert_eq!(results.outcome, code, "{} {words:?} {nice:?}", shell.name);
                assert_eq!(results.stdout().unwrap(), b"", "{}", shell.name);
            }
        }
    });
}
