//! Proof at compile time that both sides see the same bytes, and that no padding can leak kernel memory or break a map key.

use core::mem::{align_of, offset_of, size_of};

use crate::budget::Bucket;
use crate::event::{DenyEvent, Summary};
use crate::flow::{FlowCounts, FlowEntry, FlowKey, FlowRecord};
use crate::fragment::FragmentEntry;
use crate::recent::RecentReply;
use crate::switch::Heads;
use crate::tables::{Balance, Budget, Head, RuleCounter, Timeouts};
use crate::trie::V6Node;

#[cfg(target_endian = "big")]
compile_error!(
    "portcullis lays its words out for little-endian machines; a big-endian one is not supported"
);

macro_rules! layout {
    ($type:ty, size $size:literal, align $align:literal, { $($field:ident: $offset:literal),* $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == $align);
            $(assert!(offset_of!($type, $field) == $offset);)*
        };
    };
}

layout!(FlowKey, size 40, align 8, { peer: 0, local: 16, peer_port: 32, local_port: 34, protocol: 36, reserved: 38 });
layout!(FlowEntry, size 16, align 4, { last: 0, generation: 4 });
layout!(FlowRecord, size 16, align 4, { last: 0, generation: 4, word: 8, reserved: 12 });
layout!(RecentReply, size 64, align 8, { key: 0, tick: 40, generation: 44, verdict: 48, reserved: 52 });
layout!(FragmentEntry, size 16, align 4, { tag: 0, stamp: 4, verdict: 8, reserved: 12 });
layout!(V6Node, size 48, align 8, { key: 0, mask: 16, half: 32, shift: 36, miss: 40, hit: 44 });
layout!(Timeouts, size 24, align 4, { tcp_new: 0, tcp_established: 4, tcp_closing: 8, udp: 12, echo: 16, asked: 20 });
layout!(Budget, size 8, align 4, { refill: 0, burst: 4 });
layout!(Bucket, size 8, align 4, { last: 0, tokens: 4 });
layout!(Head, size 128, align 4, {
    generation: 0, flags: 4, peer_classes: 8, any_from: 12, v6_root: 16, nodes: 20, v6_nodes: 24, cell_blocks: 28, rules: 32, no_rule: 36,
    timeouts: 40, facts_row: 64, budget_all: 68, budget_peer: 84, window: 100, fragments: 104, zero: 108, reserved: 112,
});
layout!(Heads, size 576, align 8, { switch: 0, reserved: 8, banks: 64 });
layout!(RuleCounter, size 32, align 8, { passed: 0, audited: 8, near: 16, last: 24 });
layout!(Balance, size 48, align 8, {
    reported: 0, suppressed: 8, lost: 16, audit_reported: 24, audit_suppressed: 32, audit_lost: 40,
});
layout!(FlowCounts, size 24, align 8, { made: 0, removed: 8, found_full: 16 });
layout!(Summary, size 48, align 8, {
    source: 0, destination: 16, source_port: 32, destination_port: 34, length: 36, ether_type: 40, protocol: 42, tcp_flags: 43,
    family: 44, through: 46,
});
layout!(DenyEvent, size 80, align 8, {
    packet: 0, verdict: 48, generation: 52, interface: 56, tick: 60, uid: 64, bank: 68, direction: 69, hook: 70, reserved: 71, cgroup: 72,
});

#[cfg(feature = "user")]
mod pod {
    use super::*;
    use crate::tables::Cell;

    macro_rules! pod {
        ($($type:ty),*) => { $(
            // SAFETY: repr(C) or repr(transparent) of integers and arrays of them; the assertions above leave no room for padding.
            unsafe impl aya::Pod for $type {}
        )* };
    }
    pod!(
        FlowKey,
        FlowRecord,
        V6Node,
        Head,
        Heads,
        RuleCounter,
        Balance,
        FlowCounts,
        DenyEvent,
        Cell
    );
}
