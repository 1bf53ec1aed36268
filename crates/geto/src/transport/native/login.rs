//! Who logs in and by what, as ssh_config and geto.ini say.

use std::path::PathBuf;

use geto_core::Host;
use geto_core::ssh_config::Agent;
use russh::MethodKind;

use super::auth::Login;
use crate::transport::prompt::{Asker, password_topic};
use crate::transport::resolve::Resolved;

/// Puts together what can be tried at a host; `fleet_host` is its host of geto.ini, which hosts in
/// between don't have.
pub(super) fn of(
    resolved: &Resolved,
    fleet_host: Option<&Host>,
    asker: &Asker,
) -> Result<Login, String> {
    let ssh = &resolved.options;
    let password = fleet_host.and_then(|host| host.password.clone());
    let answerable = password.is_some() || asker.has_person();
    let mut methods = Vec::new();
    for name in &ssh.preferred_authentications {
        let method = match name.parse() {
            Ok(method @ MethodKind::PublicKey) if ssh.pubkey_authentication => method,
            Ok(method @ MethodKind::Password) if ssh.password_authentication && answerable => {
                method
            }
            Ok(method @ MethodKind::KeyboardInteractive)
                if ssh.keyboard_interactive_authentication && answerable =>
            {
                method
            }
            _ => continue,
        };
        methods.push(method);
    }
    Ok(Login {
        user: ssh.user.clone(),
        place: resolved.login_place(),
        password_topic: password_topic(resolved),
        password,
        methods,
        tries: ssh.number_of_password_prompts,
        key_files: resolved.paths(&ssh.identity_files)?,
        first_files: fleet_host.and_then(|host| host.privkey_path.clone()).into_iter().collect(),
        certificate_files: resolved.paths(&ssh.certificate_files)?,
        agent: agent(resolved)?,
        identities_only: ssh.identities_only,
    })
}

fn agent(resolved: &Resolved) -> Result<Option<PathBuf>, String> {
    let named = match &resolved.options.identity_agent {
        None => Agent::Environment,
        Some(value) => resolved
            .with_tokens(|tokens| tokens.expand_agent(value))
            .map_err(|error| format!("IdentityAgent `{value}`: {error}"))?,
    };
    Ok(match named {
        Agent::None => None,
        Agent::Environment => {
            std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from)
        }
        Agent::Socket(path) => Some(PathBuf::from(path)),
    })
}
