#![no_main]

#[path = "../checks/env_file.rs"]
mod env_file;

libfuzzer_sys::fuzz_target!(|input: &[u8]| env_file::check(input));
