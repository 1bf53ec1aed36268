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
use rustix::io::dup;
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
        let serving = async {
            match &socket {
                Some(socket) => serve_all(&service, socket, printer).await,
                None => serve_stdin(&service).await,
            }
        };
        let code = tokio::select! {
            served = Box::pin(serving) => served.map_err(failed).map(|()| ExitCode::SUCCESS),
            code = signals.any() => Ok(code),
        };
        match service.waiting() {
            0 => {}
            left => printer.note(&format!(
                "{left} requests were not answered: tasks that have started go on; `geto ps` lists them"
            )),
        }
        code
    })
}

async fn serve_stdin(service: &Arc<Service>) -> io::Result<()> {
    let end = dup(rustix::stdio::stdout())?;
    serve(service, tokio::io::stdin(), Outlet::Stdout, end).await;
    Ok(())
}

async fn serve_all(service: &Arc<Service>, socket: &Socket, printer: Printer) -> io::Result<()> {
    let listener = socket.listener()?;
    printer.note(&format!("listening on `{socket}`"));
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            // It comes again when there is room.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
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

/// Lets in this user and root: not every system looks at the mode of a socket.
fn admit(client: &UnixStream) -> io::Result<std::os::fd::OwnedFd> {
    let user = client.peer_cred()?.uid();
    if user != 0 && user != rustix::process::getuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(dup(client)?)
}
