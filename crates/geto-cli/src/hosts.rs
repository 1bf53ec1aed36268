//! `geto hosts`.

use std::sync::Arc;

use comfy_table::{Table, presets};
use geto::{Error, ErrorKind, ExitCode, Host, HostStatus, TransportKind};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::app::{fleet, unwritten};
use crate::args::HostsArgs;
use crate::exit;
use crate::printer::{Form, Printer, causes, kind_name};
use crate::streams::write_stdout;

/// How many hosts are asked at the same time: each is a login, and they may share a way in.
const AT_ONCE: usize = 32;

/// Shows each host, whether it can be reached and logged into, and why not.
pub(crate) async fn hosts(args: &HostsArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    match fleet.config_path() {
        Some(path) => printer.detail(&format!("hosts are those of `{}`", path.display())),
        None => printer.detail("there is no geto.ini"),
    }
    let hosts = fleet.select(&args.hosts, &[]).await?;
    if hosts.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "there are no hosts to show")
            .caused_by("no host is named and there is no geto.ini")
            .with_hint("name one with `-H HOST`, or list hosts in ~/.config/geto/geto.ini"));
    }
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut probes = JoinSet::new();
    for (index, host) in hosts.iter().cloned().enumerate() {
        let (fleet, room) = (fleet.clone(), Arc::clone(&room));
        probes.spawn(async move {
            let _turn = room.acquire_owned().await;
            (index, fleet.probe(&host).await)
        });
    }
    let mut answers: Vec<Option<Result<HostStatus, Error>>> = hosts.iter().map(|_| None).collect();
    while let Some(probe) = probes.join_next().await {
        let (index, answer) = probe.map_err(|panicked| {
            Error::new(ErrorKind::Local, "failed to ask a host").caused_by(panicked)
        })?;
        answers[index] = Some(answer);
    }
    let answers: Vec<_> = hosts.iter().zip(answers.into_iter().flatten()).collect();
    match printer.form() {
        Form::Json => {
            for (host, answer) in &answers {
                printer.object(&object(host, answer)).map_err(unwritten)?;
            }
        }
        Form::Text => show(&answers, printer)?,
    }
    Ok(match answers.iter().all(|(_, answer)| answer.is_ok()) {
        true => ExitCode::SUCCESS,
        false => exit::FAILURE,
    })
}

type Answer<'a> = (&'a Host, Result<HostStatus, Error>);

fn show(answers: &[Answer<'_>], printer: Printer) -> Result<(), Error> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["HOST", "ADDRESS", "STATE", "LOGIN", "CPUS", "SYSTEM", "SHELL"]);
    for (host, answer) in answers {
        let (name, address) = (host.name.clone(), address(host));
        table.add_row(match answer {
            Ok(status) => vec![
                name,
                address,
                "ready".to_owned(),
                format!("{} ms", status.login.as_millis()),
                status.processors.map_or_else(|| "?".to_owned(), |count| count.to_string()),
                status.system.clone(),
                status.shell.clone(),
            ],
            Err(error) => vec![name, address, kind_name(error.kind()).replace('-', " ")],
        });
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    write_stdout(text.as_bytes()).map_err(unwritten)?;
    for (host, answer) in answers {
        match answer {
            Ok(status) => tell(host, status, printer),
            Err(error) => printer.error_text(error),
        }
    }
    Ok(())
}

/// What a table has no room for.
fn tell(host: &Host, status: &HostStatus, printer: Printer) {
    let name = &host.name;
    printer.detail(&format!("`{name}` is logged into as `{}`", status.user));
    printer.detail(&format!("`{name}` is worked on in `{}`", status.work_path));
    if !status.missing.is_empty() {
        printer.detail(&format!("`{name}` lacks {}", status.missing.join(", ")));
    }
    if !status.noise.is_empty() {
        printer.detail(&format!("start-up files of `{name}` print `{}`", status.noise));
    }
}

fn object(host: &Host, answer: &Result<HostStatus, Error>) -> serde_json::Value {
    match answer {
        Ok(status) => json!({
            "host": host.name, "address": address(host), "state": "ready",
            "login": status.login.as_secs_f64(), "processors": status.processors,
            "system": status.system, "shell": status.shell, "user": status.user,
            "work_path": status.work_path, "missing": status.missing, "noise": status.noise,
        }),
        Err(error) => json!({
            "host": host.name, "address": address(host), "state": kind_name(error.kind()),
            "message": error.to_string(), "causes": causes(error), "hint": error.hint(),
        }),
    }
}

fn address(host: &Host) -> String {
    let user = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    match (host.transport, host.port) {
        (TransportKind::Local, _) => "this machine".to_owned(),
        (_, None) => format!("{user}{}", host.address),
        (_, Some(port)) if host.address.contains(':') => {
            format!("{user}[{}]:{port}", host.address)
        }
        (_, Some(port)) => format!("{user}{}:{port}", host.address),
    }
}
