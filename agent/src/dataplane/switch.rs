//! The switch: which bank is in force, and when one that was left may be written again.

use agent_common::switch::Switch;
use agent_common::tables::{OPEN_BANK, POLICY_BANKS};

use super::error::Error;
use super::load::Dataplane;
use super::sys;

/// What a bank holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Bank {
    /// Rules of its policy; `None`: no checked policy.
    pub(super) rules: Option<usize>,
    /// Programs may have begun to read it before the switch left it, and not be done.
    pub(super) left: bool,
}

impl Dataplane {
    /// The switch word in force.
    ///
    /// # Errors
    /// Never with tables that were loaded by this version.
    pub fn switch(&self) -> Result<Switch, Error> {
        self.tables.switch()
    }

    /// Sets the switch word by one atomic store: from the next packet on, its bank decides.
    ///
    /// # Errors
    /// [`Error::BankEmpty`] where the active or the fallback bank holds no policy that was checked.
    pub fn switch_to(&mut self, word: Switch) -> Result<(), Error> {
        for bank in [word.active(), word.fallback()] {
            if bank != OPEN_BANK && self.bank(bank)?.rules.is_none() {
                return Err(Error::BankEmpty(bank));
            }
        }
        let before = self.tables.switch()?;
        self.tables.store(word)?;
        for bank in [before.active(), before.fallback()] {
            if let Some(held) = self.banks.get_mut(bank as usize) {
                held.left = true;
            }
        }
        Ok(())
    }

    /// A policy bank that is neither in force nor the fallback; the one that holds nothing, if there is one.
    ///
    /// # Errors
    /// Never with tables that were loaded by this version: of three banks a switch word names two at most.
    pub fn free_bank(&self) -> Result<u32, Error> {
        let word = self.tables.switch()?;
        let free = |bank: &u32| *bank != word.active() && *bank != word.fallback();
        (0..POLICY_BANKS)
            .filter(free)
            .min_by_key(|&bank| {
                self.banks
                    .get(bank as usize)
                    .is_some_and(|held| held.rules.is_some())
            })
            .ok_or(Error::BankInUse(word.active()))
    }

    fn bank(&self, bank: u32) -> Result<Bank, Error> {
        self.banks
            .get(bank as usize)
            .copied()
            .ok_or(Error::NoBank(bank))
    }

    /// A bank that may be written.
    pub(super) fn idle_bank(&self, bank: u32) -> Result<Bank, Error> {
        let held = self.bank(bank)?;
        let word = self.tables.switch()?;
        if word.active() == bank || word.fallback() == bank {
            return Err(Error::BankInUse(bank));
        }
        Ok(held)
    }

    /// Waits until no program can still be reading, or counting in, a bank that was left.
    ///
    /// # Errors
    /// [`Error::BankInUse`], or what the kernel says.
    pub(super) fn settle(&mut self, bank: u32) -> Result<Bank, Error> {
        let held = self.idle_bank(bank)?;
        let settled = Bank {
            left: false,
            ..held
        };
        if held.left {
            grace()?;
            self.set_bank(bank, settled);
        }
        Ok(settled)
    }

    pub(super) fn set_bank(&mut self, bank: u32, held: Bank) {
        if let Some(place) = self.banks.get_mut(bank as usize) {
            *place = held;
        }
    }
}

/// Waits until every program that was running when it was called has ended: what a bank that was left needs before it is written.
///
/// # Errors
/// What the kernel says where both ways fail.
pub fn grace() -> Result<(), Error> {
    match sys::membarrier() {
        Ok(()) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // a host with nohz_full CPUs, a kernel without CONFIG_MEMBARRIER, a system call filter
            Some(libc::EINVAL | libc::ENOSYS | libc::EPERM) => sys::wait_by_map_of_maps().map_err(
                Error::system("waiting for running programs by a map of maps"),
            ),
            _ => Err(Error::system("waiting for running programs by membarrier")(
                error,
            )),
        },
    }
}

/// The same without membarrier(2).
///
/// # Errors
/// What the kernel says of the maps.
pub fn grace_by_map_of_maps() -> Result<(), Error> {
    sys::wait_by_map_of_maps().map_err(Error::system(
        "waiting for running programs by a map of maps",
    ))
}
