//! What a task costs on the wire and on its host: numbers that must not grow unnoticed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use geto::transport::{LocalTransport, Transport};
use geto::{Host, Script, Task};
use geto_testkit::{Proxy, Sshd, Traffic, program};

use crate::support::{Place, runtime};

#[test]
fn a_cold_task_takes_nine_round_trips_and_few_bytes() {
    // Without a slot, nothing of what counts them is sent.
    for (slots, most) in [(1, 44_800), (0, 33_500)] {
        // A host that is slow is told to look at what the task has written, which nobody waits for and
        // which looks like one more: it may be faster the next time.
        let mut tries = Vec::new();
        // Version, key exchange (2), service, offer of a key, signature, channel, task with results;
        // and the removal, whose answer nobody waits for.
        let is_well = |one: &Traffic| one.round_trips <= 9 && one.to_server_bytes < most;
        while !tries.last().is_some_and(is_well) {
            assert!(tries.len() < TRIES, "{slots} slots: {tries:?}");
            tries.push(cold(slots));
        }
    }
}

/// How often a host may be slow.
const TRIES: usize = 8;

fn cold(slots: u32) -> Traffic {
    let server = Sshd::builder().start();
    // Long enough that what is sent together arrives together.
    let proxy = Proxy::builder(server.address()).delay(Duration::from_millis(20)).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
    let place = Place::of(host);
    let task = Task::new(Script::from_commands("t", ["echo a; echo b >f"])).slots(slots);
    let name = server.name();
    runtime().block_on(async { place.fleet().run_on_host(&task, name).await.unwrap() });
    let mut traffic = proxy.wait_for_close();
    assert_eq!(traffic.len(), 1);
    traffic.remove(0)
}

#[test]
fn a_trivial_task_takes_few_processes_and_programs_of_its_host() {
    // One session in sixteen sweeps tombstones, and a slow host looks at the output meanwhile.
    let tries: Vec<_> = (0..TRIES).map(|_| trivial()).collect();
    // `id` is for a work path outside of the home, and not needed otherwise. The processes: the loader
    // (2), id, mkdir, follower, supervisor, reader of the channel, the task, rm.
    let is_well = |(programs, count): &(Vec<String>, u32)| {
        *programs == ["dd", "id", "mkdir", "rm", "setsid"] && *count <= 9
    };
    assert!(tries.iter().any(is_well), "{tries:?}");
}

/// The programs that a trivial task takes of its host, and the number of processes.
fn trivial() -> (Vec<String>, u32) {
    let place = Place::new();
    let (forks, programs) = (place.dir.path().join("forks"), place.dir.path().join("programs"));
    let shell = place.dir.path().join("sh");
    write_script(&shell, &counting_shell(place.dir.path(), &forks));
    let transport: Arc<dyn Transport> = Arc::new(LocalTransport::new().with_shell(&shell));
    let task = Task::new(Script::from_argv("true", ["true"])).slots(0);
    // The first one finds no directories.
    runtime().block_on(async {
        place.run(&task, &transport).await;
        fs_err::remove_file(&programs).unwrap();
        place.run(&task, &transport).await;
    });
    // Its session ends after its results are home.
    let count = await_second_line(&forks);
    let programs = fs_err::read_to_string(&programs).unwrap();
    let mut programs: Vec<_> = programs.lines().collect();
    programs.sort_unstable();
    (programs.into_iter().map(str::to_owned).collect(), count)
}

/// A shell that says in `forks` how many processes have been made below it, by the numbers that a
/// namespace of its own gives out, and in a file `programs` beside it which tools were called.
fn counting_shell(dir: &Path, forks: &Path) -> String {
    let tools = dir.join("tools");
    fs_err::create_dir(&tools).unwrap();
    for tool in ["cat", "chmod", "dd", "find", "grep", "id", "ls", "mkdir", "rm", "setsid", "sleep"]
    {
        let real = program(tool, "coreutils").display().to_string();
        let line = format!("echo {tool} >>'{}/programs'", dir.display());
        write_script(&tools.join(tool), &format!("#!/bin/sh\n{line}\nexec {real} \"$@\"\n"));
    }
    let (shell, unshare) = (program("dash", "dash"), program("unshare", "util-linux"));
    format!(
        "#!/bin/sh\n\
         [ -z \"$COUNTED\" ] || exec {shell} \"$@\"\n\
         export COUNTED=yes PATH='{tools}':\"$PATH\"\n\
         exec {unshare} --user --map-current-user --keep-caps --pid --fork --mount-proc {shell} -c '\n\
           {shell} \"$@\"\n\
           read -r a b c d last </proc/loadavg\n\
           echo $((last - 2)) >>\"{forks}\"\n' sh \"$@\"\n",
        tools = tools.display(),
        shell = shell.display(),
        unshare = unshare.display(),
        forks = forks.display(),
    )
}

fn write_script(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o755).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The number in the second line of a file that grows.
fn await_second_line(path: &Path) -> u32 {
    let begun = Instant::now();
    loop {
        let text = fs_err::read_to_string(path).unwrap_or_default();
        if let (Some(line), true) = (text.lines().nth(1), text.ends_with('\n')) {
            return line.parse().unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{text:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
