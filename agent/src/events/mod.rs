//! Denied packets on their way out: ring buffer, decode, aggregate, explain, journal and JSON lines.
//!
//! Every packet that the kernel side counted as reported is accounted for: the counts of the entries that left, of what could not be
//! decoded, and of what a sink did not take add up to it.

pub mod aggregate;
pub mod decode;
pub mod explain;
pub mod fields;
pub mod journal;
pub mod json;
pub mod kinds;
mod message;
pub mod pcap;
pub mod report;
pub mod ring;
pub mod shown;
pub mod sink;
pub mod units;
pub mod watch;

pub use aggregate::{Aggregator, Merged, Output, Overflow};
pub use decode::{Asked, DecodeError, Denial, Transport, decode};
pub use explain::{Explanation, Knowledge, Question};
pub use fields::Entry;
pub use kinds::{Kind, Message};
pub use report::{ReportCounts, Reporter};
pub use ring::Ring;
pub use sink::{Sink, SinkCounts};
