//! A TCP proxy that delays, throttles, cuts and counts.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::watch;

use crate::pump::{End, Link, Settings, run_link};
use crate::server::free_address;

/// How long [`Proxy::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// A way through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    ToServer,
    /// From server to client.
    ToClient,
}

/// How a connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ends get a TCP reset.
    Reset,
    /// Both ends get an orderly end of stream.
    Fin,
    /// Both ends stay connected and never hear of each other again.
    Stall,
}

/// What went through one connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes delivered to the server.
    pub to_server_bytes: u64,
    /// Bytes delivered to the client.
    pub to_client_bytes: u64,
    /// Length of the longest chain of question and answer: what the client sends is taken to depend
    /// on all that it had got by then, and the server's likewise. The connection spends this times
    /// the round trip time in waiting, and one more for the connect. With a delay of some
    /// milliseconds it does not depend on how the bytes fall into packets.
    pub round_trips: u32,
    /// How often the client began to send after the server had been heard.
    pub turns: u32,
    /// Whether it is open still.
    pub open: bool,
}

/// What all connections obey, as of now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Control {
    pub(crate) stalled: bool,
    pub(crate) refuse: bool,
    /// Counts commands to cut, so that each is obeyed once.
    pub(crate) cuts: u64,
    pub(crate) cut: Option<Cut>,
    stop: bool,
}

/// The connections' traffic, in the order in which they were made.
pub(crate) type Counts = Arc<(Mutex<Vec<Traffic>>, Condvar)>;

/// A proxy to be started.
#[derive(Clone, Debug)]
pub struct ProxyBuilder {
    server: SocketAddr,
    settings: Settings,
    faulty_connections: usize,
}

impl ProxyBuilder {
    /// Delays all bytes by this much in each direction: half a round trip time. Bandwidth stays.
    #[must_use]
    pub fn delay(mut self, one_way: Duration) -> Self {
        self.settings.delay = one_way;
        self
    }

    /// Limits each direction of each connection.
    #[must_use]
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.settings.bandwidth = Some(bytes_per_second);
        self
    }

    /// Breaks each connection when exactly this many bytes have been delivered in that direction.
    #[must_use]
    pub fn cut_after(mut self, direction: Direction, bytes: u64, cut: Cut) -> Self {
        self.settings.fault = Some((direction, bytes, cut));
        self
    }

    /// Lets [`Self::cut_after`] hold for the first `count` connections only.
    #[must_use]
    pub fn only_first(mut self, count: usize) -> Self {
        self.faulty_connections = count;
        self
    }

    /// Starts it; returns when it listens.
    ///
    /// # Panics
    ///
    /// When no address can be bound.
    #[must_use]
    pub fn start(self) -> Proxy {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the machine has file descriptors left");
        // An address of its own, but a port that is bound for good.
        let listener = runtime
            .block_on(TcpListener::bind((free_address().ip(), 0)))
            .expect("Linux answers on all of 127.0.0.0/8");
        let address = listener.local_addr().expect("it is bound");
        let (control, orders) = watch::channel(Control::default());
        let counts = Counts::default();
        let seen = counts.clone();
        let thread = thread::spawn(move || {
            runtime.block_on(self.serve(listener, orders, seen));
        });
        Proxy { address, control, counts, thread: Some(thread) }
    }

    /// Serves until told to stop; the connections end with the runtime.
    async fn serve(self, listener: TcpListener, orders: watch::Receiver<Control>, counts: Counts) {
        let mut stop = orders.clone();
        let accept = async {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                if orders.borrow().refuse {
                    // Dropped with this it is reset.
                    let _best_effort = client.set_zero_linger();
                    continue;
                }
                let number = count_new(&counts);
                let mut settings = self.settings.clone();
                if number >= self.faulty_connections {
                    settings.fault = None;
                }
                let link =
                    Link { settings, orders: orders.clone(), counts: counts.clone(), number };
                tokio::spawn(connect(client, self.server, link));
            }
        };
        tokio::select! {
            () = accept => {}
            _stopped = stop.wait_for(|control| control.stop) => {}
        }
    }
}

fn count_new(counts: &Counts) -> usize {
    let mut list = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
    list.push(Traffic { open: true, ..Traffic::default() });
    counts.1.notify_all();
    list.len() - 1
}

async fn connect(client: TcpStream, server: SocketAddr, link: Link) {
    let (counts, number) = (link.counts.clone(), link.number);
    match TcpStream::connect(server).await {
        Ok(server) => run_link(client, server, link).await,
        Err(_refused) => {
            let _best_effort = client.set_zero_linger();
            drop(client);
        }
    }
    let mut list = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
    list[number].open = false;
    counts.1.notify_all();
}

/// A proxy on loopback in front of a server.
///
/// It has a thread of its own and holds at most 64 MiB a direction and connection, so a delay of
/// 25 ms leaves some 2 GB/s. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: watch::Sender<Control>,
    counts: Counts,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Returns a proxy to `server` that does nothing but count, to be given its faults.
    #[must_use]
    pub fn builder(server: SocketAddr) -> ProxyBuilder {
        ProxyBuilder { server, settings: Settings::default(), faulty_connections: usize::MAX }
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks all connections that are open now.
    pub fn cut(&self, cut: Cut) {
        self.control.send_modify(|control| {
            control.cuts += 1;
            control.cut = Some(cut);
        });
    }

    /// Holds back all bytes, of new connections too, until [`Self::resume`].
    pub fn stall(&self) {
        self.control.send_modify(|control| control.stalled = true);
    }

    /// Ends [`Self::stall`]: what was held back is delivered.
    pub fn resume(&self) {
        self.control.send_modify(|control| control.stalled = false);
    }

    /// Resets new connections, or accepts them again.
    pub fn refuse(&self, refuse: bool) {
        self.control.send_modify(|control| control.refuse = refuse);
    }

    /// Returns what went through each connection so far, in the order in which they were made.
    #[must_use]
    pub fn connections(&self) -> Vec<Traffic> {
        self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the connections are as wanted, and returns them.
    ///
    /// # Panics
    ///
    /// After 30 s.
    pub fn wait_for(&self, mut wanted: impl FnMut(&[Traffic]) -> bool) -> Vec<Traffic> {
        let list = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, timeout) = self
            .counts
            .1
            .wait_timeout_while(list, PATIENCE, |list| !wanted(list))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the connections never were as wanted: {list:?}");
        list.clone()
    }

    /// Waits until that many bytes were delivered over all connections.
    ///
    /// # Panics
    ///
    /// After 30 s.
    pub fn wait_for_bytes(&self, direction: Direction, bytes: u64) {
        self.wait_for(|list| {
            list.iter().map(|traffic| traffic.bytes(direction)).sum::<u64>() >= bytes
        });
    }

    /// Waits until no connection is open, and returns what went through them.
    ///
    /// # Panics
    ///
    /// After 30 s.
    #[must_use]
    pub fn wait_for_close(&self) -> Vec<Traffic> {
        self.wait_for(|list| list.iter().all(|traffic| !traffic.open))
    }
}

impl Traffic {
    /// Returns the bytes delivered in a direction.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::ToServer => self.to_server_bytes,
            Direction::ToClient => self.to_client_bytes,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.control.send_modify(|control| control.stop = true);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl From<Cut> for End {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}
