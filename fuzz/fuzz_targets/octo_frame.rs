#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::octo_frame::check(data));
