//! [`portcullis_fuzz::policy`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| portcullis_fuzz::policy(octets));
