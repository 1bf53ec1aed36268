//! Dependencies.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::support::World;

#[test]
fn files_and_directories_arrive_as_they_are() {
    let world = World::new();
    world.env.file("data/sub/run.sh", "#!/bin/sh\necho ran");
    world.env.file("one file", "one");
    let data = world.env.cwd().join("data");
    fs_err::create_dir(data.join("empty")).unwrap();
    symlink("sub/run.sh", data.join("link")).unwrap();
    symlink("/no/where", data.join("dangling")).unwrap();
    let made = Command::new("sh")
        .args(["-c", "chmod 751 sub/run.sh; touch -d @86400 sub/run.sh; touch -d @172800 sub"])
        .current_dir(&data)
        .status();
    assert!(made.unwrap().success());
    let line = "cd DEPS && ls && DEPS=x data/sub/run.sh && readlink data/link data/dangling && \
                stat -c '%n %a %Y' data/sub/run.sh data/sub && ls -A data/empty && cat 'one file'";
    let ran = world.geto(&["run", "-q", "-d", "data/", "--dep", "one file", "-c", line]);
    insta::assert_snapshot!(ran.text(), @"
    data
    one file
    ran
    sub/run.sh
    /no/where
    data/sub/run.sh 751 86400
    data/sub 755 172800
    one
    ");
    assert_eq!(ran.code(), 0, "{ran:?}");
}

#[test]
fn a_dependency_may_have_another_name_and_leave_things_out() {
    let world = World::new();
    world.env.file("data/keep", "");
    world.env.file("data/sub/a.log", "");
    world.env.file("data/build/x", "");
    world.env.file("data/.gitignore", "build/\n");
    let list = "cd DEPS && find . | sort";
    let ran = world.geto(&[
        "run",
        "-q",
        "--dep-as",
        "in put",
        "data",
        "--exclude",
        "*.log",
        "--gitignore",
        "-c",
        list,
    ]);
    assert_eq!(
        ran.text(),
        ".\n./in put\n./in put/.gitignore\n./in put/keep\n./in put/sub\n",
        "{ran:?}"
    );
}

#[test]
fn what_can_not_be_sent_is_refused_before_anything_is() {
    let world = World::new();
    let _socket = UnixListener::bind(world.env.cwd().join("socket")).unwrap();
    world.env.file("a/same", "");
    world.env.file("b/same", "");
    for (args, why) in [
        (&["-d", "socket"][..], "`$CWD/socket`"),
        (&["-d", "/dev/null"], "`/dev/null`"),
        (&["-d", "missing"], "`missing`"),
        (&["-d", "a/same", "-d", "b/same"], "same"),
        (&["--dep-as", "../x", "a/same"], "`../x`"),
    ] {
        let ran = world.geto(&[&["run"], args, &["-c", "touch ran"]].concat());
        assert_eq!(ran.code(), 2, "{ran:?}");
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
        assert!(!world.env.home().join(".cache").exists() && world.results().is_empty());
    }
}

#[test]
fn more_than_a_hundred_megabytes_are_announced() {
    let world = World::new();
    let large = fs_err::File::create(world.env.cwd().join("large")).unwrap();
    large.set_len(101 << 20).unwrap();
    let ran = world.geto(&["run", "-d", "large", "-c", "stat -c %s DEPS/large"]);
    assert_eq!(ran.text(), "105906176\n");
    assert!(ran.stderr.contains("geto: sending 101.0 MiB to `local`\n"), "{}", ran.stderr);
}
