//! Asking whoever sits at the terminal, or SSH_ASKPASS.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use geto::Secret;
use geto::transport::Prompter;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// The terminal that controls this process; where there is none, or ssh would not use it either,
/// the program that `SSH_ASKPASS` names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal;

/// How many questions are open.
static QUESTIONS: AtomicUsize = AtomicUsize::new(0);

/// Whether somebody is being asked something: what is drawn now would hide the question.
pub(crate) fn is_asking() -> bool {
    QUESTIONS.load(Ordering::Relaxed) > 0
}

/// A question that is open until this is dropped.
struct Question;

impl Question {
    fn open() -> Self {
        QUESTIONS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        QUESTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Prompter for Terminal {
    fn secret(&self, prompt: &str, echo: bool) -> Option<Secret> {
        let _question = Question::open();
        match way()? {
            // Hidden before the question is there: who answers fast must not be seen either.
            Way::Terminal(terminal) if !echo => {
                let before = hide_input(terminal.try_clone().ok()?)?;
                let answer = read_line(terminal, prompt);
                before.restore();
                let (terminal, _) = before.0.as_ref()?;
                // What ended the line was not shown.
                let mut terminal = terminal;
                terminal.write_all(b"\n").ok();
                answer.as_deref().map(Secret::from)
            }
            Way::Terminal(terminal) => read_line(terminal, prompt).as_deref().map(Secret::from),
            Way::Program(program) => ask_program(&program, prompt, None),
        }
    }

    fn confirm(&self, question: &str) -> bool {
        let _question = Question::open();
        let answer = match way() {
            None => None,
            Some(Way::Terminal(terminal)) => {
                let question = format!("{question} (yes/no) ");
                return read_line(terminal, &question)
                    .is_some_and(|answer| answer.trim().eq_ignore_ascii_case("yes"));
            }
            Some(Way::Program(program)) => ask_program(&program, question, Some("confirm")),
        };
        // As ssh takes it: an empty answer is a press on OK.
        answer.is_some_and(|answer| {
            answer.expose().is_empty() || answer.expose().eq_ignore_ascii_case(b"yes")
        })
    }

    fn is_nobody(&self) -> bool {
        way().is_none()
    }
}

/// A way to ask.
enum Way {
    Terminal(File),
    Program(std::ffi::OsString),
}

/// How ssh(1) would ask: see `SSH_ASKPASS` and `SSH_ASKPASS_REQUIRE` there.
fn way() -> Option<Way> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let require = set("SSH_ASKPASS_REQUIRE").map(OsStringExt::into_vec).unwrap_or_default();
    let program = || set("SSH_ASKPASS").map(Way::Program);
    let has_display = || set("DISPLAY").is_some() || set("WAYLAND_DISPLAY").is_some();
    match require.as_slice() {
        b"never" => terminal(),
        b"force" => program(),
        b"prefer" => program().or_else(terminal),
        _ => terminal().or_else(|| program().filter(|_| has_display())),
    }
}

/// The terminal, when whoever sits at it can answer: a process in the background would be stopped.
fn terminal() -> Option<Way> {
    let terminal = fs_err::OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let terminal = terminal.into_parts().0;
    let in_front = termios::tcgetpgrp(&terminal).ok()?;
    (in_front == rustix::process::getpgrp()).then_some(Way::Terminal(terminal))
}

fn read_line(mut terminal: File, question: &str) -> Option<String> {
    terminal.write_all(question.as_bytes()).ok()?;
    let mut line = String::new();
    let read = BufReader::new(terminal).read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_program(program: &std::ffi::OsStr, prompt: &str, kind: Option<&str>) -> Option<Secret> {
    let mut command = Command::new(program);
    command.arg(prompt).stdin(Stdio::null()).stderr(Stdio::inherit());
    if let Some(kind) = kind {
        command.env("SSH_ASKPASS_PROMPT", kind);
    }
    let mut output = command.output().ok().filter(|output| output.status.success())?;
    let end = output.stdout.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    output.stdout.truncate(end.unwrap_or(output.stdout.len()));
    Some(Secret::new(output.stdout))
}

/// How the terminal was when geto was started.
#[derive(Debug)]
pub(crate) struct Remembered(Option<(File, Termios)>);

/// Remembers how the terminal is.
pub(crate) fn remember_terminal() -> Remembered {
    let terminal = fs_err::OpenOptions::new().read(true).write(true).open("/dev/tty").ok();
    Remembered::of(terminal.map(|terminal| terminal.into_parts().0))
}

/// Whether the process is on its way out: a thread that is still at a question must not hide what
/// is typed any more.
static LEAVING: Mutex<bool> = Mutex::new(false);

/// Shows nothing of what is typed until the terminal is put back. `None` when that can't be done.
fn hide_input(terminal: File) -> Option<Remembered> {
    let leaving = LEAVING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Remembered::of(Some(terminal));
    let (terminal, how) = before.0.as_ref().filter(|_| !*leaving)?;
    let mut hidden = how.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(terminal, OptionalActions::Now, &hidden).ok()?;
    Some(before)
}

impl Remembered {
    fn of(terminal: Option<File>) -> Self {
        Self(terminal.and_then(|terminal| {
            let how = termios::tcgetattr(&terminal).ok()?;
            Some((terminal, how))
        }))
    }

    /// Puts the terminal back, if geto was left while it hid what is typed, and hides nothing any
    /// more.
    pub(crate) fn restore_for_good(&self) {
        *LEAVING.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.restore();
    }

    fn restore(&self) {
        if let Some((terminal, how)) = &self.0
            && termios::tcgetattr(terminal).is_ok_and(|now| now.local_modes != how.local_modes)
            && termios::tcgetpgrp(terminal).is_ok_and(|front| front == rustix::process::getpgrp())
        {
            // Where that fails there is nothing left to do.
            termios::tcsetattr(terminal, OptionalActions::Now, how).ok();
        }
    }
}
