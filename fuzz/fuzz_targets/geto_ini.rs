#![no_main]

#[path = "../checks/geto_ini.rs"]
mod geto_ini;

libfuzzer_sys::fuzz_target!(|input: &[u8]| geto_ini::check(input));
