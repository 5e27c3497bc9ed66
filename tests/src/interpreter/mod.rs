//! What a packet costs, counted: the programs gone through instruction by instruction, over the maps that they were loaded with.
//!
//! Times differ from machine to machine and from run to run; the instructions and look-ups on the way of a packet do not, nor does the kernel
//! have a say in them. Nothing is written to the kernel's maps: a value is copied when it is first looked up, and the run has its copy.

mod alu;
mod code;
mod memory;

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use serde::{Deserialize, Serialize};

use code::{Code, Instruction, MapOf};
use memory::Memory;

/// What a packet took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Instructions, as they are in the object.
    pub instructions: u32,
    /// Look-ups in arrays, which the kernel does in line.
    pub arrays: u32,
    /// Look-ups in hash tables.
    pub hashes: u32,
    /// Calls of functions of ours.
    pub calls: u32,
    /// Other calls of helpers that the kernel does not do in line.
    pub helpers: u32,
}

/// How a packet ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The program's return value.
    pub returned: u32,
    /// What it took.
    pub cost: Cost,
}

/// Where a map's address would be: above every piece of memory.
const MAPS: u64 = 1 << 62;
/// Where the context would be.
const CONTEXT: u64 = 1 << 61;
/// Octets of a stack frame.
const STACK: usize = 512;
/// More than any packet takes; a run that takes more does not end.
const MOST: u32 = 1_000_000;
/// The interface that packets come by.
const INTERFACE: u64 = 1;

/// Helpers of the kernel (include/uapi/linux/bpf.h).
mod helper {
    pub(super) const MAP_LOOKUP_ELEM: i32 = 1;
    pub(super) const MAP_UPDATE_ELEM: i32 = 2;
    pub(super) const MAP_DELETE_ELEM: i32 = 3;
    pub(super) const TAIL_CALL: i32 = 12;
    pub(super) const GET_SOCKET_UID: i32 = 47;
    pub(super) const SKB_GET_XFRM_STATE: i32 = 66;
    pub(super) const SKB_CGROUP_ID: i32 = 80;
    pub(super) const JIFFIES64: i32 = 118;
    pub(super) const RINGBUF_RESERVE: i32 = 131;
    pub(super) const RINGBUF_SUBMIT: i32 = 132;
    pub(super) const XDP_GET_BUFF_LEN: i32 = 188;
}

/// Which context a program gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// `struct xdp_md`.
    Xdp,
    /// `struct __sk_buff`.
    Skb,
}

/// Programs ready to be gone through.
pub struct Interpreter {
    code: Code,
}

impl Interpreter {
    /// The programs of an object, over the maps that it was loaded with.
    ///
    /// # Errors
    /// Where the object can't be read, or was not what was loaded.
    pub fn new(object: &[u8], loaded: &Ebpf) -> Result<Self> {
        let code = Code::new(object, loaded)?;
        Ok(Self { code })
    }

    /// Goes through a program over a frame, at a moment in jiffies.
    ///
    /// # Errors
    /// Where the program does what nothing here knows, or reads what is not its own.
    pub fn run(
        &self,
        program: &str,
        context: Context,
        frame: &[u8],
        jiffies: u64,
    ) -> Result<Ended> {
        let mut memory = Memory::default();
        let packet = memory.add(frame.to_vec());
        let mut run = Run {
            code: &self.code,
            memory,
            context,
            packet,
            length: frame.len() as u64,
            jiffies,
            values: HashMap::new(),
            registers: [0; 11],
            callers: Vec::new(),
            program: self.code.program(program)?,
            at: 0,
            cost: Cost::default(),
        };
        run.begin();
        let returned = run
            .ended()
            .with_context(|| format!("{program}, instruction {}", run.at))?;
        Ok(Ended {
            returned: returned as u32,
            cost: run.cost,
        })
    }
}

/// A function that waits for another to return.
struct Caller {
    at: usize,
    saved: [u64; 5],
}

/// A program on its way.
struct Run<'a> {
    code: &'a Code,
    memory: Memory,
    context: Context,
    packet: u64,
    length: u64,
    jiffies: u64,
    /// Copies of map values, by map and key.
    values: HashMap<(i32, Vec<u8>), u64>,
    registers: [u64; 11],
    callers: Vec<Caller>,
    program: &'a [Instruction],
    at: usize,
    cost: Cost,
}

impl<'a> Run<'a> {
    fn begin(&mut self) {
        self.at = 0;
        self.callers.clear();
        self.registers[1] = CONTEXT;
        self.registers[10] = self.memory.add(vec![0; STACK]) + STACK as u64;
    }

    fn register(&mut self, number: usize) -> Result<&mut u64> {
        self.registers
            .get_mut(number)
            .with_context(|| format!("register {number}"))
    }

    fn ended(&mut self) -> Result<u64> {
        loop {
            let instruction = *self.program.get(self.at).context("beyond the program")?;
            self.cost.instructions += 1;
            ensure!(self.cost.instructions < MOST, "it does not end");
            self.at += 1;
            if let Some(returned) = self.step(instruction)? {
                return Ok(returned);
            }
        }
    }

    /// One instruction; the return value where it was the last.
    fn step(&mut self, it: Instruction) -> Result<Option<u64>> {
        let operation = it.code & 0xf0;
        let from = *self.register(it.from)?;
        let to = *self.register(it.to)?;
        let right = if it.code & 0x08 != 0 {
            from
        } else {
            i64::from(it.immediate) as u64
        };
        let width = match it.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        };
        match it.code & 7 {
            0 => self.load_wide(it)?,
            1 => {
                ensure!(it.code & 0xe0 == 0x60, "load {:#x}", it.code);
                let address = from.wrapping_add_signed(it.offset.into());
                let number = if from & CONTEXT != 0 {
                    self.field(address - CONTEXT, width)?
                } else {
                    self.memory.read(address, width)?
                };
                *self.register(it.to)? = number;
            }
            2 | 3 => {
                ensure!(it.code & 0xe0 == 0x60, "store {:#x}", it.code);
                let number = if it.code & 7 == 3 {
                    from
                } else {
                    i64::from(it.immediate) as u64
                };
                let address = to.wrapping_add_signed(it.offset.into());
                self.memory.write(address, width, number)?;
            }
            4 if operation == 0xd0 => {
                *self.register(it.to)? = alu::ordered(to, it.immediate, it.code & 0x08 != 0)?;
            }
            4 => *self.register(it.to)? = alu::calculate_narrow(operation, to, right)?,
            7 if operation == 0xd0 => {
                *self.register(it.to)? = alu::ordered(to, it.immediate, true)?
            }
            7 => *self.register(it.to)? = alu::calculate(operation, to, right)?,
            class => return self.jump(it, operation, (to, right), class == 6),
        }
        Ok(None)
    }

    /// The double instruction: a number, a map, or a place in a map's only value.
    fn load_wide(&mut self, it: Instruction) -> Result<()> {
        const MAP: usize = 1;
        const VALUE: usize = 2;
        ensure!(it.code == 0x18, "load {:#x}", it.code);
        let next = self.program.get(self.at).context("half an instruction")?;
        let upper = next.immediate;
        self.at += 1;
        let number = match it.from {
            0 => u64::from(it.immediate as u32) | u64::from(upper as u32) << 32,
            MAP => MAPS | u64::from(it.immediate as u32),
            VALUE => {
                let map = self.code.map(it.immediate)?.clone();
                let value = self.value(it.immediate, &map, vec![0; map.key])?;
                value.context("a map without a value")? + u64::from(upper as u32)
            }
            other => bail!("a wide load of kind {other}"),
        };
        *self.register(it.to)? = number;
        Ok(())
    }

    fn jump(
        &mut self,
        it: Instruction,
        operation: u8,
        (left, right): (u64, u64),
        narrow: bool,
    ) -> Result<Option<u64>> {
        const OURS: usize = 1;
        match operation {
            0x80 if it.from == OURS => {
                self.cost.calls += 1;
                let saved = [6, 7, 8, 9, 10].map(|register| self.registers[register]);
                self.callers.push(Caller { at: self.at, saved });
                self.registers[10] = self.memory.add(vec![0; STACK]) + STACK as u64;
                self.skip(it.immediate.into())?;
            }
            0x80 => self.help(it.immediate)?,
            0x90 => {
                let returned = self.registers[0];
                let Some(caller) = self.callers.pop() else {
                    return Ok(Some(returned));
                };
                self.at = caller.at;
                self.registers[6..=10].copy_from_slice(&caller.saved);
            }
            0x00 => self.skip(if narrow {
                it.immediate.into()
            } else {
                it.offset.into()
            })?,
            _ => {
                if alu::holds(operation, left, right, narrow)? {
                    self.skip(it.offset.into())?;
                }
            }
        }
        Ok(None)
    }

    fn skip(&mut self, instructions: i64) -> Result<()> {
        let at = (self.at as i64).checked_add(instructions);
        self.at = at
            .and_then(|at| usize::try_from(at).ok())
            .context("before the program")?;
        Ok(())
    }

    /// A field of the context (`struct xdp_md` and `struct __sk_buff` of include/uapi/linux/bpf.h).
    fn field(&self, offset: u64, width: usize) -> Result<u64> {
        ensure!(width == 4, "{width} octets of the context");
        let end = self.packet + self.length;
        Ok(match (self.context, offset) {
            (Context::Xdp, 0) | (Context::Skb, 76) => self.packet,
            (Context::Xdp, 4) | (Context::Skb, 80) => end,
            (Context::Xdp, 12) | (Context::Skb, 40) => INTERFACE,
            (Context::Skb, 0) => self.length,
            // packet type: to this host; VLAN tag: none
            (Context::Skb, 4 | 20) => 0,
            (context, offset) => bail!("octet {offset} of the context of {context:?}"),
        })
    }

    /// The copy of a map's value.
    fn value(&mut self, descriptor: i32, map: &MapOf, key: Vec<u8>) -> Result<Option<u64>> {
        if let Some(address) = self.values.get(&(descriptor, key.clone())) {
            return Ok(Some(*address));
        }
        let Some(octets) = self.code.value(map, &key)? else {
            return Ok(None);
        };
        let address = self.memory.add(octets);
        self.values.insert((descriptor, key), address);
        Ok(Some(address))
    }

    fn help(&mut self, number: i32) -> Result<()> {
        let [_, first, second, third, ..] = self.registers;
        let descriptor = (first & !MAPS) as i32;
        self.registers[0] = match number {
            helper::MAP_LOOKUP_ELEM => {
                let map = self.code.map(descriptor)?.clone();
                if map.is_hash() {
                    self.cost.hashes += 1;
                } else {
                    self.cost.arrays += 1;
                }
                let key = self.memory.octets(second, map.key)?.to_vec();
                self.value(descriptor, &map, key)?.unwrap_or(0)
            }
            helper::MAP_UPDATE_ELEM | helper::MAP_DELETE_ELEM => {
                self.cost.hashes += 1;
                0
            }
            // In line.
            helper::JIFFIES64 => self.jiffies,
            helper::TAIL_CALL => {
                self.cost.helpers += 1;
                let array = self.code.map((second & !MAPS) as i32)?;
                let next =
                    rare(&array.name, third).with_context(|| format!("{}[{third}]", array.name))?;
                self.program = self.code.program(next)?;
                self.begin();
                return Ok(());
            }
            helper::RINGBUF_RESERVE => {
                self.cost.helpers += 1;
                self.memory.add(vec![0; usize::try_from(second)?])
            }
            helper::RINGBUF_SUBMIT | helper::GET_SOCKET_UID | helper::SKB_CGROUP_ID => {
                self.cost.helpers += 1;
                0
            }
            // Nothing was decrypted.
            helper::SKB_GET_XFRM_STATE => {
                self.cost.helpers += 1;
                -i64::from(libc::ENOENT) as u64
            }
            helper::XDP_GET_BUFF_LEN => {
                self.cost.helpers += 1;
                self.length
            }
            other => bail!("helper {other} is not known here"),
        };
        Ok(())
    }
}

/// The program that the agent puts at this place of an array of programs.
fn rare(array: &str, index: u64) -> Option<&'static str> {
    Some(match (array, index) {
        ("RARE_XDP", 0) => "xdp_rare",
        ("RARE_XDP_FRAGS", 0) => "xdp_rare_frags",
        ("RARE_TC", 0) => "tc_ingress_rare",
        ("RARE_TC", 1) => "tc_egress_rare",
        _ => return None,
    })
}
