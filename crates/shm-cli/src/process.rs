//! Another process, to be waited for although it is not a child of this one.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A process, by a descriptor: its PID may belong to another process later, the descriptor does not.
pub(crate) struct Process(OwnedFd);

impl Process {
    /// The process that has this PID now.
    pub(crate) fn of(pid: i32) -> io::Result<Process> {
        // SAFETY: pidfd_open takes two integers and has no memory preconditions.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel made this descriptor for this call, so nothing else owns it.
        Ok(Process(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }
}

/// Readable when the process has ended.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Closes all descriptors but the standard ones and these. Only before anything else in this process owns a descriptor.
pub(crate) fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let keep: Vec<i32> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && !keep.contains(fd)) {
        // SAFETY: the caller says that nothing in this process owns the descriptor: it came from the parent process. (That
        // of the directory itself is closed already, which is an error without an effect.)
        unsafe { libc::close(fd) };
    }
    Ok(())
}
