//! What the fuzz targets begin with, through the same checks.

use std::path::Path;

#[path = "../../../../fuzz/checks/archive.rs"]
mod archive;
#[path = "../../../../fuzz/checks/env_file.rs"]
mod env_file;
#[path = "../../../../fuzz/checks/geto_ini.rs"]
mod geto_ini;
#[path = "../../../../fuzz/checks/known_hosts.rs"]
mod known_hosts;
#[path = "../../../../fuzz/checks/replies.rs"]
mod replies;
#[path = "../../../../fuzz/checks/ssh_config.rs"]
mod ssh_config;

type Check = fn(&[u8]);

#[test]
fn the_corpus_of_each_fuzz_target_passes_its_check() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let checks: [(&str, Check); 6] = [
        ("archive", archive::check),
        ("env_file", env_file::check),
        ("geto_ini", geto_ini::check),
        ("known_hosts", known_hosts::check),
        ("replies", replies::check),
        ("ssh_config", ssh_config::check),
    ];
    assert_eq!(fs_err::read_dir(&corpus).unwrap().count(), checks.len());
    for (target, check) in checks {
        let seeds = fs_err::read_dir(corpus.join(target)).unwrap();
        let mut seeds: Vec<_> = seeds.map(|seed| seed.unwrap().path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{target}");
        for seed in seeds {
            eprintln!("{}", seed.display());
            check(&fs_err::read(&seed).unwrap());
        }
    }
}
