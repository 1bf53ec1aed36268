//! Logging in, in OpenSSH's order.

use std::path::PathBuf;

use geto_core::Secret;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Reply, Prompt};
use russh::keys::{Algorithm, HashAlg};
use russh::{MethodKind, MethodSet};

use super::client::{Client, Report, describe};
use super::identities::Search;
use super::keys::{self, Identity, Source};
use super::signer::{Agent, KeySigner, SignError};
use crate::transport::prompt::{Answer, Asker};
use crate::transport::text::escaped;
use crate::transport::turns::Turns;

/// Who logs in, and by what.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: String,
    /// `user@host:port`, as prompts say it.
    pub(super) place: String,
    pub(super) password_topic: String,
    pub(super) password: Option<Secret>,
    /// The methods in the order in which they are tried.
    pub(super) methods: Vec<MethodKind>,
    /// How often a person is asked for a password.
    pub(super) tries: u32,
    pub(super) key_files: Vec<PathBuf>,
    /// Key files before all others, those of an agent included.
    pub(super) first_files: Vec<PathBuf>,
    pub(super) certificate_files: Vec<PathBuf>,
    pub(super) agent: Option<PathBuf>,
    pub(super) identities_only: bool,
}

/// Why nobody was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What was tried, and what could not be.
    pub(super) tried: Vec<String>,
    /// What the server would take.
    pub(super) accepted: Vec<String>,
    /// Why the connection ended in between.
    pub(super) ending: Option<String>,
    /// Keys that were offered.
    pub(super) keys: usize,
    /// Whether the password of geto.ini was tried in vain.
    pub(super) is_password_refused: bool,
}

struct Attempt<'a> {
    login: &'a Login,
    asker: &'a Asker,
    handle: &'a mut Handle<Client>,
    report: &'a Report,
    failure: Failure,
    identities: Option<Vec<Identity>>,
    agent: Option<Agent>,
    rsa_hash: Option<Option<HashAlg>>,
    /// The password of geto.ini, until it was used.
    password: Option<Secret>,
    password_rounds: u32,
    turns: Turns,
}

/// How one method, or one try of it, went.
enum Step {
    In,
    /// The server takes this and wants more.
    Partly(MethodSet),
    Refused(MethodSet),
    /// There was nothing to try with (any more).
    Spent,
    Broken,
}

/// Logs in.
pub(super) async fn log_in(
    login: &Login,
    asker: &Asker,
    handle: &mut Handle<Client>,
    report: &Report,
) -> Result<(), Failure> {
    let attempt = Attempt {
        login,
        asker,
        handle,
        report,
        failure: Failure {
            tried: Vec::new(),
            accepted: Vec::new(),
            ending: None,
            keys: 0,
            is_password_refused: false,
        },
        identities: None,
        agent: None,
        rsa_hash: None,
        password: login.password.clone(),
        password_rounds: 0,
        turns: Turns::default(),
    };
    attempt.run().await
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        let mut accepted = match self.first().await {
            Step::In => return Ok(()),
            Step::Partly(accepted) | Step::Refused(accepted) => accepted,
            Step::Spent | Step::Broken => return Err(self.fail()),
        };
        let mut spent: Vec<MethodKind> = Vec::new();
        loop {
            self.failure.accepted = accepted.iter().map(String::from).collect();
            let next = self
                .login
                .methods
                .iter()
                .copied()
                .find(|method| accepted.contains(method) && !spent.contains(method));
            let Some(method) = next else { return Err(self.fail()) };
            let step = match method {
                MethodKind::PublicKey => self.public_key().await,
                MethodKind::KeyboardInteractive => self.keyboard_interactive().await,
                MethodKind::Password => self.password().await,
                _ => Step::Spent,
            };
            match step {
                Step::In => return Ok(()),
                Step::Partly(more) => {
                    tracing::debug!(method = <&str>::from(&method), "accepted in part");
                    // It was none, or the right one.
                    self.failure.is_password_refused = false;
                    accepted = more;
                    spent.clear();
                }
                Step::Refused(still) => accepted = still,
                Step::Spent => spent.push(method),
                Step::Broken => return Err(self.fail()),
            }
        }
    }

    /// Learns what the server takes, from its answer to the first key where there is one: `ssh`
    /// asks with the method `none` first, which is one round trip more for almost everybody.
    async fn first(&mut self) -> Step {
        if self.login.methods.first() == Some(&MethodKind::PublicKey) {
            match self.public_key().await {
                // There is no key, or none that can be used without asking the server first.
                Step::Spent => {}
                Step::Refused(accepted) if accepted.is_empty() => {}
                step => return step,
            }
        }
        // It lets those in who need nothing.
        let result = self.handle.authenticate_none(&self.login.user).await;
        self.step(result)
    }

    fn fail(mut self) -> Failure {
        self.turns.give_up();
        if self.handle.is_closed() {
            let ending = self.report.ending();
            self.failure.ending = ending.or_else(|| Some("the connection was closed".to_owned()));
        }
        self.failure
    }

    fn step(&self, result: Result<AuthResult, russh::Error>) -> Step {
        match result {
            Ok(AuthResult::Success) => Step::In,
            // This is how the protocol crate says that the connection is gone.
            Ok(AuthResult::Failure { remaining_methods, .. })
                if remaining_methods.is_empty() && self.handle.is_closed() =>
            {
                Step::Broken
            }
            Ok(AuthResult::Failure { remaining_methods, partial_success: true }) => {
                Step::Partly(remaining_methods)
            }
            Ok(AuthResult::Failure { remaining_methods, .. }) => Step::Refused(remaining_methods),
            Err(error) => {
                tracing::debug!(error = describe(&error), "authentication broke off");
                Step::Broken
            }
        }
    }

    /// Offers the next key.
    async fn public_key(&mut self) -> Step {
        if self.identities.is_none() {
            let mut search = Search {
                login: self.login,
                binding: self.handle.agent_session_binding(),
                report: self.report,
                agent: None,
                unusable: Vec::new(),
            };
            let mut found = search.find().await;
            self.agent = search.agent;
            self.failure.tried.append(&mut search.unusable);
            found.reverse();
            self.identities = Some(found);
        }
        let Some(identity) = self.identities.as_mut().and_then(Vec::pop) else {
            return Step::Spent;
        };
        match self.offer(&identity).await {
            Ok(step) => step,
            Err(reason) => {
                self.failure.tried.push(reason);
                // Nothing was asked of the server, or it waits for the next request: go on.
                if self.handle.is_closed() { Step::Broken } else { self.unchanged() }
            }
        }
    }

    fn unchanged(&self) -> Step {
        let accepted = self.failure.accepted.iter().filter_map(|name| name.parse().ok());
        let mut methods = MethodSet::empty();
        for method in accepted {
            methods.push(method);
        }
        Step::Refused(methods)
    }

    async fn offer(&mut self, identity: &Identity) -> Result<Step, String> {
        let Some(public) = identity.public.clone() else {
            return self.offer_blind(identity).await;
        };
        let rsa = matches!(public.algorithm(), Algorithm::Rsa { .. });
        let hash = if rsa { Some(self.rsa_hash(identity).await?) } else { None };
        self.failure.keys += 1;
        let user = &self.login.user;
        let mut signer = match (&identity.source, &mut self.agent) {
            (Source::Agent, Some(agent)) => KeySigner::Agent { agent, report: self.report },
            (Source::File(path), _) => KeySigner::File {
                path: path.clone(),
                asker: self.asker,
                tries: self.login.tries,
                public: &public,
            },
            (Source::Agent, None) => return Err(format!("{}: no agent", identity.describe())),
        };
        let result = match &identity.certificate {
            Some(certificate) => {
                let certificate = certificate.as_ref().clone();
                self.handle
                    .authenticate_certificate_with(user, certificate, hash, &mut signer)
                    .await
            }
            None => {
                let public = public.clone();
                self.handle.authenticate_publickey_with(user, public, hash, &mut signer).await
            }
        };
        match result {
            Ok(result) => {
                self.failure.tried.push(format!("publickey {}", identity.describe()));
                Ok(self.step(Ok(result)))
            }
            Err(SignError::Gone(_)) => Ok(Step::Broken),
            Err(SignError::Unusable(why)) => Err(why.to_string()),
            Err(SignError::Other(why)) => Err(format!("{}: {why}", identity.describe())),
        }
    }

    /// A key whose public part nobody knows takes its passphrase first.
    async fn offer_blind(&mut self, identity: &Identity) -> Result<Step, String> {
        let Source::File(path) = &identity.source else { return Ok(self.unchanged()) };
        let loaded = keys::load(path, self.asker, self.login.tries).await;
        let key = loaded.map_err(|why| why.to_string())?;
        let known = Identity { public: Some(key.public_key().clone()), ..identity.clone() };
        Box::pin(self.offer(&known)).await
    }

    async fn rsa_hash(&mut self, identity: &Identity) -> Result<HashAlg, String> {
        if self.rsa_hash.is_none() {
            let best = self.handle.best_supported_rsa_hash().await;
            self.rsa_hash = Some(match best {
                Ok(Some(None)) => None,
                Ok(Some(Some(hash))) => Some(hash),
                // It does not say: what every server of the last ten years takes.
                Ok(None) | Err(_) => Some(HashAlg::Sha512),
            });
        }
        self.rsa_hash
            .flatten()
            .ok_or_else(|| format!("{}: the server takes RSA with SHA-1 only", identity.describe()))
    }

    async fn keyboard_interactive(&mut self) -> Step {
        if self.password_rounds >= self.login.tries.max(1)
            || (self.password.is_none() && !self.asker.has_person())
        {
            return Step::Spent;
        }
        self.password_rounds += 1;
        self.failure.tried.push("keyboard-interactive".to_owned());
        let user = self.login.user.clone();
        let mut reply = self.handle.authenticate_keyboard_interactive_start(user, None).await;
        let mut used = Vec::new();
        loop {
            match reply {
                Ok(Reply::InfoRequest { name, instructions, prompts }) => {
                    let answers = self.answers(&[name, instructions], &prompts, &mut used).await;
                    let given_up = answers.is_none();
                    if given_up {
                        self.password_rounds = u32::MAX;
                    }
                    // The protocol wants an answer, be it an empty one.
                    let answers = answers.unwrap_or_else(|| vec![String::new(); prompts.len()]);
                    reply = self.handle.authenticate_keyboard_interactive_respond(answers).await;
                }
                Ok(Reply::Success) => {
                    self.turns.prove();
                    return Step::In;
                }
                Ok(Reply::Failure { remaining_methods, partial_success }) => {
                    if partial_success {
                        self.turns.prove();
                        self.password_rounds = 0;
                        return Step::Partly(remaining_methods);
                    }
                    let topic = &self.login.password_topic;
                    used.iter().for_each(|wrong| self.asker.forget(topic, wrong));
                    return Step::Refused(remaining_methods);
                }
                Err(error) => {
                    tracing::debug!(error = describe(&error), "keyboard-interactive broke off");
                    return Step::Broken;
                }
            }
        }
    }

    /// Answers the server's questions; `None` when somebody gave up. What came out of memory or
    /// went into it is added to `used`.
    async fn answers(
        &mut self,
        heads: &[String],
        prompts: &[Prompt],
        used: &mut Vec<Secret>,
    ) -> Option<Vec<String>> {
        let mut answers = Vec::new();
        let heads: Vec<String> =
            heads.iter().map(|text| escaped(text)).filter(|text| !text.is_empty()).collect();
        for prompt in prompts {
            let secret = match (&prompt.echo, prompts.len(), self.password.take()) {
                (false, 1, Some(password)) => {
                    self.failure.is_password_refused = true;
                    password
                }
                (_, _, unused) => {
                    self.password = unused;
                    let text = escaped(&prompt.prompt);
                    let mut lines = heads.clone();
                    lines.push(format!("({}) {text} ", self.login.place));
                    let question = lines.join("\n");
                    if !prompt.echo && text.to_lowercase().contains("password") {
                        let topic = &self.login.password_topic;
                        let asking = self.asker.lasting(topic, &question, &mut self.turns);
                        let answer = asking.await?.secret().clone();
                        used.push(answer.clone());
                        answer
                    } else {
                        self.asker.passing(&question, prompt.echo).await?
                    }
                }
            };
            answers.push(String::from_utf8(secret.expose().to_vec()).ok()?);
        }
        Some(answers)
    }

    async fn password(&mut self) -> Step {
        if let Some(password) = self.password.take() {
            self.failure.tried.push("password of geto.ini".to_owned());
            self.failure.is_password_refused = true;
            return self.send_password(&password).await;
        }
        if self.password_rounds >= self.login.tries {
            return Step::Spent;
        }
        let topic = self.login.password_topic.clone();
        let prompt = format!("password of {}: ", self.login.place);
        let asker = self.asker.clone();
        let mut turns = std::mem::take(&mut self.turns);
        let answer = asker.lasting(&topic, &prompt, &mut turns).await;
        self.turns = turns;
        let Some(answer) = answer else { return Step::Spent };
        self.password_rounds += u32::from(matches!(answer, Answer::New(_)));
        self.failure.tried.push("password".to_owned());
        let step = self.send_password(answer.secret()).await;
        match step {
            Step::In | Step::Partly(_) => self.turns.prove(),
            Step::Refused(_) => self.asker.forget(&topic, answer.secret()),
            Step::Spent | Step::Broken => {}
        }
        step
    }

    async fn send_password(&mut self, password: &Secret) -> Step {
        let Ok(password) = String::from_utf8(password.expose().to_vec()) else {
            self.failure.tried.push("password: it is not UTF-8".to_owned());
            return self.unchanged();
        };
        let result = self.handle.authenticate_password(&self.login.user, password).await;
        self.step(result)
    }
}
