//! Control groups, into which a test puts processes as a service manager would.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A control group of a test's own (of version 2), and those below it.
///
/// Every user may make more below it and move processes of his own there, as where systemd has
/// delegated them. Dropping it kills what is left in them and removes them.
#[derive(Debug)]
pub struct ControlGroups {
    path: PathBuf,
}

impl ControlGroups {
    /// Makes the group, which nothing is in.
    ///
    /// # Panics
    ///
    /// When no hierarchy of version 2 is mounted, or this user may not make groups in it.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("geto-test-{}-{number}", std::process::id());
        let path = hierarchy().join(name);
        fs_err::create_dir(&path)
            .expect("this test makes control groups: run it as root, where they can be written");
        let groups = Self { path };
        groups.open_up(&groups.path);
        groups
    }

    /// The directory of the outer group.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process into the group of that name, which is made when it is missing. What the process
    /// starts from then on is in it, too.
    ///
    /// # Panics
    ///
    /// When there is no such process.
    pub fn put(&self, pid: u32, name: &str) {
        let group = self.path.join(name);
        if !group.exists() {
            fs_err::create_dir(&group).expect("own group");
            self.open_up(&group);
        }
        fs_err::write(group.join("cgroup.procs"), pid.to_string()).expect("a process that lives");
    }

    /// Kills all that is in the group of that name; returns when it is gone.
    ///
    /// # Panics
    ///
    /// When it takes more than 30 s.
    pub fn kill(&self, name: &str) {
        empty(&self.path.join(name)).expect("a group whose processes can be killed");
    }

    fn open_up(&self, group: &Path) {
        crate::set_mode(group, 0o777);
        crate::set_mode(&group.join("cgroup.procs"), 0o666);
    }
}

impl Default for ControlGroups {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        let inner = fs_err::read_dir(&self.path).into_iter().flatten().flatten();
        let inner = inner.map(|entry| entry.path()).filter(|path| path.is_dir());
        for group in inner.chain([self.path.clone()]) {
            let _left = empty(&group).and_then(|()| fs_err::remove_dir(&group));
        }
    }
}

/// Kills all that is in a group, and waits until it is gone.
fn empty(group: &Path) -> io::Result<()> {
    fs_err::write(group.join("cgroup.kill"), "1")?;
    let begun = Instant::now();
    while fs_err::read_to_string(group.join("cgroup.events"))?.contains("populated 1") {
        if begun.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Where control groups of version 2 are mounted.
fn hierarchy() -> PathBuf {
    let mounts = fs_err::read_to_string("/proc/self/mounts").expect("Linux has it");
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .map(|fields| PathBuf::from(fields[1]))
        .expect("this test needs control groups of version 2 (`mount -t cgroup2`)")
}
