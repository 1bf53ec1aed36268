//! The text of geto.ini → settings and hosts.

mod error;
mod lines;
mod read;
mod settings;
#[cfg(test)]
mod tests;

use crate::Host;

pub use error::{ConfigError, ConfigProblem};
pub use settings::{Places, Settings};

/// What a geto.ini says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The section `[geto]`.
    pub settings: Settings,
    /// The hosts in the order of `[hosts]`; at least one.
    pub hosts: Vec<Host>,
}

impl Config {
    /// Reads the text of a geto.ini, which errors call `file`.
    ///
    /// Sections, `key=value` or `key: value`; a line that begins with `;` or `#` is a comment, and
    /// so is what follows ` ;` or ` #`. Keys are read in any case, and so are the names of hosts
    /// (they are keys of `[hosts]`); the name of a variable after `env.` keeps its case. `%`,
    /// quotes and backslashes are plain characters. A key with nothing behind `=` is as if it was
    /// not there, a variable apart.
    ///
    /// ```
    /// use geto_core::config::{Config, Places};
    /// let text = "[hosts]\nserver1=10.0.0.10\n[server1]\nport=2222";
    /// let config = Config::parse("geto.ini", text, &Places::default())?;
    /// assert_eq!(config.hosts[0].port, Some(2222));
    /// # Ok::<(), geto_core::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line, section and key.
    pub fn parse(file: &str, text: &str, places: &Places) -> Result<Self, ConfigError> {
        let sections = lines::sections(text).map_err(|error| error.in_file(file))?;
        read::config(&sections, places).map_err(|error| error.in_file(file))
    }

    /// Whether the text held a password: nobody else may read its file.
    pub fn has_password(&self) -> bool {
        self.hosts.iter().any(|host| host.password.is_some())
    }
}
