//! Dependencies that hosts keep.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use geto::transport::Transport;
use geto::{Dependency, ErrorKind, Fleet, Results, Script, Task};
use geto_testkit::{Cut, Direction, Machine, Sshd, system_shells};

use crate::by_hand::Session;
use crate::support::{Place, below, runtime, under_each_shell};
use crate::world::World;

/// Three hundred files, among them names that shells stumble over.
fn tree(place: &Place) -> PathBuf {
    let root = place.dir.path().join("data");
    for directory in ["plain", "shut", "goes", "stays/deep"] {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    for number in 0..300 {
        let text: String = (0..400).map(|line| format!("{number} {line}\n")).collect();
        fs_err::write(root.join(format!("plain/{number}")), text).unwrap();
    }
    for name in ["a b", "-x", "l\nf", "*", "$(touch x)", "'", "\\n"] {
        fs_err::write(root.join("goes").join(name), name).unwrap();
        fs_err::write(root.join("shut").join(name), name).unwrap();
    }
    symlink("plain/1", root.join("link")).unwrap();
    let shut = std::fs::Permissions::from_mode(0o555);
    fs_err::set_permissions(root.join("shut"), shut).unwrap();
    root
}

/// What is in a tree, as both sides tell it alike.
const LOOK: &str = "cd DEPS && find data -type f -exec cksum {} + | LC_ALL=C sort; \
     find data -type l -exec readlink {} +; find data -printf '%m %T@ %p\\0' | LC_ALL=C sort -z";

fn look(above: &Path) -> Vec<u8> {
    let script = format!("mkdir -p x && cd x && rm -f DEPS && ln -s .. DEPS && {LOOK}");
    let script = script.replace("%T@", "%Ts");
    Command::new("bash").args(["-c", &script]).current_dir(above).output().unwrap().stdout
}

fn task(root: &Path) -> Task {
    Task::new(Script::from_commands("look", [LOOK.replace("%T@", "%Ts")])).dependency(root)
}

async fn run(fleet: &Fleet, task: &Task, place: &Place, way: &Arc<dyn Transport>) -> Results {
    fleet.run_on_host(task, &place.host.name).over(Arc::clone(way)).await.unwrap()
}

/// Waits until that holds.
fn until(mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_host_has_is_not_sent_again() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let root = tree(&place);
        let whole = 300 * 2_048;
        let first = run(&place.fleet(), &task(&root), &place, &way).await;
        assert_eq!(first.stdout().unwrap(), look(place.dir.path()), "{}", shell.name);
        assert!(first.bytes_sent > whole, "{}", first.bytes_sent);
        // Another process, and a task that does what it likes with its copy.
        let spoil = Task::new(Script::from_commands(
            "spoil",
            [
                "chmod -R u+w DEPS; for f in DEPS/data/plain/*; do echo x >>$f; done; rm -r DEPS/data/goes",
            ],
        ));
        run(&place.fleet(), &spoil.dependency(&root), &place, &way).await;
        let again = run(&place.fleet(), &task(&root), &place, &way).await;
        assert_eq!(again.stdout().unwrap(), look(place.dir.path()), "{}", shell.name);
        assert!(again.bytes_sent < 62_000, "{}", again.bytes_sent);
        assert!(place.tasks().is_empty());
    });
}

#[test]
fn of_a_tree_that_changed_only_the_changes_are_sent() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let root = tree(&place);
        run(&place.fleet(), &task(&root), &place, &way).await;
        fs_err::write(root.join("plain/7"), "another\n").unwrap();
        fs_err::remove_dir_all(root.join("goes")).unwrap();
        fs_err::write(root.join("goes"), "a file now").unwrap();
        fs_err::remove_file(root.join("link")).unwrap();
        fs_err::create_dir_all(root.join("link/below")).unwrap();
        let shut = root.join("shut");
        fs_err::set_permissions(&shut, std::fs::Permissions::from_mode(0o755)).unwrap();
        fs_err::write(shut.join("l\nf"), "changed").unwrap();
        fs_err::remove_file(shut.join("*")).unwrap();
        fs_err::set_permissions(&shut, std::fs::Permissions::from_mode(0o555)).unwrap();
        let changed = run(&place.fleet(), &task(&root), &place, &way).await;
        assert_eq!(changed.stdout().unwrap(), look(place.dir.path()), "{}", shell.name);
        assert!(changed.bytes_sent < 120_000, "{}", changed.bytes_sent);
    });
}

#[test]
fn two_who_need_the_same_send_it_once() {
    under_each_shell(|way, _| async move {
        let place = Place::new();
        let root = tree(&place);
        let (task, here, there) = (task(&root), place.fleet(), place.fleet());
        let both = tokio::join!(run(&here, &task, &place, &way), run(&there, &task, &place, &way));
        assert_eq!(both.0.stdout().unwrap(), both.1.stdout().unwrap());
        let sent = both.0.bytes_sent + both.1.bytes_sent;
        assert!(sent < 2_000_000, "{sent}");
    });
}

#[test]
fn a_link_that_breaks_while_a_tree_is_sent_leaves_nothing_that_counts() {
    let world = World::of(Sshd::builder().start(), |proxy| {
        proxy.cut_after(Direction::ToServer, 300_000, Cut::Reset).only_first(2)
    });
    let root = tree(&world.place);
    let (result, broken, _) =
        world.run(&world.task(&LOOK.replace("%T@", "%Ts")).dependency(&root), |_| {});
    assert_eq!(result.unwrap().stdout().unwrap(), look(world.place.dir.path()));
    assert_eq!(broken, 2);
    let work = world.server.inside("~/.cache/geto");
    let names: Vec<_> = below(&work, "cache");
    assert_eq!(names.len(), 1, "{names:?}");
    world.check_once();
}

/// The host hears nothing of it, and waits for the rest.
#[test]
fn a_link_that_stalls_while_a_tree_is_sent_is_taken_over_from() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new().system_shell(&shell.path);
        let world = World::of(Sshd::builder().machine(machine).start(), |proxy| {
            proxy.cut_after(Direction::ToServer, 200_000, Cut::Stall).only_first(1)
        });
        let root = tree(&world.place);
        let task = world.task(&LOOK.replace("%T@", "%Ts")).dependency(&root);
        let (result, broken, _) = world.run(&task, |_| {});
        assert_eq!(result.unwrap().stdout().unwrap(), look(world.place.dir.path()));
        assert_eq!(broken, 1);
        assert_eq!(below(&world.server.inside("~/.cache/geto"), "cache").len(), 1);
        world.check_once();
        world.end();
    }
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let names = || below(&place.dir.path().join("work"), "cache");
        let task = |name: &str, script: &str| {
            let path = place.dir.path().join(name);
            fs_err::write(&path, vec![name.as_bytes()[0]; 600 << 10]).unwrap();
            Task::new(Script::from_commands("t", [script])).dependency(path)
        };
        let fleet = || place.fleet().with_remote_cache_size(1 << 20);
        run(&fleet(), &task("a", "true"), &place, &way).await;
        let first = names();
        run(&fleet(), &task("b", "true"), &place, &way).await;
        // Nobody waits for its end.
        until(|| names().len() == 1);
        let second = names();
        assert_eq!(first.len(), 1, "{}", shell.name);
        assert_ne!(first, second, "{}", shell.name);
        // Both are there while a task has the one.
        let (fleet, hold) = (fleet(), task("c", "while [ ! -e ../go ]; do sleep 0.05; done"));
        let holding = fleet.run_on_host(&hold, &place.host.name).over(Arc::clone(&way));
        let (started, wait) = tokio::sync::oneshot::channel();
        let mut started = Some(started);
        let holding = holding.follow(move |event| {
            if let geto::Event::Started { directory, .. } = event {
                started.take().map(|started| started.send(directory));
            }
        });
        let other = async {
            let directory = wait.await.unwrap();
            run(&fleet, &task("d", "true"), &place, &way).await;
            until(|| names().len() == 2);
            fs_err::write(Path::new(&directory).join("../go"), "").unwrap();
        };
        let held = async { assert!(holding.await.unwrap().outcome.success()) };
        tokio::join!(held, other);
    });
}

#[test]
fn tasks_leave_nothing_in_trees() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let root = tree(&place);
        let fleet = place.fleet();
        run(&fleet, &task(&root), &place, &way).await;
        run(&fleet, &task(&root), &place, &way).await;
        let kept = below(&place.dir.path().join("work"), "cache").remove(0);
        until(|| kept.join("synced").exists() && place.tasks().is_empty());
        let names = fs_err::read_dir(kept).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["size", "synced", "t"], "{}", shell.name);
    });
}

/// What a task needs stays until it has come.
#[test]
fn dependencies_that_are_larger_together_than_the_cache_are_no_hindrance() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let mut task = Task::new(Script::from_commands("t", ["cat DEPS/a DEPS/b | wc -c"]));
        for name in ["a", "b"] {
            let path = place.dir.path().join(name);
            fs_err::write(&path, vec![name.as_bytes()[0]; 600 << 10]).unwrap();
            task = task.dependency(path);
        }
        let fleet = place.fleet().with_remote_cache_size(1 << 20);
        let run = fleet.run_on_host(&task, &place.host.name).reconnect(Duration::ZERO);
        let results = run.over(way).await.unwrap();
        assert_eq!(results.stdout().unwrap().trim_ascii(), b"1228800", "{}", shell.name);
        assert!(results.bytes_sent < 1_400_000, "{}", results.bytes_sent);
    });
}

/// A session takes all of them.
#[test]
fn one_channel_is_enough_for_dependencies_that_hosts_keep() {
    let world = World::of(Sshd::builder().config("MaxSessions 1").start(), |proxy| proxy);
    let root = tree(&world.place);
    let task = world.task(&LOOK.replace("%T@", "%Ts")).dependency(&root);
    let (result, ..) = world.run(&task, |event| {
        if let geto::Event::Connected { .. } = event {
            // Nobody can log in any more.
            world.proxy.refuse(true);
        }
    });
    assert_eq!(result.unwrap().stdout().unwrap(), look(world.place.dir.path()));
    world.check_once();
}

/// It has its slot before: two hosts come into question.
#[test]
fn a_task_that_has_its_slot_gets_dependencies_in_the_same_session() {
    let world = World::of(Sshd::builder().start(), |proxy| proxy);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut other = geto::Host::new("down");
    other.ssh_config_path = Some(world.server.ssh_config_via(unused));
    let results = world.place.dir.path().join("results");
    let fleet = Fleet::new([world.place.host.clone(), other], results);
    let root = tree(&world.place);
    let task = world.task(&LOOK.replace("%T@", "%Ts")).dependency(&root);
    for _ in 0..2 {
        let run = fleet.run_on_balanced_host(&task);
        let results = runtime().block_on(run.into_future()).unwrap();
        assert_eq!(results.stdout().unwrap(), look(world.place.dir.path()));
    }
    assert_eq!(world.starts(), 2);
    drop(fleet);
    world.end();
}

#[test]
fn a_shared_tree_is_a_link_that_nobody_writes_to() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let root = tree(&place);
        let script = "[ -L DEPS/data ] && cat DEPS/data/plain/7 && stat -L -c %a DEPS/data/plain/7 DEPS/data";
        let task = Task::new(Script::from_commands("t", [script]))
            .dependency(Dependency::new(&root).share(true));
        let results = run(&place.fleet(), &task, &place, &way).await;
        let mut expected = fs_err::read(root.join("plain/7")).unwrap();
        expected.extend(b"444\n555\n");
        assert_eq!(results.stdout().unwrap(), expected, "{}", shell.name);
    });
}

/// The user is not root, and directories of a tree that is shared are closed. One tar closes each before it
/// has filled it.
#[test]
fn a_shared_tree_with_directories_is_kept_whichever_tar_unpacks_it() {
    for tar in ["busybox tar", "/usr/bin/tar"] {
        let machine = Machine::new()
            .user("tester")
            .home_file("bin/tar", format!("#!/bin/sh\nexec {tar} \"$@\"\n"))
            .startup_file("chmod +x ~/bin/tar; PATH=~/bin:$PATH; export PATH\n");
        let world = World::of(Sshd::builder().machine(machine).start(), |proxy| proxy);
        let root = tree(&world.place);
        let list = "cd DEPS/data/ && find . | LC_ALL=C sort | cksum && find . -perm /222 ! -type l";
        let task = Task::new(Script::from_commands("t", [list]))
            .dependency(Dependency::new(&root).share(true));
        let run = || {
            let run = world.fleet.run_on_host(&task, world.server.name());
            let results = runtime().block_on(run.into_future()).unwrap();
            let listed = Command::new("sh")
                .args(["-c", "find . | LC_ALL=C sort | cksum"])
                .current_dir(&root)
                .output()
                .unwrap();
            assert_eq!(results.stdout().unwrap(), listed.stdout, "{tar}");
            results.bytes_sent
        };
        let first = run();
        fs_err::create_dir_all(root.join("fresh/deep")).unwrap();
        fs_err::create_dir_all(root.join("stays/deep/fresh")).unwrap();
        fs_err::write(root.join("stays/deep/fresh/x"), "x").unwrap();
        let second = run();
        assert!(first > 600_000 && second < first / 3, "{tar}: {first} {second}");
        let kept = below(&world.server.inside("~/.cache/geto"), "cache");
        assert_eq!(kept.len(), 2, "{tar}: {kept:?}");
    }
}

#[test]
fn what_a_host_keeps_is_removed_when_it_is_asked_for() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let root = tree(&place);
        run(&place.fleet(), &task(&root), &place, &way).await;
        let names = || below(&place.dir.path().join("work"), "cache");
        assert_eq!(names().len(), 1, "{}", shell.name);
        let freed = place.fleet().evict_cache(&place.host).await.unwrap();
        assert!((900_000..2_000_000).contains(&freed), "{freed}");
        assert_eq!(names(), [""; 0].map(PathBuf::from), "{}", shell.name);
        run(&place.fleet(), &task(&root), &place, &way).await;
    });
}

#[test]
fn a_task_that_finds_its_tree_gone_gets_it_again() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let root = tree(&place);
        let fleet = place.fleet();
        run(&fleet, &task(&root), &place, &way).await;
        // This process still thinks that it is there.
        place.fleet().evict_cache(&place.host).await.unwrap();
        let again = run(&fleet, &task(&root), &place, &way).await;
        assert_eq!(again.stdout().unwrap(), look(place.dir.path()), "{}", shell.name);
    });
}

/// The host gave it back before anything was started.
#[test]
fn a_task_whose_tree_comes_again_can_be_interrupted() {
    under_each_shell(|way, shell| async move {
        let place = Place::new();
        let root = tree(&place);
        let fleet = place.fleet();
        run(&fleet, &task(&root), &place, &way).await;
        let work = place.dir.path().join("work");
        let digest = below(&work, "cache")[0].file_name().unwrap().to_owned();
        place.fleet().evict_cache(&place.host).await.unwrap();
        // Somebody brings it, and takes his time.
        let mut other = Session::to_fill(&[], &shell, &work);
        other.say(&format!("hold {} other 30 me@there\n", digest.display()));
        assert!(other.wait_for("held").starts_with("fill "));
        let again = task(&root);
        let run = fleet.run_on_host(&again, &place.host.name).over(way);
        let canceller = run.canceller();
        let awaited = std::sync::Mutex::new(None);
        let run = run.follow(|event| {
            if let geto::Event::Awaiting { path, by, .. } = event {
                *awaited.lock().unwrap() = Some((path, by));
                canceller.cancel();
            }
        });
        let run = async {
            let error = run.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{}: {error:?}", shell.name);
        };
        run.await;
        let path = fs_err::canonicalize(&root).unwrap();
        assert_eq!(awaited.into_inner().unwrap(), Some((path, Some("me@there".to_owned()))));
        other.kill();
    });
}

/// The user is not root: closed directories hold it up. Another tree has the same files.
#[test]
fn what_is_removed_leaves_the_files_of_other_trees_as_they_are() {
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine = Machine::new().user("tester").system_shell(&shell.path);
        let world = World::of(Sshd::builder().machine(machine).start(), |proxy| proxy);
        let root = tree(&world.place);
        // One of them, and not two.
        let fleet = world.place.fleet().with_remote_cache_size(1 << 20);
        let script = "stat -L -c %a DEPS/data/plain/7 DEPS/data/plain/8 DEPS/data/plain";
        let task = Task::new(Script::from_commands("t", [script]))
            .dependency(Dependency::new(&root).share(true));
        let run = || {
            let run = fleet.run_on_host(&task, world.server.name());
            runtime().block_on(run.into_future()).unwrap()
        };
        let first = run();
        fs_err::write(root.join("plain/7"), "another\n").unwrap();
        let second = run();
        assert!(second.bytes_sent < first.bytes_sent / 2, "{}", second.bytes_sent);
        let work = world.server.inside("~/.cache/geto");
        until(|| below(&work, "cache").len() == 1);
        assert_eq!(second.stdout().unwrap(), b"444\n444\n555\n", "{}", shell.name);
        // Nor do those that a task has given names of its own.
        let script = "mkdir x; cp -al DEPS/data/plain x/y; chmod 555 x/y";
        let names = Task::new(Script::from_commands("t", [script])).bring(geto::Bring::Nothing);
        let names = names.dependency(Dependency::new(&root).share(true));
        runtime().block_on(fleet.run_on_host(&names, world.server.name()).into_future()).unwrap();
        assert_eq!(run().stdout().unwrap(), b"444\n444\n555\n", "{}", shell.name);
    }
}
