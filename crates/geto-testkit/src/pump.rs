//! The inside of the proxy: what happens to the bytes of one connection.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::proxy::{Control, Counts, Cut, Direction, Traffic};

/// Bytes under way in one direction of one connection.
const QUEUE_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 64 << 10;
/// A limited line delivers in small steps, so that it is slow also for short answers.
const THROTTLED_CHUNK_BYTES: usize = 4 << 10;

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) delay: Duration,
    pub(crate) bandwidth: Option<u64>,
    pub(crate) fault: Option<(Direction, u64, Cut)>,
}

/// One connection's wishes and reports.
pub(crate) struct Link {
    pub(crate) settings: Settings,
    pub(crate) orders: watch::Receiver<Control>,
    pub(crate) counts: Counts,
    /// Its place in `counts`.
    pub(crate) number: usize,
}

/// Why bytes no longer flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have said all.
    Done,
    Cut(Cut),
}

/// The state from which round trips are told.
#[derive(Debug, Default)]
struct Depths {
    client: u32,
    server: u32,
    /// Whether the client was the last to be heard.
    client_spoke: bool,
}

type Shared<'a> = (&'a Link, &'a std::sync::Mutex<Depths>);

struct Piece {
    due: Instant,
    depth: u32,
    bytes: Vec<u8>,
    /// What to do instead, or after the bytes.
    end: Option<End>,
    _room: OwnedSemaphorePermit,
}

pub(crate) async fn run_link(mut client: TcpStream, mut server: TcpStream, link: Link) {
    // The proxy is to add the delay that it was told and no other.
    let _best_effort = (client.set_nodelay(true), server.set_nodelay(true));
    let mut orders = link.orders.clone();
    let mut known = orders.borrow().cuts;
    let mut end = {
        let depths = std::sync::Mutex::new(Depths::default());
        let shared = (&link, &depths);
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let both = async {
            tokio::try_join!(
                pump(client_read, server_write, Direction::ToServer, shared),
                pump(server_read, client_write, Direction::ToClient, shared),
            )
        };
        tokio::select! {
            done = both => done.err().unwrap_or(End::Done),
            cut = ordered(&mut orders, &mut known) => cut.into(),
        }
    };
    if end == End::Cut(Cut::Stall) {
        end = ordered(&mut orders, &mut known).await.into();
    }
    match end {
        End::Done => {}
        End::Cut(Cut::Fin) => {
            let _best_effort = (client.shutdown().await, server.shutdown().await);
            // Closing with bytes unread would reset after all.
            let mut void = (tokio::io::sink(), tokio::io::sink());
            let _gone = tokio::join!(
                tokio::io::copy(&mut client, &mut void.0),
                tokio::io::copy(&mut server, &mut void.1),
            );
        }
        // A second stall has nothing left to hold: the connection ends.
        End::Cut(Cut::Reset | Cut::Stall) => {
            let _best_effort = (client.set_zero_linger(), server.set_zero_linger());
        }
    }
}

/// Waits for the next command to cut after `known`.
async fn ordered(orders: &mut watch::Receiver<Control>, known: &mut u64) -> Cut {
    // An error says that the proxy is being dropped, and this task with it.
    orders.wait_for(|control| control.cuts != *known).await.map_or(Cut::Reset, |control| {
        *known = control.cuts;
        control.cut.unwrap_or(Cut::Reset)
    })
}

async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    shared: Shared<'_>,
) -> Result<(), End> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let reading = take_in(from, sender, direction, shared);
    let writing = deliver(to, receiver, direction, shared);
    tokio::try_join!(reading, writing).map(|_| ())
}

/// Reads and stamps, as far as the fault allows.
async fn take_in(
    mut from: ReadHalf<'_>,
    queue: mpsc::UnboundedSender<Piece>,
    direction: Direction,
    (link, depths): Shared<'_>,
) -> Result<(), End> {
    let room = Arc::new(Semaphore::new(QUEUE_BYTES));
    let settings = &link.settings;
    let size = settings.bandwidth.map_or(CHUNK_BYTES, |_| THROTTLED_CHUNK_BYTES);
    let mut buffer = vec![0; size];
    let fault = settings.fault.filter(|(where_, ..)| *where_ == direction);
    let mut left = fault.map(|(_, bytes, _)| bytes);
    loop {
        let mut end = None;
        let mut count = 0;
        if left == Some(0) {
            end = fault.map(|(_, _, cut)| cut.into());
        } else {
            // A reset of one side is passed on to the other.
            count = from.read(&mut buffer).await.map_err(|_reset| End::Cut(Cut::Reset))?;
            if count == 0 {
                end = Some(End::Done);
            }
        }
        if let Some(left) = &mut left {
            count = count.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= count as u64;
        }
        let permits = u32::try_from(count).expect("a chunk is small");
        let room = room.clone().acquire_many_owned(permits).await.expect("it is never closed");
        let piece = Piece {
            due: Instant::now() + settings.delay,
            depth: heard(direction, depths, link),
            bytes: buffer[..count].to_vec(),
            end,
            _room: room,
        };
        if queue.send(piece).is_err() || end.is_some() {
            return Ok(());
        }
    }
}

/// Writes each piece when it is due.
async fn deliver(
    mut to: WriteHalf<'_>,
    mut queue: mpsc::UnboundedReceiver<Piece>,
    direction: Direction,
    (link, depths): Shared<'_>,
) -> Result<(), End> {
    let mut orders = link.orders.clone();
    let mut free = Instant::now();
    while let Some(piece) = queue.recv().await {
        let mut due = piece.due;
        if let Some(rate) = link.settings.bandwidth {
            free = free.max(due)
                + Duration::from_secs(1).mul_f64(piece.bytes.len() as f64 / rate as f64);
            due = free;
        }
        // Past times too would cost a turn of the timer, a millisecond each.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        let _dropped = orders.wait_for(|control| !control.stalled).await.map(drop);
        to.write_all(&piece.bytes).await.map_err(|_reset| End::Cut(Cut::Reset))?;
        delivered(direction, &piece, depths, link);
        match piece.end {
            None => {}
            Some(End::Done) => {
                let _gone = to.shutdown().await;
            }
            Some(cut) => return Err(cut),
        }
    }
    Ok(())
}

/// Notes that a side was heard; returns how deep in questions and answers it is.
fn heard(direction: Direction, depths: &std::sync::Mutex<Depths>, link: &Link) -> u32 {
    let mut depths = depths.lock().unwrap_or_else(PoisonError::into_inner);
    match direction {
        Direction::ToServer => {
            if !std::mem::replace(&mut depths.client_spoke, true) {
                count(link, |traffic| traffic.turns += 1);
            }
            depths.client
        }
        Direction::ToClient => depths.server,
    }
}

fn delivered(direction: Direction, piece: &Piece, depths: &std::sync::Mutex<Depths>, link: &Link) {
    if piece.bytes.is_empty() {
        return;
    }
    let mut depths = depths.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes = piece.bytes.len() as u64;
    match direction {
        Direction::ToServer => {
            depths.server = depths.server.max(piece.depth + 1);
            count(link, |traffic| traffic.to_server_bytes += bytes);
        }
        Direction::ToClient => {
            depths.client_spoke = false;
            depths.client = depths.client.max(piece.depth);
            let round_trips = depths.client;
            count(link, |traffic| {
                traffic.to_client_bytes += bytes;
                traffic.round_trips = round_trips;
            });
        }
    }
}

fn count(link: &Link, change: impl FnOnce(&mut Traffic)) {
    let mut list = link.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut list[link.number]);
    link.counts.1.notify_all();
}
