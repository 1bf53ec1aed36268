//! `ssh -G`, asked once for all hosts that `ssh_config` treats alike: a process for each host costs
//! more than all the rest of a login.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use geto_core::ssh_config::{HostPatterns, SharedAnswer, files_read};
use tokio::process::Command;
use tokio::sync::OnceCell;

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
    /// `None` when each host has to be asked about.
    patterns: OnceCell<Option<HostPatterns>>,
    by_signature: Mutex<HashMap<Vec<bool>, Arc<Shared>>>,
}

/// What one process said.
struct Said {
    answer: String,
    files: Vec<PathBuf>,
}

/// Returns what `ssh -G` says of a host; `None` without an `ssh` on this machine.
pub(super) async fn ask(asked: Asked<'_>) -> Result<Option<String>, String> {
    let answers = lately(&asked);
    let mut own = None;
    let first = &mut own;
    let learning = answers.patterns.get_or_try_init(|| async move {
        *first = start(asked).await?;
        Ok::<_, String>(first.as_ref().and_then(|said| patterns_of(&said.files)))
    });
    let patterns = learning.await?;
    if let Some(patterns) = patterns {
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
            return Ok(shared);
        }
    }
    if own.is_none() {
        own = start(asked).await?;
    }
    Ok(own.map(|said| said.answer))
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
        let (patterns, by_signature) = Default::default();
        Arc::new(Answers { asked: Instant::now(), patterns, by_signature })
    };
    Arc::clone(lately.entry(question).or_insert_with(new))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn patterns_of(files: &[PathBuf]) -> Option<HostPatterns> {
    let texts: io::Result<Vec<String>> = files.iter().map(fs_err::read_to_string).collect();
    HostPatterns::of(texts.ok()?.iter().map(String::as_str))
}

/// Asks about one host.
async fn start(asked: Asked<'_>) -> Result<Option<Said>, String> {
    let mut command = Command::new("ssh");
    // `-v` names the files that are read, included ones too.
    command.args(["-v", "-G"]).args(asked.arguments()).arg("--").arg(asked.address);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match command.output().await {
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
