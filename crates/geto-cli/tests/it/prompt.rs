//! Questions to whoever sits there.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use geto_testkit::{AskPass, KeyKind, Sshd, UserKey, program};

use crate::support::World;

const GETO: &str = env!("CARGO_BIN_EXE_geto");

#[test]
fn a_passphrase_is_asked_for_through_ssh_askpass() {
    for kind in [KeyKind::Ed25519, KeyKind::Rsa] {
        let key = UserKey::new(kind).passphrase("open sesame");
        let server = Sshd::builder().name("server1").user_key(key).start();
        let world = World::new();
        world.env.use_servers(&[&server]);
        let ask = AskPass::new(&["open sesame"]);
        let mut command = world.env.command(program("setsid", "util-linux"));
        command.args(["-w", GETO, "run", "-q", "-c", "echo in"]);
        ask.serve(&mut command);
        let ran = world.env.run(&mut command);
        assert_eq!(ran.text(), "in\n", "{ran:?}");
        let questions = ask.questions();
        assert!(
            questions.lines().count() == 1 && questions.contains("passphrase"),
            "{questions:?}"
        );
    }
}

#[test]
fn without_anybody_to_ask_it_ends_at_once_with_the_reason() {
    let server = Sshd::builder().name("server1").password("s3cret").start();
    let world = World::new();
    world.env.use_servers(&[&server]);
    let mut command = world.env.command(program("setsid", "util-linux"));
    let ran = world.env.run(command.args(["-w", GETO, "run", "-c", "echo in"]));
    assert_eq!(ran.code(), 125, "{ran:?}");
    assert!(ran.stderr.contains("on host `server1`"), "{ran:?}");
}

/// Runs a line of shell on a terminal of its own, and types when a question is there. Returns what
/// was shown before and after.
fn on_terminal(world: &World, line: &str, question: &str, typed: &str) -> (String, String) {
    let mut command = world.env.command(program("script", "bsdutils"));
    // The shell gets an interrupt as well.
    command.args(["-qec", &format!("trap : INT; {line}"), "/dev/null"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = String::new();
    while !seen.contains(question) {
        let mut piece = [0; 1024];
        let read = stdout.read(&mut piece).unwrap();
        assert!(read > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    drop(stdin);
    child.wait().unwrap();
    (seen, rest)
}

/// What is typed does not show, and Ctrl-C leaves the terminal as it was.
#[test]
fn a_password_is_asked_for_on_the_terminal() {
    let server = Sshd::builder().name("server1").password("s3cret").start();
    let world = World::new();
    world.env.use_servers(&[&server]);
    let line = format!("'{GETO}' run -q -c 'echo in'; stty -a | grep -o '[-]*echo '");
    for (typed, shown) in [("s3cret\n", "in\r\n"), ("\u{3}", "echo \r\n")] {
        let (seen, rest) = on_terminal(&world, &line, "assword", typed);
        assert!(rest.contains(shown) && !rest.contains("s3cret"), "{seen}{rest}");
        assert!(rest.ends_with("echo \r\n") && !rest.contains("-echo"), "{rest:?}");
    }
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal() {
    let key = UserKey::new(KeyKind::Ed25519).passphrase("open sesame");
    let server = Sshd::builder().name("server1").user_key(key).start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    for transport in ["native", "ssh"] {
        world.env.write_geto_ini(&format!("{ini}[server1]\ntransport={transport}\n"));
        let line = format!("'{GETO}' run -q -c 'echo in'");
        let (seen, rest) = on_terminal(&world, &line, "assphrase", "open sesame\n");
        assert!(rest.contains("in\r\n") && !rest.contains("sesame"), "{transport}: {seen}{rest}");
    }
}

#[test]
fn host_keys_are_learned_after_a_yes() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    let known = world.env.home().join("known");
    let setting = format!("[geto]\nknown_hosts_path={}\n", known.display());
    world.env.write_geto_ini(&ini.replace("[geto]\n", &setting));
    let line = format!("'{GETO}' trust server1; echo \"code $?\"");
    for (answer, code, learned) in [("no\n", 1, false), ("\n", 1, false), ("yes\n", 0, true)] {
        let (seen, rest) = on_terminal(&world, &line, "(yes/no)", answer);
        assert!(seen.contains("ssh-ed25519 SHA256:"), "{seen}");
        assert!(rest.ends_with(&format!("code {code}\r\n")), "{rest}");
        assert_eq!(known.exists(), learned);
    }
    assert_eq!(world.geto(&["run", "-q", "-c", "echo in"]).text(), "in\n");
}
