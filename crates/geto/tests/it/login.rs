//! Tasks that run under the profile of the login shell.

use std::path::{Path, PathBuf};

use geto::{ErrorKind, Outcome, Script, Stdin, Task};
use geto_testkit::{Machine, Sshd, login_shells, system_shells};

use crate::ssh::{data, host, tasks_left};
use crate::support::{Place, runtime};

/// A machine whose login shell reads these lines, in the syntax of its kind, as a login shell only.
fn with_profile(shell: &Path, [posix, csh, fish]: [&str; 3]) -> Machine {
    Machine::new()
        .login_shell(shell)
        // dash, ksh and mksh read no other.
        .home_file(".profile", format!("{posix}\n"))
        .home_file(".zprofile", format!("{posix}\n"))
        .home_file(".yash_profile", format!("{posix}\n"))
        .home_file(".login", format!("{csh}\n"))
        .home_file(".config/fish/config.fish", format!("if status is-login\n{fish}\nend\n"))
}

/// What runs under a profile that sets variables, reads, and goes elsewhere.
fn runs_under_profile(machine: Machine, shell: &str) {
    let server = Sshd::builder().machine(machine).start();
    let mut host = host(&server);
    host.setup = Some("V=\"$V setup\"; cd ..; cd dir".to_owned());
    host.env = vec![("W".to_owned(), "from ini".into())];
    let place = Place::of(host);
    let lines = [
        "cat; printf '%s|' \"$1\" \"$2\" \"$P\" \"$V\" \"$W\" \"$GETO_HOST\" \"$ODD\" \"${LC_ALL-none}\"",
        "cat DEPS/data/f",
        "env | grep ^g_; echo x >f",
    ];
    let odd = "a[$(touch evil)]\n'\u{e9}";
    let mut task = Task::new(Script::from_commands("login", lines)).arg("it's").arg("a\n$HOME`!");
    task = task.env("V", "mine").env("ODD", odd).dependency(data(place.dir.path()));
    task = task.stdin(Stdin::Bytes(b"input|".to_vec()));
    task.login = true;
    let results = runtime()
        .block_on(async { place.fleet().run_on_host(&task, server.name()).await.unwrap() });
    let expected = format!("input|it's|a\n$HOME`!|yes|mine setup|from ini|server|{odd}|none|");
    let expected = [expected.as_bytes(), b"\0\xff\n"].concat();
    let stdout = results.stdout().unwrap();
    assert_eq!(stdout, expected, "{shell}: {}", String::from_utf8_lossy(&stdout));
    assert_eq!(results.outcome, Outcome::Exited { code: 0 });
    let files = results.files.unwrap();
    assert_eq!(
        (files.count, fs_err::read(files.directory.join("f")).unwrap()),
        (1, b"x\n".to_vec())
    );
    assert_eq!(tasks_left(&server), Vec::<PathBuf>::new());
}

const PROFILE: [&str; 3] = [
    "P=yes; V=theirs; W=theirs; GETO_HOST=theirs; export P V W GETO_HOST; cat; cd /",
    "setenv P yes; setenv V theirs; setenv W theirs; setenv GETO_HOST theirs; cat; cd /",
    "set -x P yes; set -x V theirs; set -x W theirs; set -x GETO_HOST theirs; cat; cd /",
];

/// What the user says of the task wins, and its input is its own.
#[test]
fn login_runs_under_the_profile_and_the_task_has_the_last_word() {
    for shell in login_shells() {
        eprintln!("{}", shell.name);
        runs_under_profile(with_profile(&shell.path, PROFILE), shell.name);
    }
    for shell in system_shells() {
        eprintln!("/bin/sh is {}", shell.name);
        let machine = with_profile(Path::new("/bin/bash"), PROFILE).system_shell(&shell.path);
        runs_under_profile(machine, shell.name);
    }
}

/// The script never ran, whatever the profile ended with.
#[test]
fn a_profile_that_ends_or_becomes_something_else_starts_nothing() {
    for shell in login_shells() {
        for line in ["exit 5", "exec cat", "kill -9 $$"] {
            eprintln!("{} {line}", shell.name);
            let fish = line.replace("$$", "$fish_pid");
            let machine = with_profile(&shell.path, [line, line, &fish]);
            let server = Sshd::builder().machine(machine).start();
            let place = Place::of(host(&server));
            let mut task = Task::new(Script::from_commands("t", ["echo ran; exit 5"]));
            task.login = true;
            let ran =
                runtime().block_on(async { place.fleet().run_on_host(&task, server.name()).await });
            let error = match ran {
                // Of some, it ends no more than the file that it stands in.
                Ok(results) => {
                    assert!(line == "exit 5" && ["fish", "tcsh", "csh"].contains(&shell.name));
                    assert_eq!(results.stdout().unwrap(), b"ran\n");
                    continue;
                }
                Err(error) => error,
            };
            assert_eq!((error.kind(), error.exit_code().0), (ErrorKind::NotStarted, 125));
            let said = "start-up files of the login shell ended before the script was started on host \
                        `server`";
            assert_eq!(error.to_string(), said, "{}", shell.name);
            assert!(error.hint().unwrap().contains("`--login`"), "{error:?}");
            assert_eq!(tasks_left(&server), Vec::<PathBuf>::new());
        }
    }
}

/// The same code of the script itself, or of `setup`, is no fault of the profile.
#[test]
fn a_profile_is_not_blamed_for_what_follows_it() {
    let server = Sshd::builder().machine(with_profile(Path::new("/bin/bash"), PROFILE)).start();
    let mut host = host(&server);
    let mut task = Task::new(Script::from_commands("t", ["exit 5"]));
    task.login = true;
    let run = |place: &Place| {
        runtime().block_on(async { place.fleet().run_on_host(&task, server.name()).await })
    };
    let results = run(&Place::of(host.clone())).unwrap();
    assert_eq!(results.outcome, Outcome::Exited { code: 5 });
    host.setup = Some("exit 5".to_owned());
    let error = run(&Place::of(host)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotStarted);
    assert!(error.to_string().starts_with("`setup` failed"), "{error:?}");
}
