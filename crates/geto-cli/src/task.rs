//! From arguments to a task.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use geto::envfile::{EnvWord, parse_env_file, parse_env_word};
use geto::text::printable;
use geto::{Bring, Dependency, Error, ErrorKind, Patience, Script, Secret, Stdin, Task};

use crate::args::{HomeArgs, SlotArgs, TaskArgs, WhatArgs, WhenFull};

/// Makes the task that the arguments describe. It may read stdin to its end.
pub(crate) fn task(
    what: &WhatArgs,
    args: &TaskArgs,
    home: &HomeArgs,
    slot: Option<&SlotArgs>,
) -> Result<Task, Error> {
    let (script, words) = script(what, args)?;
    let script = match &args.name {
        Some(name) => script.named(name),
        None => script,
    };
    let mut task = Task::new(script);
    task.args = words.into_iter().map(OsString::into_vec).collect();
    task.env = variables(args)?;
    task.dependencies = dependencies(args)?;
    task.timeout = args.timeout.filter(|timeout| !timeout.is_zero());
    task.stdin = stdin(args.stdin.as_ref())?;
    task.login = args.login;
    task.leave = args.leave;
    task.bring = bring(home);
    task.max_results = home.max_results;
    task.slots = 0;
    if let Some(slot) = slot {
        task.script = limited(task.script, slot, args.name.is_none() && what.has_no_name())?;
        task.slots = if slot.no_slot { 0 } else { slot.slots.unwrap_or(1) };
        task.gpus = slot.gpus.unwrap_or(0);
    }
    let invalid = |error| usage("the task can't be run").caused_by(error);
    task.check().map_err(invalid)?;
    Ok(task)
}

/// How long the task waits for a slot.
pub(crate) fn patience(args: &SlotArgs) -> Patience {
    match (args.when_full, args.wait_timeout) {
        (Some(WhenFull::Fail), _) => Patience::AtMost(Duration::ZERO),
        (_, Some(time)) if !time.is_zero() => Patience::AtMost(time),
        _ => Patience::Forever,
    }
}

/// Gives the script the limit that the arguments say.
fn limited(script: Script, args: &SlotArgs, is_nameless: bool) -> Result<Script, Error> {
    match args.max_concurrent {
        None => Ok(script),
        // Instances of one name are counted together: here the name says nothing.
        Some(_) if is_nameless => {
            Err(usage("a limit counts tasks of a name, and this one has none")
                .with_hint("give it one with `-n NAME`"))
        }
        Some(limit) => Ok(script.max_concurrent(limit)),
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}

/// The script and its arguments.
fn script(what: &WhatArgs, task: &TaskArgs) -> Result<(Script, Vec<OsString>), Error> {
    let words = &what.words;
    if let Some(lines) = &what.commands {
        if let (Some(word), false) = (words.first(), what.is_behind_dashes) {
            return Err(usage(format!("`{}` is one script too many", shown(word)))
                .with_hint("with `-c`, arguments stand behind `--`"));
        }
        let lines = lines.iter().map(|line| line.as_bytes());
        return Ok((Script::from_commands("commands", lines), words.clone()));
    }
    let Some((first, others)) = words.split_first() else {
        return Err(usage("there is nothing to run")
            .with_hint("name a SCRIPT, or give `-c LINE` or `-- COMMAND`"));
    };
    let path = Path::new(first);
    if what.is_behind_dashes {
        let argv = words.iter().map(|word| word.as_bytes());
        return Ok((Script::from_argv(Script::from_path(path).name(), argv), Vec::new()));
    }
    let script = if first == "-" {
        if task.stdin == Some(None) {
            return Err(usage("the script and its input can't both be read from stdin")
                .with_hint("name a file with `--stdin=FILE`"));
        }
        Script::from_text("stdin", read_stdin()?)
    } else {
        script_of(path)?
    };
    Ok((script, others.to_vec()))
}

/// A file is read later, but that there is none is said with what may be meant instead.
fn script_of(path: &Path) -> Result<Script, Error> {
    let cause = match fs_err::metadata(path) {
        Ok(metadata) if metadata.is_dir() => "it is a directory",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file",
        _ => return Ok(Script::from_path(path)),
    };
    let shown = shown(path.as_os_str());
    Err(usage(format!("failed to read the script `{shown}`")).caused_by(cause).with_hint(format!(
        "to run a command of the host, write `-- {shown}`; to run a line of shell, `-c LINE`"
    )))
}

fn read_stdin() -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Local, "failed to read stdin").caused_by(error))?;
    Ok(bytes)
}

fn stdin(option: Option<&Option<PathBuf>>) -> Result<Stdin, Error> {
    Ok(match option {
        None => Stdin::Null,
        Some(None) => Stdin::Bytes(read_stdin()?),
        Some(Some(path)) => Stdin::File(path.clone()),
    })
}

/// Files first, so that options win over them.
fn variables(args: &TaskArgs) -> Result<Vec<(String, Secret)>, Error> {
    let mut variables = Vec::new();
    for path in &args.env_file {
        let shown = shown(path.as_os_str());
        let failed = || usage(format!("failed to read the variables of `{shown}`"));
        let text = fs_err::read(path).map_err(|error| failed().caused_by(error))?;
        let pairs = parse_env_file(&shown, &text).map_err(|error| failed().caused_by(error))?;
        variables.extend(pairs);
    }
    for word in &args.env {
        let wrong = |error| usage("failed to set a variable of the task").caused_by(error);
        variables.push(match parse_env_word(word.as_bytes()).map_err(wrong)? {
            EnvWord::Set(name, value) => (name, value),
            EnvWord::Inherit(name) => {
                let value = std::env::var_os(&name).ok_or_else(|| {
                    usage(format!("the variable `{name}` is not set here"))
                        .with_hint(format!("`-e {name}=VALUE` gives it a value"))
                })?;
                (name, Secret::new(value.into_vec()))
            }
        });
    }
    Ok(variables)
}

fn dependencies(args: &TaskArgs) -> Result<Vec<Dependency>, Error> {
    let mut dependencies: Vec<Dependency> = args.dep.iter().map(Dependency::new).collect();
    for pair in args.dep_as.chunks(2) {
        let [name, path] = pair else { continue };
        let name = name.to_str().ok_or_else(|| {
            usage(format!("`{}` is no name for a dependency: it is not UTF-8", shown(name)))
        })?;
        dependencies.push(Dependency::new(path).named(name));
    }
    dependencies.extend(args.share.iter().map(|path| Dependency::new(path).share(true)));
    for dependency in &mut dependencies {
        dependency.exclude.clone_from(&args.exclude);
        dependency.gitignore = args.gitignore;
    }
    Ok(dependencies)
}

fn bring(args: &HomeArgs) -> Bring {
    match (args.no_files, args.bring.is_empty()) {
        (true, _) => Bring::Nothing,
        (false, true) => Bring::All,
        (false, false) => Bring::Globs(args.bring.clone()),
    }
}

fn shown(text: &OsStr) -> String {
    printable(text.as_bytes())
}
