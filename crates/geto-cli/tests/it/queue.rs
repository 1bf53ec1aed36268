//! Who is let in when, and where.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;

use geto_testkit::{Machine, Sshd};
use rustix::process::{Pid, Signal, kill_process};

use crate::slots::{end, hold, open_gate, two_hosts};
use crate::support::World;

/// Starts one that has to wait; returns it and what it says of that, a line for each host.
fn waiting(world: &World, args: &[&str], hosts: usize) -> (Child, Vec<String>) {
    let mut child = world.start(&[&["run"], args].concat());
    let mut stderr = BufReader::new(child.stderr.as_mut().unwrap());
    let mut line = || {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        line
    };
    let lines = (0..hosts).map(|_| line()).collect();
    (child, lines)
}

#[test]
fn first_come_is_first_served_and_each_knows_how_many_are_ahead() {
    for missing in [&[][..], &["flock"]] {
        let world = World::new();
        let machine = Machine::new().without_tools(missing);
        let server = Sshd::builder().name("h1").machine(machine).start();
        let ini = world.env.use_servers(&[&server]);
        world.env.write_geto_ini(&format!("{ini}[h1]\nslots=1\n"));
        let order = world.env.cwd().join("order");
        let (held, _) = hold(&world, &[]);
        let waits: Vec<Child> = (0..4)
            .map(|number| {
                let line = format!("echo {number} >>{}", order.display());
                let (child, said) = waiting(&world, &["-c", &line], 1);
                let ahead = match number {
                    0 => String::new(),
                    ahead => format!("; {ahead} ahead"),
                };
                let full = format!("geto: waiting: 1 of 1 slots taken on host `h1`{ahead}\n");
                assert_eq!(said, [full]);
                child
            })
            .collect();
        open_gate(&world);
        for child in waits.into_iter().chain([held]) {
            let (code, said) = end(child);
            assert_eq!(code, Some(0), "{said}");
        }
        assert_eq!(fs_err::read_to_string(&order).unwrap(), "0\n1\n2\n3\n", "{missing:?}");
    }
}

#[test]
fn who_waits_can_be_interrupted() {
    let world = World::new();
    let _servers = two_hosts(&world);
    let holders = ["h1", "h2"].map(|host| hold(&world, &["-H", host]).0);
    for (args, hosts) in [(&["-H", "h1", "-c", "echo ran"][..], 1), (&["-c", "echo ran"], 2)] {
        let (mut child, said) = waiting(&world, args, hosts);
        assert!(said.iter().all(|line| line.contains("waiting: 1 of 1 slots taken")), "{said:?}");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let (code, said) = end(child);
        assert_eq!((code, text.as_str()), (Some(130), ""), "{said}");
    }
    // Nobody's place in the queue is left.
    let (child, said) = waiting(&world, &["-H", "h1", "-c", ":"], 1);
    assert_eq!(said, ["geto: waiting: 1 of 1 slots taken on host `h1`\n"]);
    open_gate(&world);
    for child in holders.into_iter().chain([child]) {
        assert_eq!(end(child).0, Some(0));
    }
}

/// Four see a free slot on the first host, and only one can have it.
#[test]
fn a_host_that_filled_up_in_between_is_chosen_again() {
    let world = World::new();
    let ini_of = |hosts: &str| format!("{hosts}[h1]\nslots=1\n[h2]\nslots=3\n");
    let servers = ["h1", "h2"].map(|name| {
        let tmp = Machine::new().tmpfs("/var/tmp", 1 << 20);
        Sshd::builder().name(name).machine(tmp).start()
    });
    let ini = world.env.use_servers(&[&servers[0], &servers[1]]);
    let lock = |line: &&str| !line.starts_with("remote_lock_path");
    let ini: String = ini.lines().filter(lock).map(|line| format!("{line}\n")).collect();
    world.env.write_geto_ini(&ini_of(&ini));
    let mut hosts: Vec<String> = std::thread::scope(|scope| {
        let world = &world;
        let args = ["--pick", "first", "--when-full", "fail", "-q"];
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(move || hold(world, &args))).collect();
        let held: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
        // All four hold a slot by now.
        open_gate(world);
        held.into_iter()
            .map(|(child, host)| {
                let (code, said) = end(child);
                assert_eq!((code, said.as_str()), (Some(0), ""), "{host}");
                host
            })
            .collect()
    });
    hosts.sort_unstable();
    assert_eq!(hosts, ["h1", "h2", "h2", "h2"]);
}

#[test]
fn a_host_that_its_owner_needs_is_left_alone() {
    let world = World::new();
    let _servers = two_hosts(&world);
    let path = world.env.config_home().join("geto/geto.ini");
    let ini = fs_err::read_to_string(&path).unwrap();
    // Below the load of any machine that runs this.
    world.env.write_geto_ini(&ini.replace("[h1]\n", "[h1]\nmax_load=0.01\n"));
    let ran = world.geto(&["run", "--pick", "first", "-c", "echo $GETO_HOST"]);
    assert_eq!((ran.code(), ran.text().as_str()), (0, "h2\n"), "{ran:?}");
    let ran = world.geto(&["run", "-H", "h1", "--when-full", "fail", "-c", ":"]);
    assert_eq!(ran.code(), 75, "{ran:?}");
    assert!(ran.stderr.contains("geto: error: a load of "), "{ran:?}");
    assert!(ran.stderr.contains(" on host `h1`, above its limit of 0.0"), "{ran:?}");
}

#[test]
fn tasks_are_as_nice_as_the_host_wants() {
    let world = World::new();
    let server = Sshd::builder().name("h1").start();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&format!("{ini}[h1]\nnice=7\n"));
    assert_eq!(world.geto(&["run", "-q", "--", "nice"]).text(), "7\n");
    assert_eq!(world.geto(&["each", "-q", "-c", "nice"]).text(), "[h1] 7\n");
}
