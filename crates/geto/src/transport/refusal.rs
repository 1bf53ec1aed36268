//! What to do about a login that came to nothing, whoever tried it.

/// About an agent that says nothing.
pub(super) const AGENT_HINT: &str =
    "see whether `ssh-add -l` answers; `IdentityAgent none` in ssh_config goes without ssh-agent";

/// About a password that was not taken.
pub(super) fn password_hint(host: &str) -> String {
    format!("the password of geto.ini was refused: correct `password` in section `[{host}]`")
}

/// About a host on the way that takes keys.
pub(super) fn jump_hint(word: &str) -> String {
    format!("name a key of `{word}` by `IdentityFile` in ssh_config, or load one with `ssh-add`")
}
