//! geto against real shells and real SSH servers.

mod cost;
mod ending;
mod shells;
mod ssh;
mod support;
