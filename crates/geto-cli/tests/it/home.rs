//! What comes home.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::support::{World, names};

#[test]
fn results_are_files_outputs_and_an_outcome() {
    let world = World::new();
    world.env.file("data", "");
    let line = "echo out; echo err >&2; mkdir -p 'a b/empty'; echo x >'a b/f'; ln -s f 'a b/l'; \
                chmod 4751 'a b/f'; touch -d @86400 'a b/f'; exit 4";
    let ran = world.geto(&["run", "-d", "data", "-n", "job", "-c", line]);
    assert_eq!(ran.code(), 4);
    let result = world.result();
    let listed = names(&result);
    let expected = [
        "files",
        "files/a b",
        "files/a b/empty",
        "files/a b/f",
        "files/a b/l",
        "outcome.json",
        "stderr",
        "stdout",
    ];
    assert_eq!(listed, expected);
    assert_eq!(fs_err::read(result.join("stdout")).unwrap(), b"out\n");
    assert_eq!(fs_err::read(result.join("stderr")).unwrap(), b"err\n");
    assert_eq!(fs_err::read_link(result.join("files/a b/l")).unwrap().to_str(), Some("f"));
    let metadata = fs_err::metadata(result.join("files/a b/f")).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.mtime()), (0o751, 86_400));
    let outcome = fs_err::read(result.join("outcome.json")).unwrap();
    let outcome: serde_json::Value = serde_json::from_slice(&outcome).unwrap();
    let keys: Vec<&String> = outcome.as_object().unwrap().keys().collect();
    let expected = "task script host outcome code raw_status started run_time cpu_time bytes_sent \
                    bytes_received warnings";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    let text = |key: &str| outcome[key].as_str().unwrap().to_owned();
    assert_eq!(
        (text("script"), text("host"), text("outcome")),
        ("job".into(), "local".into(), "exited".into())
    );
    assert_eq!((&outcome["code"], &outcome["raw_status"]), (&4.into(), &4.into()));
    assert_eq!(text("task"), result.file_name().unwrap().to_str().unwrap());
    assert!(outcome["bytes_sent"].as_u64().unwrap() > 1000);
}

#[test]
fn files_come_home_however_the_task_ended() {
    for (line, args, code) in [
        ("echo x >f; kill -9 $$", &[][..], 137),
        ("echo x >f; sleep 100", &["-t", "1"], 124),
        ("echo x >f; exit 1", &[], 1),
    ] {
        let world = World::new();
        let ran = world.geto(&[&["run"], args, &["-c", line]].concat());
        assert_eq!(ran.code(), code);
        assert_eq!(fs_err::read(world.result().join("files/f")).unwrap(), b"x\n");
    }
}

#[test]
fn only_what_was_asked_for_comes_home() {
    let world = World::new();
    world.env.file("data/in", "");
    let line = "echo 1 >a.txt; mkdir d; echo 2 >d/b.txt; echo 3 >c.log; echo 4 >DEPS/data/out";
    let bring = ["run", "-q", "-d", "data", "--bring", "*.txt", "--bring", "DEPS/*/o*", "-c", line];
    assert_eq!(world.geto(&bring).code(), 0);
    let files = world.result().join("files");
    assert_eq!(names(&files), ["DEPS", "DEPS/data", "DEPS/data/out", "a.txt"]);
    let world = World::new();
    assert_eq!(world.geto(&["run", "-q", "--no-files", "-c", "echo x >f"]).code(), 0);
    assert!(!world.result().join("files").exists() && world.tasks().is_empty());
}

#[test]
fn into_replaces_nothing_unless_told() {
    let world = World::new();
    let line = "echo new >f; mkdir d; echo new >d/g";
    let into = ["run", "--into", "out", "-c", line];
    let ran = world.geto(&into);
    assert_eq!(
        (ran.code(), names(&world.env.cwd().join("out"))),
        (0, vec!["d".into(), "d/g".into(), "f".into()])
    );
    assert!(ran.stderr.contains("geto: 2 files, 8 bytes in `out`"), "{}", ran.stderr);
    world.env.file("out/f", "old");
    let ran = world.geto(&into);
    assert_eq!(ran.code(), 123);
    insta::assert_snapshot!(ran.stderr, @"
    geto: no host is named and there is no geto.ini: running on `local`
    geto: error: failed to put the files into `out`
      caused by: there is already `d/g`, `f`
      hint: the script exited with code 0; the files are in `$XDG_STATE_HOME/geto/<id>/files`; `--overwrite` replaces files
    ");
    assert_eq!(fs_err::read(world.env.cwd().join("out/f")).unwrap(), b"old");
    // All is home: nothing is left on the host.
    assert!(world.tasks().is_empty());
    let ran = world.geto(&[&into[..1], &["--overwrite"], &into[1..]].concat());
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert_eq!(fs_err::read(world.env.cwd().join("out/f")).unwrap(), b"new\n");
}

#[test]
fn kept_directories_stay_on_the_host() {
    let world = World::new();
    assert_eq!(world.geto(&["run", "-q", "--keep", "-c", "echo x >f"]).code(), 0);
    let [task] = &world.tasks()[..] else { panic!("{:?}", world.tasks()) };
    assert_eq!(fs_err::read(task.join("dir/f")).unwrap(), b"x\n");
    assert!(world.result().join("files/f").exists());
}

/// A file that several globs match comes home once, whatever it is.
#[test]
fn globs_may_match_the_same() {
    let world = World::new();
    let line = "mkdir -p d/e; echo 1 >d/e/f; ln d/e/f d/hard; ln -s e/f d/soft; mkfifo d/pipe; cp d/e/f d/g";
    let globs = ["d/g", "d/*", "d", "d/e", "d/e/*", "d/soft", "./d//hard"];
    let globs = globs.iter().flat_map(|glob| ["--bring", glob]);
    let args = ["run", "-H", "local", "--into", "out"].into_iter().chain(globs);
    let ran = world.geto(&args.chain(["-c", line]).collect::<Vec<_>>());
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.stderr.contains("geto: 4 files, "), "{ran:?}");
    let out = world.env.cwd().join("out");
    assert_eq!(names(&out), ["d", "d/e", "d/e/f", "d/g", "d/hard", "d/soft"]);
    for name in ["d/e/f", "d/hard", "d/soft", "d/g"] {
        assert_eq!(fs_err::read(out.join(name)).unwrap(), b"1\n", "{name}");
    }
}

/// A backslash in a name is no escape, whatever tar makes of it.
#[test]
fn globs_bring_names_with_backslashes() {
    let world = World::new();
    let line = r"echo precious >'a\101'; echo other >aA; echo x >'b\n'; echo y >'b\\1'";
    let bring =
        ["run", "-H", "local", "--into", "out", "--bring", "*1", "--bring", "*n", "-c", line];
    let ran = world.geto(&bring);
    assert_eq!(ran.code(), 0, "{ran:?}");
    let out = world.env.cwd().join("out");
    assert_eq!(names(&out), ["a\\101", "b\\\\1", "b\\n"]);
    assert_eq!(fs_err::read(out.join("a\\101")).unwrap(), b"precious\n");
}

#[test]
fn results_beyond_the_limit_stay_on_the_host() {
    for line in
        ["head -c 2000000 /dev/zero >f", "head -c 100000 /dev/zero >f", "head -c 100000 /dev/zero"]
    {
        let world = World::new();
        let ran = world.geto(&["run", "--max-results", "64K", "-c", line]);
        assert_eq!(ran.code(), 123, "{ran:?}");
        assert!(ran.stderr.contains("larger than the limit of 65536 bytes"), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("on host `local`") || ran.stderr.contains("`$HOME/.cache/geto"),
            "{}",
            ran.stderr
        );
        assert_eq!(world.tasks().len(), 1);
        assert!(world.results().iter().all(|result| !result.join("files").exists()));
    }
}

#[test]
fn a_result_that_could_not_be_read_whole_is_a_failure_and_stays_on_the_host() {
    let world = World::new();
    // As root everything can be read, so tar has to fail in another way: it is not there.
    let bin = world.env.cwd().join("bin");
    fs_err::create_dir(&bin).unwrap();
    let broken = bin.join("tar");
    fs_err::write(
        &broken,
        "#!/bin/sh\n/usr/bin/tar \"$@\"; printf 'f: file changed\\ntar: failed\\n' >&2; exit 1\n",
    )
    .unwrap();
    fs_err::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let mut command = world.command(&["run", "-c", "echo x >f"]);
    let ran = world.env.run(command.env("PATH", path));
    assert_eq!(ran.code(), 123, "{ran:?}");
    assert!(
        ran.stderr.contains("f: file changed; tar: failed\n")
            && ran.stderr.contains("the host keeps all"),
        "{}",
        ran.stderr
    );
    assert_eq!(world.tasks().len(), 1);
    assert!(!world.result().join("files").exists());
}

#[test]
fn what_can_not_come_home_leaves_the_outcome_here_and_all_on_the_host() {
    let world = World::new();
    let line = "echo out; echo x >a; echo y >b; exit 7";
    let ran = world.geto(&["run", "--max-results", "6", "-n", "job", "-c", line]);
    assert_eq!((ran.code(), ran.text().as_str()), (123, "out\n"));
    assert!(
        ran.stderr.contains("hint: the script exited with code 7; output and outcome"),
        "{ran:?}"
    );
    let result = world.result();
    assert_eq!(names(&result), ["outcome.json", "stderr", "stdout"]);
    let [task] = &world.tasks()[..] else { panic!("{ran:?}") };
    assert_eq!(names(&task.join("dir")), [".geto-script", "a", "b"]);
}

#[test]
fn a_glob_that_matches_nothing_is_told() {
    let world = World::new();
    let ran = world.geto(&["run", "--bring", "*.nothing", "-c", "echo x >a.csv"]);
    assert_eq!(ran.code(), 0);
    let told = "warning: no file matches `*.nothing`\n";
    assert!(ran.stderr.ends_with(told), "{ran:?}");
    // Also beside one that matches, and when so much comes that it is asked for.
    for size in ["1", "600000"] {
        let line = format!("head -c {size} /dev/zero >a.csv");
        let args = ["run", "--bring", "*.csv", "--bring", "*.nothing", "-c", &line];
        let ran = world.geto(&args);
        assert_eq!(ran.code(), 0);
        assert_eq!(ran.stderr.matches(told).count(), 1, "{ran:?}");
        assert!(ran.stderr.contains("geto: 1 file"), "{ran:?}");
    }
}

#[test]
fn a_place_where_files_can_not_go_is_refused_before_the_task_runs() {
    let world = World::new();
    world.env.file("taken", "");
    let ran = world.geto(&["run", "--into", "taken", "-c", "touch \"$HOME/ran\"; echo x >f"]);
    assert_eq!(ran.code(), 2);
    assert!(ran.stderr.contains("failed to put files into `taken`"), "{ran:?}");
    assert!(!world.env.home().join("ran").exists());
}

#[test]
fn where_a_task_is_kept_is_told() {
    let world = World::new();
    let ran = world.geto(&["run", "--keep", "-c", "echo x >f"]);
    let kept = "geto: kept on host `local`: `$HOME/.cache/geto/";
    assert!(ran.stderr.contains(kept), "{ran:?}");
    assert_eq!(world.tasks().len(), 1);
}

#[test]
fn files_for_a_disk_that_gets_full_are_not_placed_by_half() {
    let world = World::new();
    let into = world.env.cwd().join("into");
    fs_err::create_dir(&into).unwrap();
    // What is there can be seen only where the file system is mounted.
    let line = "mount -t tmpfs -o size=600k none into && echo old >into/old || exit 99\n\
                \"$@\"\necho \"code $?\"\nls -A into";
    let mut command = world.env.command("/usr/bin/unshare");
    command.args(["--mount", "sh", "-c", line, "sh", env!("CARGO_BIN_EXE_geto"), "run"]);
    let script = "echo a >a; mkdir s; echo b >s/b; head -c 3000000 /dev/zero >z";
    let ran = world.env.run(command.args(["--no-slot", "--into", "into", "-c", script]));
    assert_eq!(ran.text(), "code 123\nold\n", "{ran:?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    assert!(world.result().join("files/s/b").exists());
}

#[test]
fn files_that_can_not_all_be_replaced_leave_all_as_it_was() {
    let world = World::new();
    for name in ["a", "closed/b", "d/c"] {
        world.env.file(format!("into/{name}"), "old");
    }
    let into = world.env.cwd().join("into");
    fs_err::set_permissions(into.join("closed"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let before = names(&into);
    // Root may write everywhere, unless that is taken away.
    let script =
        "mkdir closed d; for f in a closed/b d/c 0 d/new; do echo new >$f; done; mkdir -m 500 A";
    let mut command = world.env.command("/usr/bin/setpriv");
    command.args(["--bounding-set=-dac_override,-dac_read_search", env!("CARGO_BIN_EXE_geto")]);
    let args = ["run", "--no-slot", "--overwrite", "--into", "into", "-c", script];
    let ran = world.env.run(command.args(args));
    assert_eq!(ran.code(), 123, "{ran:?}");
    assert!(ran.stderr.contains("`closed/b`: Permission denied"), "{ran:?}");
    assert_eq!(names(&into), before);
    for name in ["a", "closed/b", "d/c"] {
        assert_eq!(fs_err::read_to_string(into.join(name)).unwrap(), "old", "{name}");
    }
    assert_eq!(fs_err::read(world.result().join("files/closed/b")).unwrap(), b"new\n");
}
