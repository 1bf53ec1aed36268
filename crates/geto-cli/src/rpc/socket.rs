//! The Unix socket that clients connect to.

use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use geto::{Error, ErrorKind};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

/// How long others are waited for who make a socket in the same directory: they are done at once.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// A socket that this process listens on. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Device and inode: another may have taken its place.
    file: (u64, u64),
    listener: UnixListener,
}

impl Socket {
    /// Makes the socket, for this user only (0600). One that is left of a process that is gone is
    /// replaced.
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage) when something else is there, or another process listens on it.
    ///
    /// The umask of the process is another one meanwhile, so that it is for the time before threads.
    pub(super) fn bind(path: &Path) -> Result<Self, Error> {
        let failed =
            |kind| Error::new(kind, format!("failed to make the socket `{}`", path.display()));
        let local = |error: io::Error| failed(ErrorKind::Local).caused_by(error);
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Two that find the same leftover must not both replace it.
        let lock = fs_err::OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
            .open(directory)
            .map_err(local)?;
        let begun = Instant::now();
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK || begun.elapsed() > PATIENCE {
                let text = format!("`{}` can't be locked: {error}", directory.display());
                return Err(failed(ErrorKind::Local).caused_by(text).with_hint(
                    "another process holds its lock: take a directory that only you can read",
                ));
            }
            std::thread::sleep(PAUSE);
        }
        match fs_err::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(local(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(failed(ErrorKind::Usage).caused_by("something else is there"));
            }
            Ok(_) => match connect(path) {
                Err(Errno::CONNREFUSED) => fs_err::remove_file(path).map_err(local)?,
                Err(error) if error != Errno::AGAIN => return Err(local(error.into())),
                // Who has no room for one more lives, too.
                _ => {
                    return Err(failed(ErrorKind::Usage)
                        .caused_by("another process listens on it")
                        .with_hint("end that one, or take another path"));
                }
            },
        }
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(umask);
        let listener = listener.map_err(local)?;
        let metadata = fs_err::symlink_metadata(path).map_err(local)?;
        listener.set_nonblocking(true).map_err(local)?;
        Ok(Self { path: path.to_owned(), file: (metadata.dev(), metadata.ino()), listener })
    }

    /// Returns what clients are accepted with.
    ///
    /// # Errors
    /// When the runtime takes no more.
    pub(super) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

/// Looks whether somebody listens, without waiting for him.
fn connect(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_own = fs_err::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if is_own {
            fs_err::remove_file(&self.path).ok();
        }
    }
}
