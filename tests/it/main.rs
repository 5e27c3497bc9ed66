//! Tests that need root. Each makes throw-away hosts and leaves nothing behind.
//!
//! Several run at a time, each in a process of its own. Those that measure time stand in modules called `alone`, and run one after the other
//! when the rest is done.

#[cfg(test)]
mod adopted;
#[cfg(test)]
mod asked;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod boot;
#[cfg(test)]
mod buffers;
#[cfg(test)]
mod control;
mod costs;
#[cfg(test)]
mod crowded;
#[cfg(test)]
mod dataplane;
#[cfg(test)]
mod denials;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod every_port;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod imposters;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod life;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod misfortune;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod parser;
#[cfg(test)]
mod path;
#[cfg(test)]
mod proved;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod report;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod site;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod suggest;
#[cfg(test)]
mod taken;
#[cfg(test)]
mod top;
#[cfg(test)]
mod totals;
#[cfg(test)]
mod transfer;
#[cfg(test)]
mod unit;
#[cfg(test)]
mod unread;
#[cfg(test)]
mod verified;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod vrrp;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod watch;
