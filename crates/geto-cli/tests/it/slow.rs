//! A disk that takes its time.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;

use geto_testkit::program;

use crate::support::World;

/// A file system of its own, which answers nobody while it is frozen.
pub(crate) struct Slow {
    pub(crate) place: PathBuf,
    is_frozen: Cell<bool>,
}

impl Slow {
    /// Makes one at `slow` in the directory that geto is called from, frozen.
    pub(crate) fn new(world: &World) -> Self {
        let place = world.env.cwd().join("slow");
        let image = world.env.file("image", "");
        fs_err::OpenOptions::new().write(true).open(&image).unwrap().set_len(24 << 20).unwrap();
        fs_err::create_dir(&place).unwrap();
        run("mkfs.ext4", "e2fsprogs", &["-q", image.to_str().unwrap()]);
        run("mount", "mount", &["-o", "loop", image.to_str().unwrap(), place.to_str().unwrap()]);
        let slow = Self { place, is_frozen: Cell::new(true) };
        slow.set("--freeze");
        slow
    }

    /// Lets it answer.
    pub(crate) fn go_on(&self) {
        self.set("--unfreeze");
        self.is_frozen.set(false);
    }

    fn set(&self, option: &str) {
        run("fsfreeze", "util-linux", &[option, self.place.to_str().unwrap()]);
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if self.is_frozen.get() {
            self.go_on();
        }
        run("umount", "mount", &["--lazy", self.place.to_str().unwrap()]);
    }
}

fn run(name: &str, package: &str, args: &[&str]) {
    let ran = Command::new(program(name, package)).args(args).output().unwrap();
    assert!(ran.status.success(), "{name}: {ran:?}");
}
