//! Everything that needs `unsafe`: words in mapped files, fork, and exit without clean-up.

#![allow(unsafe_code)]

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// A file of 64-bit words, mapped by several processes.
pub struct MappedWords {
    map: MmapRaw,
    len: usize,
}

impl MappedWords {
    /// Maps `len` words, zero where they were never written. A page exists only once it is touched.
    pub fn map(path: &Path, len: usize) -> io::Result<MappedWords> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < 8 * len as u64 {
            file.set_len(8 * len as u64)?;
        }
        Ok(MappedWords { map: MmapOptions::new().len(8 * len).map_raw(&file)?, len })
    }

    /// Maps the whole file.
    pub fn map_all(path: &Path) -> io::Result<MappedWords> {
        let len = std::fs::metadata(path)?.len() as usize / 8;
        MappedWords::map(path, len)
    }

    /// All words.
    pub fn all(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `8 * len` bytes long and lives as long as `self`; any bytes are valid
        // atomics, and no process shortens the file.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.len) }
    }
}

/// Forks; `None` in the child.
///
/// Callers with other threads must do in the child only what the limiter promises to do there.
pub fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the child of a single-threaded worker may do anything. Children of workers with threads only take from
    // a limiter, map and write words, and leave by `exit_now`; glibc keeps its allocator usable across fork.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Exits immediately: no destructors, no handlers, no flushing.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns, touches nothing.
    unsafe { libc::_exit(code) }
}

/// From now on a file that this process makes longer than this is the end of it (SIGXFSZ).
pub fn limit_file_size(bytes: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: a valid limit, which is only read.
    match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor from `first` on, as daemons and careful launchers do.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: they belong to a worker that was ordered to lose them and uses none afterwards.
    match unsafe { libc::close_range(first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// From now on the kernel refuses this process, and what it starts, a system call: with this error, and if `argument`
/// says so only where that argument has one of these values.
pub fn refuse(call: libc::c_long, argument: Option<(usize, &[u32])>, errno: i32) -> io::Result<()> {
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    let refuse = libc::SECCOMP_RET_ERRNO | errno as u32;
    let step = |code: u32, k: u32, jt: usize, jf: usize| libc::sock_filter {
        code: code as u16,
        k,
        jt: jt as u8,
        jf: jf as u8,
    };
    let load = |at: usize| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at as u32, 0, 0);
    let is = |value: u32, jt, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, jt, jf);
    let give = |answer: u32| step(libc::BPF_RET | libc::BPF_K, answer, 0, 0);
    let mut program =
        vec![load(std::mem::offset_of!(libc::seccomp_data, nr)), is(call as u32, 1, 0), give(ALLOW)];
    if let Some((index, values)) = argument {
        // The low half of the argument, on this byte order.
        let half = if cfg!(target_endian = "little") { 0 } else { 4 };
        program.push(load(std::mem::offset_of!(libc::seccomp_data, args) + 8 * index + half));
        for (i, &value) in values.iter().enumerate() {
            program.push(is(value, values.len() - i, 0));
        }
        program.push(give(ALLOW));
    }
    program.push(give(refuse));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a valid program, which the kernel copies.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A breakpoint for the process that traces this one, at the same address whenever it is called. The tracer finds what is
/// `said` in rax and rdx; what it puts into rax is returned. Untraced, it is the end.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
pub fn mark(said: [u64; 2]) -> u64 {
    let order;
    // SAFETY: traps into the tracer, which leaves memory and all other registers as they are.
    unsafe { std::arch::asm!("int3", inout("rax") said[0] => order, in("rdx") said[1], options(nostack)) };
    order
}

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on this signal interrupts system calls and sets the flag that is returned, and does nothing else.
pub fn stop_on(signal: Signal) -> io::Result<&'static AtomicBool> {
    let handler = SigAction::new(SigHandler::Handler(stop_here), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only stores to an atomic.
    unsafe { sigaction(signal, &handler) }?;
    Ok(&STOP)
}

extern "C" fn stop_here(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// How many forks by a signal handler lie between the first process and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// How many more forks there may be.
static FORKS: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// How much later a child returns from the handler.
static LATE_US: AtomicU64 = AtomicU64::new(0);
/// A process that is not through `fork` or its work after so many seconds hangs, and SIGALRM ends it.
const FORK_S: u32 = 5;
const CHILD_S: u32 = 10;

/// From now on this signal makes this process fork, wherever it is; parent and child both return from the handler into
/// what was interrupted, the child so many microseconds later. Each fork takes one of `forks`. The kernel reaps the children,
/// and they die with their parent.
pub fn fork_on(signal: Signal, late_us: u64, forks: &'static AtomicU64) -> io::Result<()> {
    LATE_US.store(late_us, Ordering::Relaxed);
    FORKS.store(std::ptr::from_ref(forks).cast_mut(), Ordering::Release);
    let handler = SigAction::new(SigHandler::Handler(fork_here), SaFlags::empty(), SigSet::empty());
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does only what it may do in a process with one thread, which these workers are.
    unsafe { sigaction(signal, &handler).and_then(|_| sigaction(Signal::SIGCHLD, &ignore)) }?;
    Ok(())
}

/// Sends this process the signal after this time, once. A forked child does not get it.
pub fn signal_after(time: Duration, signal: Signal) -> io::Result<()> {
    static TIMER: OnceLock<usize> = OnceLock::new();
    let timer = *TIMER.get_or_init(|| {
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: zeros are a valid event; both places live through the call.
        let created = unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = signal as i32;
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)
        };
        assert_eq!(created, 0, "no timer");
        timer.expose_provenance()
    });
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let when = libc::itimerspec {
        it_interval: never,
        it_value: libc::timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) },
    };
    // SAFETY: a timer of this process, and a valid time, which is only read.
    match unsafe {
        libc::timer_settime(
            std::ptr::with_exposed_provenance_mut(timer),
            0,
            &raw const when,
            std::ptr::null_mut(),
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many forks by a signal handler lie between the first process and this one: after it has grown, this is another
/// process than before.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

extern "C" fn fork_here(_: libc::c_int) {
    // SAFETY: `fork_on` has stored a reference that lives as long as the program.
    let forks = unsafe { &*FORKS.load(Ordering::Acquire) };
    let mut left = forks.load(Ordering::Relaxed);
    while let Some(fewer) = left.checked_sub(1) {
        match forks.compare_exchange(left, fewer, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => left = now,
        }
    }
    if left == 0 {
        return;
    }
    // SAFETY: system calls, and `fork` in a process with one thread, where the C library takes none of its own locks.
    // What was interrupted finds `errno` as it was, and the time that was left for it.
    unsafe {
        let errno = *libc::__errno_location();
        let had = libc::alarm(FORK_S);
        match libc::fork() {
            0 => {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::alarm(CHILD_S);
                GENERATION.fetch_add(1, Ordering::Relaxed);
                match LATE_US.load(Ordering::Relaxed) {
                    0 => {}
                    late => drop(libc::usleep(late as u32)),
                }
            }
            -1 => libc::_exit(9),
            _ => {
                libc::alarm(had);
            }
        }
        *libc::__errno_location() = errno;
    }
}
