//! Which connection takes the next channel, and when another one is due.

use std::sync::Arc;

use crate::Error;

/// What a connection is to the one who chooses.
pub(super) trait Connected {
    fn is_closed(&self) -> bool;
}

/// The connections to one host.
#[derive(Debug)]
pub(super) struct State<C> {
    members: Vec<Member<C>>,
    next: u64,
    /// Logins that are under way.
    pub(super) connecting: usize,
    /// Calls that wait for room.
    pub(super) waiting: usize,
    /// The most channels that were open on one connection at once.
    most: usize,
    /// Whether the server has refused a channel.
    limited: bool,
    failures: u64,
    failure: Option<Error>,
}

#[derive(Debug)]
struct Member<C> {
    id: u64,
    connection: Arc<C>,
    /// Channels that are open or asked for.
    used: usize,
    /// Those of them that are asked for.
    pending: usize,
    /// How many it had when it refused one more. The server may still count channels that ended
    /// for us; another end is another chance.
    full_at: Option<usize>,
    has_opened: bool,
}

/// What a call that wants a channel has to do.
#[derive(Debug)]
pub(super) enum Turn<C> {
    /// Open it here.
    Open { id: u64, connection: Arc<C> },
    /// Log in once more.
    Connect,
    /// Wait for a change.
    Wait,
    /// Give up: somebody else's login failed meanwhile.
    Failed(Error),
}

impl<C> Default for State<C> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            next: 0,
            connecting: 0,
            waiting: 0,
            most: 0,
            limited: false,
            failures: 0,
            failure: None,
        }
    }
}

impl<C: Connected> State<C> {
    /// How many logins have failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Channels on one connection, as far as refusals have shown.
    pub(super) fn max_sessions(&self) -> Option<usize> {
        (self.limited && self.most > 0).then_some(self.most)
    }

    /// The living connections.
    pub(super) fn living(&self) -> impl Iterator<Item = (&Arc<C>, usize)> {
        let living = self.members.iter().filter(|member| !member.connection.is_closed());
        living.map(|member| (&member.connection, member.used))
    }

    /// Says what to do next for a call that has waited since there were `seen` failures.
    pub(super) fn turn(&mut self, seen: u64) -> Turn<C> {
        self.members.retain(|member| !member.connection.is_closed());
        let most = self.max_sessions().unwrap_or(usize::MAX);
        let room =
            |member: &&mut Member<C>| member.used < most.min(member.full_at.unwrap_or(usize::MAX));
        if let Some(member) = self.members.iter_mut().filter(room).min_by_key(|member| member.used)
        {
            member.used += 1;
            member.pending += 1;
            return Turn::Open { id: member.id, connection: Arc::clone(&member.connection) };
        }
        if self.failures > seen {
            return self.after_failure();
        }
        if self.limited && self.members.iter().any(|member| member.pending > 0) {
            // How many it takes is known only when all are answered.
            return Turn::Wait;
        }
        match self.connecting.saturating_mul(most) < self.waiting.max(1) {
            true => Turn::Connect,
            false => Turn::Wait,
        }
    }

    /// What there is to do while no login succeeds: wait for the end of a channel, if there is
    /// one that can end.
    fn after_failure(&self) -> Turn<C> {
        let busy = self.living().any(|(_, used)| used > 0) || self.connecting > 0;
        match &self.failure {
            Some(error) if !busy => Turn::Failed(error.repeat()),
            _ => Turn::Wait,
        }
    }

    /// Takes in a connection.
    pub(super) fn add(&mut self, connection: Arc<C>) {
        let id = self.next;
        self.next += 1;
        let member =
            Member { id, connection, used: 0, pending: 0, full_at: None, has_opened: false };
        self.members.push(member);
    }

    /// A login failed, or led nowhere.
    pub(super) fn fail(&mut self, error: &Error) {
        self.failures += 1;
        self.failure = Some(error.repeat());
    }

    /// A channel is open.
    pub(super) fn opened(&mut self, id: u64) {
        let Some(member) = self.members.iter_mut().find(|member| member.id == id) else { return };
        member.pending -= 1;
        member.has_opened = true;
        let open = member.used.saturating_sub(member.pending);
        self.most = self.most.max(open);
        member.full_at = member.full_at.map(|full| full.max(open));
    }

    /// A channel was not opened, for whatever reason.
    pub(super) fn not_opened(&mut self, id: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            member.pending -= 1;
        }
    }

    /// The server refused a channel. True when it can't be for the number of them: there is no
    /// other on the connection, and has never been.
    pub(super) fn refused(&mut self, id: u64) -> bool {
        let Some(at) = self.members.iter().position(|member| member.id == id) else { return false };
        let Some(member) = self.members.get_mut(at) else { return false };
        self.limited = true;
        if member.used == 0 {
            // No end of a channel will make room here.
            return !self.members.remove(at).has_opened;
        }
        let open = member.used.saturating_sub(member.pending);
        self.most = self.most.max(open);
        member.full_at = Some(open);
        false
    }

    /// A channel has ended, or was not opened.
    pub(super) fn ended(&mut self, id: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            member.used -= 1;
            member.full_at = None;
        }
    }

    /// Gives up connections without channels beyond the first `keep`.
    pub(super) fn trim(&mut self, keep: usize) -> Vec<Arc<C>> {
        let mut kept = 0;
        let (left, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.members).into_iter().partition(|member| {
                kept += 1;
                member.used > 0 || kept <= keep
            });
        self.members = left;
        gone.into_iter().map(|member| member.connection).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[derive(Debug)]
    struct Always;

    impl Connected for Always {
        fn is_closed(&self) -> bool {
            false
        }
    }

    fn error() -> Error {
        Error::new(ErrorKind::Unreachable, "no")
    }

    fn open(state: &mut State<Always>) -> u64 {
        match state.turn(0) {
            Turn::Open { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn refuse(state: &mut State<Always>, id: u64) -> bool {
        state.ended(id);
        state.not_opened(id);
        state.refused(id)
    }

    #[test]
    fn refusals_show_how_many_channels_there_are_once_all_are_answered() {
        let mut state = State::default();
        state.add(Arc::new(Always));
        let asked: Vec<u64> = (0..5).map(|_| open(&mut state)).collect();
        state.waiting = 1;
        assert!(!refuse(&mut state, asked[4]));
        assert!(matches!(state.turn(0), Turn::Wait));
        asked[..3].iter().for_each(|id| state.opened(*id));
        assert!(!refuse(&mut state, asked[3]));
        assert_eq!(state.max_sessions(), Some(3));
        state.waiting = 2;
        assert!(matches!(state.turn(0), Turn::Connect));
        state.connecting = 1;
        assert!(matches!(state.turn(0), Turn::Wait), "one connection takes three");
        state.waiting = 4;
        assert!(matches!(state.turn(0), Turn::Connect));
        state.ended(asked[0]);
        assert_eq!(open(&mut state), asked[0], "the end of a channel makes room");
    }

    #[test]
    fn a_server_that_counts_channels_that_ended_gets_another_connection() {
        let mut state = State::default();
        state.add(Arc::new(Always));
        let first = open(&mut state);
        state.opened(first);
        state.ended(first);
        let again = open(&mut state);
        assert!(!refuse(&mut state, again), "it has had channels");
        assert!(matches!(state.turn(0), Turn::Connect));
        state.add(Arc::new(Always));
        let never = open(&mut state);
        assert!(refuse(&mut state, never), "a new connection that takes nothing is of no use");
    }

    #[test]
    fn a_failed_login_is_no_failure_while_a_channel_can_end() {
        let mut state = State::default();
        state.add(Arc::new(Always));
        let (first, second) = (open(&mut state), open(&mut state));
        state.opened(first);
        refuse(&mut state, second);
        state.fail(&error());
        assert!(matches!(state.turn(0), Turn::Wait));
        assert!(matches!(state.turn(1), Turn::Connect), "who comes later tries again");
        assert_eq!(state.trim(0).len(), 0);
        state.ended(first);
        assert_eq!(state.trim(0).len(), 1);
        assert!(matches!(state.turn(0), Turn::Failed(_)));
    }
}
