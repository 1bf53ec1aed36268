//! Which keys are offered, and in which order.

use russh::keys::agent::AgentSessionBinding;
use russh::keys::agent::client::AgentClient;

use super::auth::Login;
use super::client::Report;
use super::keys::{self, Identity, Source, Unusable};
use super::signer::Agent;

/// A look for all keys that there are.
pub(super) struct Search<'a> {
    pub(super) login: &'a Login,
    pub(super) binding: Option<&'a AgentSessionBinding>,
    pub(super) report: &'a Report,
    /// The agent, once it was found.
    pub(super) agent: Option<Agent>,
    /// What was found and is no use, and why.
    pub(super) unusable: Vec<String>,
}

impl Search<'_> {
    /// All keys, in OpenSSH's order: certificates that are named, keys of files that the agent
    /// holds, other keys of the agent, other files. A certificate beside a key comes after the key.
    pub(super) async fn find(&mut self) -> Vec<Identity> {
        let mut files: Vec<(bool, Identity)> = Vec::new();
        let mut certified: Vec<Identity> = Vec::new();
        let named = self.login.first_files.iter().map(|path| (true, path));
        for (first, path) in named.chain(self.login.key_files.iter().map(|path| (false, path))) {
            if files.iter().any(|(_, known)| known.source == Source::File(path.clone())) {
                continue;
            }
            match Identity::from_file(path) {
                Ok(identity) => {
                    let beside = keys::certificate(&keys::certificate_path(path));
                    files.push((first, identity.clone()));
                    match beside {
                        Some(Ok(certificate)) => {
                            files.push((first, identity.certified(certificate)));
                        }
                        Some(Err(why)) => self.unusable.push(why.to_string()),
                        None => {}
                    }
                }
                // Of the usual places only those count that are there.
                Err(Unusable::Missing(_)) if !first => {}
                Err(why) => self.unusable.push(why.to_string()),
            }
        }
        let agents = self.of_agent().await;
        for path in &self.login.certificate_files {
            match keys::certificate(path) {
                Some(Ok(certificate)) => {
                    let bare = files.iter().map(|(_, identity)| identity).chain(&agents);
                    let mut holders = bare.filter(|identity| {
                        identity.certificate.is_none()
                            && identity
                                .public
                                .as_ref()
                                .is_some_and(|key| key.key_data() == certificate.public_key())
                    });
                    if let Some(holder) = holders.next() {
                        certified.push(holder.certified(certificate.clone()));
                    }
                }
                Some(Err(why)) => self.unusable.push(why.to_string()),
                None => self.unusable.push(format!("`{}`: no such file", path.display())),
            }
        }
        in_order(&certified, &files, &agents, self.login.identities_only)
    }

    async fn of_agent(&mut self) -> Vec<Identity> {
        let Some(path) = &self.login.agent else { return Vec::new() };
        let listed = async {
            let _wait = self.report.wait_for_agent();
            let mut agent = AgentClient::connect_uds(path).await?.dynamic();
            if let Some(binding) = self.binding {
                // Only agents of OpenSSH know it, and only keys with constraints need it.
                if let Err(error) = agent.bind_session(binding, false).await {
                    tracing::debug!(%error, "the agent does not bind to the session");
                }
            }
            let identities = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, identities))
        };
        match listed.await {
            Ok((agent, identities)) => {
                self.agent = Some(agent);
                identities.into_iter().map(Identity::of_agent).collect()
            }
            Err(error) => {
                self.unusable.push(format!("agent `{}`: {error}", path.display()));
                Vec::new()
            }
        }
    }
}

fn in_order(
    certified: &[Identity],
    files: &[(bool, Identity)],
    agents: &[Identity],
    identities_only: bool,
) -> Vec<Identity> {
    let of_agent = |identity: &Identity| agents.iter().find(|agent| agent.is_same(identity));
    // An agent that has the key alone can sign with its certificate, too.
    let signed_by_agent = |identity: &Identity| {
        let bare = Identity { certificate: None, ..identity.clone() };
        match of_agent(&bare) {
            Some(agent) => {
                Identity { source: Source::Agent, ..identity.clone() }.labelled(&agent.label)
            }
            None => identity.clone(),
        }
    };
    let mut order: Vec<Identity> = certified.iter().map(signed_by_agent).collect();
    let unheld = |first: bool| {
        files
            .iter()
            .filter(move |(named, _)| *named == first)
            .map(|(_, identity)| identity)
            .filter(|identity| of_agent(identity).is_none())
            .map(signed_by_agent)
    };
    let held = |first: bool| {
        files
            .iter()
            .filter(move |(named, _)| *named == first)
            .filter_map(|(_, identity)| of_agent(identity))
    };
    order.extend(held(true).cloned());
    order.extend(unheld(true));
    order.extend(held(false).cloned());
    if !identities_only {
        order.extend(agents.iter().cloned());
    }
    order.extend(unheld(false));
    let mut unique: Vec<Identity> = Vec::new();
    for identity in order {
        let seen = unique.iter().any(|known| known.is_same(&identity));
        if !seen {
            unique.push(identity);
        }
    }
    unique
}
