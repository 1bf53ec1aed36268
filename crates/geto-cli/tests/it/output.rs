//! What is printed where.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use geto_testkit::program;

use crate::support::World;

#[test]
fn both_streams_are_kept_apart_and_exact() {
    let world = World::new();
    let ran = world.geto(&["run", "-q", "-c", "printf 'a\\0\\r\\n\\377'; printf 'e\\033[m' >&2"]);
    assert_eq!(ran.stdout, b"a\0\r\n\xff");
    assert_eq!(ran.stderr, "e\u{1b}[m");
}

#[test]
fn output_appears_while_the_task_runs() {
    let world = World::new();
    let gate = world.env.cwd().join("gate");
    let line =
        format!("echo up; until [ -e '{}' ]; do sleep 0.01; done; echo down", gate.display());
    let mut child = world.start(&["run", "-c", &line]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert_eq!(first, "up\n");
    fs_err::write(&gate, "").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "down\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn two_hundred_megabytes_pass_in_little_memory() {
    let world = World::new();
    let time = program("time", "time");
    let mut command = world.env.command(time);
    command.args(["-f", "%M", env!("CARGO_BIN_EXE_geto")]);
    command.args(["run", "-q", "--", "head", "-c", "200000000", "/dev/zero"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let bytes = std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(bytes, 200_000_000);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let kilobytes: u64 = said.trim().parse().unwrap_or_else(|_| panic!("{said}"));
    assert!(child.wait().unwrap().success());
    assert!(kilobytes < 50_000, "{kilobytes} KB");
    let stored = fs_err::metadata(world.result().join("stdout")).unwrap();
    assert_eq!(stored.len(), 200_000_000);
}

#[test]
fn verbose_tells_more_and_quiet_nothing_but_errors() {
    let world = World::new();
    let ran = world.geto(&["run", "-v", "-c", "echo out; exit 3"]);
    let said = ran.stderr.replace(&machine(&world), "<machine>");
    // How much is sent and received depends on the length of names.
    let (before, numbers) = said.split_once("; sent ").unwrap();
    assert!(numbers.ends_with("\ngeto: output in `$XDG_STATE_HOME/geto/<id>`\n"), "{said}");
    insta::assert_snapshot!(before, @"
    geto: no host is named and there is no geto.ini: running on `local`
    geto: connecting to `local`
    geto: logged into `local` after <time>
    geto: let in with slot 1
    geto: started on `local` in `$HOME/.cache/geto/<machine>/tasks/<id>/dir`
    geto: exited with code 3 after <time>
    geto: ran <time> with <time> of processor time
    ");
    assert_eq!(world.geto(&["run", "-q", "-c", "echo x >f"]).stderr, "");
    let ran = world.geto(&["run", "-q", "-c", "#!/no/such"]);
    assert!(ran.stderr.starts_with("geto: error: "), "{}", ran.stderr);
}

/// The directory of this machine below the work path.
fn machine(world: &World) -> String {
    let machines = crate::support::entries(&world.env.home().join(".cache/geto"));
    machines[0].file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let world = World::new();
    let ran =
        world.geto(&["run", "--json", "-c", "echo out; printf '\\377' >&2; echo x >f; exit 3"]);
    assert_eq!((ran.code(), ran.stderr.as_str()), (3, ""));
    let objects: Vec<serde_json::Value> =
        ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> =
        objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(&events[..4], ["connecting", "connected", "slot", "started"]);
    assert_eq!(&events[events.len() - 2..], ["ended", "results"]);
    let find = |event: &str| objects.iter().find(|object| object["event"] == event).unwrap();
    assert_eq!(find("stdout")["text"], "out\n");
    assert_eq!(find("stderr")["base64"], "/w==");
    let results = find("results");
    assert_eq!((&results["outcome"], &results["code"]), (&"exited".into(), &3.into()));
    assert_eq!((&results["files"]["count"], &results["files"]["bytes"]), (&1.into(), &2.into()));
    let ran = world.geto(&["run", "--json", "-c", "#!/no/such"]);
    let error: serde_json::Value =
        serde_json::from_str(ran.text().lines().last().unwrap()).unwrap();
    assert_eq!((&error["event"], &error["kind"]), (&"error".into(), &"not-started".into()));
    assert_eq!(error["exit_code"], 125);
}

/// Messages come on a terminal as well: what a host says in them must not drive it.
#[test]
fn control_sequences_of_a_host_stay_out_of_messages() {
    let world = World::new();
    let line = "printf 'x' >\"$(printf 'a\\033]0;evil\\007')\"; mkfifo \"$(printf 'p\\033[2J')\"";
    let ran = world.geto(&["run", "-c", line]);
    assert_eq!(ran.code(), 0);
    assert!(ran.stderr.contains(r"p\x1b[2J` is no file"), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
}

#[test]
fn a_reader_that_goes_away_ends_the_task() {
    let world = World::new();
    let mut child = world.start(&["run", "-c", "while :; do echo line; done"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert!(world.tasks().is_empty());
}

#[test]
fn a_full_stdout_is_an_error() {
    let world = World::new();
    let mut command = world.command(&["run", "-c", "echo x"]);
    let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command
        .stdout(full.into_parts().0)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(123), "{said}");
    assert!(said.contains("failed to write to stdout"), "{said}");
    assert_eq!(fs_err::read(world.result().join("stdout")).unwrap(), b"x\n");
}

#[test]
fn completions_and_man_pages_are_made() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = world.geto(&["completions", shell]);
        assert!(ran.code() == 0 && ran.text().contains("max-results"), "{shell}");
    }
    let ran = world.geto(&["man", "."]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let page = world.env.cwd().join("geto-run.1");
    assert!(fs_err::read_to_string(page).unwrap().contains("max\\-results"));
}

#[test]
fn a_wrong_command_line_is_an_object_too() {
    let world = World::new();
    let ran = world.geto(&["run", "--json", "-t", "abc", "-c", ":"]);
    assert_eq!(ran.code(), 2);
    let object: serde_json::Value = serde_json::from_str(&ran.text()).unwrap();
    assert_eq!((&object["event"], &object["kind"]), (&"error".into(), &"usage".into()));
}
