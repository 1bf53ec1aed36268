//! Finding and reading geto.ini.

use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;
use geto_core::config::{Config, Places, Settings};

use super::Fleet;
use crate::transport::ConnectOptions;
use crate::{Error, ErrorKind};

/// A larger file is none that a person has written.
const MAX_BYTES: u64 = 16 << 20;

impl Fleet {
    /// Reads a geto.ini. Relative paths in it start from its directory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("geto.ini");
    /// # std::fs::write(&path, "[hosts]\nserver1=10.0.0.10\n")?;
    /// let fleet = geto::Fleet::from_config_file(&path)?;
    /// assert_eq!(fleet.hosts()[0].address, "10.0.0.10");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage): what is wrong in the file, with line, section and key;
    /// a file with a password that others can read; or a file that can't be read.
    pub fn from_config_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let shown = crate::text::printable(path.as_os_str().as_encoded_bytes());
        let failed =
            || Error::new(ErrorKind::Usage, format!("failed to read the configuration `{shown}`"));
        let (text, mode) = read(path).map_err(|error| failed().caused_by(error))?;
        let config = Config::parse(&shown, &text, &places(Some(path)))
            .map_err(|error| failed().caused_by(error))?;
        if config.has_password() && mode & 0o077 != 0 {
            return Err(failed()
                .caused_by(format!("it holds a password, and others can read it (mode {mode:o})"))
                .with_hint(format!("chmod 600 {shown}")));
        }
        Ok(Self {
            hosts: config.hosts,
            settings: config.settings,
            config_path: Some(path.to_owned()),
            connect_options: ConnectOptions::default(),
            pool: Arc::default(),
            ledger_writer: Arc::default(),
            caches: Arc::default(),
        })
    }

    /// Reads the first geto.ini of `$GETO_CONFIG`, `./geto.ini` (only when it is the user's own or
    /// root's), `$XDG_CONFIG_HOME/geto/geto.ini` and `/etc/geto.ini`. Where there is none, the
    /// fleet has no hosts and all settings are defaults.
    ///
    /// # Errors
    /// As [`from_config_file`](Self::from_config_file). A file that `$GETO_CONFIG` names must be
    /// there.
    pub fn discover() -> Result<Self, Error> {
        if let Some(path) = std::env::var_os("GETO_CONFIG").filter(|path| !path.is_empty()) {
            return Self::from_config_file(PathBuf::from(path));
        }
        match standard_places().into_iter().find(|path| is_there(path)) {
            Some(path) => Self::from_config_file(path),
            None => Ok(Self {
                hosts: Vec::new(),
                settings: Settings::new(places(None).local_work_path()),
                config_path: None,
                connect_options: ConnectOptions::default(),
                pool: Arc::default(),
                ledger_writer: Arc::default(),
                caches: Arc::default(),
            }),
        }
    }
}

fn standard_places() -> Vec<PathBuf> {
    let here = PathBuf::from("geto.ini");
    let mut places = Vec::new();
    match fs_err::metadata(&here) {
        // In a directory like /tmp somebody else could have put it there: it names commands that
        // are run, and where output goes.
        Ok(metadata) if !is_own(metadata.uid()) => tracing::warn!(
            "`./geto.ini` is not read: it belongs to another user (`--config geto.ini` reads it)"
        ),
        _ => places.push(here),
    }
    let config_home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config_home = config_home.filter(|path| path.is_absolute());
    let config_home = config_home.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    places.extend(config_home.map(|dir| dir.join("geto/geto.ini")));
    places.push(PathBuf::from("/etc/geto.ini"));
    places
}

fn is_own(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// What can't even be looked at is an error when it is read, not a file to pass over.
fn is_there(path: &Path) -> bool {
    !matches!(fs_err::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::NotADirectory)
}

fn read(path: &Path) -> Result<(String, u32), Box<dyn std::error::Error + Send + Sync>> {
    let file = File::open(path)?;
    // Of the file that is read, not of what has the name a moment later.
    let mode = file.metadata()?.permissions().mode() & 0o777;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("it is larger than 16 MiB".into());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        format!("line {line} is not UTF-8")
    })?;
    Ok((text, mode))
}

fn places(file: Option<&Path>) -> Places {
    let parent = file.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    Places {
        home: std::env::home_dir(),
        state_home: std::env::var_os("XDG_STATE_HOME").map(PathBuf::from),
        base: parent.and_then(|parent| std::path::absolute(parent).ok()),
    }
}
