//! The ABI between the BPF programs and the agent, and the one packet decision that both run.
#![cfg_attr(not(test), no_std)]
