//! Who signs for a key: an agent, or its file.

use std::path::PathBuf;

use russh::SendError;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{HashAlg, PublicKey};

use super::client::Report;
use super::keys::{self, Unusable};
use crate::transport::prompt::Asker;

/// A connection to an agent.
pub(super) type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// Signs by an agent, or by a file that is opened when the server wants its key.
pub(super) enum KeySigner<'a> {
    Agent { agent: &'a mut Agent, report: &'a Report },
    File { path: PathBuf, asker: &'a Asker, tries: u32, public: &'a PublicKey },
}

pub(super) enum SignError {
    Gone(SendError),
    Unusable(Unusable),
    Other(String),
}

impl From<SendError> for SignError {
    fn from(error: SendError) -> Self {
        Self::Gone(error)
    }
}

impl russh::Signer for KeySigner<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        key: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        match self {
            Self::Agent { agent, report } => {
                let _wait = report.wait_for_agent();
                // The agent knows the bare key, also where a certificate comes from a file.
                let held = match key {
                    AgentIdentity::Certificate { certificate, .. } => {
                        let bare = PublicKey::new(certificate.public_key().clone(), "");
                        AgentIdentity::from(bare)
                    }
                    bare => bare.clone(),
                };
                let signed = match agent.sign_request(&held, hash, data.clone()).await {
                    Err(_) if !matches!(key, AgentIdentity::PublicKey { .. }) => {
                        agent.sign_request(key, hash, data).await
                    }
                    signed => signed,
                };
                signed.map_err(|error| SignError::Other(format!("the agent did not sign: {error}")))
            }
            Self::File { path, asker, tries, public } => {
                let private = keys::load(path, asker, *tries).await.map_err(SignError::Unusable)?;
                if private.public_key().key_data() != public.key_data() {
                    let label = path.display().to_string();
                    return Err(SignError::Unusable(Unusable::Mismatch(label)));
                }
                keys::sign(&private, hash, data)
                    .map_err(|error| SignError::Other(error.to_string()))
            }
        }
    }
}
