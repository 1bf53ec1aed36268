//! The `Host` aliases of the user's `ssh_config`, as `ssh` understands it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use geto_core::select::Aliases;

use crate::transport::{Account, settings};

/// A word that nobody gives to a host of theirs.
const NOBODY: &str = "geto-asks-what-every-host-gets";

/// What `ssh_config` says of the words that only it can tell about.
#[derive(Debug)]
pub(super) struct SshAliases {
    known: HashSet<String>,
    config: Option<PathBuf>,
}

impl SshAliases {
    /// Asks `ssh` about each of `words`. Without an `ssh` on this machine there are no aliases.
    pub(super) async fn look_up(words: &[&str], config: Option<&Path>) -> Self {
        let mut known = HashSet::new();
        if words.is_empty() {
            return Self { known, config: config.map(Path::to_owned) };
        }
        match settings_of(NOBODY, config).await {
            Said::Nothing => {}
            // What is wrong there is told when the host is connected to.
            Said::Wrong => known.extend(words.iter().map(|word| (*word).to_owned())),
            common @ Said::Settings(_) => {
                for word in words {
                    if settings_of(word, config).await != common {
                        known.insert((*word).to_owned());
                    }
                }
            }
        }
        Self { known, config: config.map(Path::to_owned) }
    }
}

impl Aliases for SshAliases {
    fn knows(&self, word: &str) -> bool {
        // One of whom nothing is said but the name is meant, too.
        self.known.contains(word) || self.names().iter().any(|name| name == word)
    }

    fn names(&self) -> Vec<String> {
        let files = match &self.config {
            Some(file) => vec![file.clone()],
            // `ssh` does not look at $HOME.
            None => vec![
                Path::new(&Account::current().home).join(".ssh/config"),
                PathBuf::from("/etc/ssh/ssh_config"),
            ],
        };
        let texts = files.into_iter().filter_map(|file| fs_err::read(file).ok());
        texts.flat_map(|text| listed(&String::from_utf8_lossy(&text))).collect()
    }
}

/// What `ssh -G` says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// There is no `ssh`.
    Nothing,
    /// It refuses the `ssh_config`.
    Wrong,
    Settings(Vec<String>),
}

/// What `ssh` would do for `word`, without the lines that only repeat the word.
async fn settings_of(word: &str, config: Option<&Path>) -> Said {
    let config = config.map(|config| ["-F".to_owned(), config.display().to_string()]);
    let output = match settings(config.as_ref().map_or(&[], |words| &words[..]), word).await {
        Err(_) => return Said::Nothing,
        Ok(output) if !output.status.success() => return Said::Wrong,
        Ok(output) => output,
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let repeats = |line: &str| {
        ["host", "hostname", "originalhost"].iter().any(|key| {
            line.strip_prefix(key)
                .is_some_and(|value| value.trim_start().eq_ignore_ascii_case(word))
        })
    };
    Said::Settings(text.lines().filter(|line| !repeats(line)).map(str::to_owned).collect())
}

/// The names of `Host` lines, patterns apart: good for advice, no more.
fn listed(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let (key, names) = line.split_once(|c: char| c.is_whitespace() || c == '=')?;
        key.eq_ignore_ascii_case("host").then_some(names)
    });
    let names = lines.flat_map(str::split_whitespace);
    names.filter(|name| !name.contains(['*', '?', '!', '"'])).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alias_is_what_ssh_config_says_something_of() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        let text = "Host bare\nHost web\n  HostName 10.0.0.1\nHost db-*\n  User x\nMatch host m\n  Port 9\n\
                    Host *\n  User me\n  Compression yes\n";
        fs_err::write(&config, text).unwrap();
        let words = ["bare", "web", "db-1", "m", "other"];
        let aliases = SshAliases::look_up(&words, Some(&config)).await;
        let known: Vec<_> = words.iter().map(|word| aliases.knows(word)).collect();
        assert_eq!(known, [true, true, true, true, false]);
        assert_eq!(aliases.names(), ["bare", "web"]);
    }
}
