//! Tests that need root. Each makes throw-away hosts and leaves nothing behind.

mod hosts;
