//! Questions of a child `ssh`, answered here.
//!
//! `ssh` runs what SSH_ASKPASS names with the question as its argument and reads the answer from
//! its output. Here this is a script of a few lines that passes both through named pipes in a
//! directory of this user's own, so that no secret is in a file, an environment or a process list,
//! and `ssh` never fights with a terminal that is not its own.

use std::future::Future;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use geto_core::Secret;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::Command;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::log::{both_ends, make_pipe};
use crate::transport::prompt::{Asker, passphrase_topic, password_topic};
use crate::transport::resolve::Resolved;
use crate::transport::text::escaped;
use crate::transport::turns::Turns;

/// The question goes out ended by a NUL, the answer comes back as a line that begins with `y`. When
/// geto was killed there is nobody to answer, and what it has left is removed.
const SCRIPT: &str = r#"#!/bin/sh
dir=${0%/*}
end() { rm -rf "$dir"; exit 1; }
kill -0 GETO 2>/dev/null || end
printf '%s\0' "$1" >"$dir/question" || exit 1
IFS= read -r answer <"$dir/answer" || end
case $answer in
y*) printf '%s\n' "${answer#y}" ;;
*) exit 1 ;;
esac
"#;
/// Longer than any question; a host can make them up.
const LONGEST: usize = 16 << 10;

/// Somebody who answers a child `ssh`.
#[derive(Debug)]
pub(super) struct Bridge {
    asker: Asker,
    /// The hosts on the way, the last of them the one that it is all about.
    servers: Vec<Server>,
    ends: Option<Ends>,
}

/// A host that `ssh` may ask about.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// What its questions begin with: `user@host`, as long as `ssh` writes it.
    marks: Vec<String>,
    /// What its password is called elsewhere.
    topic: String,
}

impl Server {
    /// The hosts on the way.
    pub(super) fn of(hops: &[Resolved]) -> Vec<Self> {
        let server = |hop: &Resolved| {
            let ssh = &hop.options;
            let names = [Some(&ssh.hostname), ssh.host_key_alias.as_ref()].into_iter().flatten();
            // As its messages do.
            let marks = names.map(|name| format!("{:.30}@{name:.128}", ssh.user)).collect();
            Self { marks, topic: password_topic(hop) }
        };
        hops.iter().map(server).collect()
    }

    /// Whether `question` is about this host, as `ssh` words it: `user@host's password: `, or
    /// `(user@host) ` and what the host itself asks.
    fn is_subject_of(&self, question: &str) -> bool {
        self.marks.iter().any(|mark| {
            question.strip_prefix(mark).is_some_and(|rest| rest.starts_with("'s password"))
                || question.strip_prefix('(').is_some_and(|rest| {
                    rest.strip_prefix(mark.as_str()).is_some_and(|rest| rest.starts_with(')'))
                })
        })
    }
}

#[derive(Debug)]
struct Ends {
    script: PathBuf,
    question: Mutex<Receiver>,
    answer: Mutex<Sender>,
    has_password: bool,
    /// That of geto.ini, until it was given.
    password: Mutex<Option<Secret>>,
    turns: Mutex<Turns>,
}

impl Bridge {
    /// Makes script and pipes in `dir`, unless there is nobody to ask and no password.
    pub(super) async fn create(
        dir: &Path,
        password: Option<&Secret>,
        servers: &[Server],
        asker: Asker,
    ) -> io::Result<Self> {
        let servers = servers.to_vec();
        if !asker.has_person() && password.is_none() {
            return Ok(Self { asker, servers, ends: None });
        }
        let (question, answer) = (dir.join("question"), dir.join("answer"));
        make_pipe(&question).await?;
        make_pipe(&answer).await?;
        let question = Mutex::new(Receiver::from_file(both_ends(&question)?)?);
        let answer = Mutex::new(Sender::from_file(both_ends(&answer)?)?);
        let script = dir.join("ask");
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&script)?;
        file.write_all(SCRIPT.replace("GETO", &std::process::id().to_string()).as_bytes())?;
        let has_password = password.is_some();
        let password = Mutex::new(password.cloned());
        let turns = Mutex::default();
        let ends = Ends { script, question, answer, has_password, password, turns };
        Ok(Self { asker, servers, ends: Some(ends) })
    }

    /// Whether `ssh` must not ask anything.
    pub(super) fn is_silent(&self) -> bool {
        self.ends.is_none()
    }

    /// Tells `ssh` where to ask.
    pub(super) fn prepare(&self, ssh: &mut Command) {
        match &self.ends {
            Some(ends) => ssh.env("SSH_ASKPASS", &ends.script).env("SSH_ASKPASS_REQUIRE", "force"),
            None => ssh.env_remove("SSH_ASKPASS"),
        };
    }

    /// Answers questions until `work` is done.
    pub(super) async fn serve_until<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.serve() => never,
        }
    }

    /// The host has let us in: the answers were right.
    pub(super) async fn prove(&self) {
        if let Some(ends) = &self.ends {
            ends.turns.lock().await.prove();
        }
    }

    /// Nobody was let in for the answers that there are.
    pub(super) async fn give_up(&self) {
        if let Some(ends) = &self.ends {
            ends.turns.lock().await.give_up();
        }
    }

    /// Whether the host was given the password of geto.ini.
    pub(super) async fn has_given_password(&self) -> bool {
        match &self.ends {
            Some(ends) => ends.has_password && ends.password.lock().await.is_none(),
            None => false,
        }
    }

    async fn serve<T>(&self) -> T {
        if let Some(ends) = &self.ends
            && let Err(error) = self.answer_all(ends).await
        {
            tracing::debug!(%error, "a question of ssh was lost");
        }
        std::future::pending().await
    }

    async fn answer_all(&self, ends: &Ends) -> io::Result<()> {
        let questions = ends.question.lock().await;
        let answers = ends.answer.lock().await;
        let mut earlier = Vec::new();
        loop {
            let question = next(&questions).await?;
            let line = match self.answer(ends, &question, &mut earlier).await {
                Some(secret) => {
                    let mut line = Zeroizing::new(b"y".to_vec());
                    line.extend_from_slice(secret.expose());
                    line
                }
                None => Zeroizing::new(b"n".to_vec()),
            };
            let mut rest: &[u8] = &[line.as_slice(), b"\n"].concat();
            while !rest.is_empty() {
                answers.writable().await?;
                match answers.try_write(rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn answer(
        &self,
        ends: &Ends,
        question: &str,
        earlier: &mut Vec<(String, Secret)>,
    ) -> Option<Secret> {
        let lower = question.to_lowercase();
        if lower.contains("(yes/no") {
            let question = question.trim_end().trim_end_matches("(yes/no/[fingerprint])?");
            let yes = self.asker.confirm(question, question.to_owned(), || false).await;
            return Some(Secret::from(if yes { "yes" } else { "no" }));
        }
        let topic = if let Some(key) = key_of(question) {
            passphrase_topic(key)
        } else if !lower.contains("password") {
            return self.asker.passing(question, false).await;
        } else {
            let of = self.server_of(question);
            if of.is_some_and(|of| Some(of) == self.servers.len().checked_sub(1))
                && let Some(password) = ends.password.lock().await.take()
            {
                return Some(password);
            }
            let server = of.and_then(|of| self.servers.get(of));
            server.map_or_else(|| format!("ssh: {question}"), |server| server.topic.clone())
        };
        // Asked once more on the same connection: what was answered before was wrong.
        for (_, wrong) in earlier.iter().filter(|(known, _)| *known == topic) {
            self.asker.forget(&topic, wrong);
        }
        let mut turns = ends.turns.lock().await;
        // Who asks for the next thing has taken what there was before.
        turns.prove_all_but(&topic);
        let answer = self.asker.lasting(&topic, question, &mut turns).await?;
        drop(turns);
        earlier.push((topic, answer.secret().clone()));
        Some(answer.secret().clone())
    }

    /// Which of the hosts asks. What can't be told from others is the last one's.
    fn server_of(&self, question: &str) -> Option<usize> {
        let known = self.servers.iter().rposition(|server| server.is_subject_of(question));
        known.or((self.servers.len() == 1).then_some(0))
    }
}

/// The path in `Enter passphrase for key '/path': `.
fn key_of(question: &str) -> Option<&str> {
    let rest = question.strip_prefix("Enter passphrase for ")?;
    let (_, quoted) = rest.split_once('\'')?;
    quoted.rsplit_once('\'').map(|(path, _)| path)
}

async fn next(questions: &Receiver) -> io::Result<String> {
    let mut question = Vec::new();
    loop {
        questions.readable().await?;
        let mut byte = [0];
        match questions.try_read(&mut byte) {
            Ok(1) if byte[0] == 0 => break,
            Ok(1) if question.len() < LONGEST => question.push(byte[0]),
            Ok(1) => {}
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(escaped(&String::from_utf8_lossy(&question)))
}
