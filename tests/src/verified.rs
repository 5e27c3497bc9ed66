//! How many instructions the verifier walked, on kernels that do not say: they write it into the verifier's log.
//!
//! The library that loads programs asks for a log only of what was refused, so a program is given to the kernel once more, by hand.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use aya::maps::Map;
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};
use aya_obj::{Object, ProgramSection};

/// Asks for the verifier's figures and nothing else (`BPF_LOG_STATS` of linux/bpf_verifier.h).
const STATS: u32 = 4;

/// `BPF_F_XDP_HAS_FRAGS` of linux/bpf.h.
const HAS_FRAGS: u32 = 1 << 5;

/// An object ready to be loaded by hand.
pub struct Counter {
    object: Object,
    types: OwnedFd,
    /// The maps that the programs name by descriptor.
    _maps: Ebpf,
}

impl Counter {
    /// Makes the object's maps and type information.
    ///
    /// # Errors
    /// When it is no such object, or the kernel refuses either.
    pub fn new(octets: &[u8]) -> Result<Self> {
        let maps = EbpfLoader::new().load(octets).context("the maps")?;
        let mut object = Object::parse(octets).context("the object")?;
        let features = aya::features();
        let known = features.btf().context("a kernel without BTF")?;
        let types = object
            .fixup_and_sanitize_btf(known)?
            .context("an object without BTF")?
            .to_bytes();
        let types = load_types(&types).context("the type information")?;
        let functions: HashSet<usize> = object
            .functions
            .keys()
            .map(|(section, _)| *section)
            .collect();
        let declared = std::mem::take(&mut object.maps);
        let mut made = Vec::new();
        for (name, map) in maps.maps() {
            let map_of = declared.get(name).context("a map that nobody declared")?;
            made.push((
                name,
                descriptor(map).with_context(|| name.to_owned())?,
                map_of,
            ));
        }
        object.relocate_maps(made.into_iter(), &functions)?;
        object.relocate_calls(&functions)?;
        object.sanitize_functions(features);
        Ok(Self {
            object,
            types,
            _maps: maps,
        })
    }

    /// The instructions that the verifier walks through in this program.
    ///
    /// # Errors
    /// When there is no such program, or the kernel refuses it or writes no figure.
    pub fn instructions(&self, name: &str) -> Result<u64> {
        let program = self.object.programs.get(name).context("no such program")?;
        let function = self
            .object
            .functions
            .get(&program.function_key())
            .context("a program without code")?;
        let lines = function.line_info.line_info_bytes();
        let functions = function.func_info.func_info_bytes();
        let mut log = vec![0_u8; 1 << 16];
        // SAFETY: all zero octets are a valid value of the union, as the kernel defines it.
        let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the part of the union that BPF_PROG_LOAD reads; all of it was initialised above.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        load.prog_type = match program.section {
            ProgramSection::Xdp { frags, .. } => {
                if frags {
                    load.prog_flags = HAS_FRAGS;
                }
                load.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
                bpf_prog_type::BPF_PROG_TYPE_XDP as u32
            }
            ProgramSection::SchedClassifier => bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32,
            ref other => bail!("a program of another kind: {other:?}"),
        };
        load.insns = function.instructions.as_ptr() as u64;
        load.insn_cnt = u32::try_from(function.instructions.len())?;
        load.license = program.license.as_ptr() as u64;
        load.prog_btf_fd = u32::try_from(self.types.as_raw_fd())?;
        load.line_info = lines.as_ptr() as u64;
        load.line_info_cnt = u32::try_from(function.line_info.len())?;
        load.line_info_rec_size = u32::try_from(function.line_info_rec_size)?;
        load.func_info = functions.as_ptr() as u64;
        load.func_info_cnt = u32::try_from(function.func_info.len())?;
        load.func_info_rec_size = u32::try_from(function.func_info_rec_size)?;
        load.log_level = STATS;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = u32::try_from(log.len())?;
        // SAFETY: every pointer is to memory that outlives the call, with its length beside it.
        unsafe { call(bpf_cmd::BPF_PROG_LOAD, &mut attributes) }?;
        walked(&String::from_utf8_lossy(&log)).context("the verifier gave no figure")
    }
}

/// The number in the line `processed 7 insns (limit 1000000) …`.
fn walked(log: &str) -> Option<u64> {
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix("processed "))?;
    line.split(' ').next()?.parse().ok()
}

/// The descriptor of a map.
///
/// # Errors
/// Where it is of a kind that the programs don't have.
pub(crate) fn descriptor(map: &Map) -> Result<i32> {
    match map {
        Map::Array(map)
        | Map::PerCpuArray(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::PerfEventArray(map)
        | Map::ProgramArray(map)
        | Map::RingBuf(map)
        | Map::Unsupported(map) => Ok(map.fd().as_fd().as_raw_fd()),
        other => bail!("a map of another kind: {other:?}"),
    }
}

fn load_types(types: &[u8]) -> Result<OwnedFd> {
    // SAFETY: all zero octets are a valid value of the union, as the kernel defines it.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the part of the union that BPF_BTF_LOAD reads; all of it was initialised above.
    let load = unsafe { &mut attributes.__bindgen_anon_7 };
    load.btf = types.as_ptr() as u64;
    load.btf_size = u32::try_from(types.len())?;
    // SAFETY: the pointer is to memory that outlives the call, with its length beside it.
    Ok(unsafe { call(bpf_cmd::BPF_BTF_LOAD, &mut attributes) }?)
}

/// A call of bpf(2) that returns a descriptor.
///
/// # Safety
///
/// The attributes are what the command reads, and their pointers are valid.
unsafe fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the caller vouches for the attributes, which are as long as said.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size,
        )
    };
    match i32::try_from(descriptor) {
        // SAFETY: a new descriptor that nobody else owns.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_in_a_log() {
        let log =
            "verification time 7 usec\nstack depth 24\nprocessed 20 insns (limit 1000000)\n\0";
        assert_eq!(walked(log), Some(20));
        assert_eq!(walked("stack depth 24\n"), None);
    }
}
