//! What `ssh -G` prints: options or an error that can be shown.

use geto_core::ssh_config::{SshOptions, Tokens};

/// Reads the bytes up to a NUL as what it prints for a host, the rest as what it prints for all.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (printed, system) = match text.split_once('\0') {
        Some((printed, system)) => (printed, Some(system)),
        None => (&*text, None),
    };
    let options = match SshOptions::parse(printed, system) {
        Ok(options) => options,
        Err(error) => return show(&error.to_string()),
    };
    let tokens = Tokens {
        original: "n",
        hostname: &options.hostname,
        port: options.port,
        remote_user: &options.user,
        host_key_alias: options.host_key_alias.as_deref(),
        jump: "",
        local_user: "u",
        home: "/home/u",
        uid: 1000,
        local_host: "here.example",
        environment: &|name| (name == "HOME").then(|| "/home/u".to_owned()),
        home_of: &|user| (user == "root").then(|| "/root".to_owned()),
    };
    let paths = options.identity_files.iter().chain(&options.certificate_files);
    let paths = paths.map(|path| tokens.expand_path(path));
    let files = options.user_known_hosts_files.iter().map(|path| tokens.expand_tilde(path));
    let command = options.proxy_command.iter().map(|line| tokens.expand_proxy_command(line));
    for error in paths.chain(files).chain(command).filter_map(Result::err) {
        show(&error.to_string());
    }
    if let Some(agent) = &options.identity_agent
        && let Err(error) = tokens.expand_agent(agent)
    {
        show(&error.to_string());
    }
}

fn show(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
