//! [`portcullis_fuzz::frames`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| portcullis_fuzz::frames(octets));
