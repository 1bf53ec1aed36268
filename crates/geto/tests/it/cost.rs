//! What a task costs on the wire: numbers that must not grow unnoticed.

use std::time::Duration;

use geto::{Host, Script, Task};
use geto_testkit::{Proxy, Sshd};

use crate::support::{Place, runtime};

#[test]
fn a_cold_task_takes_nine_round_trips_and_few_bytes() {
    // Without a slot, nothing of what counts them is sent.
    for (slots, most) in [(1, 41_300), (0, 30_800)] {
        let server = Sshd::builder().start();
        // Long enough that what is sent together arrives together.
        let proxy = Proxy::builder(server.address()).delay(Duration::from_millis(20)).start();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
        let place = Place::of(host);
        let task = Task::new(Script::from_commands("t", ["echo a; echo b >f"])).slots(slots);
        let name = server.name();
        runtime().block_on(async { place.fleet().run_on_host(&task, name).await.unwrap() });
        let traffic = proxy.wait_for_close();
        assert_eq!(traffic.len(), 1);
        // Version, key exchange (2), service, offer of a key, signature, channel, task with results;
        // and the removal, whose answer nobody waits for.
        assert!(traffic[0].round_trips <= 9, "{slots} slots: {:?}", traffic[0]);
        assert!(traffic[0].to_server_bytes < most, "{slots} slots: {:?}", traffic[0]);
    }
}
