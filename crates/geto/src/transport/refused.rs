//! A server that has enough channels.

/// The server refused one more channel on a connection that is sound.
///
/// The source of an [`Error`](crate::Error) that [`Transport::open`](super::Transport::open)
/// returns: the same call can succeed once another command has ended, or on a connection of its
/// own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server refused one more channel: {reason}")]
pub struct ChannelRefused {
    reason: String,
}

impl ChannelRefused {
    pub(crate) fn new(reason: String) -> Self {
        Self { reason }
    }

    /// Whether it is what `error` is about.
    pub fn is_cause_of(error: &crate::Error) -> bool {
        std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Self>)
    }
}
