//! The hosts on the way of a child `ssh`, which it reaches by child processes of its own.

use geto_core::Host;
use geto_core::known_hosts::HostIdentity;
use geto_core::ssh_config::StrictHostKeyChecking;

use crate::transport::resolve::Resolved;

/// The one of `jumps` that a message is about, as far as that can be told: it is named, or there is
/// no other that `may_be`.
pub(super) fn subject<'a>(
    jumps: &'a [Resolved],
    message: &str,
    may_be: impl Fn(&Resolved) -> bool,
) -> Option<&'a Resolved> {
    let is_named = |jump: &&Resolved| {
        let ssh = &jump.options;
        let alias = ssh.host_key_alias.as_deref();
        let known = HostIdentity { host: &ssh.hostname, port: ssh.port, alias }.name();
        // The latter is how it says who was not let in.
        message.contains(&known) || message.contains(&format!("{}@{}: ", ssh.user, ssh.hostname))
    };
    let named = jumps.iter().find(is_named);
    named.or_else(|| {
        let mut possible = jumps.iter().filter(|jump| may_be(jump));
        let first = possible.next();
        first.filter(|_| possible.next().is_none())
    })
}

/// What leads to the last of `hops`, in the place of ssh's own way through the hosts in between: that
/// starts `ssh` for them as ssh_config says, which may mean to go on with a changed or revoked key,
/// and knows of no known_hosts but ssh_config's. `None` where neither matters.
pub(super) fn proxy_command(host: &Host, hops: &[Resolved], is_silent: bool) -> Option<String> {
    let (_, jumps) = hops.split_last()?;
    let is_lax = |hop: &Resolved| hop.options.strict_host_key_checking == StrictHostKeyChecking::No;
    if host.known_hosts_path.is_none() && !jumps.iter().any(is_lax) {
        return None;
    }
    let mut command: Option<String> = None;
    for (jump, next) in jumps.iter().zip(hops.iter().skip(1)) {
        let mut words = vec!["ssh".to_owned()];
        words.extend(jump.arguments.iter().cloned());
        let mut option = |text: String| words.extend(["-o".to_owned(), text]);
        // `-W` is a kind of session by itself.
        let overrides = jump.options.channel_overrides.iter();
        overrides
            .filter(|over| !over.starts_with("SessionType"))
            .for_each(|over| option((*over).to_owned()));
        if is_lax(jump) {
            option("StrictHostKeyChecking=accept-new".to_owned());
        }
        if host.known_hosts_path.is_some() {
            let files = jump.options.user_known_hosts_files.iter();
            let files: Vec<_> = files.map(|file| format!("\"{file}\"")).collect();
            option(format!("UserKnownHostsFile={}", files.join(" ")));
        }
        if is_silent {
            option("BatchMode=yes".to_owned());
        }
        if let Some(before) = command {
            option(format!("ProxyCommand={}", before.replace('%', "%%")));
        }
        let place = match next.options.hostname.contains(':') {
            true => format!("[{}]:{}", next.options.hostname, next.options.port),
            false => format!("{}:{}", next.options.hostname, next.options.port),
        };
        words.extend(["-W".to_owned(), place, "--".to_owned(), jump.original.clone()]);
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        command = Some(words.join(" "));
    }
    command
}

/// The word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.:,@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        // Without a backslash, which `ssh` reads in its own way where it looks for quotes.
        false => format!("'{}'", word.replace('\'', r#"'"'"'"#)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_word_as_it_is() {
        for word in ["", "a b", "it's", "$x`y`", "~", "plain-1.2:3"] {
            let echo = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").args(["-c", &echo]).output().unwrap();
            assert_eq!(output.stdout, word.as_bytes());
        }
    }
}
