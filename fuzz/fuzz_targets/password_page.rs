#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::password_page::check(data));
