//! `ssh -G`, asked once for all hosts that `ssh_config` treats alike: a process for each host costs
//! more than all the rest of a login.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use geto_core::ssh_config::{HostPatterns, SharedAnswer, files_read, may_be_of_user};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::account::Account;
use super::resolve::Asked;
use super::text::escaped;

/// For how long an answer counts: files may change while a process goes on.
const FRESH: Duration = Duration::from_secs(2);

/// What was asked lately.
static LATELY: LazyLock<Mutex<HashMap<Question, Arc<Answers>>>> = LazyLock::new(Mutex::default);

/// All of a question but the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    config: Option<PathBuf>,
    user: Option<String>,
    port: Option<u16>,
}

/// What holds for all hosts of a signature; `None` when nothing does.
type Shared = OnceCell<Option<SharedAnswer>>;

#[derive(Debug)]
struct Answers {
    asked: Instant,
    files: OnceCell<Files>,
    by_signature: Mutex<HashMap<Vec<bool>, Arc<Shared>>>,
}

/// What the files say that `ssh` reads.
#[derive(Debug)]
struct Files {
    /// `None` when each host has to be asked about.
    patterns: Option<HostPatterns>,
    /// See [`Answer::users_file`].
    users: Option<PathBuf>,
}

/// What `ssh -G` says of a host.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    /// The user's own configuration, where what it says by itself may matter
    /// ([`may_be_of_user`]).
    pub(super) users_file: Option<PathBuf>,
}

/// What one process said.
struct Said {
    answer: String,
    files: Vec<PathBuf>,
}

/// Returns what `ssh -G` says of a host; `None` without an `ssh` on this machine.
pub(super) async fn ask(asked: Asked<'_>) -> Result<Option<Answer>, String> {
    let answers = lately(&asked);
    let mut own = None;
    let first = &mut own;
    let learning = answers.files.get_or_try_init(|| async move {
        *first = start(asked).await?;
        Ok::<_, String>(Files::of(first.as_ref().map_or(&[][..], |said| &said.files)))
    });
    let files = learning.await?;
    if let Some(patterns) = &files.patterns {
        let signature = patterns.signature(asked.address);
        let cell = Arc::clone(lock(&answers.by_signature).entry(signature).or_default());
        let first = &mut own;
        let shared = cell.get_or_try_init(|| async move {
            if first.is_none() {
                *first = start(asked).await?;
            }
            let said = first.as_ref();
            Ok::<_, String>(said.and_then(|said| SharedAnswer::of(&said.answer, asked.address)))
        });
        let shared = shared.await?.as_ref().and_then(|shared| shared.about(asked.address));
        if own.is_none() && shared.is_some() {
            return Ok(shared.map(|text| Answer { text, users_file: files.users.clone() }));
        }
    }
    if own.is_none() {
        own = start(asked).await?;
    }
    Ok(own.map(|Said { answer: text, files }| {
        // An Include may be another file for each host.
        Answer { text, users_file: Files::of(&files).users }
    }))
}

impl Files {
    fn of(files: &[PathBuf]) -> Self {
        // Comments may be in whatever encoding.
        let text = |path: &PathBuf| Some(String::from_utf8_lossy(&fs_err::read(path).ok()?).into());
        let texts: Vec<Option<String>> = files.iter().map(text).collect();
        let all: Option<Vec<&str>> = texts.iter().map(Option::as_deref).collect();
        let patterns = all.filter(|all| !all.is_empty()).and_then(HostPatterns::of);
        let users = Path::new(&Account::current().home).join(".ssh/config");
        let of_users = |path: &Path| !path.starts_with("/etc");
        let mut both = files.iter().zip(&texts);
        // Of one that can't be read nobody knows.
        let may_be = both.any(|(path, text)| {
            of_users(path) && text.as_ref().is_none_or(|text| may_be_of_user(text))
        });
        let users = (may_be && files.contains(&users)).then_some(users);
        Self { patterns, users }
    }
}

fn lately(asked: &Asked<'_>) -> Arc<Answers> {
    let question = Question {
        config: asked.config.map(PathBuf::from),
        user: asked.user.map(str::to_owned),
        port: asked.port,
    };
    let mut lately = lock(&LATELY);
    lately.retain(|_, answers| answers.asked.elapsed() < FRESH);
    let new = || {
        let (files, by_signature) = Default::default();
        Arc::new(Answers { asked: Instant::now(), files, by_signature })
    };
    Arc::clone(lately.entry(question).or_insert_with(new))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks about one host.
async fn start(asked: Asked<'_>) -> Result<Option<Said>, String> {
    // `-v` names the files that are read, included ones too.
    let mut arguments = vec!["-v".to_owned()];
    arguments.extend(asked.arguments());
    let output = match settings(&arguments, asked.address).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("failed to start `ssh -G`: {error}")),
        Ok(output) => output,
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (files, others) = files_read(&stderr);
    match output.status.success() {
        true => Ok(Some(Said {
            answer: String::from_utf8_lossy(&output.stdout).into_owned(),
            files: files.into_iter().map(PathBuf::from).collect(),
        })),
        false => Err(others.into_iter().map(escaped).collect::<Vec<_>>().join("; ")),
    }
}

/// Runs `ssh -G` with these arguments for a host.
pub(crate) async fn settings(arguments: &[String], host: &str) -> io::Result<Output> {
    let run = |more: &'static [&'static str]| {
        let mut command = Command::new("ssh");
        command.arg("-G").args(more).args(arguments).arg("--").arg(host);
        command.stdin(Stdio::null()).kill_on_drop(true);
        async move { command.output().await }
    };
    let output = run(&[]).await?;
    // With ForkAfterAuthentication it wants a command, which it does not take together with a
    // RemoteCommand. Older clients don't know the option.
    match String::from_utf8_lossy(&output.stderr).contains("Cannot fork into background") {
        true => run(&["-oForkAfterAuthentication=no"]).await,
        false => Ok(output),
    }
}
