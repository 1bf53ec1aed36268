//! `geto run` on the built-in host.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use crate::support::World;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/hello.sh");

#[test]
fn the_example_runs_on_this_machine() {
    let world = World::new();
    let ran = world.geto(&["run", EXAMPLE]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.text().starts_with("Hello from "), "{ran:?}");
    insta::assert_snapshot!(ran.stderr, @"
    geto: no host is named and there is no geto.ini: running on `local`
    Messages on stderr stay apart.
    geto: 1 file, 25 bytes in `$XDG_STATE_HOME/geto/<id>/files`
    ");
    let text = fs_err::read_to_string(world.result().join("files/result.txt")).unwrap();
    assert_eq!(text, "result of hello on local\n");
    assert!(world.tasks().is_empty());
}

/// What is not asked for by name can be taken out all the same, and a slip is no leave to run here.
#[test]
fn a_host_that_is_taken_out_is_not_run_on() {
    let world = World::new();
    for (word, why) in
        [("local", "no host is left"), ("l*", "no host is left"), ("node7", "`node7`")]
    {
        let ran = world.geto(&["run", "-x", word, "-c", "echo ran"]);
        assert_eq!((ran.code(), ran.text()), (2, String::new()), "{ran:?}");
        assert!(ran.stderr.contains(why) && !ran.stderr.contains("running on"), "{ran:?}");
    }
    assert!(world.tasks().is_empty());
}

#[test]
fn all_behind_the_script_is_the_scripts() {
    let world = World::new();
    world.env.file("job.sh", "printf '<%s>' \"$@\"");
    for (line, expected) in [
        ("run -q job.sh a --json -c", "<a><--json><-c>"),
        ("run -q job.sh -- a", "<--><a>"),
        ("run -q -- ./job.sh", ""),
        ("run -q -c printf\t'<%s>'\t$1 : -- -x y", "<-x>"),
    ] {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('\t', " ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = world.geto(&words);
        assert_eq!(ran.text(), expected, "{line}: {}", ran.stderr);
    }
}

#[test]
fn lines_are_a_script_and_a_command_runs_as_it_stands() {
    let world = World::new();
    let ran = world.geto(&["run", "-q", "-c", "x=1", "echo $x$1", "-c", "echo $0 end", "--", "2"]);
    assert!(ran.text().starts_with("12\n") && ran.text().ends_with(" end\n"), "{ran:?}");
    let ran = world.geto(&["run", "-q", "--", "printf", "%s,", "$HOME", "*", "a  b", ""]);
    assert_eq!(ran.text(), "$HOME,*,a  b,,");
}

#[test]
fn a_script_and_its_input_come_from_stdin_or_a_file() {
    let world = World::new();
    let with_input = |args: &[&str], input: &[u8]| {
        let mut command = world.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    assert_eq!(with_input(&["run", "-q", "-", "b"], b"echo a $1"), b"a b\n");
    assert_eq!(with_input(&["run", "-q", "--stdin", "--", "cat"], b"\0\xff\r\n"), b"\0\xff\r\n");
    world.env.file("in put", "from a file");
    assert_eq!(with_input(&["run", "-q", "--stdin=in put", "--", "cat"], b""), b"from a file");
    // geto never reads its own input unasked.
    let mut child =
        world.command(&["run", "-q", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let ran = world.geto(&["run", "--stdin", "-"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("can't both be read from stdin"), "{}", ran.stderr);
}

#[test]
fn it_ends_with_the_code_of_the_manual() {
    let world = World::new();
    for (args, code) in [
        (&["-c", "exit 3"][..], 3),
        (&["-c", "exit 255"], 255),
        (&["-c", "kill -15 $$"], 143),
        (&["-t", "1", "-c", "sleep 100"], 124),
        (&["-H", "127.0.0.1:1", "-c", ":"], 125),
        (&["-c", "#!/no/such/interpreter"], 125),
        (&["--", "no-such-command"], 127),
        (&["-t", "x", "-c", ":"], 2),
        (&["--nonsense"], 2),
        (&[], 2),
    ] {
        let ran = world.geto(&[&["run"], args].concat());
        assert_eq!(ran.code(), code, "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
}

#[test]
fn a_script_that_is_no_file_points_to_commands_and_lines() {
    let world = World::new();
    insta::assert_snapshot!(world.geto(&["run", "nproc"]).stderr, @"
    geto: error: failed to read the script `nproc`
      caused by: there is no such file
      hint: to run a command of the host, write `-- nproc`; to run a line of shell, `-c LINE`
    ");
    insta::assert_snapshot!(world.geto(&["run", "."]).stderr, @"
    geto: error: failed to read the script `.`
      caused by: it is a directory
      hint: to run a command of the host, write `-- .`; to run a line of shell, `-c LINE`
    ");
    insta::assert_snapshot!(world.geto(&["run", "-c", ":", "-q", "x"]).stderr, @"
    geto: error: `x` is one script too many
      hint: with `-c`, arguments stand behind `--`
    ");
}

#[test]
fn variables_come_from_options_files_and_here() {
    let world = World::new();
    world.env.file("vars", "# c\nA=file\nB='two\nlines'\nC=file\n");
    let mut command = world.command(&[
        "run",
        "-q",
        "--env-file",
        "vars",
        "-e",
        "A=option",
        "-e",
        "HERE",
        "-e",
        "ODD= a'b\"$(x)`*\n",
        "-c",
        "printf '%s|' \"$A\" \"$B\" \"$C\" \"$HERE\" \"$ODD\"",
    ]);
    let ran = world.env.run(command.env("HERE", std::ffi::OsStr::from_bytes(b"\xff\xfe")));
    assert_eq!(ran.stdout, b"option|two\nlines|file|\xff\xfe| a'b\"$(x)`*\n|", "{ran:?}");
    let ran = world.geto(&["run", "-e", "UNSET_HERE", "-c", ":"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("`UNSET_HERE` is not set here"), "{}", ran.stderr);
    world.env.file("bad", "A=1\ns3cret\n");
    let ran = world.geto(&["run", "--env-file", "bad", "-c", ":"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("`bad` line 2: no `=` in it"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
}

#[test]
fn the_name_is_the_file_name_without_suffix_or_the_one_given() {
    let world = World::new();
    world.env.file("my job.v2.sh", "printf '%s' \"$GETO_SCRIPT\"");
    assert_eq!(world.geto(&["run", "-q", "my job.v2.sh"]).text(), "my job.v2");
    assert_eq!(world.geto(&["run", "-q", "-n", "other", "my job.v2.sh"]).text(), "other");
    world.env.file("line\nfeed.sh", "printf '%s' \"$GETO_SCRIPT\"");
    assert_eq!(world.geto(&["run", "-q", "line\nfeed.sh"]).text(), "line_feed");
}

#[test]
fn any_bytes_arrive_as_script_arguments_and_file_names() {
    use std::ffi::OsStr;

    let world = World::new();
    let odd: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let name = [b"-", &odd[..120]].concat();
    let script =
        [b"printf '%s\\0' \"$@\"; cp -- \"DEPS/$1\" .; exit # ".as_slice(), &odd, b"\0"].concat();
    fs_err::write(world.env.cwd().join(OsStr::from_bytes(&name)), script).unwrap();
    let mut command = world.command(&["run", "-q"]);
    command.arg("-d").arg(OsStr::from_bytes(&[b"./", &*name].concat()));
    command.arg(OsStr::from_bytes(&[b"./", &*name].concat()));
    command.arg(OsStr::from_bytes(&name)).arg("").arg(OsStr::from_bytes(&odd));
    let ran = world.env.run(&mut command);
    assert_eq!(ran.stdout, [&*name, b"\0\0", &odd, b"\0"].concat(), "{}", ran.stderr);
    let copy = world.result().join("files").join(OsStr::from_bytes(&name));
    let original = world.env.cwd().join(OsStr::from_bytes(&name));
    assert_eq!(fs_err::read(copy).unwrap(), fs_err::read(original).unwrap());
}

#[test]
fn login_and_setup_run_before_the_script() {
    let world = World::new();
    fs_err::write(world.env.home().join(".profile"), "export FROM_PROFILE=yes\n").unwrap();
    fs_err::write(world.env.home().join(".bash_profile"), "export FROM_PROFILE=yes\n").unwrap();
    let line = "echo ${FROM_PROFILE-no}";
    let mut command = world.command(&["run", "-q", "-c", line]);
    assert_eq!(world.env.run(command.env("SHELL", "/bin/bash")).text(), "no\n");
    let mut command = world.command(&["run", "-q", "--login", "-c", line]);
    assert_eq!(world.env.run(command.env("SHELL", "/bin/bash")).text(), "yes\n");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let world = World::new();
    world.env.file("data/a", "12345");
    world.env.file("data/b", "678");
    let words =
        ["run", "--dry-run", "-d", "data", "-e", "TOKEN=s3cret", "-t", "5m", "-c", "touch x"];
    let ran = world.geto(&words);
    assert_eq!((ran.code(), ran.text()), (0, String::new()));
    insta::assert_snapshot!(ran.stderr, @"
    geto: no host is named and there is no geto.ini: running on `local`
    geto: would run `commands` (8 bytes) on `local`
    geto: would send `$CWD/data` as DEPS/data: 2 files, 8 bytes
    geto: would set TOKEN
    geto: would end it after <time>
    geto: would put results into `$XDG_STATE_HOME/geto`
    ");
    let ran = world.geto(&[&words[..], &["--json"]].concat());
    insta::assert_snapshot!(world.env.redact(&ran.text()), @r#"{"event":"plan","hosts":[{"host":"local","transport":"local"}],"script":"commands","arguments":0,"variables":["TOKEN"],"dependencies":[{"name":"data","path":"$CWD/data","files":2,"bytes":8}],"results":"$XDG_STATE_HOME/geto","timeout":300}"#);
    assert!(world.tasks().is_empty() && world.results().is_empty());
}

#[test]
fn a_misspelt_option_is_no_script() {
    let world = World::new();
    let ran = world.geto(&["run", "--timout", "5", "job.sh"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("unexpected argument '--timout'"), "{}", ran.stderr);
    world.env.file("job.sh", "echo \"$@\"\n");
    // Behind the script all words are its own.
    let ran = world.geto(&["run", "-q", "-t5", "job.sh", "-x", "--timout", "--", "-c"]);
    assert_eq!(ran.text(), "-x --timout -- -c\n", "{ran:?}");
}
