//! The variables that commands are given by ssh_config.

use super::SshOptions;
use crate::Secret;
use crate::known_hosts::matches_pattern;

/// Variables of the person at the origin's terminal: language, formats, colours. The configuration
/// of distributions sends them for everybody (`SendEnv LANG LC_*`); a task is not to depend on who
/// starts it, and has its host's.
pub const LOCALE: [&str; 17] = [
    "LANG",
    "LANGUAGE",
    "LC_ADDRESS",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    "COLORTERM",
    "NO_COLOR",
];

impl SshOptions {
    /// Returns the variables that commands are given, of the `own` ones of this process and of those
    /// that `SetEnv` sets, which win. Those of [`LOCALE`] are given only by `SetEnv`.
    pub fn variables(
        &self,
        own: impl IntoIterator<Item = (String, String)>,
    ) -> Vec<(String, Secret)> {
        let is_sent = |name: &str| {
            let patterns = &mut self.send_env.iter();
            !LOCALE.contains(&name)
                && patterns.any(|pattern| matches_pattern(name.as_bytes(), pattern.as_bytes()))
        };
        let sent = own.into_iter().filter(|(name, _)| is_sent(name));
        let sent = sent.map(|(name, value)| (name, Secret::from(value)));
        sent.chain(self.set_env.iter().cloned()).collect()
    }
}
