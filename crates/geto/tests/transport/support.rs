//! What the tests share.

use std::sync::{Arc, Mutex};

use geto::transport::{Channel, ChannelEvent, ConnectOptions, Prompter, Transport, connect};
use geto::{Error, Host, Secret, TransportKind};
use geto_testkit::Server;

/// Both of them.
pub(crate) const BOTH: [TransportKind; 2] = [TransportKind::Native, TransportKind::Ssh];

/// A host that is reached as the server's own client configuration says.
pub(crate) fn host(server: &Server, kind: TransportKind) -> Host {
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config());
    host.transport = kind;
    host
}

pub(crate) async fn connected(server: &Server, kind: TransportKind) -> Arc<dyn Transport> {
    let host = host(server, kind);
    connect(&host, &ConnectOptions::default())
        .await
        .unwrap_or_else(|error| panic!("{}", tell(&error)))
}

/// All that an error says.
pub(crate) fn tell(error: &Error) -> String {
    let mut text = format!("{:?}: {error}", error.kind());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str("\n  caused by: ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

/// What a command wrote, and its status if it had one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit: Option<u32>,
}

/// Reads a channel to its end.
pub(crate) async fn read(channel: &mut Channel) -> Output {
    let mut output = Output::default();
    while let Some(event) = channel.events.recv().await {
        match event {
            ChannelEvent::Stdout(bytes) => output.stdout.extend_from_slice(&bytes),
            ChannelEvent::Stderr(bytes) => output.stderr.extend_from_slice(&bytes),
            ChannelEvent::Exit(status) => {
                assert_eq!(output.exit, None, "an exit status twice");
                output.exit = Some(status);
            }
            other => panic!("unknown event {other:?}"),
        }
    }
    output
}

/// Runs a command without input.
pub(crate) async fn run(transport: &dyn Transport, command: &str) -> Output {
    let opened = transport.open(command).await;
    let mut channel = opened.unwrap_or_else(|error| panic!("{}", tell(&error)));
    read(&mut channel).await
}

/// Answers from a list, and keeps the questions.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) answers: Mutex<Vec<&'static str>>,
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) yes: bool,
}

impl Scripted {
    pub(crate) fn new(answers: &[&'static str]) -> Arc<Self> {
        let answers = answers.iter().rev().copied().collect();
        Arc::new(Self { answers: Mutex::new(answers), ..Self::default() })
    }

    pub(crate) fn yes() -> Arc<Self> {
        Arc::new(Self { yes: true, ..Self::default() })
    }

    pub(crate) fn questions(&self) -> Vec<String> {
        self.asked.lock().expect("a file of this test's own").clone()
    }
}

impl Prompter for Scripted {
    fn secret(&self, prompt: &str, _echo: bool) -> Option<Secret> {
        self.asked.lock().expect("a file of this test's own").push(prompt.to_owned());
        self.answers.lock().expect("a file of this test's own").pop().map(Secret::from)
    }

    fn confirm(&self, question: &str) -> bool {
        self.asked.lock().expect("a file of this test's own").push(question.to_owned());
        self.yes
    }
}

/// Options with somebody to ask.
pub(crate) fn asking(prompter: &Arc<Scripted>) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.prompter = Arc::clone(prompter) as _;
    options
}
