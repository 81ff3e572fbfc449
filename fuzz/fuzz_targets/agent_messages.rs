#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::agent_messages::check(data));
