#![no_main]

#[path = "../checks/ssh_config.rs"]
mod ssh_config;

libfuzzer_sys::fuzz_target!(|input: &[u8]| ssh_config::check(input));
