//! `geto trust`.

use geto::transport::Prompter as _;
use geto::trust::{ShownKeys, fetch};
use geto::{Error, ErrorKind, ExitCode, Host};

use crate::app::fleet;
use crate::args::TrustArgs;
use crate::exit;
use crate::printer::Printer;
use crate::prompt::Terminal;

/// Fetches host keys, shows their fingerprints, asks, and writes known_hosts.
pub(crate) async fn trust(args: &TrustArgs, printer: Printer) -> Result<ExitCode, Error> {
    let fleet = fleet(&args.connect)?;
    let hosts = fleet.select(&args.hosts, &[]).await?;
    let mut code = ExitCode::SUCCESS;
    // One after the other, since a person compares them.
    for host in &hosts {
        let accepted = match fetch(host, fleet.connect_options()).await {
            Ok(shown) => accept(host, shown, args.yes, printer).await,
            Err(error) => Err(error),
        };
        match accepted {
            Ok(true) => {}
            Ok(false) => code = exit::FAILURE,
            Err(error) => {
                printer.error(&error);
                code = exit::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Shows the keys of one host and asks about them; tells whether the host is trusted now.
async fn accept(host: &Host, shown: ShownKeys, yes: bool, printer: Printer) -> Result<bool, Error> {
    let unknown = shown.unknown().map_err(|error| error.on_host(&host.name))?;
    let file = shown.known_hosts_path().display().to_string();
    if unknown.is_empty() {
        printer.note(&format!("`{}`: all its keys are in `{file}` already", host.name));
        return Ok(true);
    }
    printer.note(&format!("`{}` (`{}` in known_hosts) shows:", host.name, shown.name()));
    for key in &unknown {
        printer.note(&format!("  {} {}", key.key_type(), key.fingerprint()));
    }
    // Nobody is asked for nothing.
    shown.check_file().map_err(|error| error.on_host(&host.name))?;
    if !yes {
        let question = format!("Are these the keys of `{}`?", host.name);
        let terminal = Terminal;
        if terminal.is_nobody() {
            return Err(Error::new(ErrorKind::HostKey, "failed to ask about the host keys")
                .on_host(&host.name)
                .caused_by("there is no terminal")
                .with_hint("compare the fingerprints, then pass `--yes`"));
        }
        let asked = tokio::task::spawn_blocking(move || terminal.confirm(&question)).await;
        if !asked.unwrap_or(false) {
            printer.note(&format!("`{}` is not trusted", host.name));
            return Ok(false);
        }
    }
    let added = shown.accept().map_err(|error| error.on_host(&host.name))?;
    let keys = if added == 1 { "key" } else { "keys" };
    printer.note(&format!("`{}`: {added} {keys} added to `{file}`", host.name));
    Ok(true)
}
