//! A kernel that refuses programs, simulated by a system call filter.

/// From now on this process can't load a program, as on a kernel whose verifier refuses them: bpf(BPF_PROG_LOAD) is EACCES.
///
/// # Errors
/// As prctl(2) says.
pub fn refuse_programs() -> std::io::Result<()> {
    const BPF_PROG_LOAD: u32 = 5;
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
    // struct seccomp_data: the number at 0, the first argument's low half at 16
    let mut filter = [
        statement(load, 0),
        unless_equal(libc::SYS_bpf as u32, 3),
        statement(load, 16),
        unless_equal(BPF_PROG_LOAD, 1),
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
