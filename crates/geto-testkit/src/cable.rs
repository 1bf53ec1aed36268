//! An origin in a network of its own, and the cable to a server's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::program::{program, run};
use crate::server::Server;

/// The server's address on every cable: networks of their own don't meet.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The interface at either end.
const INTERFACE: &str = "cable0";

/// A network for clients, and a cable (a pair of virtual interfaces) from it to the network of a server
/// that has one of its own ([`Machine::own_network`](crate::Machine::own_network)).
///
/// Clients have the address that they are given, which can change, and the cable can be pulled. The
/// kernel removes all of it when it is dropped.
#[derive(Debug)]
pub struct Cable {
    server: SocketAddr,
    /// Keeps the network of the clients.
    origin: Child,
}

impl Cable {
    /// Lays it. The server has to listen on all addresses
    /// ([`Sshd::everywhere`](crate::Sshd::everywhere)).
    ///
    /// # Panics
    ///
    /// When this process is not root, or the kernel or `ip` can't do it.
    #[must_use]
    pub fn lay(server: &Server) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test lays cables between networks: run it as root"
        );
        let mut origin = Command::new(program("unshare", "util-linux"));
        origin.arg("--net").arg(program("setpriv", "util-linux"));
        origin.args(["--pdeathsig", "KILL", "--", "sleep", "infinity"]);
        let origin = origin.stdin(Stdio::null()).spawn().expect("unshare starts");
        let network = |pid: u32| fs_err::read_link(format!("/proc/{pid}/ns/net")).ok();
        while network(origin.id()) == network(std::process::id()) {
            thread::yield_now();
        }
        let cable = Self { server: SocketAddr::from((SERVER, server.port())), origin };
        let peer = cable.origin.id().to_string();
        let there = |args: &[&str]| ip(&network_of(server.pid()), args);
        there(&[
            "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", &peer,
        ]);
        there(&["addr", "add", &format!("{SERVER}/24"), "dev", INTERFACE]);
        there(&["link", "set", INTERFACE, "up"]);
        cable.ip(&["link", "set", "lo", "up"]);
        cable.plug(true);
        cable
    }

    /// Where clients find the server.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Takes from clients the addresses that they have, and gives them the one that ends with this
    /// number, which must not be 1.
    pub fn give_address(&self, last: u8) {
        self.ip(&["addr", "flush", "dev", INTERFACE]);
        let address = Ipv4Addr::new(10, 77, 0, last);
        self.ip(&["addr", "add", &format!("{address}/24"), "dev", INTERFACE]);
    }

    /// Plugs it in, or pulls it: clients find the network unreachable then.
    pub fn plug(&self, is_plugged: bool) {
        self.ip(&["link", "set", INTERFACE, if is_plugged { "up" } else { "down" }]);
    }

    /// Returns the command in the network of clients; of its settings only program, arguments,
    /// variables and directory are kept.
    #[must_use]
    pub fn at_origin(&self, command: &Command) -> Command {
        let mut inside = Command::new(program("nsenter", "util-linux"));
        inside.arg(network_of(self.origin.id())).arg("--").arg(command.get_program());
        inside.args(command.get_args()).env_clear();
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside.current_dir(command.get_current_dir().unwrap_or_else(|| Path::new("/")));
        inside
    }

    fn ip(&self, args: &[&str]) {
        ip(&network_of(self.origin.id()), args);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _gone = (self.origin.kill(), self.origin.wait());
    }
}

/// The option of nsenter for the network of a process.
fn network_of(pid: u32) -> String {
    format!("--net=/proc/{pid}/ns/net")
}

/// Runs `ip` in a network.
fn ip(network: &str, args: &[&str]) {
    let ip: PathBuf = program("ip", "iproute2");
    run(Command::new(program("nsenter", "util-linux")).arg(network).arg("--").arg(ip).args(args));
}
