//! What the origin says.

use super::slots::{Patience, SlotRequest};
use crate::shell::push_word;
use crate::{Bring, Host, ScriptBody, Task, TaskId};

/// A request line above this many bytes goes as counted bytes: shells read lines byte by byte.
const LONG_LINE: usize = 4096;

/// A text of another shell that any login shell reads alike: no quote, backslash, `!` or line feed
/// stands inside the quotes.
///
/// It says that it is there, skips what start-up files have left of its input, reads exactly the
/// announced bytes (`dd` makes one read of at most the rest, so it can't read too far) and becomes
/// the program that they are. dropbear ends the connection at commands of 9,000 bytes.
const LOADER: &str = concat!(
    "exec /bin/sh -c '",
    "echo;echo geto-loader;",
    "g_r=;while read -r g_a g_b;do case $g_a in geto-begin)break;;\"\");;",
    "*)[ -n \"$g_r\" ]||echo geto-again;g_r=1;;esac;done;",
    "g_p=;while [ ${#g_p} -lt ${g_b:-0} ];do ",
    "g_c=$(dd bs=$((g_b-${#g_p})) count=1 2>/dev/null;echo .);g_c=${g_c%.};",
    "[ -n \"$g_c\" ]||exit 126;g_p=$g_p$g_c;done;",
    "eval \"$g_p\"' geto"
);

/// The command that starts a session, for any login shell.
pub fn loader() -> &'static str {
    LOADER
}

/// The host's program as it is sent: without comments and indentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(String);

impl Program {
    /// Strips `source`, which must have no here-documents and no words that span lines.
    pub fn strip(source: &str) -> Self {
        let lines = source.lines().map(str::trim_start);
        let kept = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(kept.flat_map(|line| [line, "\n"]).collect())
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The first bytes of a session: something for start-up files that read, and the program with its
/// nonce.
pub fn begin(program: &Program, nonce: &str) -> Vec<u8> {
    let text = format!("g_nonce={nonce}\n{}", program.text());
    // A start-up file that asks a question gets one of the empty lines for an answer.
    format!("\n\n\n\n\n\n\n\ngeto-begin {}\n{text}", text.len()).into_bytes()
}

/// A request with functions that the host's program lacks for those that follow.
pub fn more(functions: &Program) -> Vec<u8> {
    let line = format!("more\n{}", functions.text());
    format!("long {}\n{line}", line.len()).into_bytes()
}

/// Writes a request line of these words.
pub fn request<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Vec<u8> {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        push_word(&mut line, word.as_ref());
    }
    match line.len() {
        length if length > LONG_LINE => format!("long {length}\n{line}").into_bytes(),
        _ => format!("{line}\n").into_bytes(),
    }
}

/// A request to claim and run a task. Script, input and dependencies follow the line as counted
/// bytes, in this order, and then the line `go`.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// The task's id.
    pub id: TaskId,
    /// What tells this claim from that of another session, for a host that can't say.
    pub attempt: &'a str,
    /// The host.
    pub host: &'a Host,
    /// The task.
    pub task: &'a Task,
    /// The text of its script; none for a command of the host.
    pub text: Option<&'a [u8]>,
    /// How many bytes of input follow; none is `/dev/null`.
    pub stdin_len: Option<u64>,
    /// How long the archive of dependencies is.
    pub dependencies_len: Option<u64>,
    /// The trees that the host has, for dependencies that are not in the archive.
    pub trees: Vec<TreeUse<'a>>,
    /// How much of its beginning the host has already, as it [said](super::TaskState::None); the rest
    /// follows.
    pub spooled: u64,
    /// Who asks, as `user@host`.
    pub origin: &'a str,
    /// Seconds since 1970 by the clock of the origin.
    pub now: u64,
    /// How long it waits for a slot.
    pub patience: Patience,
    /// Until when it lives unless its origin is heard of, in seconds of the host's clock, which
    /// [`Boot`](super::Boot) shows; none is for ever.
    pub lease: Option<u64>,
    /// What its origin recognises it by: a word of letters and digits.
    pub tag: Option<&'a str>,
    /// Whether its origin leaves once it has started.
    pub detached: bool,
    /// Whether an earlier session of the same run may still be there, with a ticket.
    pub again: bool,
    /// What the host's program evaluates before it becomes a task with `login`.
    pub login: &'a str,
}

/// A tree of the host's that a task needs.
#[derive(Debug, Clone, Copy)]
pub struct TreeUse<'a> {
    /// What it is called there.
    pub digest: &'a str,
    /// Its name under `DEPS`, without a line feed.
    pub name: &'a [u8],
    /// Whether the task gets a link to it, not a copy.
    pub share: bool,
}

impl TreeUse<'_> {
    fn value(&self) -> Vec<u8> {
        let how = if self.share { "share" } else { "copy" };
        [how.as_bytes(), b"/", self.digest.as_bytes(), b"/", self.name].concat()
    }
}

impl RunRequest<'_> {
    /// Writes the request line.
    pub fn line(&self) -> Vec<u8> {
        let task = self.task;
        let mut words: Vec<Vec<u8>> = vec![b"run".to_vec()];
        let mut say = |key: &str, value: &[u8]| words.push([key.as_bytes(), b"=", value].concat());
        say("id", self.id.to_string().as_bytes());
        say("attempt", self.attempt.as_bytes());
        say("host", self.host.name.as_bytes());
        say("name", task.script.name().as_bytes());
        match self.text {
            None => say("kind", b"command"),
            Some(text) => {
                say("script", text.len().to_string().as_bytes());
                match Interpreter::of(text) {
                    None => say("kind", b"binary"),
                    Some(interpreter) => {
                        say("kind", b"text");
                        say("interpreter", interpreter.path);
                        say("option", interpreter.option);
                    }
                }
            }
        }
        if let Some(length) = self.stdin_len {
            say("stdin", length.to_string().as_bytes());
        }
        if let Some(length) = self.dependencies_len {
            say("deps", length.to_string().as_bytes());
        }
        self.trees.iter().for_each(|tree| say("tree", &tree.value()));
        if self.spooled > 0 {
            say("spool", self.spooled.to_string().as_bytes());
        }
        if self.detached {
            say("detach", b"yes");
        }
        if self.again {
            say("again", b"yes");
        }
        say("origin", self.origin.as_bytes());
        say("since", self.now.to_string().as_bytes());
        if let Some(timeout) = task.timeout {
            say("timeout", timeout.as_secs().to_string().as_bytes());
        }
        if let Some(nice) = self.host.nice {
            say("nice", nice.to_string().as_bytes());
        }
        if let Some(setup) = &self.host.setup {
            say("setup", setup.as_bytes());
        }
        if let Some(lease) = self.lease {
            say("lease", lease.to_string().as_bytes());
        }
        if let Some(tag) = self.tag {
            say("tag", tag.as_bytes());
        }
        if task.login {
            say("login", self.login.as_bytes());
        }
        if task.leave {
            say("leave", b"yes");
        }
        if opens_output_by_name(task, self.text) {
            say("pipes", b"yes");
        }
        say_bring(Some(&task.bring), say);
        let slots = SlotRequest { host: self.host, task, patience: self.patience };
        if task.slots > 0 {
            words.extend(slots.words());
        }
        words.push(b"--".to_vec());
        for (name, value) in self.host.env.iter().chain(&task.env) {
            words.push([name.as_bytes(), b"=", value.expose()].concat());
        }
        words.push(b"--".to_vec());
        if let ScriptBody::Command(argv) = task.script.body() {
            words.extend(argv.iter().cloned());
        }
        words.extend(task.args.iter().cloned());
        request(&words)
    }
}

/// Says which files come home; without `bring`, those that were said when the task was sent.
pub(super) fn say_bring(bring: Option<&Bring>, mut say: impl FnMut(&str, &[u8])) {
    match bring {
        None => say("bring", b"about"),
        Some(Bring::All) => say("bring", b"all"),
        Some(Bring::Nothing) => say("bring", b"none"),
        Some(Bring::Globs(globs)) => {
            say("bring", b"globs");
            globs.iter().for_each(|glob| say("glob", plain_glob(glob).as_bytes()));
        }
    }
}

/// Takes away what only zsh knows, so that a glob is the same for every shell: `**` is `*`.
fn plain_glob(glob: &str) -> String {
    let plain = |part| if matches!(part, "**" | "***") { "*" } else { part };
    glob.split('/').map(plain).collect::<Vec<_>>().join("/")
}

/// Whether a task seems to open its standard output or error by name (`echo >/dev/stderr`), which
/// truncates a file and does nothing to a pipe. Pipes cost two processes more.
fn opens_output_by_name(task: &Task, text: Option<&[u8]>) -> bool {
    let names: [&[u8]; 3] = [b"/dev/std", b"/dev/fd/", b"/proc/self/fd"];
    let mentions = |text: &[u8]| {
        names.iter().any(|name| text.windows(name.len()).any(|window| window == *name))
    };
    let script = match task.script.body() {
        ScriptBody::Command(argv) => argv.iter().any(|word| mentions(word)),
        _ => text.is_some_and(mentions),
    };
    script || task.args.iter().any(|arg| mentions(arg))
}

/// What executes a program text.
#[derive(Debug, PartialEq, Eq)]
struct Interpreter<'a> {
    path: &'a [u8],
    option: &'a [u8],
}

impl<'a> Interpreter<'a> {
    /// Reads the `#!` line as Linux does (execve(2)): the rest of the line after the first word is
    /// one argument. `None` is a binary: ELF, or Mach-O of either byte order and width.
    fn of(text: &'a [u8]) -> Option<Self> {
        const BINARIES: [&[u8]; 6] = [
            b"\x7fELF",
            b"\xfe\xed\xfa\xce",
            b"\xfe\xed\xfa\xcf",
            b"\xce\xfa\xed\xfe",
            b"\xcf\xfa\xed\xfe",
            b"\xca\xfe\xba\xbe",
        ];
        if BINARIES.iter().any(|magic| text.starts_with(magic)) {
            return None;
        }
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let command = line.strip_prefix(b"#!").unwrap_or_default().trim_ascii();
        let end = command.iter().position(blank).unwrap_or(command.len());
        let (path, option) = command.split_at(end);
        match path {
            b"" => Some(Self { path: b"/bin/sh", option: b"" }),
            _ => Some(Self { path, option: option.trim_ascii() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Script;

    #[test]
    fn loader_is_read_alike_by_every_login_shell_and_fits_dropbear() {
        let inside =
            LOADER.strip_prefix("exec /bin/sh -c '").unwrap().strip_suffix("' geto").unwrap();
        assert!(!inside.contains(['\'', '\\', '!', '\n']));
        assert!(LOADER.len() < 400, "{}", LOADER.len());
    }

    #[test]
    fn interpreter_is_what_the_first_line_says() {
        let of = |text: &'static str| {
            let interpreter = Interpreter::of(text.as_bytes()).unwrap();
            (interpreter.path, interpreter.option)
        };
        assert_eq!(of("echo"), (&b"/bin/sh"[..], &b""[..]));
        assert_eq!(of(""), (&b"/bin/sh"[..], &b""[..]));
        assert_eq!(of("#!/bin/bash\nx"), (&b"/bin/bash"[..], &b""[..]));
        assert_eq!(of("#! /usr/bin/env -S a b \r\n"), (&b"/usr/bin/env"[..], &b"-S a b"[..]));
        assert_eq!(Interpreter::of(b"\x7fELF\x02"), None);
    }

    #[test]
    fn program_loses_comments_and_indentation_only() {
        let program = Program::strip("# a\n\nf() {\n  # b\n  echo '#' # c\n}\n");
        assert_eq!(program.text(), "f() {\necho '#' # c\n}\n");
    }

    #[test]
    fn run_line_carries_every_part_of_the_task() {
        let mut host = Host::new("h");
        host.env = vec![("A".to_owned(), "1 2".into())];
        let task = Task::new(Script::from_argv("c", ["echo", "-n"])).arg("it's").env("B", "");
        let request = RunRequest {
            id: TaskId::from_bits(1),
            attempt: "x",
            host: &host,
            task: &task,
            text: None,
            stdin_len: Some(3),
            dependencies_len: None,
            trees: vec![TreeUse { digest: "d1", name: b"data", share: false }],
            spooled: 0,
            origin: "me@here",
            now: 1000,
            patience: Patience::Forever,
            lease: Some(70),
            tag: Some("t"),
            detached: true,
            again: true,
            login: "",
        };
        insta::assert_snapshot!(String::from_utf8(request.line()).unwrap(), @r#"run id=0000-0000-0000-0001 attempt=x host=h name=c kind=command stdin=3 tree=copy/d1/data detach=yes again=yes origin=me@here since=1000 lease=70 tag=t bring=all slots=1 lock=/var/tmp/geto_lock -- '''A=1 2' B= -- echo -n '''it'"'"'s'"#);
    }

    #[test]
    fn long_lines_are_counted() {
        let line = request([b"x".repeat(5000)]);
        assert!(line.starts_with(b"long 5000\nxxx"));
        assert_eq!(line.len(), 10 + 5000);
    }
}
