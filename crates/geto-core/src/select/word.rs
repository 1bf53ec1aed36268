//! What a word of `-H` says by its form alone.

use std::net::IpAddr;

use crate::message::Quoted;

/// A word that names hosts, by its form; what the fleet and `ssh_config` know of it is settled by
/// [`select`](crate::select::select).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostWord {
    /// `local`: this machine.
    Local,
    /// `@tag`: the hosts that have this tag.
    Tag(String),
    /// A glob of the names of geto.ini.
    Glob(String),
    /// A name of geto.ini, an alias of `ssh_config`, or an address without user and port.
    Name(String),
    /// `[user@]addr[:port]` with a user or a port, or `ssh://…`.
    Address {
        /// The login user.
        user: Option<String>,
        /// Name or number, without brackets; may be a name of geto.ini or an alias, too.
        host: String,
        /// TCP port.
        port: Option<u16>,
    },
}

/// A word that names no host in any way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} names no host: {problem}", Quoted(word))]
pub struct InvalidHostWord {
    word: String,
    problem: &'static str,
}

/// Reads one word, which is part of a comma list already split.
///
/// ```
/// use geto_core::select::{HostWord, parse};
/// assert_eq!(parse("gpu*"), Ok(HostWord::Glob("gpu*".to_owned())));
/// assert_eq!(parse("[::1]"), Ok(HostWord::Name("::1".to_owned())));
/// ```
///
/// # Errors
/// When the word can be none of the forms.
pub fn parse(word: &str) -> Result<HostWord, InvalidHostWord> {
    let invalid = |problem| InvalidHostWord { word: word.to_owned(), problem };
    if word == "local" {
        return Ok(HostWord::Local);
    }
    if let Some(tag) = word.strip_prefix('@') {
        return match tag {
            "" => Err(invalid("there is no tag behind `@`")),
            _ => Ok(HostWord::Tag(tag.to_owned())),
        };
    }
    let (rest, url) = match word.strip_prefix("ssh://") {
        Some(rest) => (rest.strip_suffix('/').unwrap_or(rest), true),
        None => (word, false),
    };
    // The last `@`: a user may be `me@corp.example`, a host can't have one.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|user| !is_user(user)) {
        return Err(invalid("the user before `@` is empty, begins with `-` or has white space"));
    }
    let is_pattern = |text: &str| text.contains(['*', '?', '[', ']', '{', '}', '!', '\\']);
    let (host, port) = split_port(rest).map_err(invalid)?;
    match (user, port, is_pattern(host)) {
        (None, None, true) if !url => return Ok(HostWord::Glob(rest.to_owned())),
        (_, _, true) => return Err(invalid("a pattern stands alone, without user and port")),
        _ if host.is_empty() => return Err(invalid("there is no name and no address")),
        _ if !is_address(host) => {
            return Err(invalid(
                "a name has no white space, `,` or `/`, and does not begin with `-`",
            ));
        }
        _ => {}
    }
    Ok(match (user, port) {
        (None, None) if !url => HostWord::Name(host.to_owned()),
        _ => HostWord::Address { user: user.map(str::to_owned), host: host.to_owned(), port },
    })
}

fn split_port(rest: &str) -> Result<(&str, Option<u16>), &'static str> {
    if let Some(inner) = rest.strip_prefix('[')
        && let Some((number, behind)) = inner.split_once(']')
        && is_v6(number)
    {
        return match behind.strip_prefix(':') {
            Some(port) => Ok((number, Some(parse_port(port)?))),
            None if behind.is_empty() => Ok((number, None)),
            None => Err("behind `]` goes `:port` or nothing"),
        };
    }
    if is_v6(rest) {
        return Ok((rest, None));
    }
    match rest.split_once(':') {
        None => Ok((rest, None)),
        Some((_, port)) if port.contains(':') => Err(
            "it has more than one `:` and is no IPv6 number, which goes in brackets before `:port`",
        ),
        Some((host, port)) => Ok((host, Some(parse_port(port)?))),
    }
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or("a port is a number from 1 to 65535")
}

/// An IPv6 number, with a zone or without.
fn is_v6(text: &str) -> bool {
    let number = text.split_once('%').map_or(text, |(number, _)| number);
    matches!(number.parse(), Ok(IpAddr::V6(_)))
}

/// Whether `ssh` could be given this as a host: nothing that reads as an option, a list, a user, a
/// path or a port.
pub(crate) fn is_address(text: &str) -> bool {
    let unsound = |c: char| c.is_whitespace() || c.is_control() || "@,/[]".contains(c);
    !text.is_empty()
        && !text.starts_with('-')
        && !text.chars().any(unsound)
        && (!text.contains(':') || is_v6(text))
}

/// Whether this can be a user: `ssh` must not take it for an option.
pub(crate) fn is_user(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Whether a bare word is an address by itself: it has a dot, or is a number.
pub(super) fn is_plainly_an_address(name: &str) -> bool {
    name.contains('.') || is_v6(name)
}

/// Splits a comma list; the commas of a glob's braces and brackets don't count, nor do empty words.
pub(super) fn split_list(list: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let words = list.split(|c: char| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    words.map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(
        user: Option<&str>,
        host: &str,
        port: Option<u16>,
    ) -> Result<HostWord, InvalidHostWord> {
        Ok(HostWord::Address { user: user.map(str::to_owned), host: host.to_owned(), port })
    }

    fn name(text: &str) -> Result<HostWord, InvalidHostWord> {
        Ok(HostWord::Name(text.to_owned()))
    }

    #[test]
    fn reads_every_form() {
        assert_eq!(parse("local"), Ok(HostWord::Local));
        assert_eq!(parse("@big"), Ok(HostWord::Tag("big".to_owned())));
        for glob in ["gpu*", "node[1-3]", "n?", "{a,b}", "[ab]c"] {
            assert_eq!(parse(glob), Ok(HostWord::Glob(glob.to_owned())), "{glob}");
        }
        for text in ["server1", "n1.lab.example", "10.0.0.1", "::1", "fe80::1%eth0"] {
            assert_eq!(parse(text), name(text));
        }
        assert_eq!(parse("[::1]"), name("::1"));
        assert_eq!(parse("n1:2222"), address(None, "n1", Some(2222)));
        assert_eq!(parse("me@n1"), address(Some("me"), "n1", None));
        assert_eq!(parse("me@corp@n1:22"), address(Some("me@corp"), "n1", Some(22)));
        assert_eq!(parse("me@[::1]:22"), address(Some("me"), "::1", Some(22)));
        assert_eq!(parse("me@::1"), address(Some("me"), "::1", None));
        assert_eq!(parse("ssh://n1"), address(None, "n1", None));
        assert_eq!(parse("ssh://me@n1:22/"), address(Some("me"), "n1", Some(22)));
        assert_eq!(parse("ssh://[::1]"), address(None, "::1", None));
    }

    #[test]
    fn refuses_what_names_no_host() {
        let error = |word| parse(word).unwrap_err().to_string();
        insta::assert_snapshot!(error(""), @"`` names no host: there is no name and no address");
        insta::assert_snapshot!(error("@"), @"`@` names no host: there is no tag behind `@`");
        insta::assert_snapshot!(error("n1:0"), @"`n1:0` names no host: a port is a number from 1 to 65535");
        insta::assert_snapshot!(error("n1:"), @"`n1:` names no host: a port is a number from 1 to 65535");
        insta::assert_snapshot!(error("n1:+5"), @"`n1:+5` names no host: a port is a number from 1 to 65535");
        insta::assert_snapshot!(error("a:b:c"), @"`a:b:c` names no host: it has more than one `:` and is no IPv6 number, which goes in brackets before `:port`");
        insta::assert_snapshot!(error("[::1]x"), @"`[::1]x` names no host: behind `]` goes `:port` or nothing");
        insta::assert_snapshot!(error("me@gpu*"), @"`me@gpu*` names no host: a pattern stands alone, without user and port");
        insta::assert_snapshot!(error("-oProxyCommand=x"), @"`-oProxyCommand=x` names no host: a name has no white space, `,` or `/`, and does not begin with `-`");
        insta::assert_snapshot!(error("-l@n1"), @"`-l@n1` names no host: the user before `@` is empty, begins with `-` or has white space");
        insta::assert_snapshot!(error("a/b"), @"`a/b` names no host: a name has no white space, `,` or `/`, and does not begin with `-`");
        insta::assert_snapshot!(error("a\x1bb c"), @r"`a\u{1b}b c` names no host: a name has no white space, `,` or `/`, and does not begin with `-`");
    }

    #[test]
    fn splits_lists_but_not_globs() {
        assert_eq!(split_list("a, b,,n{1,2},[x,y]"), ["a", "b", "n{1,2}", "[x,y]"]);
        assert!(split_list(" ,").is_empty());
    }

    proptest! {
        #[test]
        fn no_word_makes_it_panic(word in ".*", tail in r"[\[\]@:%*0-9a-f]{0,12}") {
            let _unread = parse(&word);
            let _unread = parse(&tail);
            let _unread = split_list(&word);
        }

        #[test]
        fn no_address_can_be_taken_for_an_option(word in "(ssh://)?-?[a-z@:-]{0,6}") {
            if let Ok(HostWord::Address { user, host, .. }) = parse(&word) {
                prop_assert!(!host.starts_with('-'));
                prop_assert!(!user.is_some_and(|user| user.starts_with('-')));
            }
        }
    }
}
