//! Words → hosts, by what the fleet and `ssh_config` know.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use super::word::{HostWord, InvalidHostWord, is_plainly_an_address, parse, split_list};
use crate::Host;
use crate::config::Settings;
use crate::message::{DidYouMean, Quoted, nearest};

/// What is known of hosts where words are given.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The fleet.
    pub hosts: &'a [Host],
    /// What hosts outside the fleet are made with.
    pub settings: &'a Settings,
    /// The `Host` aliases of `ssh_config`.
    pub aliases: &'a dyn Aliases,
}

/// The `Host` aliases of the user's `ssh_config`.
pub trait Aliases {
    /// Whether `ssh_config` says something of this very word; asked only when nothing else tells.
    fn knows(&self, word: &str) -> bool;

    /// The aliases that can be listed, for advice.
    fn names(&self) -> Vec<String>;
}

/// Why words select no hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// A word has none of the forms.
    #[error(transparent)]
    Invalid(InvalidHostWord),
    /// A bare word that neither the fleet nor `ssh_config` knows.
    #[error("neither geto.ini nor ssh_config knows a host {}{}", Quoted(word), DidYouMean(nearest.as_deref()))]
    UnknownHost {
        /// The word.
        word: String,
        /// The host that it may be a slip of.
        nearest: Option<String>,
    },
    /// No host of the fleet has the tag.
    #[error("no host of geto.ini has the tag {}{}", Quoted(tag), DidYouMean(nearest.as_deref()))]
    UnknownTag {
        /// The tag, without `@`.
        tag: String,
        /// The tag that it may be a slip of.
        nearest: Option<String>,
    },
    /// No host matches the glob.
    #[error("no host of geto.ini matches {}", Quoted(.0))]
    NoMatch(String),
    /// A glob that can't be read.
    #[error("{} is no glob: {problem}", Quoted(glob))]
    BadGlob {
        /// The glob.
        glob: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A host to take out that is not among the hosts, nor in the fleet.
    #[error("there is no host {} to take out{}", Quoted(word), DidYouMean(nearest.as_deref()))]
    UnknownExclusion {
        /// The word.
        word: String,
        /// The host that it may be a slip of.
        nearest: Option<String>,
    },
    /// The words were there, but empty.
    #[error("no host is named")]
    NoWord,
    /// All that was selected has been taken out.
    #[error("no host is left: all are taken out")]
    NothingLeft,
}

/// Returns the hosts that `words` name, in the order in which they are named first, without those
/// that `exclude` names. Each word may be a comma list.
///
/// Without words these are all hosts of the fleet; for an empty fleet that is none, and what then
/// is up to the caller. A name of the fleet goes before an alias of `ssh_config`, that before an
/// address. `user@name:port` with a name of the fleet is that host with another user or port; the
/// password of the host stays with its user.
///
/// # Errors
/// When a word names no host, and when none is left.
pub fn select<W: AsRef<str>>(
    words: &[W],
    exclude: &[W],
    known: &Known<'_>,
) -> Result<Vec<Host>, SelectError> {
    let mut chosen: Vec<Host> = Vec::new();
    if words.is_empty() {
        chosen.extend_from_slice(known.hosts);
    }
    for word in words.iter().flat_map(|list| split_list(list.as_ref())) {
        for host in known.resolve(word)? {
            if chosen.iter().all(|other| other.name != host.name) {
                chosen.push(host);
            }
        }
    }
    if chosen.is_empty() {
        return match words.is_empty() {
            true => Ok(chosen),
            false => Err(SelectError::NoWord),
        };
    }
    for word in exclude.iter().flat_map(|list| split_list(list.as_ref())) {
        let goes = known.exclusion(word, &chosen)?;
        chosen.retain(|host| !goes(host));
    }
    match chosen.is_empty() {
        true => Err(SelectError::NothingLeft),
        false => Ok(chosen),
    }
}

/// Returns the words of which only `ssh_config` can tell whether they name a host: bare ones that
/// the fleet does not know and that are no address by themselves.
pub fn possible_aliases<'a, W: AsRef<str>>(words: &'a [W], hosts: &[Host]) -> Vec<&'a str> {
    let in_fleet = |word: &str| hosts.iter().any(|host| host.name.eq_ignore_ascii_case(word));
    let words = words.iter().flat_map(|list| split_list(list.as_ref()));
    words
        .filter(|word| !in_fleet(word) && !is_plainly_an_address(word))
        .filter(|word| matches!(parse(word), Ok(HostWord::Name(_))))
        .collect()
}

type HostTest = Box<dyn Fn(&Host) -> bool>;

impl Known<'_> {
    fn resolve(&self, word: &str) -> Result<Vec<Host>, SelectError> {
        match parse(word).map_err(SelectError::Invalid)? {
            // A fleet made by a program may have one of its own.
            HostWord::Local => {
                Ok(vec![self.find("local").cloned().unwrap_or_else(|| self.settings.local_host())])
            }
            HostWord::Tag(tag) => {
                let hosts = self.all(|host| host.tags.contains(&tag));
                if hosts.is_empty() { Err(self.unknown_tag(tag)) } else { Ok(hosts) }
            }
            HostWord::Glob(glob) => {
                let matcher = matcher(&glob)?;
                let hosts = self.all(|host| matcher.is_match(&host.name));
                if hosts.is_empty() { Err(SelectError::NoMatch(glob)) } else { Ok(hosts) }
            }
            HostWord::Name(name) => match self.find(&name) {
                Some(host) => Ok(vec![host.clone()]),
                None if is_plainly_an_address(&name) || self.aliases.knows(&name) => {
                    Ok(vec![self.settings.host(name)])
                }
                None => {
                    let nearest = self.nearest_host(&name, &[]);
                    Err(SelectError::UnknownHost { word: name, nearest })
                }
            },
            HostWord::Address { user, host, port } => Ok(vec![self.address(user, &host, port)]),
        }
    }

    fn address(&self, user: Option<String>, name: &str, port: Option<u16>) -> Host {
        let base = self.find(name).cloned().unwrap_or_else(|| self.settings.host(name));
        if user.is_none() && port.is_none() {
            return base;
        }
        let same_user = user.is_none() || user == base.user;
        Host {
            name: written(user.as_deref(), name, port),
            password: base.password.filter(|_| same_user),
            user: user.or(base.user),
            port: port.or(base.port),
            ..base
        }
    }

    /// Returns what tells whether a host goes. A word that concerns nobody is a slip that would
    /// leave in what the user wants out, so it is an error.
    fn exclusion(&self, word: &str, chosen: &[Host]) -> Result<HostTest, SelectError> {
        let concerns = |test: &HostTest| self.hosts.iter().chain(chosen).any(test);
        match parse(word).map_err(SelectError::Invalid)? {
            HostWord::Tag(tag) => {
                let wanted = tag.clone();
                let test: HostTest = Box::new(move |host| host.tags.contains(&wanted));
                if concerns(&test) { Ok(test) } else { Err(self.unknown_tag(tag)) }
            }
            HostWord::Glob(glob) => {
                let matcher = matcher(&glob)?;
                let test: HostTest = Box::new(move |host| matcher.is_match(&host.name));
                if concerns(&test) { Ok(test) } else { Err(SelectError::NoMatch(glob)) }
            }
            other => {
                let name = match other {
                    HostWord::Address { user, host, port } => written(user.as_deref(), &host, port),
                    HostWord::Name(name) => name,
                    _ => "local".to_owned(),
                };
                let wanted = name.clone();
                let test: HostTest = Box::new(move |host| host.name.eq_ignore_ascii_case(&wanted));
                if name == "local" || concerns(&test) {
                    return Ok(test);
                }
                let nearest = self.nearest_host(&name, chosen);
                Err(SelectError::UnknownExclusion { word: name, nearest })
            }
        }
    }

    fn all(&self, test: impl Fn(&Host) -> bool) -> Vec<Host> {
        self.hosts.iter().filter(|host| test(host)).cloned().collect()
    }

    /// Names are keys of geto.ini, so their case does not count.
    fn find(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name.eq_ignore_ascii_case(name))
    }

    fn nearest_host(&self, word: &str, chosen: &[Host]) -> Option<String> {
        let aliases = self.aliases.names();
        let names = self.hosts.iter().chain(chosen).map(|host| host.name.as_str());
        let names = names.chain(aliases.iter().map(String::as_str)).chain(["local"]);
        nearest(word, names).map(str::to_owned)
    }

    fn unknown_tag(&self, tag: String) -> SelectError {
        let tags = self.hosts.iter().flat_map(|host| &host.tags).map(String::as_str);
        SelectError::UnknownTag { nearest: nearest(&tag, tags).map(str::to_owned), tag }
    }
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

fn matcher(glob: &str) -> Result<GlobMatcher, SelectError> {
    match GlobBuilder::new(glob).case_insensitive(true).build() {
        Ok(sound) => Ok(sound.compile_matcher()),
        Err(error) => {
            let problem = error.kind().to_string();
            Err(SelectError::BadGlob { glob: glob.to_owned(), problem })
        }
    }
}

/// The one way to write an address, so that two spellings of it are the same host.
fn written(user: Option<&str>, host: &str, port: Option<u16>) -> String {
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    match port {
        Some(port) if host.contains(':') => format!("{user}[{host}]:{port}"),
        Some(port) => format!("{user}{host}:{port}"),
        None => format!("{user}{host}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, Places};

    struct Alias(&'static str);

    impl Aliases for Alias {
        fn knows(&self, word: &str) -> bool {
            word == self.0
        }

        fn names(&self) -> Vec<String> {
            vec![self.0.to_owned()]
        }
    }

    const FLEET: &str = "[geto]\nremote_work_path=/w\n[hosts]\nserver1=10.0.0.10\nserver2=10.0.0.11\n\
        GPU=gpu.lab\nn1.lab=10.0.0.13\n[server1]\nusername=athos\npassword=p\ntags=big,lab\n\
        [server2]\ntags=lab\n";

    fn hosts(words: &[&str], exclude: &[&str]) -> Result<Vec<Host>, SelectError> {
        let config = Config::parse("geto.ini", FLEET, &Places::default()).unwrap();
        let (hosts, settings) = (&config.hosts, &config.settings);
        select(words, exclude, &Known { hosts, settings, aliases: &Alias("alias") })
    }

    fn names(words: &[&str], exclude: &[&str]) -> String {
        match hosts(words, exclude) {
            Ok(hosts) => hosts.into_iter().map(|host| host.name).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn selects_by_every_form_in_order_of_mention_without_duplicates() {
        assert_eq!(names(&[], &[]), "server1 server2 GPU n1.lab");
        assert_eq!(names(&["server2,server1", "@lab"], &[]), "server2 server1");
        assert_eq!(names(&["gpu", "s*", "GPU"], &[]), "GPU server1 server2");
        assert_eq!(names(&["server[2-9]", "{gpu,n1}*"], &[]), "server2 GPU n1.lab");
        assert_eq!(names(&["alias", "local"], &[]), "alias local");
        assert_eq!(names(&["10.0.0.10", "[::1]", "::1", "a.b"], &[]), "10.0.0.10 ::1 a.b");
        assert_eq!(names(&["ssh://me@x:22/", "me@x:22", "[::1]:22"], &[]), "me@x:22 [::1]:22");
        assert_eq!(names(&["ssh://server1"], &[]), "server1");
    }

    #[test]
    fn takes_hosts_out() {
        assert_eq!(names(&[], &["@lab"]), "GPU n1.lab");
        assert_eq!(names(&["s*"], &["SERVER1,gpu"]), "server2");
        assert_eq!(names(&["s*", "me@x"], &["ssh://me@x", "*2", "local"]), "server1");
    }

    #[test]
    fn hosts_outside_the_fleet_follow_the_settings() {
        let hosts = hosts(&["me@a.b:22", "local", "alias"], &[]).unwrap();
        assert_eq!((hosts[0].address.as_str(), hosts[0].port), ("a.b", Some(22)));
        assert_eq!(hosts[0].user.as_deref(), Some("me"));
        assert!(hosts.iter().all(|host| host.remote_work_path == "/w"));
        assert_eq!(hosts[1].transport, crate::TransportKind::Local);
    }

    #[test]
    fn a_password_is_given_to_nobody_but_its_user() {
        let hosts = hosts(&["root@server1", "server1:2222", "athos@server1"], &[]).unwrap();
        assert!(hosts.iter().all(|host| host.address == "10.0.0.10"));
        assert!(hosts[0].password.is_none());
        assert!(hosts[1].password.is_some() && hosts[1].user.as_deref() == Some("athos"));
        assert!(hosts[2].password.is_some());
    }

    #[test]
    fn says_what_it_does_not_know_and_what_may_be_meant() {
        insta::assert_snapshot!(names(&["sever1"], &[]), @"error: neither geto.ini nor ssh_config knows a host `sever1`; did you mean `server1`?");
        insta::assert_snapshot!(names(&["aliass"], &[]), @"error: neither geto.ini nor ssh_config knows a host `aliass`; did you mean `alias`?");
        insta::assert_snapshot!(names(&["localhost"], &[]), @"error: neither geto.ini nor ssh_config knows a host `localhost`; did you mean `local`?");
        insta::assert_snapshot!(names(&["xyz"], &[]), @"error: neither geto.ini nor ssh_config knows a host `xyz`");
        insta::assert_snapshot!(names(&["@bigg"], &[]), @"error: no host of geto.ini has the tag `bigg`; did you mean `big`?");
        insta::assert_snapshot!(names(&["z*"], &[]), @"error: no host of geto.ini matches `z*`");
        insta::assert_snapshot!(names(&["a[b"], &[]), @"error: `a[b` is no glob: unclosed character class; missing ']'");
        insta::assert_snapshot!(names(&["", ","], &[]), @"error: no host is named");
        insta::assert_snapshot!(names(&[], &["sever1"]), @"error: there is no host `sever1` to take out; did you mean `server1`?");
        insta::assert_snapshot!(names(&[], &["*"]), @"error: no host is left: all are taken out");
        insta::assert_snapshot!(names(&["me@"], &[]), @"error: `me@` names no host: there is no name and no address");
    }

    #[test]
    fn ssh_is_asked_only_about_what_nothing_else_tells() {
        let config = Config::parse("geto.ini", FLEET, &Places::default()).unwrap();
        let words = ["SERVER1,alias", "a.b", "::1", "@lab", "s*", "me@x", "local", "-F/x"];
        assert_eq!(possible_aliases(&words, &config.hosts), ["alias"]);
    }

    #[test]
    fn an_empty_fleet_without_words_is_no_error() {
        let settings = Settings::new("/r");
        let known = Known { hosts: &[], settings: &settings, aliases: &Alias("a") };
        assert_eq!(select::<&str>(&[], &[], &known), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec(".{0,20}", 0..3)) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _unread = hosts(&words, &words);
        }
    }
}
