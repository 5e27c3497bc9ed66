//! The ABI between the BPF programs and the agent, and the one packet decision that both run.
//!
//! No I/O, no allocation, and nothing of aya-ebpf: the same code runs in the kernel over maps and in user space over the compiled tables.
#![cfg_attr(not(test), no_std)]

pub mod budget;
mod conntrack;
pub mod decide;
pub mod event;
pub mod flow;
pub mod fragment;
pub mod frame;
mod group;
pub mod icmp;
pub mod judge;
mod layout;
pub mod lookup;
pub mod net;
pub mod packet;
pub mod parse;
pub mod recent;
pub mod switch;
pub mod tables;
pub mod trie;
pub mod verdict;
pub mod word;
