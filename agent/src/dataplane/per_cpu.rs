//! Many values of a per-CPU array by few system calls.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use aya::Pod;
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};

use super::error::Error;
use super::sys;

/// Octets of values that a call carries at most.
const CARRIED: usize = 1 << 20;

/// A per-CPU array, read and cleared by ranges.
///
/// Where the kernel takes no batches of per-CPU arrays (before Linux 5.13), value by value.
pub(super) struct PerCpuRange<V: Pod> {
    map: PerCpuArray<MapData, V>,
    name: &'static str,
    descriptor: OwnedFd,
    cpus: usize,
}

impl<V: Pod + Default> PerCpuRange<V> {
    /// The kernel rounds each CPU's value up to 8 octets (bpf_map_value_size in kernel/bpf/syscall.c).
    const EXACT: () = assert!(
        size_of::<V>().is_multiple_of(8),
        "values of the CPUs lie side by side without gaps"
    );

    /// Opens the map that is pinned there.
    pub(super) fn open(directory: &Path, name: &'static str) -> Result<Self, Error> {
        let () = Self::EXACT;
        let data = MapData::from_pin(directory.join(name)).map_err(Error::map(name))?;
        let descriptor = data.fd().as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(Error::system(format!("map {name}: duplicating")))?;
        let map = Map::from_map_data(data)
            .and_then(PerCpuArray::try_from)
            .map_err(Error::map(name))?;
        let cpus = aya::util::nr_cpus()
            .map_err(|(path, error)| Error::system(format!("{path}: reading"))(error))?;
        Ok(Self {
            map,
            name,
            descriptor,
            cpus,
        })
    }

    /// How many values there are, each once per CPU.
    pub(super) fn len(&self) -> u32 {
        self.map.len()
    }

    /// Calls `each` with the CPUs' values of every index of a range, in order.
    pub(super) fn read(
        &self,
        range: std::ops::Range<u32>,
        mut each: impl FnMut(&[V]),
    ) -> Result<(), Error> {
        let mut keys = vec![0; self.carried(&range)];
        let mut values = vec![V::default(); keys.len() * self.cpus];
        for from in range.clone().step_by(keys.len().max(1)) {
            let count = keys.len().min((range.end - from) as usize);
            let (keys, values) = (&mut keys[..count], &mut values[..count * self.cpus]);
            match sys::lookup_batch(self.descriptor.as_fd(), from.checked_sub(1), keys, values) {
                Ok(found) if found == count => values.chunks_exact(self.cpus).for_each(&mut each),
                // What else is wrong, the single call says.
                _ => (from..from + count as u32).try_for_each(|index| {
                    let values = self.map.get(&index, 0).map_err(Error::map(self.name))?;
                    each(&values);
                    Ok::<(), Error>(())
                })?,
            }
        }
        Ok(())
    }

    /// Sets all values of a range to their default.
    pub(super) fn clear(&mut self, range: std::ops::Range<u32>) -> Result<(), Error> {
        let zeros = vec![V::default(); self.carried(&range) * self.cpus];
        let keys: Vec<u32> = range.collect();
        for keys in keys.chunks((zeros.len() / self.cpus).max(1)) {
            let values = &zeros[..keys.len() * self.cpus];
            match sys::update_batch(self.descriptor.as_fd(), keys, values) {
                Ok(done) if done == keys.len() => {}
                _ => keys.iter().try_for_each(|&index| {
                    let zero = PerCpuValues::try_from(vec![V::default(); self.cpus])
                        .map_err(Error::system("counting CPUs"))?;
                    let set = self.map.set(index, zero, 0);
                    set.map_err(Error::map(self.name))
                })?,
            }
        }
        Ok(())
    }

    /// Indices of a call.
    fn carried(&self, range: &std::ops::Range<u32>) -> usize {
        let each = (size_of::<V>() * self.cpus).max(1);
        (CARRIED / each).max(1).min(range.len())
    }
}
