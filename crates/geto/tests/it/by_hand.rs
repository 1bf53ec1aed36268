//! Sessions with the host's program, without an origin.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use geto_core::wire::Program;
use geto_testkit::Shell;

macro_rules! parts {
    ($($name:literal),*) => {
        [$(include_str!(concat!("../../src/session/program/", $name, ".sh"))),*]
    };
}

const TASK: [&str; 8] =
    parts!["base", "claim", "run", "tree", "state", "results", "attach", "main"];
const SLOTTED_TASK: [&str; 9] =
    parts!["base", "lock", "slots", "claim", "run", "tree", "state", "results", "main"];
const FILL: [&str; 5] = parts!["base", "claim", "state", "cache", "main"];

/// A session, by hand.
pub(crate) struct Session {
    shell: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Session {
    /// Starts a shell with the program for tasks.
    pub(crate) fn start(shell: &Shell, work: &Path) -> Self {
        Self::start_by(&[], shell, work)
    }

    /// Starts it by a program that becomes its arguments.
    pub(crate) fn start_by(before: &[&str], shell: &Shell, work: &Path) -> Self {
        Self::start_with(&TASK, before, shell, work)
    }

    /// Starts one with the program for tasks that take slots.
    pub(crate) fn to_take_slots(shell: &Shell, work: &Path) -> Self {
        Self::start_with(&SLOTTED_TASK, &[], shell, work)
    }

    /// Starts one with the program for dependencies that hosts keep.
    pub(crate) fn to_fill(before: &[&str], shell: &Shell, work: &Path) -> Self {
        Self::start_with(&FILL, before, shell, work)
    }

    fn start_with(parts: &[&str], before: &[&str], shell: &Shell, work: &Path) -> Self {
        let program = format!("g_nonce=N\n{}", Program::strip(&parts.concat()).text());
        // busybox is what its name says.
        let path = work.join("sh");
        if !path.exists() {
            std::os::unix::fs::symlink(&shell.path, &path).unwrap();
        }
        let mut words = before.iter().map(AsRef::<Path>::as_ref).chain([&*path]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["-c", "eval \"$1\"", "geto", &program]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut session = Self { shell: child, stdin, stdout };
        session.say(&format!("work {}\n", work.display()));
        session.wait_for("boot");
        session
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.say_bytes(line.as_bytes());
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.stdin.write_all(bytes).unwrap();
    }

    /// Says what the session may not live to hear.
    pub(crate) fn try_to_say(&mut self, line: &str) {
        drop(self.stdin.write_all(line.as_bytes()));
    }

    /// Reads frames up to one of that name, and returns its text.
    pub(crate) fn wait_for(&mut self, name: &str) -> String {
        let length = self.wait_for_length(name);
        String::from_utf8(self.text(length)).unwrap()
    }

    /// Reads frames up to the first line of one of that name, and returns its length.
    pub(crate) fn wait_for_length(&mut self, name: &str) -> usize {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the end came before {name}");
            let words: Vec<&str> = line.trim_end().rsplit(' ').collect();
            let length = words[0].parse().unwrap();
            if words[1] == name {
                return length;
            }
            self.text(length);
        }
    }

    pub(crate) fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = vec![0; length];
        self.stdout.read_exact(&mut text).unwrap();
        text
    }

    /// Ends the session's shell as a crash would.
    pub(crate) fn kill(mut self) {
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }

    /// Ends the input, and reads what comes until the session ends.
    pub(crate) fn rest(mut self) -> String {
        drop(self.stdin);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.shell.wait().unwrap();
        rest
    }
}
