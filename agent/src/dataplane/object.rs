//! The BPF object, embedded: the one binary is all that a server needs.

/// The object as `cargo xtask build` made it, aligned for the ELF reader, with BTF, without DWARF.
pub static BPF_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/portcullis.bpf.o"));
