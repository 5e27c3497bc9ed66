//! A kernel that refuses some system calls, simulated by a filter of theirs.

/// From now on this process can't load a program, as on a kernel whose verifier refuses them: bpf(BPF_PROG_LOAD) is EACCES.
///
/// # Errors
/// As prctl(2) says.
pub fn refuse_programs() -> std::io::Result<()> {
    const BPF_PROG_LOAD: u32 = 5;
    refuse(libc::SYS_bpf, BPF_PROG_LOAD, None)
}

/// From now on this process can't run a program by the short attributes that the probe has: bpf(BPF_PROG_TEST_RUN) is EACCES. The clock
/// is measured by long ones.
///
/// # Errors
/// As prctl(2) says.
pub fn refuse_probes() -> std::io::Result<()> {
    const BPF_PROG_TEST_RUN: u32 = 10;
    const PROBE: u32 = 40;
    refuse(libc::SYS_bpf, BPF_PROG_TEST_RUN, Some(PROBE))
}

/// From now on this process can't ask for sockets by netlink: socket(AF_NETLINK, …, NETLINK_SOCK_DIAG) is EACCES.
///
/// # Errors
/// As prctl(2) says.
pub fn refuse_socket_lists() -> std::io::Result<()> {
    let family = libc::AF_NETLINK as u32;
    refuse(
        libc::SYS_socket,
        family,
        Some(libc::NETLINK_SOCK_DIAG as u32),
    )
}

/// Refuses a system call with this first argument, and with this third one or any.
fn refuse(call: libc::c_long, first: u32, third: Option<u32>) -> std::io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let unless_equal = |k: u32, skip: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skip,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    // struct seccomp_data: the number at 0, the low halves of the first argument at 16 and of the third at 32
    const FIRST: u32 = 16;
    const THIRD: u32 = 32;
    let mut filter = [
        statement(load, 0),
        unless_equal(call as u32, 5),
        statement(load, FIRST),
        unless_equal(first, 3),
        statement(load, if third.is_some() { THIRD } else { FIRST }),
        // Whatever the third: the first once more, which is equal.
        unless_equal(third.unwrap_or(first), 1),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | libc::EACCES as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program is whole and outlives the call, which copies it; the other arguments are numbers.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    };
    if set {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
