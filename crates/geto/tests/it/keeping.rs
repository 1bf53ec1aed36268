//! How the host's program keeps dependencies, whatever goes wrong, by hand.

use std::path::Path;

use geto_testkit::{Shell, system_shells};

use crate::by_hand::Session;
use crate::support::below;

/// A digest.
const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn under_each_shell(test: impl Fn(&Shell, &Path)) {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let dir = tempfile::tempdir().unwrap();
        test(&shell, dir.path());
    }
}

/// The names in the cache.
fn names(work: &Path) -> Vec<String> {
    let paths = below(work, "cache");
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = paths.iter().map(name).collect();
    names.sort();
    names
}

/// A directory with all tools but `tar`, in the place of which there may be another program.
fn tools(dir: &Path, tar: Option<&str>) -> String {
    let tools = dir.join("tools");
    fs_err::create_dir(&tools).unwrap();
    for entry in fs_err::read_dir("/usr/bin").unwrap().flatten() {
        if entry.file_name() != "tar" {
            std::os::unix::fs::symlink(entry.path(), tools.join(entry.file_name())).unwrap();
        }
    }
    if let Some(tar) = tar {
        fs_err::write(tools.join("tar"), tar).unwrap();
        geto_testkit::set_mode(&tools.join("tar"), 0o755);
    }
    format!("PATH={}", tools.display())
}

/// What is in dependencies is never read as requests.
#[test]
fn what_can_not_be_unpacked_is_not_evaluated() {
    // One that finds the disk full, as busybox's does.
    for tar in [None, Some("#!/bin/sh\nread -r line\necho full >&2\nexit 1\n")] {
        under_each_shell(|shell, work| {
            let path = tools(work, tar);
            let mut session = Session::to_fill(&["/usr/bin/env", &path], shell, work);
            session.say(&format!("hold {A} token\n"));
            assert!(session.wait_for("held").starts_with("fill - 0 "));
            let line = format!("true >{}/evaluated\n", work.display());
            let text = line.repeat(200_000 / line.len());
            session.say(&format!("fill {} 0 200 1000000 plain\n", text.len()));
            // It may have gone by then.
            session.try_to_say(&format!("{text}whole\n"));
            assert!(session.wait_for("error").starts_with("disk "));
            assert_eq!(session.rest(), "");
            assert!(!work.join("evaluated").exists());
            assert_eq!(names(work), [""; 0]);
        });
    }
}
