//! The catalogue: vendors' port tables as data.
//!
//! One TOML file per product holds every printed line of the vendor's tables as a **row**, a
//! citation with an id that never changes. What a row means for a host is decided elsewhere;
//! here is what the document says, what the file's author made of it, and whether the file is
//! coherent.

pub mod catalogue;
mod check;
mod check_flows;
mod check_words;
pub mod generate;
pub mod kinds;
mod protocols;
pub mod schema;
pub mod select;
pub mod show;
pub mod values;

pub use catalogue::Catalogue;
pub use kinds::Kind;
pub use schema::{Flow, Policy, Row};
pub use select::{FlowPart, OptionValue, OptionValues, PortProblem, Truth};
pub use values::{Condition, PortDefault, PortRange, PortRef, RowRef, Transport, Version};
