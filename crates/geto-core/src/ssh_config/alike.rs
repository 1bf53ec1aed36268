//! Whether `ssh_config` treats two hosts alike: then what `ssh -G` says of one holds for the other.
//!
//! Nothing is read into a configuration here. That is `ssh`'s part; it is only asked once for many.

use crate::known_hosts::matches_pattern;

/// What begins the lines of `ssh -v` that name the files it has read.
const READ: &str = "debug1: Reading configuration data ";

/// The patterns by which a configuration tells one host from another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostPatterns(Vec<String>);

impl HostPatterns {
    /// Returns the patterns of the `Host` lines in these texts, which are all files of a
    /// configuration; `None` when something else in them may tell hosts apart.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut patterns = Vec::new();
        for line in texts.into_iter().flat_map(str::lines) {
            let line = line.trim_start();
            let end = |c: char| c.is_whitespace() || c == '=';
            let (word, rest) = line.split_once(end).unwrap_or((line, ""));
            // A name in quotes is unusual enough not to be understood.
            match word.to_ascii_lowercase().as_str() {
                "host" => {
                    let words = rest.split(|c: char| end(c) || c == '"' || c == ',');
                    let words = words.filter(|word| !word.is_empty());
                    patterns.extend(words.map(|word| word.trim_start_matches('!').to_owned()));
                }
                "match" => return None,
                // Another file for each host.
                "include" if rest.contains('%') => return None,
                word if word.starts_with("canonical") || word.starts_with('"') => return None,
                _ => {}
            }
        }
        patterns.sort_unstable();
        patterns.dedup();
        Some(Self(patterns))
    }

    /// Returns which patterns a host's name matches. Names of which this is the same are treated
    /// alike.
    pub fn signature(&self, name: &str) -> Vec<bool> {
        let both = |pattern: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .map(|name| matches_pattern(name.as_bytes(), pattern.as_bytes()))
        };
        self.0.iter().flat_map(|pattern| both(pattern)).collect()
    }
}

/// What `ssh -G` said of one host, in a form that holds for those that are treated alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedAnswer {
    /// What stands before, between and behind the places where the host's name is.
    parts: Vec<String>,
}

impl SharedAnswer {
    /// Takes the answer about `name`; `None` when it depends on the name in ways that are not
    /// understood.
    pub fn of(answer: &str, name: &str) -> Option<Self> {
        let name_in_lower_case = name.to_ascii_lowercase();
        let mut parts = vec![String::new()];
        for line in answer.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let last = parts.last_mut()?;
            if matches!(key, "host" | "hostname") && value == name {
                last.push_str(key);
                last.push(' ');
                parts.push("\n".to_owned());
            } else if line.to_ascii_lowercase().contains(&name_in_lower_case) {
                return None;
            } else {
                last.push_str(line);
                last.push('\n');
            }
        }
        Some(Self { parts })
    }

    /// Returns what `ssh -G` would say of `name`; `None` when `ssh` would write it in another way.
    pub fn about(&self, name: &str) -> Option<String> {
        let is_plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        name.bytes().all(is_plain).then(|| self.parts.join(name))
    }
}

/// Takes what `ssh -v` wrote to its standard error apart: the files that it has read, and its
/// other lines.
pub fn files_read(stderr: &str) -> (Vec<&str>, Vec<&str>) {
    let mut files = Vec::new();
    let mut others = Vec::new();
    for line in stderr.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix(READ) {
            Some(file) => files.push(file),
            None if line.starts_with("debug1: ") || line.starts_with("OpenSSH_") => {}
            None => others.push(line),
        }
    }
    (files, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_match_the_same_patterns_are_treated_alike() {
        let text =
            "# Host comment\nHost node* !node9\n User x\n  HOST=gpu \"old gpu\"\nHostName h\n";
        let patterns = HostPatterns::of([text, "host *"]).unwrap();
        let same = |one: &str, other: &str| patterns.signature(one) == patterns.signature(other);
        assert!(same("node1", "node2") && same("a", "b"));
        assert!(!same("node1", "node9") && !same("node1", "a") && !same("gpu", "old"));
        assert!(!same("Node1", "node1"));
        for unclear in [
            "Match host x",
            " match all",
            "CanonicalizeHostname yes",
            "\"Host\" x",
            "Include %h.conf",
        ] {
            assert_eq!(HostPatterns::of([text, unclear]), None, "{unclear}");
        }
    }

    #[test]
    fn an_answer_holds_for_another_name_where_it_only_repeats_it() {
        let answer = SharedAnswer::of("host n1\nuser x\nhostname n1\nport 22\n", "n1").unwrap();
        assert_eq!(answer.about("n2").unwrap(), "host n2\nuser x\nhostname n2\nport 22\n");
        let fixed = SharedAnswer::of("user x\nhostname 10.0.0.1\n", "n1").unwrap();
        assert_eq!(fixed.about("n2").unwrap(), "user x\nhostname 10.0.0.1\n");
        assert_eq!(answer.about("N2"), None);
        assert_eq!(answer.about("fe80::1%eth0"), None);
        for depends in ["hostname n1.lan\n", "controlpath /run/N1\n", "hostname N1\n"] {
            assert_eq!(SharedAnswer::of(depends, "n1"), None, "{depends}");
        }
    }

    #[test]
    fn ssh_names_the_files_that_it_has_read() {
        let text = "OpenSSH_9.2p1 Debian\r\ndebug1: Reading configuration data /a b\r\n\
                    debug1: /a b line 1: Applying options for *\r\n/a b: line 2: Bad option\r\n";
        assert_eq!(files_read(text), (vec!["/a b"], vec!["/a b: line 2: Bad option"]));
    }
}
