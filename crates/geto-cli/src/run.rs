//! `geto run`.

use std::path::Path;

use geto::units::{human_bytes, human_duration};
use geto::{Error, ErrorKind, ExitCode, Fleet, Host, Pick, ScriptBody, Task, TransportKind};
use serde_json::json;

use crate::app::{block_on, fleet, unwritten};
use crate::args::{PickArg, RunArgs};
use crate::console::Console;
use crate::printer::{Form, Printer};
use crate::task::{patience, task};

/// Runs one task on one host.
pub(crate) fn run(args: &RunArgs, printer: Printer) -> Result<ExitCode, Error> {
    let task = task(&args.what, &args.task, &args.home, Some(&args.slot))?;
    let fleet = fleet(&args.connect)?;
    block_on(async {
        let hosts = candidates(args, &fleet, printer).await?;
        match args.dry_run {
            true => dry_run(args, &fleet, &task, &hosts, printer).await,
            false => execute(args, &fleet, &task, hosts, printer).await,
        }
    })
}

/// The hosts that come into question.
async fn candidates(args: &RunArgs, fleet: &Fleet, printer: Printer) -> Result<Vec<Host>, Error> {
    let hosts = fleet.select(&args.hosts.hosts, &args.hosts.exclude_host).await?;
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    let hosts = fleet.select(&["local".to_owned()], &args.hosts.exclude_host).await?;
    printer.note("no host is named and there is no geto.ini: running on `local`");
    let slip = args.what.words.iter().skip(1).find(|word| *word == "-H" || *word == "--host");
    if let (Some(slip), false) = (slip, args.what.is_behind_dashes) {
        let slip = slip.display();
        printer.warning(&format!("`{slip}` behind the script is an argument of the script's own"));
    }
    Ok(hosts)
}

/// Refuses where files could never be put, before anything is run.
pub(crate) fn check_into(into: &Path) -> Result<(), Error> {
    let cause = match fs_err::metadata(into) {
        _ if into.as_os_str().is_empty() => "it has no name",
        Ok(metadata) if !metadata.is_dir() => "it is no directory",
        Ok(metadata) if metadata.permissions().readonly() => "it can't be written to",
        _ => return Ok(()),
    };
    let into = into.display();
    Err(Error::new(ErrorKind::Usage, format!("failed to put files into `{into}`")).caused_by(cause))
}

async fn execute(
    args: &RunArgs,
    fleet: &Fleet,
    task: &Task,
    hosts: Vec<Host>,
    printer: Printer,
) -> Result<ExitCode, Error> {
    let name = match &hosts[..] {
        [host] => host.name.clone(),
        hosts => format!("one of {} hosts", hosts.len()),
    };
    let run = fleet.run_among(task, hosts, pick(args)).patience(patience(&args.slot));
    let mut run = run.keep(args.home.keep).overwrite(args.home.overwrite);
    if let Some(time) = args.link.reconnect {
        run = run.reconnect(time);
    }
    if let Some(into) = &args.home.into {
        check_into(into)?;
        run = run.into_dir(into);
    }
    let canceller = run.canceller();
    let (mut console, mut follower) =
        Console::start(run.id(), &name, task.script.name(), canceller, printer)?;
    let running = run.follow(move |event| follower.take(event));
    if args.detach {
        let detached = match console.wait_for(running.detach()).await {
            Ok(detached) => detached?,
            Err(code) => return Ok(code),
        };
        return console.print_left(&detached);
    }
    match console.wait_for(async { running.await }).await {
        Ok(ended) => console.conclude(ended, args.home.keep),
        Err(code) => Ok(code),
    }
}

fn pick(args: &RunArgs) -> Pick {
    match args.pick {
        None | Some(PickArg::Balanced) => Pick::Balanced,
        Some(PickArg::Random) => Pick::Random,
        Some(PickArg::First) => Pick::First,
    }
}

/// Says what would be done, and does nothing.
async fn dry_run(
    args: &RunArgs,
    fleet: &Fleet,
    task: &Task,
    hosts: &[Host],
    printer: Printer,
) -> Result<ExitCode, Error> {
    let plan = fleet.plan(task).await?;
    let transport = |host: &Host| match host.transport {
        TransportKind::Local => "local",
        TransportKind::Ssh => "ssh",
        _ => "native",
    };
    let on: Vec<_> = hosts
        .iter()
        .map(|host| json!({ "host": host.name, "transport": transport(host) }))
        .collect();
    let on_text: Vec<_> = hosts.iter().map(|host| format!("`{}`", host.name)).collect();
    let results = args.home.into.clone().unwrap_or_else(|| fleet.local_work_path().to_owned());
    let names: Vec<&str> = task.env.iter().map(|(name, _)| name.as_str()).collect();
    let size = match task.script.body() {
        ScriptBody::Text(text) => human_bytes(text.len() as u64),
        ScriptBody::File(path) => fs_err::metadata(path).map_or_else(
            |error| format!("it can't be read: {error}"),
            |metadata| human_bytes(metadata.len()),
        ),
        _ => "a command".to_owned(),
    };
    if printer.form() == Form::Json {
        let dependencies: Vec<_> = plan
            .dependencies
            .iter()
            .map(|dependency| {
                json!({
                    "name": dependency.name, "path": dependency.path,
                    "files": dependency.files, "bytes": dependency.bytes,
                })
            })
            .collect();
        let object = json!({
            "event": "plan", "hosts": on,
            "script": task.script.name(), "arguments": task.args.len(), "variables": names,
            "dependencies": dependencies, "results": results,
            "timeout": task.timeout.map(|timeout| timeout.as_secs()),
        });
        printer.object(&object).map_err(unwritten)?;
        return Ok(ExitCode::SUCCESS);
    }
    let on = on_text.join(" or ");
    printer.note(&format!("would run `{}` ({size}) on {on}", task.script.name()));
    for dependency in &plan.dependencies {
        printer.note(&format!(
            "would send `{}` as DEPS/{}: {} files, {}",
            dependency.path.display(),
            dependency.name,
            dependency.files,
            human_bytes(dependency.bytes),
        ));
    }
    if !names.is_empty() {
        printer.note(&format!("would set {}", names.join(", ")));
    }
    if let Some(timeout) = task.timeout {
        printer.note(&format!("would end it after {}", human_duration(timeout)));
    }
    printer.note(&format!("would put results into `{}`", results.display()));
    Ok(ExitCode::SUCCESS)
}
