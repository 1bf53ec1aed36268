//! geto against real shells and real SSH servers.

#![expect(clippy::unwrap_used, reason = "a test ends there")]
#![expect(clippy::print_stderr, reason = "a test that fails names the shell it was at")]

mod attach;
mod beside;
mod by_hand;
mod cache;
mod clean;
mod closed;
mod corpus;
mod cost;
mod each;
mod ending;
mod faults;
mod fetch;
mod full;
mod hostile;
mod hosts;
mod keeping;
mod kills;
mod late;
mod ledger;
mod link;
mod login;
mod map;
mod reconnect;
mod scopes;
mod shells;
mod slots;
mod ssh;
mod start_up;
mod support;
mod swept;
mod world;
