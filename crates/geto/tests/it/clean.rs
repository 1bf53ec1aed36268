//! Results go when they have had their time, and nothing else does.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use fs_err::File;
use geto::{Event, Fleet, Host, Ledger, LedgerEntry, LedgerFilter, Script, Task, TaskId};
use rusqlite::Connection;
use rustix::fs::FlockOperation;

use crate::support::{Place, runtime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn task(line: &str) -> Task {
    Task::new(Script::from_commands("job", [line]))
}

fn set_age(path: &Path, age: Duration) {
    let time = filetime::FileTime::from_system_time(SystemTime::now() - age);
    filetime::set_symlink_file_times(path, time, time).unwrap();
}

fn directory(place: &Path, name: &str, files: &[&str], age: Duration) -> PathBuf {
    let path = place.join(name);
    fs_err::create_dir_all(&path).unwrap();
    for file in files {
        fs_err::write(path.join(file), "12345").unwrap();
        set_age(&path.join(file), age);
    }
    set_age(&path, age);
    path
}

fn id(bits: u64) -> TaskId {
    TaskId::from_bits(bits)
}

fn names(place: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(place).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with(Ledger::FILE)).collect();
    names.sort();
    names
}

#[test]
fn only_results_of_that_age_and_leftovers_of_dead_processes_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let ledger = Ledger::open(place).unwrap();
    let whole = ["stdout", "stderr", "outcome.json"];
    let old = directory(place, &id(1).to_string(), &whole, 31 * DAY);
    directory(place, &id(2).to_string(), &whole, 29 * DAY);
    for bits in [1, 2] {
        ledger.record_start(&LedgerEntry::new(id(bits), "job", &Host::local())).unwrap();
    }
    // What only looks like results.
    directory(place, &id(3).to_string(), &["stdout"], 31 * DAY);
    directory(place, "notes", &whole, 31 * DAY);
    directory(place, "0123-4567-89ab-cdef-old", &whole, 31 * DAY);
    let elsewhere = directory(dir.path(), "elsewhere", &whole, 31 * DAY);
    symlink(&elsewhere, place.join(id(4).to_string())).unwrap();
    set_age(&place.join(id(4).to_string()), 31 * DAY);
    fs_err::write(place.join(id(5).to_string()), "a file").unwrap();
    // What runs have left, and one that lives.
    let name = |bits: u64| format!(".{}.partial", id(bits));
    directory(place, &name(6), &["stdout"], DAY);
    directory(place, &name(7), &[], DAY);
    directory(place, &name(8), &["stdout"], Duration::ZERO);
    let live = directory(place, &name(9), &["stdout"], DAY);
    let lock = File::open(live.join("stdout")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    directory(place, &format!(".{}.removed", id(10)), &whole, Duration::ZERO);
    // What those have left that followed a task beside others.
    let beside = directory(place, &format!(".{}.2.partial", id(9)), &["stdout"], DAY);
    directory(place, &format!(".{}.2.removed", id(9)), &["stdout"], Duration::ZERO);
    let odd = directory(place, &format!(".{}.two.partial", id(9)), &["stdout"], DAY);

    let fleet = Fleet::new([Host::local()], place);
    let stale = || fleet.stale_results(30 * DAY).unwrap();
    let counts = |stale: &geto::StaleResults| (stale.count(), stale.leftovers(), stale.bytes());
    assert_eq!(counts(&stale()), (1, 5, 15 + 5 + 15 + 5 + 5));
    assert!(old.exists(), "looking removes nothing");
    stale().remove().unwrap();
    assert_eq!(counts(&stale()), (0, 0, 0));
    let mut expected = vec![
        name(8),
        name(9),
        format!(".{}.two.partial", id(9)),
        id(2).to_string(),
        id(3).to_string(),
        id(4).to_string(),
        id(5).to_string(),
        "0123-4567-89ab-cdef-old".to_owned(),
        "elsewhere".to_owned(),
        "notes".to_owned(),
    ];
    expected.sort();
    assert_eq!(names(place), expected);
    assert_eq!(names(&elsewhere).len(), 3);
    assert!(!beside.exists() && odd.exists());
    let removed = |bits: u64| ledger.entry(id(bits)).unwrap().unwrap().results_removed;
    assert_eq!((removed(1), removed(2)), (true, false));
    drop(lock);
    assert_eq!(counts(&stale()), (0, 1, 5), "its process is gone now");
}

#[test]
fn nothing_of_a_run_that_lives_is_removed() {
    let place = Place::new();
    let fleet = place.fleet();
    let results = place.dir.path().join("results");
    let marker = place.dir.path().join("go");
    let line = format!("echo out; until [ -e {} ]; do sleep 0.05; done", marker.display());
    let task = task(&line);
    let run = fleet.run_on_host(&task, "local");
    let partial = results.join(format!(".{}.partial", run.id()));
    let run = run.follow(|event| {
        if let Event::Started { .. } = event {
            set_age(&partial, 100 * DAY);
            fleet.stale_results(Duration::ZERO).unwrap().remove().unwrap();
            assert!(partial.join("stdout").exists());
            fs_err::write(&marker, "").unwrap();
        }
    });
    let results = runtime().block_on(run.into_future()).unwrap();
    assert_eq!(results.stdout().unwrap(), b"out\n");
}

/// Waits until something holds, which another thread brings about.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_run_removes_results_that_have_had_their_time_once_a_day() {
    let place = Place::new();
    let results = place.dir.path().join("results");
    let run =
        |fleet: &Fleet| runtime().block_on(fleet.run_on_host(&task("true"), "local").into_future());
    let fleet = place.fleet();
    let whole = ["stdout", "stderr", "outcome.json"];
    let old = directory(&results, &id(1).to_string(), &whole, 31 * DAY);
    let young = directory(&results, &id(2).to_string(), &whole, 29 * DAY);
    run(&fleet.clone().with_keep_results(None)).unwrap();
    let database = Connection::open(results.join(Ledger::FILE)).unwrap();
    let next = || -> Option<i64> {
        database.query_row("SELECT value FROM state", [], |row| row.get(0)).ok()
    };
    assert_eq!(next(), None, "nobody asked for it");
    run(&fleet).unwrap();
    wait_for("the old one goes", || !old.exists());
    let now = || i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    wait_for("it is done", || next().unwrap() > now() + 23 * 60 * 60 * 1000);
    assert!(young.exists());
    // Not again today, and tomorrow also what the ledger knows of.
    set_age(&young.join("outcome.json"), 31 * DAY);
    let known = run(&fleet).unwrap();
    assert!(young.exists());
    let asked = now() - 31 * 24 * 60 * 60 * 1000;
    let sql = "UPDATE tasks SET asked = ?1 WHERE id = ?2";
    database.execute(sql, (asked, known.id.to_string())).unwrap();
    set_age(&known.directory.join("outcome.json"), 31 * DAY);
    database.execute("UPDATE state SET value = 1", []).unwrap();
    run(&place.fleet()).unwrap();
    wait_for("both go", || !young.exists() && !known.directory.exists());
    let ledger = Ledger::open(&results).unwrap();
    let removed = || ledger.entry(known.id).unwrap().unwrap().results_removed;
    wait_for("the ledger knows", removed);
}

#[test]
fn a_ledger_of_an_older_geto_is_brought_up_to_date_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let entry = LedgerEntry::new(id(1), "job", &Host::local());
    Ledger::open(dir.path()).unwrap().record_start(&entry).unwrap();
    let database = Connection::open(dir.path().join(Ledger::FILE)).unwrap();
    let back = "DROP TABLE state; ALTER TABLE tasks DROP COLUMN max_results; \
                ALTER TABLE tasks DROP COLUMN keep; PRAGMA user_version = 1";
    database.execute_batch(back).unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(ledger.last().unwrap().unwrap().id, id(1));
    let version: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let rows: i64 = database.query_row("SELECT count(*) FROM state", [], |row| row.get(0)).unwrap();
    assert_eq!((version, rows), (3, 0));
}

#[test]
fn entries_older_than_a_year_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    for (bits, age) in [(1, 366), (2, 364), (3, 0)] {
        let mut entry = LedgerEntry::new(id(bits), "job", &Host::local());
        entry.asked -= age * DAY;
        ledger.record_start(&entry).unwrap();
    }
    ledger.drop_old_entries().unwrap();
    let left = ledger.list(&LedgerFilter::default()).unwrap();
    assert_eq!(left.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id(3), id(2)]);
}
