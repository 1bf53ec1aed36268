//! A host that lies, behind a real sshd: a clear error, little memory, and no file outside.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use geto_testkit::{Server, Sshd, program, set_mode};

use crate::support::{World, entries, names};

/// What sshd runs for every command: it hears the task out, as geto's own program would, and then
/// says what stands in its directory; `{N}` is the nonce.
const LIAR: &str = r#"
cd "${0%/*}" || exit
export LC_ALL=C
nonce=
while IFS= read -r line; do
  case $line in
    g_nonce=*) nonce=${line#g_nonce=} ;;
    go | list) break ;;
  esac
done
sed "s/{N}/$nonce/g" <says
[ ! -e archive ] || cat archive
if [ -e forever ]; then
  sed "s/{N}/$nonce/g" <forever >repeated
  while cat repeated; do :; done
fi
"#;

const BEGIN: &str = "{N} hello 1\n1{N} started 2\n/t";
const END: &str = "status=0 why= started=yes start=1 end=2 cpu=0 0 full= left= .";
/// Of a program that uses 12 MiB by itself.
const MEMORY_KB_MAX: u64 = 100_000;

/// A host and who offloads to it.
struct Lies {
    world: World,
    _server: Server,
    dir: PathBuf,
}

/// What became of a task.
struct Told {
    code: i32,
    stderr: String,
}

impl Lies {
    fn new() -> Self {
        let world = World::new();
        let dir = world.env.cwd().join("liar");
        fs_err::create_dir(&dir).unwrap();
        set_mode(&dir, 0o777);
        fs_err::write(dir.join("liar.sh"), LIAR).unwrap();
        let command = format!("ForceCommand /bin/sh {}/liar.sh", dir.display());
        let server = Sshd::builder().name("liar").config(&command).start();
        world.env.use_servers(&[&server]);
        fs_err::write(world.env.state_home().join("victim"), "safe").unwrap();
        Self { world, _server: server, dir }
    }

    fn say(&self, says: &[u8], archive: Option<&[u8]>, forever: Option<&[u8]>) {
        for (name, text) in [("says", Some(says)), ("archive", archive), ("forever", forever)] {
            match text {
                Some(text) => fs_err::write(self.dir.join(name), text).unwrap(),
                None => drop(fs_err::remove_file(self.dir.join(name))),
            }
        }
    }

    /// Runs a task there, which must fail without harm.
    fn run(&self, what: &str, options: &[&str]) -> Told {
        self.geto(what, &[&["run", "-H", "liar"], options, &["-c", ":"]].concat())
    }

    /// Does something there, which must fail without harm.
    fn geto(&self, what: &str, args: &[&str]) -> Told {
        let memory = self.world.env.tmp().join("memory");
        let mut command = self.world.env.command(program("time", "time"));
        command.args(["-q", "-f", "%M", "-o"]).arg(&memory).arg(env!("CARGO_BIN_EXE_geto"));
        command.args(args).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().unwrap();
        let is_told = ["error", "warning"].map(|word| stderr.contains(&format!("geto: {word}: ")));
        assert!(is_told.contains(&true), "{what}: {stderr}");
        assert!(!stderr.contains(|c: char| c.is_control() && c != '\n'), "{what}: {stderr:?}");
        let used: u64 = fs_err::read_to_string(&memory).unwrap().trim().parse().unwrap();
        assert!(used < MEMORY_KB_MAX, "{what}: {used} KB");
        // What is here for certain, and no file of the host.
        for result in self.world.results() {
            if result.is_dir() {
                let names = names(&result);
                assert_eq!(names, ["outcome.json", "stderr", "stdout"], "{what}: {result:?}");
                fs_err::remove_dir_all(&result).unwrap();
            }
        }
        let state = self.world.env.state_home();
        let mut beside: Vec<_> = entries(&state).into_iter().map(|path| name_of(&path)).collect();
        beside.retain(|name| name != "geto");
        assert_eq!(beside, ["victim"], "{what}");
        assert_eq!(fs_err::read(state.join("victim")).unwrap(), b"safe", "{what}");
        assert!(!Path::new("/tmp/geto-absolute").exists(), "{what}");
        Told { code, stderr }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// What the host says until the task has ended.
fn ended(rest: &str) -> Vec<u8> {
    format!("{BEGIN}{{N}} ended {}\n{END}{rest}", END.len()).into_bytes()
}

#[test]
fn words_that_lie_end_in_an_error() {
    let lies = Lies::new();
    let garbage: Vec<u8> = b"\x1b]0;evil\x07\xa5\x9b2J".repeat(8000);
    let facts = b"{N} leftover 8\n\x1b[2Jevil".repeat(4000);
    let output = [b"{N} out 65536\n".to_vec(), vec![b'x'; 65536]].concat();
    for (what, says, forever, reason) in [
        ("nothing", vec![], None, "ended without running a command"),
        ("garbage", vec![], Some(&garbage), "more than 1 MiB before the first answer"),
        ("garbage in between", BEGIN.into(), Some(&garbage), "something that is no answer"),
        ("endless answers", BEGIN.into(), Some(&facts), "more than anybody asked for"),
        ("endless output", BEGIN.into(), Some(&output), "larger than the limit of 2000000 bytes"),
        (
            "a size that is none",
            format!("{BEGIN}{{N}} out 99999999999999999999\n").into(),
            None,
            "something that is no answer",
        ),
        (
            "a text of a terabyte",
            format!("{BEGIN}{{N}} ended 1099511627776\n").into(),
            Some(&output),
            "an answer of 1099511627776 bytes",
        ),
        ("an evil refusal", b"{N} error 13\ndisk \x1b[2Jevil".to_vec(), None, "evil"),
    ] {
        lies.say(&says, None, forever.map(Vec::as_slice));
        let told = lies.run(what, &["--max-results", "2000000"]);
        assert!([123, 125].contains(&told.code), "{what}: {}", told.stderr);
        assert!(told.stderr.contains(reason), "{what}: {}", told.stderr);
    }
}

#[test]
fn endless_tasks_end_in_little_memory() {
    let lies = Lies::new();
    let task = |script: &str| {
        let text =
            format!("0000-0000-0000-0001\nrunning\n1\n1\n1\n{script}\n\nme\nhost\n{script}\n");
        format!("{{N}} task {}\n{text}", text.len()).into_bytes()
    };
    let hello = b"{N} hello 1\n1".to_vec();
    for (what, script) in [("short", "x".to_owned()), ("long", "\u{1b}".repeat(30_000))] {
        lies.say(&hello, None, Some(&task(&script).repeat(100)));
        let told = lies.geto(what, &["ps", "-H", "liar"]);
        assert_eq!(told.code, 1, "{what}: {}", told.stderr);
        assert!(told.stderr.contains("they take more than"), "{what}: {}", told.stderr);
    }
}

/// More than a host says of one task.
#[test]
fn a_host_may_have_many_tasks() {
    let lies = Lies::new();
    let text = |id: usize| {
        let text = format!("0000-0000-0001-{id:04x}\nrunning\n1\n1\n1\n1\n\nme\nhost\njob\n");
        format!("{{N}} task {}\n{text}", text.len())
    };
    let tasks: String = (0..30_000).map(text).collect();
    let says = format!("{{N}} hello 1\n1{tasks}{{N}} listed 6\n10 100");
    lies.say(says.as_bytes(), None, None);
    let ran = lies.world.geto(&["ps", "-H", "liar"]);
    assert_eq!((ran.code(), ran.text().lines().count()), (0, 30_001), "{}", ran.stderr);
}

macro_rules! archive {
    ($name:literal) => {
        include_bytes!(concat!("../../../../fuzz/corpus/archive/", $name)).as_slice()
    };
}

#[test]
fn archives_that_lie_make_no_file() {
    let lies = Lies::new();
    for (what, archive, reason) in [
        ("up", archive!("up"), "its name has `..`"),
        ("absolute", archive!("absolute"), "its name is absolute"),
        ("through a link", archive!("through_link"), "another member has this name"),
        ("a hard link out", archive!("hard_link_out"), "its name has `..`"),
        ("a device", archive!("device"), "it is a device"),
        ("a size beyond all", archive!("size_lies"), "larger than the limit of 2000000 bytes"),
        ("half of an archive", archive!("ends_early"), "the archive ended early"),
        ("no archive", &[7; 1024], "no header of a member"),
    ] {
        lies.say(&ended(&format!("{{N}} files {}\n", archive.len())), Some(archive), None);
        let told = lies.run(what, &["--max-results", "2000000"]);
        assert_eq!(told.code, 123, "{what}: {}", told.stderr);
        assert!(told.stderr.contains(reason), "{what}: {}", told.stderr);
        // The same as a large one, which goes to the end of the channel.
        lies.say(&ended("{N} large 0\n"), Some(archive), None);
        let told = lies.run(what, &["--max-results", "2000000"]);
        assert_eq!(told.code, 123, "{what}: {}", told.stderr);
    }
}

/// Members for empty files whose names are numbers, without the mark of an end.
fn empty_files(count: u32) -> Vec<u8> {
    let mut header = archive!("ends_early")[..512].to_vec();
    header[124..136].copy_from_slice(b"00000000000\0");
    let mut archive = Vec::new();
    for number in 0..count {
        header[..9].copy_from_slice(format!("{number:08}\0").as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
    }
    archive
}

#[test]
fn endless_archives_end_in_little_memory() {
    let lies = Lies::new();
    let padding = vec![0; 1 << 20];
    let files = empty_files(20_000);
    for (what, archive, forever, reason) in [
        (
            "empty files, then nonsense",
            files.as_slice(),
            vec![b'x'; 65536],
            "no header of a member",
        ),
        ("padding without end", &[], padding, "the host sent more than the files"),
    ] {
        lies.say(&ended("{N} large 0\n"), Some(archive), Some(&forever));
        let told = lies.run(what, &[]);
        assert_eq!(told.code, 123, "{what}: {}", told.stderr);
        assert!(told.stderr.contains(reason), "{what}: {}", told.stderr);
    }
}

#[test]
fn a_file_that_fills_the_disk_here_is_removed_again() {
    let lies = Lies::new();
    lies.say(&ended("{N} large 0\n"), Some(archive!("size_lies")), Some(&vec![b'x'; 1 << 20]));
    let results = lies.world.env.state_home().join("geto");
    fs_err::create_dir_all(&results).unwrap();
    let mut command = lies.world.env.command("/usr/bin/unshare");
    let line = "mount -t tmpfs -o size=16m tmpfs \"$0\" && \"$@\"; code=$?; cd \"$0\" && ls -A1 . *; exit $code";
    command.args(["--mount", "sh", "-c", line]).arg(&results);
    command.args([env!("CARGO_BIN_EXE_geto"), "run", "-H", "liar", "-c", ":"]);
    let ran = lies.world.env.run(&mut command);
    assert_eq!(ran.code(), 123, "{ran:?}");
    assert!(ran.stderr.contains("No space left on device"), "{ran:?}");
    assert!(ran.text().ends_with("outcome.json\nstderr\nstdout\n"), "{ran:?}");
    assert!(!ran.text().contains("partial"), "{ran:?}");
}
