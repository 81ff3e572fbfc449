#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::response_head::check(data));
