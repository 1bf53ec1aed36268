//! Reading what `ssh -G` prints: a keyword in lower case, a blank, the value as it is.

use std::str::FromStr;
use std::time::Duration;

use super::{AddressFamily, JumpHost, SshOptions, StrictHostKeyChecking, needs};
use crate::Secret;

/// What `ssh -G` printed is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SshConfigError {
    /// A line is missing.
    #[error("`ssh -G` printed no `{0}`")]
    Missing(&'static str),
    /// A value is not one that the keyword can have.
    #[error("`ssh -G` printed `{keyword} {}`", value.escape_debug())]
    Value {
        /// The keyword.
        keyword: &'static str,
        /// Its value.
        value: String,
    },
}

pub(super) fn parse(
    printed: &str,
    system_only: Option<&str>,
) -> Result<SshOptions, SshConfigError> {
    let lines = Lines::new(printed);
    let system = system_only.map(Lines::new);
    let mut options = SshOptions::defaults("~", lines.needed("user")?, lines.needed("hostname")?);
    options.port = lines.number("port")?.ok_or(SshConfigError::Missing("port"))?;
    read_identities(&lines, &mut options)?;
    read_host_keys(&lines, system.as_ref(), &mut options)?;
    read_connection(&lines, &mut options)?;
    options.control_path = lines.text("controlpath").map(ToOwned::to_owned);
    options.channel_overrides = channel_overrides(&lines);
    let pairs = lines.all("setenv").filter_map(|pair| pair.split_once('='));
    options.set_env = pairs.map(|(name, value)| (name.to_owned(), Secret::from(value))).collect();
    options.send_env = lines.all("sendenv").map(ToOwned::to_owned).collect();
    options.needs_ssh = needs::of_anybody(&lines);
    Ok(options)
}

fn read_identities(lines: &Lines<'_>, options: &mut SshOptions) -> Result<(), SshConfigError> {
    options.identity_files = lines.texts("identityfile");
    options.certificate_files = lines.texts("certificatefile");
    options.identities_only = lines.switch("identitiesonly", false)?;
    // `none` is kept here: it means that no agent is asked, not even the environment's.
    options.identity_agent = lines.first("identityagent").map(ToOwned::to_owned);
    if let Some(list) = lines.list("preferredauthentications") {
        options.preferred_authentications = list;
    }
    options.pubkey_authentication = match lines.first("pubkeyauthentication") {
        // Those two are about an extension that only agents with restricted keys need.
        Some("unbound" | "host-bound") => true,
        _ => lines.switch("pubkeyauthentication", true)?,
    };
    options.password_authentication = lines.switch("passwordauthentication", true)?;
    options.keyboard_interactive_authentication = match lines.first("kbdinteractiveauthentication")
    {
        Some(_) => lines.switch("kbdinteractiveauthentication", true)?,
        // Its name until OpenSSH 8.7.
        None => lines.switch("challengeresponseauthentication", true)?,
    };
    options.batch_mode = lines.switch("batchmode", false)?;
    options.number_of_password_prompts = lines.number("numberofpasswordprompts")?.unwrap_or(3);
    // Its name until OpenSSH 8.4.
    let accepted = lines.list("pubkeyacceptedalgorithms");
    options.pubkey_accepted_algorithms =
        accepted.or_else(|| lines.list("pubkeyacceptedkeytypes")).unwrap_or_default();
    Ok(())
}

fn read_host_keys(
    lines: &Lines<'_>,
    system: Option<&Lines<'_>>,
    options: &mut SshOptions,
) -> Result<(), SshConfigError> {
    if let Some(files) = lines.text("userknownhostsfile") {
        options.user_known_hosts_files = split_paths(files);
    } else if lines.first("userknownhostsfile").is_some() {
        options.user_known_hosts_files.clear();
    }
    if let Some(files) = lines.text("globalknownhostsfile") {
        options.global_known_hosts_files = split_paths(files);
    } else if lines.first("globalknownhostsfile").is_some() {
        options.global_known_hosts_files.clear();
    }
    options.host_key_alias = lines.first("hostkeyalias").map(str::to_ascii_lowercase);
    options.strict_host_key_checking = match lines.first("stricthostkeychecking") {
        Some("yes" | "true") => StrictHostKeyChecking::Yes,
        Some("no" | "false" | "off") => StrictHostKeyChecking::No,
        Some("accept-new") => StrictHostKeyChecking::AcceptNew,
        Some("ask") | None => StrictHostKeyChecking::Ask,
        Some(value) => return Err(wrong("stricthostkeychecking", value)),
    };
    options.hash_known_hosts = lines.switch("hashknownhosts", false)?;
    options.revoked_host_keys = lines.text("revokedhostkeys").map(ToOwned::to_owned);
    options.host_key_algorithms = lines.list("hostkeyalgorithms").unwrap_or_default();
    options.order_host_key_algorithms = system.is_none_or(|system| {
        let default = system.list("hostkeyalgorithms").unwrap_or_default();
        is_derived(&options.host_key_algorithms, &default)
    });
    if let Some(list) = lines.list("casignaturealgorithms") {
        options.ca_signature_algorithms = list;
    }
    Ok(())
}

fn read_connection(lines: &Lines<'_>, options: &mut SshOptions) -> Result<(), SshConfigError> {
    options.proxy_jump = match lines.text("proxyjump") {
        Some(chain) => chain
            .split(',')
            .map(|hop| parse_jump(hop).ok_or_else(|| wrong("proxyjump", chain)))
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    options.proxy_command = lines.text("proxycommand").map(ToOwned::to_owned);
    options.connect_timeout = lines.seconds("connecttimeout")?;
    options.connection_attempts = lines.number("connectionattempts")?.unwrap_or(1);
    options.server_alive_interval = lines.seconds("serveraliveinterval")?;
    options.server_alive_count_max = lines.number("serveralivecountmax")?.unwrap_or(3);
    options.tcp_keep_alive = lines.switch("tcpkeepalive", true)?;
    options.compression = lines.switch("compression", false)?;
    options.address_family = match lines.first("addressfamily") {
        Some("inet") => AddressFamily::Inet,
        Some("inet6") => AddressFamily::Inet6,
        Some("any") | None => AddressFamily::Any,
        Some(value) => return Err(wrong("addressfamily", value)),
    };
    options.bind_address = lines.text("bindaddress").map(ToOwned::to_owned);
    options.bind_interface = lines.text("bindinterface").map(ToOwned::to_owned);
    options.kex_algorithms = lines.list("kexalgorithms").unwrap_or_default();
    options.ciphers = lines.list("ciphers").unwrap_or_default();
    options.macs = lines.list("macs").unwrap_or_default();
    Ok(())
}

/// Returns what takes back the settings of sessions that a command does not want, of those that this
/// `ssh` knows.
fn channel_overrides(lines: &Lines<'_>) -> Vec<&'static str> {
    let settings = [
        ("stdinnull", "StdinNull=no"),
        ("sessiontype", "SessionType=default"),
        ("forkafterauthentication", "ForkAfterAuthentication=no"),
    ];
    let known = settings.into_iter().filter(|(keyword, _)| lines.first(keyword).is_some());
    known.map(|(_, over)| over).collect()
}

/// The lines as pairs; of most keywords the first counts.
pub(super) struct Lines<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Lines<'a> {
    pub(super) fn new(printed: &'a str) -> Self {
        let pairs = printed.lines().filter_map(|line| line.split_once(' '));
        Self(pairs.collect())
    }

    pub(super) fn all(&self, keyword: &str) -> impl Iterator<Item = &'a str> {
        // Some versions print a keyword or two in mixed case.
        let lines = self.0.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(keyword));
        lines.map(|(_, value)| *value)
    }

    pub(super) fn first(&self, keyword: &str) -> Option<&'a str> {
        self.all(keyword).next()
    }

    fn needed(&self, keyword: &'static str) -> Result<&'a str, SshConfigError> {
        self.first(keyword).ok_or(SshConfigError::Missing(keyword))
    }

    /// The value, unless it is `none` in whatever case.
    pub(super) fn text(&self, keyword: &str) -> Option<&'a str> {
        self.first(keyword).filter(|value| !value.eq_ignore_ascii_case("none"))
    }

    fn texts(&self, keyword: &str) -> Vec<String> {
        let values = self.all(keyword).filter(|value| !value.eq_ignore_ascii_case("none"));
        values.map(ToOwned::to_owned).collect()
    }

    pub(super) fn list(&self, keyword: &str) -> Option<Vec<String>> {
        let names = self.first(keyword)?.split(',').filter(|name| !name.is_empty());
        Some(names.map(ToOwned::to_owned).collect())
    }

    fn switch(&self, keyword: &'static str, default: bool) -> Result<bool, SshConfigError> {
        match self.first(keyword) {
            Some("yes" | "true") => Ok(true),
            Some("no" | "false") => Ok(false),
            None => Ok(default),
            Some(value) => Err(wrong(keyword, value)),
        }
    }

    fn number<N: FromStr>(&self, keyword: &'static str) -> Result<Option<N>, SshConfigError> {
        match self.text(keyword) {
            Some(value) => match value.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(wrong(keyword, value)),
            },
            None => Ok(None),
        }
    }

    /// A time, of which 0 means none.
    fn seconds(&self, keyword: &'static str) -> Result<Option<Duration>, SshConfigError> {
        let seconds = self.number(keyword)?.filter(|seconds| *seconds > 0);
        Ok(seconds.map(Duration::from_secs))
    }
}

fn wrong(keyword: &'static str, value: &str) -> SshConfigError {
    SshConfigError::Value { keyword, value: value.to_owned() }
}

/// Splits several paths that are printed on one line without quotes.
///
/// A path with a blank in it can't be told from two paths. What follows a blank is taken for a
/// path of its own only when it begins like one that names its place: with `/`, `~`, `%` or `$`.
fn split_paths(line: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for piece in line.split(' ') {
        match paths.last_mut() {
            Some(last) if !piece.starts_with(['/', '~', '%', '$']) => {
                last.push(' ');
                last.push_str(piece);
            }
            _ => paths.push(piece.to_owned()),
        }
    }
    paths
}

/// Whether the list is `default`, or that with something added behind or taken out, which is what
/// a setting with `+` or `-` makes of it.
fn is_derived(list: &[String], default: &[String]) -> bool {
    let mut rest = default.iter();
    list.starts_with(default) || list.iter().all(|name| rest.any(|other| other == name))
}

/// Reads `[user@]host[:port]`, with brackets round an IPv6 address, or an `ssh://` address of it.
fn parse_jump(hop: &str) -> Option<JumpHost> {
    let hop = match hop.strip_prefix("ssh://") {
        Some(rest) => rest.strip_suffix('/').unwrap_or(rest),
        None => hop,
    };
    // The last `@` counts: a user's name may have one.
    let (user, place) = match hop.rsplit_once('@') {
        Some((user, place)) => (Some(user.to_owned()), place),
        None => (None, hop),
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => match rest.split_once(']')? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':')?)),
        },
        // An address with several colons has no port.
        None if place.matches(':').count() > 1 => (place, None),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
        None => None,
    };
    let user_is_empty = user.as_deref() == Some("");
    (!host.is_empty() && !user_is_empty).then(|| JumpHost { user, host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn jumps_are_read() {
        let hop = |user: Option<&str>, host: &str, port| {
            Some(JumpHost { user: user.map(ToOwned::to_owned), host: host.to_owned(), port })
        };
        for (text, expected) in [
            ("h", hop(None, "h", None)),
            ("u@h:1", hop(Some("u"), "h", Some(1))),
            ("u@x@h", hop(Some("u@x"), "h", None)),
            ("fe80::1", hop(None, "fe80::1", None)),
            ("u@[fe80::1]", hop(Some("u"), "fe80::1", None)),
            ("[fe80::1]:99", hop(None, "fe80::1", Some(99))),
            ("ssh://u@h:1/", hop(Some("u"), "h", Some(1))),
            ("", None),
            ("@h", None),
            ("h:0", None),
            ("h:65536", None),
            ("h:x", None),
            ("[h", None),
            ("[h]1", None),
        ] {
            assert_eq!(parse_jump(text), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        let text = |lines: &str| {
            let printed = format!("user u\nhostname h\nport 22\n{lines}\n");
            parse(&printed, None).unwrap_err().to_string()
        };
        assert_eq!(text("batchmode maybe"), "`ssh -G` printed `batchmode maybe`");
        assert_eq!(text("addressfamily \x1b[1m"), "`ssh -G` printed `addressfamily \\u{1b}[1m`");
        assert_eq!(text("connecttimeout -1"), "`ssh -G` printed `connecttimeout -1`");
        assert_eq!(parse("", None).unwrap_err().to_string(), "`ssh -G` printed no `user`");
    }

    #[test]
    fn only_a_change_of_the_default_list_follows_what_is_known() {
        let list = |names: &str| -> Vec<String> {
            names.split_whitespace().map(ToOwned::to_owned).collect()
        };
        for (names, expected) in
            [("a b c", true), ("a b c d", true), ("a c", true), ("c a", false), ("d a b c", false)]
        {
            assert_eq!(is_derived(&list(names), &list("a b c")), expected, "{names}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            prop_assert!(parse(&text, Some(&text)).is_err());
        }

        #[test]
        fn any_value_is_read(value: String) {
            let printed = format!("user u\nhostname h\nport 22\nproxyjump {value}\n");
            if let Ok(options) = parse(&printed, None) {
                prop_assert_eq!(options.hostname, "h");
            }
        }
    }
}
