//! Asking the processor for memory that is needed soon.

/// Starts to load the cache lines of this value, of 64 bytes each. Has no effect but on speed; none on other processors than
/// x86-64 and aarch64.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn prefetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<i8>();
    for line in 0..size_of::<T>().div_ceil(64) {
        let at = start.wrapping_add(64 * line);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch accesses no memory and cannot fail, whatever the address; and this one is within `value`. SSE is part
        // of x86-64.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at);
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above. The instruction changes no register and no flag.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = at;
    }
}
