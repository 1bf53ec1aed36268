//! Hosts that are to keep no dependencies any more.

use geto_core::Host;
use geto_core::wire::Reply;

use crate::session::{Next, Opening, Purpose, Session};
use crate::text::printable;
use crate::{Error, ErrorKind, Fleet};

const FAILED: &str = "failed to remove kept dependencies";

/// Removes what `host` keeps for the login user, but for what tasks use that are still there. Returns
/// how many bytes that were, to a KiB for each tree.
pub(crate) async fn evict(fleet: &Fleet, host: &Host) -> Result<u64, Error> {
    let transport = fleet.connect(host).await?;
    for opening in Opening::ALL {
        let mut session = Session::open(&*transport, &host.name, opening, Purpose::Evict).await?;
        session.request(["work", &host.remote_work_path]).await;
        session.request(["evict"]).await;
        loop {
            match session.next().await? {
                Next::Again => break,
                Next::Reply(Reply::Fact { name, value }) if name == "freed" => {
                    return Ok(value.parse::<u64>().unwrap_or_default().saturating_mul(1024));
                }
                Next::Reply(Reply::Error { text, .. }) => {
                    let error = Error::new(ErrorKind::Host, FAILED).on_host(&host.name);
                    return Err(error.caused_by(printable(text.as_bytes())));
                }
                Next::Reply(_) => {}
                Next::End(_) => return Err(session.error(ErrorKind::Host, FAILED)),
            }
        }
    }
    Err(Error::new(ErrorKind::Host, FAILED)
        .on_host(&host.name)
        .caused_by("its login shell reads what is sent"))
}
