//! What breaks, as the seed chooses it.

use std::time::Duration;

use fastrand::Rng;
use geto_testkit::{Cut, Direction, ProxyBuilder};

/// What happens to one task.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Its first links break so after so many bytes.
    Cut { direction: Direction, bytes: u64, cut: Cut, links: usize, delay: Duration },
    /// Its link is slow.
    Throttle { bytes_per_second: u64 },
    /// Its link is long.
    Delay { one_way: Duration },
    /// Something is killed once so many bytes have gone that way.
    Kill { what: Victim, direction: Direction, bytes: u64 },
    /// The link breaks then, and does not come back while geto tries.
    Gone { direction: Direction, bytes: u64 },
}

/// What is killed, by SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Geto,
    SessionShell,
    Sshd,
    Supervisor,
}

impl Fault {
    pub(crate) fn choose(random: &mut Rng) -> Self {
        let (direction, bytes) = place(random);
        let delay = match random.u8(..5) {
            0 => Duration::from_millis(random.u64(5..60)),
            _ => Duration::ZERO,
        };
        let cut = |cut, links| Self::Cut { direction, bytes, cut, links, delay };
        let kill = |what| Self::Kill { what, direction, bytes };
        match random.u8(..100) {
            0..5 => Self::None,
            5..25 => cut(Cut::Reset, 1),
            25..40 => cut(Cut::Fin, 1),
            40..48 => cut(Cut::Stall, 1),
            48..56 => cut(Cut::Reset, random.usize(2..5)),
            56..60 => Self::Throttle { bytes_per_second: random.u64(50_000..400_000) },
            60..64 => Self::Delay { one_way: Duration::from_millis(random.u64(5..80)) },
            64..75 => kill(Victim::Geto),
            75..82 => kill(Victim::SessionShell),
            82..89 => kill(Victim::Sshd),
            89..95 => kill(Victim::Supervisor),
            _ => Self::Gone { direction, bytes },
        }
    }

    /// Gives a proxy its part of it.
    pub(crate) fn shape(self, proxy: ProxyBuilder) -> ProxyBuilder {
        match self {
            Self::Cut { direction, bytes, cut, links, delay } => {
                proxy.delay(delay).cut_after(direction, bytes, cut).only_first(links)
            }
            Self::Throttle { bytes_per_second } => proxy.bandwidth(bytes_per_second),
            Self::Delay { one_way } => proxy.delay(one_way),
            Self::None | Self::Kill { .. } | Self::Gone { .. } => proxy,
        }
    }

    /// What it is called in the figures.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cut { cut: Cut::Stall, .. } => "link stalls",
            Self::Cut { links: 2.., .. } => "links are reset again and again",
            Self::Cut { cut: Cut::Reset, .. } => "link is reset",
            Self::Cut { cut: Cut::Fin, .. } => "link ends",
            Self::Throttle { .. } => "link is throttled",
            Self::Delay { .. } => "link is long",
            Self::Kill { what: Victim::Geto, .. } => "geto is killed",
            Self::Kill { what: Victim::SessionShell, .. } => "session's shell is killed",
            Self::Kill { what: Victim::Sshd, .. } => "sshd's process is killed",
            Self::Kill { what: Victim::Supervisor, .. } => "supervisor is killed",
            Self::Gone { .. } => "link does not come back",
        }
    }
}

/// A byte of the way in or back, at each step of a task: mostly where the steps are short.
fn place(random: &mut Rng) -> (Direction, u64) {
    let direction = match random.bool() {
        true => Direction::ToServer,
        false => Direction::ToClient,
    };
    let most = [6_000, 40_000, 150_000, 500_000][random.usize(..4)];
    (direction, random.u64(500..most))
}
