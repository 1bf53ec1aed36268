use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;

/// A tree with everything that can be sent.
fn tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs_err::create_dir_all(data.join("deep/empty")).unwrap();
    let long = "n".repeat(120);
    for name in ["a b", "-x", "l\nf", "*", "$(x)", "'", &long] {
        fs_err::write(data.join(name), name).unwrap();
    }
    fs_err::write(data.join(OsStr::from_bytes(b"\xff\xfe")), b"\0\xff").unwrap();
    fs_err::write(data.join("deep/run"), vec![7; 70_000]).unwrap();
    fs_err::set_permissions(data.join("deep/run"), std::fs::Permissions::from_mode(0o751)).unwrap();
    symlink("no/where", data.join("dangling")).unwrap();
    symlink("t".repeat(150), data.join("long")).unwrap();
    filetime::set_file_mtime(data.join("-x"), filetime::FileTime::from_unix_time(86_400, 0))
        .unwrap();
    dir
}

fn plan(paths: &[&Path]) -> Result<StagePlan, Error> {
    StagePlan::look(&paths.iter().copied().map(Dependency::new).collect::<Vec<_>>())
}

fn archive(plan: &StagePlan) -> Vec<u8> {
    let mut archive = Vec::new();
    plan.write_tar(&mut archive).unwrap();
    assert_eq!(archive.len() as u64, plan.tar_len());
    archive
}

/// What stands below `root`, told so that two trees can be compared.
fn listing(root: &Path) -> Vec<(Vec<u8>, u32, i64, Vec<u8>)> {
    let mut entries: Vec<_> = WalkBuilder::new(root)
        .standard_filters(false)
        .build()
        .map(|entry| {
            let path = entry.unwrap().into_path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let content = match metadata.file_type() {
                kind if kind.is_file() => fs_err::read(&path).unwrap(),
                kind if kind.is_symlink() => {
                    fs_err::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
                }
                _ => Vec::new(),
            };
            let mtime = if metadata.is_symlink() { 0 } else { metadata.mtime() };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            (name, metadata.mode(), mtime, content)
        })
        .collect();
    entries.sort();
    entries
}

fn unpacks_with(tar: &[&str], keeps_directory_times: bool) {
    let source = tree();
    let old = filetime::FileTime::from_unix_time(86_400, 0);
    filetime::set_file_mtime(source.path().join("data/deep"), old).unwrap();
    let archive = archive(&plan(&[&source.path().join("data")]).unwrap());
    let target = tempfile::tempdir().unwrap();
    let (program, words) = tar.split_first().unwrap();
    let mut child = Command::new(program)
        .args(words)
        .args(["-xpof", "-", "-C"])
        .arg(target.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    child.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(child.wait().unwrap().success());
    let [unpacked, sent] =
        [target.path().join("DEPS/data"), source.path().join("data")].map(|root| {
            let mut entries = listing(&root);
            let directories =
                entries.iter_mut().filter(|(_, mode, ..)| mode & 0o170_000 == 0o40_000);
            if !keeps_directory_times {
                directories.for_each(|(_, _, mtime, _)| *mtime = 0);
            }
            entries
        });
    assert_eq!(unpacked, sent);
}

#[test]
fn gnu_tar_unpacks_what_was_sent() {
    unpacks_with(&["tar"], true);
}

#[test]
fn busybox_unpacks_what_was_sent() {
    unpacks_with(&["busybox", "tar"], false);
}

#[test]
fn a_name_is_the_last_part_of_the_resolved_path() {
    let source = tree();
    symlink("data", source.path().join("link")).unwrap();
    let planned = plan(&[&source.path().join("link/.")]).unwrap().into_plan();
    assert_eq!(planned.dependencies[0].name, "data");
    assert_eq!(planned.dependencies[0].files, 11);
}

#[test]
fn two_dependencies_of_one_name_are_refused() {
    let source = tree();
    fs_err::create_dir_all(source.path().join("other/data")).unwrap();
    let paths = [source.path().join("data"), source.path().join("other/data")];
    let error = plan(&[&paths[0], &paths[1]]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().starts_with("failed to name two dependencies `data`"), "{error}");
}

#[test]
fn names_that_reach_elsewhere_are_refused() {
    for name in ["", ".", "..", "a/b", "a\0"] {
        let dependency = Dependency::new("/").named(name);
        assert!(name_of(&dependency, Path::new("/")).is_err(), "{name:?}");
    }
}

#[test]
fn sockets_and_pipes_are_refused_by_name() {
    let source = tree();
    let socket = source.path().join("data/sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let error = plan(&[&source.path().join("data")]).unwrap_err();
    assert!(error.to_string().ends_with("data/sock`"), "{error}");
    drop(listener);
    assert!(plan(&[&source.path().join("missing")]).is_err());
}

#[test]
fn a_file_that_changed_keeps_the_length_and_is_an_error() {
    let source = tree();
    let path = source.path().join("data/deep/run");
    let planned = plan(&[&source.path().join("data")]).unwrap();
    for content in [vec![1; 10], vec![1; 100_000]] {
        fs_err::write(&path, content).unwrap();
        let mut archive = Vec::new();
        let error = planned.write_tar(&mut archive).unwrap_err();
        assert_eq!(archive.len() as u64, planned.tar_len());
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    fs_err::remove_file(&path).unwrap();
    assert!(planned.write_tar(&mut io::sink()).is_err());
}

#[test]
fn patterns_leave_out_what_they_name() {
    let source = tree();
    let data = source.path().join("data");
    fs_err::write(data.join(".gitignore"), "deep/run\n").unwrap();
    let names = |dependency: Dependency| -> Vec<String> {
        let plan = StagePlan::look(&[dependency]).unwrap();
        plan.members.iter().map(|member| printable(&member.name)).collect()
    };
    let all = Dependency::new(data);
    assert!(names(all.clone()).contains(&"DEPS/data/deep/run".to_owned()));
    let ignoring = names(all.clone().gitignore(true));
    assert!(!ignoring.contains(&"DEPS/data/deep/run".to_owned()));
    assert!(ignoring.contains(&"DEPS/data/.gitignore".to_owned()));
    let excluding = names(all.exclude("/deep"));
    assert!(!excluding.iter().any(|name| name.contains("deep")), "{excluding:?}");
}
