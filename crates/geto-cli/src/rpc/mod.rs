//! `geto rpc`: the library for programs in any language; docs/rpc.md describes it.

mod client;
mod envelope;
mod notes;
mod params;
mod service;
mod socket;
mod spool;

use std::io;
use std::sync::Arc;

use geto::{Error, ErrorKind, ExitCode};
use rustix::io::{Errno, dup};
use tokio::net::UnixStream;

use self::client::{Outlet, serve};
use self::service::{REQUESTS_MAX, Service};
use self::socket::Socket;
use crate::app::{block_on_with, fleet};
use crate::args::RpcArgs;
use crate::hosts::allow_many_connections;
use crate::printer::Printer;
use crate::signals::Signals;

/// Serves programs until stdin ends, or until a signal.
pub(crate) fn rpc(args: &RpcArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    allow_many_connections();
    let socket = args.socket.as_deref().map(Socket::bind).transpose()?;
    let service = Arc::new(Service::new(fleet, printer));
    // Each request may have a thread that waits for room on the disk, and all else goes on.
    block_on_with(2 * REQUESTS_MAX, async {
        let failed = |error| Error::new(ErrorKind::Local, "failed to serve").caused_by(error);
        let signals = Signals::catch().map_err(failed)?;
        let mut serving = Box::pin(async {
            match &socket {
                Some(socket) => serve_all(&service, socket, printer).await,
                None => serve_stdin(&service).await,
            }
        });
        let (code, left) = tokio::select! {
            served = &mut serving => (ExitCode::SUCCESS, served.map_err(failed)?),
            code = signals.any() => (code, service.waiting()),
        };
        match left {
            0 => {}
            left => printer.note(&format!(
                "{left} requests were not answered: tasks that have started go on; `geto ps` lists them"
            )),
        }
        Ok(code)
    })
}

/// Returns how many lines were not answered.
async fn serve_stdin(service: &Arc<Service>) -> io::Result<usize> {
    let end = dup(rustix::stdio::stdout())?;
    Ok(serve(service, tokio::io::stdin(), Outlet::Stdout, end).await)
}

/// Never returns, but for a failure.
async fn serve_all(service: &Arc<Service>, socket: &Socket, printer: Printer) -> io::Result<usize> {
    let listener = socket.listener()?;
    printer.note(&format!("listening on `{socket}`"));
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            // It comes again when there is room, or has gone.
            Err(error)
                if Errno::from_io_error(&error).is_some_and(|errno| PASSING.contains(&errno)) =>
            {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let service = Arc::clone(service);
        tokio::spawn(async move {
            // Somebody who could not connect at all, or was gone at once.
            if let Ok(end) = admit(&client) {
                let (requests, answers) = client.into_split();
                serve(&service, requests, Outlet::Socket(answers), end).await;
            }
        });
    }
}

/// What accept(2) fails with that says nothing of the socket.
const PASSING: [Errno; 5] =
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::CONNABORTED];

/// Lets in this user and root: not every system looks at the mode of a socket.
fn admit(client: &UnixStream) -> io::Result<std::os::fd::OwnedFd> {
    let user = client.peer_cred()?.uid();
    if user != 0 && user != rustix::process::getuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(dup(client)?)
}
