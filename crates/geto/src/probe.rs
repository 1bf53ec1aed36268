//! What a host is like, for `geto hosts`.

use std::time::{Duration, Instant};

use geto_core::Host;
use geto_core::wire::Reply;

use crate::session::{Next, Opening, Session};
use crate::text::printable;
use crate::{Error, ErrorKind, Fleet};

/// What a host says of itself once geto is logged in. All texts are safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostStatus {
    /// From the first packet until the host's shell has answered.
    pub login: Duration,
    /// Kernel, release and machine, as `uname -srm` says.
    pub system: String,
    /// The login shell.
    pub shell: String,
    /// The login user.
    pub user: String,
    /// How many processors are online, where the host can tell.
    pub processors: Option<u32>,
    /// The directory that geto works in.
    pub work_path: String,
    /// Programs that geto uses where they are and that are not there.
    pub missing: Vec<String>,
    /// What start-up files of the login shell printed.
    pub noise: String,
}

/// Connects to `host`, asks what it is like, and leaves nothing there but the work path.
pub(crate) async fn probe(host: &Host, fleet: &Fleet) -> Result<HostStatus, Error> {
    let begun = Instant::now();
    let transport = fleet.connect(host).await?;
    for opening in Opening::ALL {
        let mut session = Session::open(&*transport, &host.name, opening).await?;
        session.request(["work", &host.remote_work_path]).await;
        session.request(["facts"]).await;
        let mut status = HostStatus {
            login: Duration::ZERO,
            system: String::new(),
            shell: String::new(),
            user: String::new(),
            processors: None,
            work_path: String::new(),
            missing: Vec::new(),
            noise: String::new(),
        };
        loop {
            match session.next().await? {
                Next::Again => break,
                Next::End(_) => {
                    return Err(session.error(ErrorKind::Host, "failed to get an answer"));
                }
                Next::Reply(Reply::Hello) => status.login = begun.elapsed(),
                Next::Reply(Reply::Fact { name, value }) => status.learn(&name, &value),
                Next::Reply(Reply::Error { text, .. }) => {
                    return Err(Error::new(ErrorKind::Host, "failed to use the work path")
                        .on_host(&host.name)
                        .caused_by(printable(text.as_bytes()))
                        .with_hint("set `remote_work_path` in geto.ini"));
                }
                Next::Reply(Reply::FactsEnd) => {
                    status.noise = session.noise();
                    return Ok(status);
                }
                Next::Reply(_) => {}
            }
        }
    }
    Err(Error::new(ErrorKind::Host, "failed to start a shell that reads its input")
        .on_host(&host.name))
}

impl HostStatus {
    fn learn(&mut self, name: &str, value: &str) {
        let value = printable(value.as_bytes());
        match name {
            "system" => self.system = value,
            "shell" => self.shell = value,
            "user" => self.user = value,
            "work" => self.work_path = value,
            "processors" => self.processors = value.parse().ok(),
            "missing" => self.missing = value.split_whitespace().map(str::to_owned).collect(),
            _ => {}
        }
    }
}
