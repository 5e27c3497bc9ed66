//! From compiled tables to programs in force: loads the BPF object, fills a bank, sets the switch, attaches, pins.
//!
//! There is one way to start, to upgrade and to outgrow: a fresh set of tables, sized to twice the need, is loaded beside what is in force,
//! filled and checked; then the programs behind the existing links are replaced, which keeps every packet guarded; then the old set goes.
//! What must survive that (flows, stamps, counters, events) is *state*: maps that are pinned and shared by all loads of one ABI.

mod adopt;
mod attach;
pub mod clock;
mod clsact;
mod counters;
mod detach;
mod drivers;
mod error;
pub mod inspect;
mod load;
mod mapping;
mod migrate;
mod netdev;
mod netlink;
pub mod object;
mod per_cpu;
mod pinned;
mod pins;
mod probe;
mod prove;
mod sizes;
mod switch;
mod sync;
mod sys;
pub mod testrun;

pub use attach::{Attached, Filter, Mechanism};
pub use counters::{Counters, FlowUse, Flows};
pub use detach::{Removed, detach_all};
pub use error::{Error, SlotHolder};
pub use load::{Dataplane, Options};
pub use netdev::XdpFeatures;
pub use pinned::{LinkView, Pinned, guarded_by_others};
pub use pins::{DEFAULT_ROOT, Hook};
pub use sizes::BankSizes;
pub use switch::{grace, grace_by_map_of_maps};
pub use sync::{Mismatch, Written};
