//! The programs as the kernel gets them, and the maps that they were loaded with.

use std::collections::{HashMap, HashSet};
use std::io;

use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use aya_obj::Object;
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_map_type};

use crate::verified::descriptor;

/// One instruction (RFC 9669 §3.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) to: usize,
    pub(super) from: usize,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// A map as the programs name it.
#[derive(Clone, Debug)]
pub(super) struct MapOf {
    pub(super) name: String,
    pub(super) kind: u32,
    pub(super) key: usize,
    pub(super) value: usize,
    descriptor: i32,
}

/// Code and maps.
pub(super) struct Code {
    programs: HashMap<String, Vec<Instruction>>,
    maps: HashMap<i32, MapOf>,
    processors: usize,
}

impl Code {
    /// The object's programs, with the maps of these loaded ones.
    pub(super) fn new(octets: &[u8], loaded: &Ebpf) -> Result<Self> {
        let mut object = Object::parse(octets).context("the object")?;
        let functions: HashSet<usize> = object.functions.keys().map(|(at, _)| *at).collect();
        let declared = std::mem::take(&mut object.maps);
        let mut made = Vec::new();
        let mut maps = HashMap::new();
        for (name, map) in loaded.maps() {
            let map_of = declared.get(name).context("a map that nobody declared")?;
            let descriptor = descriptor(map).with_context(|| name.to_owned())?;
            made.push((name, descriptor, map_of));
            let known = MapOf {
                name: name.to_owned(),
                kind: map_of.map_type(),
                key: map_of.key_size() as usize,
                value: map_of.value_size() as usize,
                descriptor,
            };
            maps.insert(descriptor, known);
        }
        object.relocate_maps(made.into_iter(), &functions)?;
        object.relocate_calls(&functions)?;
        let mut programs = HashMap::new();
        for (name, program) in &object.programs {
            let function = object.functions.get(&program.function_key());
            let function = function.context("a program without code")?;
            let instructions = function.instructions.iter().map(|it| Instruction {
                code: it.code,
                to: it.dst_reg().into(),
                from: it.src_reg().into(),
                offset: it.off,
                immediate: it.imm,
            });
            programs.insert(name.clone(), instructions.collect());
        }
        Ok(Self {
            programs,
            maps,
            processors: aya::util::nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?,
        })
    }

    /// The instructions of a program.
    pub(super) fn program(&self, name: &str) -> Result<&[Instruction]> {
        let program = self.programs.get(name);
        program
            .map(Vec::as_slice)
            .with_context(|| format!("no program {name}"))
    }

    /// The map with this descriptor.
    pub(super) fn map(&self, descriptor: i32) -> Result<&MapOf> {
        self.maps.get(&descriptor).context("no such map")
    }

    /// A value as it is in the kernel now, of the first processor where each has its own. `None` where there is none.
    pub(super) fn value(&self, map: &MapOf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let each = map.value.next_multiple_of(8);
        let mut room = vec![0_u8; each * self.processors.max(1)];
        // SAFETY: all zero octets are a valid value of the union, as the kernel defines it.
        let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the part of the union that BPF_MAP_LOOKUP_ELEM reads; all of it was initialised above.
        let element = unsafe { &mut attributes.__bindgen_anon_2 };
        element.map_fd = u32::try_from(map.descriptor)?;
        element.key = key.as_ptr() as u64;
        element.__bindgen_anon_1.value = room.as_mut_ptr() as u64;
        // SAFETY: the key is as long as the map's, the room long enough for a value of each processor, and both outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                bpf_cmd::BPF_MAP_LOOKUP_ELEM as libc::c_long,
                &raw mut attributes,
                size_of::<bpf_attr>(),
            )
        };
        if result == 0 {
            room.truncate(map.value);
            return Ok(Some(room));
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(None);
        }
        Err(error).with_context(|| format!("map {}", map.name))
    }
}

impl MapOf {
    /// Whether a look-up has to hash the key.
    pub(super) fn is_hash(&self) -> bool {
        [
            bpf_map_type::BPF_MAP_TYPE_HASH,
            bpf_map_type::BPF_MAP_TYPE_LRU_HASH,
        ]
        .iter()
        .any(|kind| *kind as u32 == self.kind)
    }
}
