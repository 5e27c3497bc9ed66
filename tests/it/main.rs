//! Tests that need root. Each makes throw-away hosts and leaves nothing behind.

#[cfg(test)]
mod dataplane;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod packets;
