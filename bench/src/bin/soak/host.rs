//! The host of a soak, and what stands on it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use geto_bench::geto;
use geto_testkit::{Process, Proxy, Server, Sshd};
use tempfile::TempDir;

use crate::fault::Victim;
use crate::figures::Left;

/// How long processes may take to end when all is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// One host, and an origin.
pub(crate) struct World {
    server: Server,
    dir: TempDir,
}

/// What belongs to one task here.
pub(crate) struct Place {
    pub(crate) ini: PathBuf,
    /// Has a line for each start.
    pub(crate) counter: PathBuf,
    pub(crate) input: PathBuf,
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
    results: PathBuf,
}

impl Place {
    /// The directory of the results that are home.
    pub(crate) fn result(&self) -> Option<PathBuf> {
        entries(&self.results)
            .into_iter()
            .find(|path| !name_of(path).starts_with('.') && path.join("outcome.json").exists())
    }
}

impl World {
    pub(crate) fn start() -> io::Result<Self> {
        let server = Sshd::builder().name("soak").start();
        let dir = tempfile::tempdir()?;
        let key = server.known_hosts_lines(server.address());
        let key = key.split_once(' ').map_or("", |(_, key)| key);
        fs_err::write(dir.path().join("known_hosts"), format!("soak {key}"))?;
        Ok(Self { server, dir })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A way to the host without faults.
    pub(crate) fn whole(&self) -> Proxy {
        Proxy::builder(self.address()).start()
    }

    /// Lays out what a task needs whose link is `proxy`.
    pub(crate) fn place(&self, number: u64, proxy: &Proxy) -> Place {
        let dir = self.dir.path().join(number.to_string());
        fs_err::create_dir(&dir).expect("own directory");
        let ini = self.configure(&dir, proxy.address()).expect("own directory");
        Place {
            ini,
            counter: dir.join("starts"),
            input: dir.join("input"),
            stdout: dir.join("stdout"),
            stderr: dir.join("stderr"),
            results: dir.join("results"),
        }
    }

    fn configure(&self, dir: &Path, address: SocketAddr) -> io::Result<PathBuf> {
        let known = self.dir.path().join("known_hosts");
        let section = self.server.ssh_config_section(address);
        // All proxies lead to the same host, whose key is known by one name; and what is dead is given
        // up sooner than by default, for the sake of the time that a soak takes.
        let config = format!(
            "Host *\n  HostKeyAlias soak\n  UserKnownHostsFile {}\n  ServerAliveInterval 1\n{section}",
            known.display()
        );
        let file = dir.join("ssh_config");
        fs_err::write(&file, config)?;
        let ini = dir.join("geto.ini");
        let text = format!(
            "[geto]\nssh_config_path={}\nlocal_work_path={}\nremote_lock_path=~/geto_lock\n\
             [hosts]\nsoak=soak\n[soak]\nslots=2\n",
            file.display(),
            dir.join("results").display()
        );
        fs_err::write(&ini, text)?;
        Ok(ini)
    }

    /// The directories of tasks on the host.
    fn tasks(&self) -> Vec<PathBuf> {
        let machines = entries(&self.server.inside("~/.cache/geto"));
        machines.iter().flat_map(|machine| entries(&machine.join("tasks"))).collect()
    }

    /// Kills what belongs to the task of that name; false when it is not there (yet).
    pub(crate) fn kill(&self, name: &str, what: Victim) -> bool {
        let is_its = |task: &PathBuf| {
            let about = fs_err::read_to_string(task.join("about")).unwrap_or_default();
            about.lines().nth(3) == Some(name)
        };
        let Some(task) = self.tasks().into_iter().find(is_its) else { return false };
        let file = if what == Victim::Supervisor { "supervisor" } else { "claim" };
        let text = fs_err::read_to_string(task.join(file)).unwrap_or_default();
        // The last word is the process and when it began.
        let word = text.split_whitespace().last().unwrap_or_default();
        let Some(pid) = word.split(':').next().and_then(|pid| pid.parse().ok()) else {
            return false;
        };
        let all = self.server.processes();
        let of = |pid: u32| all.iter().find(|process: &&Process| process.pid == pid);
        match (of(pid), what) {
            (Some(shell), Victim::Sshd) => {
                if let Some(sshd) = of(shell.parent) {
                    sshd.kill();
                }
            }
            (Some(process), _) => process.kill(),
            (None, _) => {}
        }
        true
    }

    /// Asks the host for the task of that name; its id.
    pub(crate) fn find(&self, ini: &Path, name: &str) -> Result<Option<String>, String> {
        let begun = Instant::now();
        loop {
            let mut geto = Command::new(geto());
            let output = geto.args(["ps", "--json", "--config"]).arg(ini).output();
            let output = output.map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if !output.status.success() {
                return Err(format!("geto ps: {text} {}", String::from_utf8_lossy(&output.stderr)));
            }
            let mut tasks = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            match tasks.find(|task: &serde_json::Value| task["script"] == name) {
                None => return Ok(None),
                // Its session is about to learn that its origin is gone.
                Some(task) if task["state"] == "sending" && begun.elapsed() < PATIENCE => {}
                Some(task) => return Ok(task["task"].as_str().map(str::to_owned)),
            }
        }
    }

    /// Looks what is left once a last session has been there.
    pub(crate) fn end(self) -> io::Result<Left> {
        let proxy = self.whole();
        let place = self.place(u64::MAX, &proxy);
        let geto = |args: &[&str]| {
            let mut command = Command::new(geto());
            command.args(args).arg("--config").arg(&place.ini).output()
        };
        // Tickets of the dead are removed by the next session that counts.
        geto(&["run", "-q", "-c", "true"])?;
        // A link that stalled in the moment of the last word leaves its task listed.
        let listed = geto(&["ps", "--json"])?.stdout;
        let mut left =
            Left { listed: listed.split(|byte| *byte == b'\n').count() - 1, ..Left::default() };
        let removed = geto(&["rm", "--finished"])?;
        if !removed.status.success() {
            left.said = String::from_utf8_lossy(&removed.stderr).into_owned();
        }
        drop(proxy);
        let begun = Instant::now();
        loop {
            left.directories = self.tasks().iter().map(|task| describe(task)).collect();
            left.processes = self.server.processes().len();
            let locks = entries(&self.server.inside("~/geto_lock"));
            let files = locks.iter().flat_map(|machine| entries(machine));
            left.locks = files.filter(|path| name_of(path).starts_with("t.")).count();
            if left.is_nothing() || begun.elapsed() > PATIENCE {
                return Ok(left);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A task's directory, what is in it, and who claimed it.
fn describe(task: &Path) -> String {
    let mut names: Vec<_> = entries(task).iter().map(|path| name_of(path)).collect();
    names.sort_unstable();
    let text = |name| fs_err::read_to_string(task.join(name)).unwrap_or_default();
    format!(
        "{}: {} (claim `{}`, supervisor `{}`)",
        name_of(task),
        names.join(" "),
        text("claim").trim(),
        text("supervisor").trim()
    )
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(path).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
