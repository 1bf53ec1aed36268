//! Programs of the machine: finding, running and starting them.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// Directories that hold programs, those that an unprivileged user's `PATH` lacks included.
const PLACES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Returns the path of a program of this machine.
///
/// # Panics
///
/// When it is missing; the message names `package`, the Debian package that has it.
#[must_use]
pub fn program(name: &str, package: &str) -> PathBuf {
    PLACES
        .iter()
        .map(|place| PathBuf::from(place).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "`{name}` is in none of {}: install the Debian package `{package}`",
                PLACES.join(", ")
            )
        })
}

/// Runs a command that has to succeed, and returns what it printed.
///
/// Panics with the command and its stderr otherwise.
pub(crate) fn run(command: &mut Command) -> Output {
    let output =
        command.output().unwrap_or_else(|cause| panic!("failed to start {command:?}: {cause}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

type Request = (Command, SyncSender<io::Result<Child>>);

/// Starts a command from a thread that lives as long as this process.
///
/// Servers ask the kernel to end with their parent, and it means the parent *thread*: a server kept
/// in a static would else end with the test that happened to start it.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                let _unheard = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, answer) = sync_channel(1);
    starter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply))
        .expect("the starter thread never ends");
    answer.recv().expect("the starter thread answers each request")
}
