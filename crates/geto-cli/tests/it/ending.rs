//! What signals do.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use geto_testkit::{Cut, Proxy, Server, Sshd};
use rustix::process::{Pid, Signal, kill_process};

use crate::slow::Slow;
use crate::support::{World, entries};

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Starts a task and waits until it has printed a line.
fn started(world: &World, command: &mut Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n", "{:?}", world.tasks());
    (child, stdout)
}

fn said(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

/// Waits until no process has this in its environment.
fn wait_for_end(world: &World) {
    let state = world.env.home().display().to_string();
    let lives = || {
        let processes = fs_err::read_dir("/proc").unwrap().flatten();
        processes.into_iter().any(|process| {
            let environment = fs_err::read(process.path().join("environ")).unwrap_or_default();
            let own = format!("HOME={state}");
            environment.split(|byte| *byte == 0).any(|variable| variable == own.as_bytes())
        })
    };
    while lives() {
        std::thread::yield_now();
    }
}

#[test]
fn ctrl_c_ends_the_task_and_brings_what_there_is() {
    let world = World::new();
    let line = "trap 'echo bye; exit 7' TERM; echo up; echo x >f; while :; do sleep 0.1; done";
    let (child, mut stdout) = started(&world, &mut world.command(&["run", "-c", line]));
    signal(&child, Signal::INT);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "bye\n");
    let (code, text) = said(child);
    assert_eq!(code, Some(130), "{text}");
    assert!(text.contains("geto: ending the task; Ctrl-C once more leaves it\n"), "{text}");
    assert_eq!(fs_err::read(world.result().join("files/f")).unwrap(), b"x\n");
    let outcome = fs_err::read_to_string(world.result().join("outcome.json")).unwrap();
    assert!(outcome.contains("\"cancelled\""), "{outcome}");
    assert!(world.tasks().is_empty());
    wait_for_end(&world);
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_says_where_the_task_is() {
    let world = World::new();
    let line = "trap '' TERM; echo up; while :; do sleep 0.1; done";
    let (mut child, _stdout) = started(&world, &mut world.command(&["run", "-c", line]));
    signal(&child, Signal::INT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("ending the task") {
        text.clear();
        assert!(stderr.read_line(&mut text).unwrap() > 0);
    }
    signal(&child, Signal::INT);
    text.clear();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    let text = world.env.redact(&text);
    assert!(
        text.starts_with(
            "geto: task <id> is being ended on host `local`; its files are in `$HOME/.cache/geto/"
        ),
        "{text}"
    );
    // The task was told to end, and does: TERM first, KILL ten seconds later.
    wait_for_end(&world);
}

/// A task on a host behind a proxy, which only a KILL ends; the first Ctrl-C is sent when `breaks` has broken
/// the link, the second once the first was seen. Returns geto, the rest of what it says on stderr, and the
/// task's directory.
fn interrupted_twice(
    world: &World,
    server: &Server,
    breaks: impl FnOnce(),
) -> (Child, BufReader<ChildStderr>, PathBuf) {
    let line = "trap '' TERM; echo up; while :; do sleep 0.1; done";
    let mut command = world.command(&["run", "-H", "server1", "-c", line]);
    let (mut child, _stdout) = started(world, &mut command);
    let machines = entries(&server.inside("~/.cache/geto"));
    let [task] = &entries(&machines[0].join("tasks"))[..] else { panic!("{machines:?}") };
    breaks();
    signal(&child, Signal::INT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("ending the task") {
        text.clear();
        assert!(stderr.read_line(&mut text).unwrap() > 0);
    }
    signal(&child, Signal::INT);
    (child, stderr, task.clone())
}

fn behind_proxy() -> (World, Server, Proxy) {
    let (world, server) = (World::new(), Sshd::builder().name("server1").start());
    let proxy = Proxy::builder(server.address()).start();
    world.env.use_servers_at(&[(&server, proxy.address())]);
    (world, server, proxy)
}

/// Nothing of the first one gets through before the second one.
#[test]
fn a_second_ctrl_c_leaves_once_the_host_has_heard_of_the_first() {
    let (world, server, proxy) = behind_proxy();
    let (mut child, mut stderr, task) = interrupted_twice(&world, &server, || proxy.stall());
    proxy.resume();
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.contains(" is being ended on host `server1`; its files are in `"), "{text}");
    assert_eq!(fs_err::read(task.join("why")).unwrap(), b"cancelled\n");
}

#[test]
fn a_second_ctrl_c_says_so_when_the_host_can_not_hear_of_the_first() {
    let (world, server, proxy) = behind_proxy();
    let (mut child, mut stderr, task) = interrupted_twice(&world, &server, || {
        proxy.refuse(true);
        proxy.cut(Cut::Reset);
    });
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    let id = task.file_name().unwrap().to_str().unwrap();
    let kill = format!(
        " goes on on host `server1`; the host has not said that it ends it: \
         `geto kill -H server1 {id}` does; "
    );
    assert!(text.contains(&kill), "{text}");
    assert!(!task.join("why").exists());
    proxy.refuse(false);
    assert_eq!(world.geto(&["kill", "-H", "server1", id]).code(), 0);
    assert_eq!(fs_err::read(task.join("why")).unwrap(), b"cancelled\n");
}

#[test]
fn term_and_hangup_leave_the_task_running_and_say_how_to_find_it() {
    for (number, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let world = World::new();
        let gate = world.env.cwd().join("gate");
        let line = format!(
            "echo up; until [ -e '{}' ]; do sleep 0.05; done; echo down; exit 4",
            gate.display()
        );
        let (child, _stdout) = started(&world, &mut world.command(&["run", "-q", "-c", &line]));
        signal(&child, number);
        let (ended, text) = said(child);
        assert_eq!(ended, Some(code), "{text}");
        let [task] = &world.tasks()[..] else { panic!("{:?}", world.tasks()) };
        assert!(text.contains(&task.join("dir").display().to_string()), "{text}");
        fs_err::write(&gate, "").unwrap();
        wait_for_end(&world);
        assert_eq!(fs_err::read(task.join("out")).unwrap(), b"up\ndown\n");
        assert!(fs_err::read_to_string(task.join("outcome")).unwrap().contains("status=4"));
        assert!(world.results().is_empty());
    }
}

/// Tasks see SIGINT as a shell at a terminal would give it, even when geto runs in the background
/// of a shell that ignores it; and geto stays deaf to what it was told to ignore.
#[test]
fn what_was_ignored_stays_ignored_but_not_for_the_task() {
    let world = World::new();
    let gate = world.env.cwd().join("gate");
    let line = format!(
        "trap 'echo int' INT; kill -INT $$; echo up; until [ -e '{}' ]; do sleep 0.05; done",
        gate.display()
    );
    let mut shell = world.env.command("/bin/sh");
    let geto = env!("CARGO_BIN_EXE_geto");
    shell.args(["-c", "trap '' INT HUP; exec \"$@\"", "sh", geto, "run", "-q", "-c", &line]);
    let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    while !lines.ends_with("up\n") {
        assert!(stdout.read_line(&mut lines).unwrap() > 0, "{lines}");
    }
    assert_eq!(lines, "int\nup\n");
    signal(&child, Signal::INT);
    signal(&child, Signal::HUP);
    fs_err::write(&gate, "").unwrap();
    assert_eq!(said(child), (Some(0), String::new()));
}

/// It was started, so it is not safe to run it again, whatever is left of it.
#[test]
fn a_script_that_removes_its_own_records_is_lost() {
    let world = World::new();
    let gate = world.env.cwd().join("gate");
    let line =
        format!("echo up; until [ -e '{}' ]; do sleep 0.05; done; rm -rf ../*", gate.display());
    let (child, _stdout) = started(&world, &mut world.command(&["run", "-c", &line]));
    fs_err::write(&gate, "").unwrap();
    let (code, text) = said(child);
    assert_eq!(code, Some(123), "{text}");
    let error = "geto: error: the end of the task on host `local` is not known\n  caused by: ";
    assert!(text.contains(error), "{text}");
    assert!(world.tasks().is_empty());
}

#[test]
fn a_reader_that_stalls_holds_up_neither_ctrl_c_nor_the_end() {
    let world = World::new();
    let line = "echo up; head -c 50000000 /dev/zero; sleep 1000";
    let mut command = world.command(&["run", "-c", line]);
    // A group of its own, as a shell would give it.
    let (child, stdout) = started(&world, command.process_group(0));
    signal(&child, Signal::INT);
    let (code, text) = said(child);
    assert_eq!(code, Some(130), "{text}");
    drop(stdout);
    assert!(world.tasks().is_empty());
    wait_for_end(&world);
}

/// The directories that children `ssh` of geto have here.
fn directories_of_ssh(world: &World) -> Vec<PathBuf> {
    let mut all = entries(&world.env.tmp());
    all.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("geto-ssh-"));
    all
}

/// A world with one host, which a child `ssh` reaches, and a word more of it in ssh_config and in
/// geto.ini.
fn by_ssh(server: &Server, config: &str, ini: &str) -> World {
    let world = World::new();
    let text = world.env.use_servers(&[server]);
    let path = text.lines().find_map(|line| line.strip_prefix("ssh_config_path=")).unwrap();
    let section = fs_err::read_to_string(path).unwrap();
    let config = format!("Host server1\n  {config}\n{section}");
    fs_err::write(path, config).unwrap();
    world.env.write_geto_ini(&format!("{text}[server1]\ntransport=ssh\n{ini}"));
    world
}

#[test]
fn nothing_is_left_here_of_a_child_ssh_whose_task_is_left_running() {
    for config in ["SessionType default", "SessionType none"] {
        let server = Sshd::builder().name("server1").start();
        let world = by_ssh(&server, config, "");
        let line = "echo up; exec sleep 1000";
        let (child, _stdout) = started(&world, &mut world.command(&["run", "-q", "-c", line]));
        // It was needed for the login only.
        assert!(directories_of_ssh(&world).is_empty());
        signal(&child, Signal::TERM);
        let (ended, text) = said(child);
        assert_eq!(ended, Some(143), "{text}");
        wait_for_end(&world);
    }
}

/// The task goes on there, and only there.
#[test]
fn nothing_is_left_here_of_a_child_ssh_whose_geto_is_killed() {
    let server = Sshd::builder().name("server1").start();
    let world = by_ssh(&server, "Compression no", "");
    let line = "echo up; exec sleep 1000";
    let (mut child, _stdout) = started(&world, &mut world.command(&["run", "-q", "-c", line]));
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    wait_for_end(&world);
    assert!(directories_of_ssh(&world).is_empty());
    assert_eq!(world.geto(&["kill", "--all"]).code(), 0);
}

#[test]
fn nothing_is_left_here_of_a_child_ssh_that_waits_for_an_agent() {
    let server = Sshd::builder().name("server1").start();
    let run = &["run", "-q", "-c", ":"][..];
    for (args, number) in [
        (run, Signal::TERM),
        (run, Signal::KILL),
        (&["hosts"], Signal::TERM),
        (&["ps"], Signal::TERM),
        (&["clean", "--cache"], Signal::TERM),
    ] {
        let socket = server.dir().join("hung");
        let agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let world = by_ssh(&server, &format!("IdentityAgent {}", socket.display()), "");
        let mut command = world.command(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _asked = agent.accept().unwrap();
        signal(&child, number);
        let (ended, text) = said(child);
        assert_eq!(ended, (number == Signal::TERM).then_some(143), "{args:?}: {text}");
        // Whoever was killed has left that to others.
        assert!(number == Signal::KILL || directories_of_ssh(&world).is_empty(), "{args:?}");
        wait_for_end(&world);
        assert!(directories_of_ssh(&world).is_empty(), "{args:?}");
        fs_err::remove_file(socket).unwrap();
    }
}

#[test]
fn nothing_is_left_here_of_a_child_ssh_whose_question_is_open() {
    let server = Sshd::builder().name("server1").password("s3cret").start();
    for number in [Signal::TERM, Signal::KILL] {
        let world = by_ssh(&server, "Compression no", "");
        let (asked, answer) = (world.env.cwd().join("asked"), world.env.cwd().join("answer"));
        for pipe in [&asked, &answer] {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        let script = "#!/bin/sh\necho asked >asked\nread -r answer <answer\n";
        let script = world.env.file("ask", script);
        geto_testkit::set_mode(&script, 0o755);
        let mut command = world.command(&["run", "-q", "-c", ":"]);
        command.env("SSH_ASKPASS", script).env("SSH_ASKPASS_REQUIRE", "force");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(fs_err::read(&asked).unwrap(), b"asked\n");
        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), (number == Signal::TERM).then_some(143));
        // The one who asks is geto's own child, and not ended with it.
        fs_err::write(&answer, "\n").unwrap();
        wait_for_end(&world);
        assert!(directories_of_ssh(&world).is_empty(), "{:?}", directories_of_ssh(&world));
    }
}

/// The host has no copy any more, and half of the files in their places would be no result.
#[test]
fn files_are_put_into_place_before_a_signal_ends_geto() {
    for subcommand in ["run", "each"] {
        let world = World::new();
        let slow = Slow::new(&world);
        let args = [subcommand, "-H", "local", "--into", "slow/out", "-c", "touch file"];
        let mut command = world.command(&args);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // The host forgets the task once its results are home.
        let is_final =
            |path: &PathBuf| !path.file_name().unwrap().as_encoded_bytes().starts_with(b".");
        while !world.results().iter().any(is_final) || !world.tasks().is_empty() {
            std::thread::yield_now();
        }
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        for (number, expected) in [
            (Signal::INT, "geto: putting the files into place; the task has ended\n"),
            (Signal::TERM, "geto: putting the files into place; once more leaves them"),
        ] {
            signal(&child, number);
            let mut line = String::new();
            stderr.read_line(&mut line).unwrap();
            assert!(line.starts_with(expected), "{subcommand}: {line}");
        }
        slow.go_on();
        stderr.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
        assert!(slow.place.join("out/file").exists());
        assert!(world.geto(&["history"]).text().contains("exited"));
    }
}
