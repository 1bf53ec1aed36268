//! Links that are cut, stalled, delayed or throttled at each step of a task's way there and back.

use std::time::Duration;

use geto::{Event, Stdin};
use geto_testkit::{Cut, Direction, Server, Sshd};

use crate::world::{Whole, World};

/// With files that come in a frame, and with files that use up the channel.
const SMALL: Whole = Whole { numbers: 4_000, file_bytes: 20_000 };
const LARGE: Whole = Whole { numbers: 500, file_bytes: 400_000 };
const CUTS: [Cut; 3] = [Cut::Reset, Cut::Fin, Cut::Stall];

/// Runs a task over a link that breaks so after so many bytes; says whether it was started.
fn break_at(
    server: Server,
    whole: &Whole,
    (direction, bytes, cut): (Direction, u64, Cut),
    stdin: usize,
) -> (Server, bool) {
    eprintln!("{direction:?} {bytes} {cut:?}");
    let world = World::of(server, |proxy| proxy.cut_after(direction, bytes, cut).only_first(1));
    let mut task = world.task(&whole.line());
    if stdin > 0 {
        task.stdin = Stdin::Bytes(vec![b'x'; stdin]);
    }
    let (result, ..) = world.run(&task, |_| {});
    let started = whole.check(&world, result);
    if cut == Cut::Stall && started {
        // That the task may be forgotten is said, and no answer is waited for: of a link that stalls
        // in that moment nobody hears. The task is listed as ended then.
        assert!(world.remove_rest() <= 1);
    }
    (world.end(), started)
}

/// How many bytes go each way when nothing breaks.
fn measure(whole: &Whole) -> (Server, u64, u64) {
    let world = World::new();
    let (result, ..) = world.run(&world.task(&whole.line()), |_| {});
    assert!(whole.check(&world, result));
    let sizes =
        (world.traffic(|one| one.to_server_bytes), world.traffic(|one| one.to_client_bytes));
    (world.end(), sizes.0, sizes.1)
}

/// Handshake, login, each block of output, outcome, files: what comes is exact, and nothing is run
/// twice or left.
#[test]
fn a_link_that_breaks_anywhere_on_the_way_back_loses_nothing() {
    // The larger files come in packets of 32 KiB.
    for (whole, step) in [(SMALL, 3_700), (LARGE, 32_000)] {
        let (mut server, _, size) = measure(&whole);
        let mut started = 0;
        for (bytes, cut) in (200..size).step_by(step).zip(CUTS.iter().cycle()) {
            let fault = (Direction::ToClient, bytes, *cut);
            let (same, is_started) = break_at(server, &whole, fault, 0);
            server = same;
            started += u32::from(is_started);
        }
        // All but those that were cut off in the login.
        assert!(started >= 8, "{started}");
    }
}

/// The last words: that the end was seen, that files are wanted, that the task may be forgotten; and what
/// is answered.
#[test]
fn a_link_that_breaks_at_the_confirmation_leaves_nothing() {
    for whole in [SMALL, LARGE] {
        let (mut server, size, back_size) = measure(&whole);
        let there = (0..3_000).step_by(250).map(|back| (Direction::ToServer, size - back));
        let answers = (0..600).step_by(100).map(|back| (Direction::ToClient, back_size - back));
        for ((direction, bytes), cut) in there.chain(answers).zip(CUTS.iter().cycle()) {
            let fault = (direction, bytes, *cut);
            let (same, is_started) = break_at(server, &whole, fault, 0);
            assert!(is_started);
            server = same;
        }
    }
}

/// Nobody says a word any more, while the login, the loader, the program, the request or the input
/// are on their way.
#[test]
fn a_link_that_stalls_anywhere_on_the_way_in_starts_the_task_once() {
    let (mut server, ..) = measure(&SMALL);
    for bytes in [4_500, 8_000, 15_000, 22_000, 30_000, 60_000] {
        for cut in [Cut::Stall, Cut::Fin] {
            (server, _) = break_at(server, &SMALL, (Direction::ToServer, bytes, cut), 60_000);
        }
    }
}

/// Each packet of what a host keeps for later tasks.
#[test]
fn a_link_that_breaks_in_any_block_of_a_dependency_loses_nothing() {
    let mut server = Sshd::builder().start();
    let mut started = 0;
    for (bytes, cut) in (2_000..440_000).step_by(32_000).zip(CUTS.iter().cycle()) {
        eprintln!("{bytes} {cut:?}");
        let world = World::of(server, |proxy| {
            proxy.cut_after(Direction::ToServer, bytes, *cut).only_first(1)
        });
        let data = world.place.dir.path().join("data");
        // Another one each time: what the host has is not sent again.
        let text: Vec<u8> =
            (0..400_000 / 8).flat_map(|n| format!("{:07}\n", n ^ bytes).into_bytes()).collect();
        fs_err::write(&data, &text).unwrap();
        let (result, ..) = world.run(&world.task("cat DEPS/data").dependency(&data), |_| {});
        match result {
            Ok(results) => {
                assert!(results.stdout().unwrap() == text);
                assert_eq!(world.starts(), 1);
                started += 1;
            }
            // It was cut off in the login.
            Err(error) => {
                assert_eq!((error.exit_code().0, world.starts()), (125, 0), "{error:?}");
            }
        }
        assert!(world.remove_rest() <= usize::from(*cut == Cut::Stall));
        server = world.end();
    }
    assert!(started >= 12, "{started}");
}

/// A link that is slow, both ways, is not taken for one that is dead.
#[test]
fn a_throttled_link_takes_its_time_and_does_not_break() {
    let world = World::of(Sshd::builder().start(), |proxy| proxy.bandwidth(200_000));
    let mut task = world.task(&LARGE.line());
    task.stdin = Stdin::Bytes(vec![b'x'; 400_000]);
    let (result, broken, _) = world.run(&task, |_| {});
    assert!(LARGE.check(&world, result));
    assert_eq!(broken, 0);
    world.end();
}

/// Far away, bytes are under way when the link breaks.
#[test]
fn a_far_link_that_breaks_loses_nothing() {
    let delay = Duration::from_millis(60);
    let mut server = Sshd::builder().start();
    for bytes in [20_000, 45_000, 60_000] {
        let world = World::of(server, |proxy| {
            proxy.delay(delay).cut_after(Direction::ToClient, bytes, Cut::Reset).only_first(1)
        });
        let (result, broken, _) = world.run(&world.task(&SMALL.line()), |_| {});
        assert!(SMALL.check(&world, result));
        assert_eq!(broken, 1);
        server = world.end();
    }
}

/// Who follows takes nothing until the task has ended, which is longer than a dead host is waited for.
#[test]
fn a_slow_reader_loses_nothing() {
    let world = World::new();
    let whole = Whole { numbers: 900_000, file_bytes: 400_000 };
    let line = whole.line().replace("; exit", "; sleep 3; exit");
    let mut waits = true;
    let (result, broken, _) = world.run(&world.task(&line), |event| {
        if let Event::Stdout(_) = event
            && std::mem::take(&mut waits)
        {
            let outcome = world.tasks()[0].join("outcome");
            while !fs_err::read_to_string(&outcome).unwrap().contains(" .\n") {
                std::thread::yield_now();
            }
        }
    });
    assert!(whole.check(&world, result));
    assert_eq!(broken, 0);
    world.end();
}
