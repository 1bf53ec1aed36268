//! geto against real shells and real SSH servers.

mod cost;
mod shells;
mod ssh;
mod support;
