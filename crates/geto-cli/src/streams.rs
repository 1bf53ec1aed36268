//! The two streams that geto writes to.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Writes all of `bytes` to stdout, unbuffered.
///
/// # Errors
/// When nobody reads any more (`BrokenPipe`), or what is behind it takes no more.
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let _lock = io::stdout().lock();
    write_all(rustix::stdio::stdout(), bytes)
}

/// Writes all of `bytes` to stderr.
///
/// # Errors
/// As [`write_stdout`].
pub(crate) fn write_all_stderr(bytes: &[u8]) -> io::Result<()> {
    let _lock = io::stderr().lock();
    write_all(rustix::stdio::stderr(), bytes)
}

/// Writes all of `bytes` to stderr. When that fails there is nobody who could be told.
pub(crate) fn write_stderr(bytes: &[u8]) {
    drop(write_all_stderr(bytes));
}

fn write_all(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // Whoever shares the pipe or terminal with geto may have made it non-blocking.
            Err(Errno::AGAIN) => {
                let mut ready = [PollFd::new(&stream, PollFlags::OUT)];
                match poll(&mut ready, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
