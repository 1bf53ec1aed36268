//! Programs that talk to `geto rpc`.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::durable::{Durable, signal};

/// One end of a conversation, of which nothing but its lines is known.
struct Client<R, W> {
    requests: W,
    answers: BufReader<R>,
    next: u64,
}

type Plain = Client<ChildStdout, ChildStdin>;

/// A `geto rpc`, which does not outlive its test.
struct Rpc(Child);

impl Drop for Rpc {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Rpc {
    /// Sends a signal, if there is one; what it then ends with, and has said.
    fn end(mut self, sent: Option<Signal>) -> (Option<i32>, String) {
        if let Some(sent) = sent {
            signal(&self.0, sent);
        }
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.0.wait().unwrap().code(), text)
    }
}

impl<R: std::io::Read, W: Write> Client<R, W> {
    fn new(answers: R, requests: W) -> Self {
        Self { requests, answers: BufReader::new(answers), next: 0 }
    }

    fn line(&mut self, line: &str) {
        self.requests.write_all(line.as_bytes()).unwrap();
        self.requests.write_all(b"\n").unwrap();
    }

    fn ask(&mut self, method: &str, params: impl Into<Value>) -> u64 {
        let params = params.into();
        self.next += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params });
        self.line(&request.to_string());
        self.next
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.answers.read_line(&mut line).unwrap() > 0, "it has ended");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert!(object.is_array() || object["jsonrpc"] == "2.0", "{line}");
        object
    }

    /// What is told up to the answer, and that.
    fn answer(&mut self, id: u64) -> (Vec<Value>, Value) {
        let mut events = Vec::new();
        loop {
            let mut object = self.hear();
            if object["method"] == "event" {
                events.push(object["params"].take());
            } else {
                assert_eq!(object["id"], id, "{object}");
                return (events, object);
            }
        }
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        let mut answer = self.answer(id).1;
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].take()
    }

    /// The code and the text of the error of a line.
    fn refused(&mut self, line: &str) -> (i64, String) {
        self.line(line);
        let answer = self.hear();
        let error = &answer["error"];
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// Waits until a task says something on stdout; returns its id.
    fn heard_of(&mut self) -> String {
        loop {
            let object = self.hear();
            if object["params"]["event"] == "stdout" {
                return object["params"]["task"].as_str().unwrap().to_owned();
            }
            assert_eq!(object["method"], "event", "{object}");
        }
    }
}

fn stdio(durable: &Durable) -> (Rpc, Plain) {
    let mut command = durable.world.command(&["rpc"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (stdout, stdin) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    (Rpc(child), Client::new(stdout, stdin))
}

/// A server that listens, and where.
fn socket(durable: &Durable) -> (Rpc, PathBuf) {
    let path = durable.world.env.cwd().join("geto.sock");
    let mut child = durable.world.start(&["rpc", "--socket", "geto.sock"]);
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "geto: listening on `geto.sock`\n");
    (Rpc(child), path)
}

fn connect(path: &Path) -> Client<UnixStream, UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    Client::new(stream.try_clone().unwrap(), stream)
}

fn script(lines: &[&str]) -> Value {
    json!({ "name": "job", "lines": lines })
}

#[test]
fn runs_a_task_and_tells_its_output() {
    let durable = Durable::new();
    let (child, mut client) = stdio(&durable);
    let task = json!({
        "script": script(&["cat; printf '\\377'; echo \"$1 $K\" >&2; echo x >f; exit 3"]),
        "args": ["a b"], "env": { "K": { "base64": "dg==" } }, "stdin": "in",
    });
    let id = client.ask("run", json!({ "task": task }));
    let (events, answer) = client.answer(id);
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["connecting", "connected"], "{names:?}");
    assert!(names.contains(&"started") && names.last() == Some(&"ended"), "{names:?}");
    let of = |name: &str, key: &str| -> Vec<Value> {
        let of = events.iter().filter(|event| event["event"] == name);
        of.map(|event| event[key].clone()).collect()
    };
    // It may come in pieces.
    let bytes = |name: &str| -> Vec<u8> {
        let pieces = of(name, "base64");
        pieces.iter().flat_map(|piece| BASE64.decode(piece.as_str().unwrap()).unwrap()).collect()
    };
    assert_eq!(bytes("stdout"), b"in\xff", "{events:?}");
    assert_eq!(bytes("stderr"), b"a b v\n", "{events:?}");
    let result = &answer["result"];
    assert_eq!((&result["outcome"], &result["exit_code"]), (&"exited".into(), &3.into()));
    assert_eq!((&result["host"], &result["script"]), (&"server1".into(), &"job".into()));
    assert!(events.iter().all(|event| event["task"] == result["task"] && event["request"] == id));
    let file = Path::new(result["files"]["directory"].as_str().unwrap()).join("f");
    assert_eq!(fs_err::read(file).unwrap(), b"x\n");
    // As text, no character is torn; and not at all when it is not wanted.
    let task =
        json!({ "script": script(&["printf 'a\\342'; sleep 0.1; printf '\\202\\254\\377'"]) });
    let id = client.ask("run", json!({ "task": task, "output": "text" }));
    let texts = client.answer(id).0;
    let texts = texts.iter().filter_map(|event| event["text"].as_str());
    assert_eq!(texts.collect::<String>(), "a€\u{fffd}");
    let id = client.ask("run", json!({ "task": task, "output": "none" }));
    assert!(client.answer(id).0.iter().all(|event| event["event"] != "stdout"));
    drop(client);
    assert_eq!(child.end(None), (Some(0), String::new()));
    assert_eq!(durable.tasks(), Vec::<Value>::new());
}

#[test]
fn hosts_and_tasks_are_told_submitted_and_brought_home() {
    let durable = Durable::new();
    let (child, mut client) = stdio(&durable);
    let hosts = client.call("hosts", json!({ "check": true }));
    assert_eq!(hosts["hosts"][0]["host"], "server1");
    assert_eq!(hosts["hosts"][0]["state"], "ready");
    assert!(hosts["hosts"][0]["faults"].is_array());
    let task = json!({ "script": script(&[&durable.line("gate")]) });
    let left = client.call("submit", json!({ "task": task, "hosts": ["server1"] }));
    let id = left["task"].as_str().unwrap();
    assert_eq!(left["host"], "server1");
    assert!(left["directory"].as_str().unwrap().ends_with(&format!("/tasks/{id}/dir")), "{left}");
    while fs_err::read(durable.directory(id).join("out")).unwrap_or_default() != b"up\n" {
        std::thread::yield_now();
    }
    let tasks = client.call("tasks", json!({ "hosts": ["server1", "127.0.0.1:1"] }));
    assert_eq!(tasks["tasks"][0]["task"], id);
    assert_eq!(tasks["tasks"][0]["state"], "running");
    assert_eq!(tasks["failed"][0]["kind"], "unreachable");
    let so_far = client.call("fetch", json!({ "task": id, "into": "so-far" }));
    assert_eq!(so_far["outcome"], "running");
    assert_eq!(fs_err::read(durable.world.env.cwd().join("so-far/f")).unwrap(), b"x\n");
    let request = client.ask("attach", json!({ "task": "job", "output": "text" }));
    assert_eq!(client.heard_of(), id);
    durable.open("gate");
    let (events, answer) = client.answer(request);
    assert!(events.iter().any(|event| event["text"] == "down\n"), "{events:?}");
    assert_eq!(answer["result"]["exit_code"], 4);
    // Who started it has removed it.
    assert_eq!(client.call("tasks", json!({}))["tasks"], json!([]));
    let task = json!({ "script": script(&["sleep 600"]) });
    let left = client.call("submit", json!({ "task": task }));
    let killed = client.call("kill", json!({ "task": left["task"] }));
    assert_eq!(killed, json!({ "task": left["task"], "outcome": "cancelled" }));
    drop(client);
    assert_eq!(child.end(None).0, Some(0));
}

#[test]
fn what_is_no_request_gets_the_errors_of_the_standard() {
    let durable = Durable::new();
    let (child, mut client) = stdio(&durable);
    assert_eq!(client.refused("{").0, -32700);
    assert_eq!(client.refused("[]").0, -32600);
    assert_eq!(client.refused(r#"{"id": 1, "method": "hosts"}"#).0, -32600);
    let call = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": "x", "method": method, "params": params }).to_string()
    };
    assert_eq!(client.refused(&call("walk", json!({}))).0, -32601);
    for (method, params) in [
        ("run", json!({})),
        ("run", json!({ "task": { "script": { "name": "n", "text": 1 } } })),
        ("run", json!([1])),
        ("hosts", json!({ "host": "server1" })),
        ("kill", json!({ "task": 1 })),
    ] {
        assert_eq!(client.refused(&call(method, params)).0, -32602);
    }
    // What geto itself has to say of it.
    client.line(&call("attach", json!({ "task": "nothing" })));
    let error = client.hear()["error"].take();
    assert_eq!((&error["code"], &error["data"]["kind"]), (&(-32000).into(), &"usage".into()));
    assert!(error["data"]["hint"].as_str().unwrap().contains("geto ps"), "{error}");
    // Several at once have one answer, and those that want none have none.
    let quiet = json!({ "jsonrpc": "2.0", "method": "walk" });
    client.line(&format!("[{}, 1, {quiet}]", call("hosts", json!({}))));
    let batch = client.hear();
    let batch = batch.as_array().unwrap();
    assert_eq!(batch.len(), 2, "{batch:?}");
    assert!(batch.iter().any(|answer| answer["result"]["hosts"].is_array()), "{batch:?}");
    assert!(batch.iter().any(|answer| answer["error"]["code"] == -32600), "{batch:?}");
    client.line(&quiet.to_string());
    // One that asks for nothing more is answered all the same.
    let id = client.ask("hosts", json!({}));
    let Client { requests, answers, .. } = client;
    drop(requests);
    let rest: Vec<String> = answers.lines().map(Result::unwrap).collect();
    let [last] = &rest[..] else { panic!("{rest:?}") };
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!((&last["id"], &last["result"]["hosts"][0]["host"]), (&id.into(), &"server1".into()));
    assert_eq!(child.end(None).0, Some(0));
}

#[test]
fn a_client_that_goes_away_ends_no_task() {
    let durable = Durable::new();
    let (child, mut client) = stdio(&durable);
    let task = json!({ "script": script(&[&durable.line("gate")]) });
    client.ask("run", json!({ "task": task }));
    let id = client.heard_of();
    drop(client);
    let (code, said) = child.end(None);
    assert_eq!(code, Some(0));
    assert!(said.contains("1 requests were not answered: tasks that have started go on"), "{said}");
    assert_eq!(durable.tasks()[0]["state"], "running");
    let (server, path) = socket(&durable);
    let mut client = connect(&path);
    client.ask("attach", json!({ "task": id }));
    assert_eq!(client.heard_of(), id);
    drop(client);
    // The same process goes on with it for another, whether or not it has noticed that the first is gone.
    let mut client = connect(&path);
    let request = client.ask("attach", json!({ "task": id }));
    assert_eq!(client.heard_of(), id);
    durable.open("gate");
    assert_eq!(client.answer(request).1["result"]["exit_code"], 4);
    assert_eq!(server.end(Some(Signal::TERM)).0, Some(143));
}

#[test]
fn two_clients_have_their_own_answers_and_share_the_fleet() {
    let durable = Durable::new();
    let (server, path) = socket(&durable);
    assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let (mut one, mut other) = (connect(&path), connect(&path));
    let task = json!({ "script": script(&[&durable.line("gate")]) });
    let request = one.ask("run", json!({ "task": task }));
    let id = one.heard_of();
    let echo = json!({ "script": { "name": "echo", "argv": ["echo", "hi"] } });
    let second = other.ask("run", json!({ "task": echo, "output": "text" }));
    let (events, _) = other.answer(second);
    assert!(events.iter().any(|event| event["text"] == "hi\n"), "{events:?}");
    assert!(events.iter().all(|event| event["task"] != *id), "{events:?}");
    // Ending it is everybody's who may connect.
    let killed = other.call("kill", json!({ "task": id }));
    assert_eq!(killed["outcome"], "cancelled");
    assert_eq!(one.answer(request).1["result"]["outcome"], "cancelled");
    let log = durable.server.log();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
    // A second server does not take the socket of one that lives.
    let ran = durable.geto(&["rpc", "--socket", "geto.sock"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("another process listens on it"), "{ran:?}");
    assert_eq!(server.end(Some(Signal::INT)).0, Some(130));
    assert!(!path.exists());
}

#[test]
fn a_socket_of_a_process_that_is_gone_is_replaced_and_nothing_else() {
    let durable = Durable::new();
    let (server, path) = socket(&durable);
    server.end(Some(Signal::KILL));
    assert!(path.exists());
    let (server, path) = socket(&durable);
    assert_eq!(connect(&path).call("tasks", json!({}))["tasks"], json!([]));
    assert_eq!(server.end(Some(Signal::TERM)).0, Some(143));
    durable.world.env.file("geto.sock", "mine");
    let ran = durable.geto(&["rpc", "--socket", "geto.sock"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("something else is there"), "{ran:?}");
    assert_eq!(fs_err::read(&path).unwrap(), b"mine");
}

/// Neither one that is stopped nor one who holds the lock of the directory is waited for without end.
#[test]
fn a_socket_that_can_not_be_had_is_refused_in_bounded_time() {
    let durable = Durable::new();
    let path = durable.world.env.cwd().join("geto.sock");
    let flags = SocketFlags::NONBLOCK;
    let new = || socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let (listener, address) = (new(), SocketAddrUnix::new(&path).unwrap());
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = new();
        if rustix::net::connect(&client, &address).is_err() {
            break;
        }
        waiting.push(client);
    }
    let ran = durable.geto(&["rpc", "--socket", "geto.sock"]);
    assert_eq!(ran.code(), 2, "{ran:?}");
    assert!(ran.stderr.contains("another process listens on it"), "{ran:?}");
    let directory = fs_err::File::open(durable.world.env.cwd()).unwrap();
    flock(&directory, FlockOperation::LockExclusive).unwrap();
    let ran = durable.geto(&["rpc", "--socket", "other.sock"]);
    assert_ne!(ran.code(), 0, "{ran:?}");
    assert!(ran.stderr.contains("another process holds its lock"), "{ran:?}");
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_else() {
    let durable = Durable::new();
    let (server, path) = socket(&durable);
    let mut lazy = connect(&path);
    // Far more than is under way anywhere.
    let bytes = 32_000_000;
    let task = json!({ "script": script(&[&format!("head -c {bytes} /dev/zero")]) });
    let request = lazy.ask("run", json!({ "task": task }));
    let id = lazy.heard_of();
    // All of it comes here, and is on the disk as ever.
    let home = durable.world.local_work_path().join(id).join("stdout");
    while fs_err::metadata(&home).map_or(0, |file| file.len()) < bytes {
        std::thread::yield_now();
    }
    let mut other = connect(&path);
    let echo = json!({ "script": { "name": "echo", "argv": ["echo", "hi"] } });
    assert_eq!(other.call("run", json!({ "task": echo }))["exit_code"], 0);
    // It loses nothing by that.
    let (events, answer) = lazy.answer(request);
    assert_eq!(answer["result"]["exit_code"], 0);
    let told = events.iter().filter_map(|event| Some(event["base64"].as_str()?.len() / 4 * 3));
    assert!(told.sum::<usize>() > 31_000_000);
    assert_eq!(server.end(Some(Signal::TERM)).0, Some(143));
}

#[test]
fn a_plain_client_in_python_runs_tasks() {
    let durable = Durable::new();
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/rpc/client.py");
    assert!(fs_err::read_to_string(client).unwrap().lines().count() < 50);
    let geto = Path::new(env!("CARGO_BIN_EXE_geto")).parent().unwrap().display().to_string();
    let run = |command: &mut Command| {
        let path = format!("{geto}:/usr/local/bin:/usr/bin:/bin");
        let ran = durable.world.env.run(
            command
                .arg(client)
                .env("PATH", path)
                .args(["echo hi from $GETO_HOST; exit 7", "server1"]),
        );
        assert_eq!((ran.code(), ran.text().as_str()), (7, "hi from server1\n"), "{ran:?}");
    };
    run(&mut durable.world.env.command("/usr/bin/python3"));
    let (server, path) = socket(&durable);
    run(durable.world.env.command("/usr/bin/python3").env("GETO_SOCKET", path));
    assert_eq!(server.end(Some(Signal::TERM)).0, Some(143));
}
