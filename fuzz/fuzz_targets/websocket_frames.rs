#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracles::websocket_frames::check(data));
