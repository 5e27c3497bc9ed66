//! The data plane: what is loaded into the kernel.

pub mod object;
