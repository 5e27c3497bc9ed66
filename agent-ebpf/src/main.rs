//! The BPF programs. Built for the BPF target by `cargo xtask build`.
#![no_std]
#![no_main]
