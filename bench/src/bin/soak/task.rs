//! One task of a soak, and what comes of it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use geto_bench::geto;
use geto_testkit::{Cut, Proxy};

use crate::fault::{Fault, Victim};
use crate::host::{Place, World};

/// After that long something hangs: no fault lasts longer than some seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// A task whose output, files and exit code are known beforehand.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) fault: Fault,
    numbers: u32,
    file_bytes: u64,
    stdin_bytes: usize,
    sleep: f64,
    code: i32,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) starts: usize,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) enum End {
    /// All is home, exactly.
    Home,
    /// All is home, exactly, once somebody else had gone on with it.
    HomeLater,
    /// It was said, or is plain, that nothing was started.
    NotStarted,
    /// It is lost, and this is why.
    Lost(String),
    /// It is lost, or not what it should be, and nobody says why.
    Wrong(String),
}

impl Task {
    /// The task of that number, always the same.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let mut random = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number));
        Self {
            number,
            fault: Fault::choose(&mut random),
            numbers: random.u32(1..6_000),
            file_bytes: [0, 1_000, 50_000, 400_000][random.usize(..4)],
            stdin_bytes: [0, 0, 5_000, 100_000][random.usize(..4)],
            sleep: f64::from(random.u8(..6)) / 10.0,
            code: i32::from(random.u8(..5)),
        }
    }

    /// The name of its script.
    fn name(&self) -> String {
        format!("soak-{}", self.number)
    }

    fn line(&self, counter: &Path) -> String {
        let Self { numbers, file_bytes, sleep, code, .. } = self;
        let mut line = format!("echo run >>'{}'; seq {numbers}; ", counter.display());
        write!(
            line,
            "sleep {sleep}; seq {numbers} >&2; yes 0123456 | head -c {file_bytes} >f; exit {code}"
        )
        .expect("writing to memory");
        line
    }

    /// Runs it while its fault happens, and goes on with it where geto could not.
    pub(crate) fn run(&self, world: &World) -> Came {
        let proxy = self.fault.shape(Proxy::builder(world.address())).start();
        let place = world.place(self.number, &proxy);
        let end = self.end(world, &place, &proxy);
        self.let_go(&proxy);
        let starts = fs_err::read_to_string(&place.counter).unwrap_or_default().lines().count();
        Came { starts, end }
    }

    /// Lets a far host hear the last words: geto does not wait for its answer. A link that stalls is
    /// never closed.
    fn let_go(&self, proxy: &Proxy) {
        if !matches!(self.fault, Fault::Cut { cut: Cut::Stall, .. }) {
            drop(proxy.wait_for_close());
        }
    }

    fn end(&self, world: &World, place: &Place, proxy: &Proxy) -> End {
        let mut command = Command::new(geto());
        command.args(["run", "-q", "--config"]).arg(&place.ini).args(["-n", &self.name()]);
        let patience = if matches!(self.fault, Fault::Gone { .. }) { "1s" } else { "60s" };
        command.args(["--connect-timeout", "5s", "--reconnect", patience]);
        if self.stdin_bytes > 0 {
            fs_err::write(&place.input, vec![b'x'; self.stdin_bytes]).expect("own directory");
            command.arg(format!("--stdin={}", place.input.display()));
        }
        command.arg("-c").arg(self.line(&place.counter));
        let Some((code, said)) = self.watch(world, place, Some(proxy), &mut command) else {
            return End::Wrong("geto hangs".to_owned());
        };
        // Whatever is asked later goes by a link that holds.
        proxy.refuse(false);
        let is_started = place.counter.exists();
        match code {
            Some(code) if code == self.code && is_started => match self.is_home(place) {
                Ok(()) => End::Home,
                Err(why) => End::Wrong(format!("{why}: {said}")),
            },
            Some(125) if !is_started => End::NotStarted,
            // It said what it knows; or it was killed, and says nothing.
            Some(123) | None => self.go_on(world, place, &said),
            code => End::Wrong(format!("ended with {code:?}: {said}")),
        }
    }

    /// Waits for the end of geto, and lets the fault happen meanwhile if there is a proxy for it;
    /// returns its code and stderr, or nothing when it hangs.
    fn watch(
        &self,
        world: &World,
        place: &Place,
        proxy: Option<&Proxy>,
        command: &mut Command,
    ) -> Option<(Option<i32>, String)> {
        let output = |path| fs_err::File::create(path).expect("own directory").into_parts().0;
        command.stdin(Stdio::null()).stdout(output(&place.stdout)).stderr(output(&place.stderr));
        let mut child = command.spawn().expect("geto starts");
        let begun = Instant::now();
        let mut happened = false;
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is a child") {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                drop((child.kill(), child.wait()));
                return None;
            }
            happened = happened || proxy.is_none_or(|proxy| self.happens(world, proxy, &mut child));
            thread::sleep(Duration::from_millis(1));
        };
        let said = fs_err::read_to_string(&place.stderr).unwrap_or_default();
        Some((status.code(), said))
    }

    /// Lets the fault happen if its time has come; whether it has.
    fn happens(&self, world: &World, proxy: &Proxy, child: &mut Child) -> bool {
        let (Fault::Kill { direction, bytes, .. } | Fault::Gone { direction, bytes }) = self.fault
        else {
            return true;
        };
        let gone: u64 = proxy.connections().iter().map(|one| one.bytes(direction)).sum();
        if gone < bytes {
            return false;
        }
        match self.fault {
            Fault::Kill { what: Victim::Geto, .. } => drop(child.kill()),
            Fault::Kill { what, .. } => return world.kill(&self.name(), what),
            _ => {
                proxy.refuse(true);
                proxy.cut(Cut::Reset);
            }
        }
        true
    }

    /// Whether all that is known to come has come.
    fn is_home(&self, place: &Place) -> Result<(), String> {
        let numbers: String = (1..=self.numbers).map(|number| format!("{number}\n")).collect();
        let same = |path: &Path, text: &[u8]| match fs_err::read(path) {
            Ok(bytes) if bytes == text => Ok(()),
            Ok(bytes) => {
                Err(format!("{} has {} bytes of {}", path.display(), bytes.len(), text.len()))
            }
            Err(error) => Err(error.to_string()),
        };
        same(&place.stdout, numbers.as_bytes())?;
        let result = place.result().ok_or("no results are here")?;
        same(&result.join("stdout"), numbers.as_bytes())?;
        same(&result.join("stderr"), numbers.as_bytes())?;
        let file: Vec<u8> = b"0123456\n".repeat(50_000);
        let file_bytes = usize::try_from(self.file_bytes).expect("below a megabyte");
        same(&result.join("files/f"), &file[..file_bytes])
    }

    /// What somebody finds who looks for the task afterwards.
    fn go_on(&self, world: &World, place: &Place, said: &str) -> End {
        let before = place.result().is_some();
        match world.find(&place.ini, &self.name()) {
            Err(why) => End::Wrong(why),
            Ok(None) if !place.counter.exists() => End::NotStarted,
            Ok(None) if before => self.ended(place, said),
            Ok(None) => End::Wrong(format!("not on the host, and not home: {said}")),
            Ok(Some(id)) => {
                let mut command = Command::new(geto());
                command.args(["attach", "-q", "--config"]).arg(&place.ini).arg(&id);
                let Some((code, more)) = self.watch(world, place, None, &mut command) else {
                    return End::Wrong("geto attach hangs".to_owned());
                };
                match code {
                    Some(code) if code == self.code => match self.is_home(place) {
                        Ok(()) => End::HomeLater,
                        Err(why) => End::Wrong(format!("{why}: {said} {more}")),
                    },
                    _ => self.ended(place, &format!("{said} {more}")),
                }
            }
        }
    }

    /// What the results say that are home without being whole.
    fn ended(&self, place: &Place, said: &str) -> End {
        let outcome = place.result().map(|result| result.join("outcome.json"));
        let text = outcome.and_then(|path| fs_err::read_to_string(path).ok()).unwrap_or_default();
        let outcome: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        match (outcome["outcome"].as_str(), outcome["reason"].as_str()) {
            (Some("lost"), Some(reason)) => End::Lost(reason.to_owned()),
            // A geto that was killed after all was home.
            (Some("exited"), _) if outcome["code"] == self.code => match self.is_whole(place) {
                Ok(()) => End::Home,
                Err(why) => End::Wrong(format!("{why}: {said}")),
            },
            _ => End::Wrong(format!("{text} {said}")),
        }
    }

    /// As [`Self::is_home`], when nobody is left who could have shown the output.
    fn is_whole(&self, place: &Place) -> Result<(), String> {
        let result = place.result().ok_or("no results are here")?;
        drop(fs_err::copy(result.join("stdout"), &place.stdout));
        self.is_home(place)
    }
}
