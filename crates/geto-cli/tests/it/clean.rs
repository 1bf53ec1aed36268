//! `geto clean`.

use std::path::Path;
use std::process::Command;

use crate::support::{World, names};

fn set_age(path: &Path, days: u32) {
    let mut touch = Command::new("touch");
    let ended = touch.arg("-d").arg(format!("{days} days ago")).arg(path).status();
    assert!(ended.unwrap().success());
}

/// A world with an old result, a new one, and files of the old one elsewhere.
fn used() -> World {
    let world = World::new();
    let ran = world.geto(&["run", "-q", "-n", "old", "--into", "out", "-c", "echo x >f"]);
    assert_eq!(ran.code(), 0);
    set_age(&world.result().join("outcome.json"), 31);
    world
}

#[test]
fn old_results_are_removed_and_the_ledger_says_so() {
    let world = used();
    let old = world.result();
    let ran = world.geto(&["clean", "--older-than", "32d"]);
    assert_eq!((ran.code(), ran.text().as_str()), (0, ""));
    insta::assert_snapshot!(ran.stderr, @"geto: there is nothing older than 32 d in `$XDG_STATE_HOME/geto`");
    // How many digits there are in outcome.json differs.
    let said = |args: &[&str]| {
        let words = world.geto(args).stderr;
        let is_size = |word: &&str| !word.starts_with(|c: char| c.is_ascii_digit()) || *word == "1";
        words.split_whitespace().filter(is_size).collect::<Vec<_>>().join(" ")
    };
    insta::assert_snapshot!(said(&["clean", "--dry-run"]), @"geto: would remove 1 result, bytes, from `$XDG_STATE_HOME/geto`");
    assert!(old.exists());
    insta::assert_snapshot!(said(&["clean"]), @"geto: removed 1 result, bytes, from `$XDG_STATE_HOME/geto`");
    assert!(!old.exists());
    assert_eq!(names(&world.env.cwd().join("out")), ["f"]);
    let ran = world.geto(&["history", "--json"]);
    assert!(ran.text().contains("\"results_removed\":true"), "{ran:?}");
}

#[test]
fn geto_ini_says_how_long_results_are_kept() {
    let world = used();
    let ini = |keep: &str| {
        world.env.write_geto_ini(&format!("[geto]\nkeep_results={keep}\n[hosts]\na=b\n"));
    };
    ini("40d");
    assert_eq!(world.geto(&["clean"]).code(), 0);
    assert_eq!(world.results().len(), 1);
    ini("0");
    let ran = world.geto(&["clean"]);
    assert_eq!(ran.code(), 2);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: there is no age from which on results are removed
      caused by: geto.ini says that they are kept for ever (keep_results=0)
      hint: pass `--older-than 30d`, or `--all`
    ");
    assert_eq!(world.geto(&["clean", "--all"]).code(), 0);
    assert_eq!(world.results().len(), 0);
}

/// A script may leave directories that not even their owner may write to.
#[test]
fn directories_that_can_not_be_written_to_are_removed_too() {
    let world = World::new();
    let line = "mkdir -p a/b; echo x >a/b/f; chmod 500 a/b; chmod 000 a/b/f; chmod 500 a";
    assert_eq!(world.geto(&["run", "-q", "-c", line]).code(), 0);
    // As root everything may be written to, but for this.
    let without = "-dac_override,-dac_read_search";
    let mut command = world.env.command("setpriv");
    command.args(["--inh-caps", without, "--bounding-set", without]);
    command.arg(env!("CARGO_BIN_EXE_geto")).args(["clean", "--all"]);
    let ran = world.env.run(&mut command);
    assert_eq!((ran.code(), world.results().len()), (0, 0), "{ran:?}");
}
