//! Of the operating system, what the standard library does not offer.

use std::ffi::{CStr, c_void};

/// Nanoseconds on the system's monotonic clock: the same in all threads.
pub(crate) fn monotonic_nanos() -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is live. The clock exists on every Linux, so the call does not fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut at) };
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(at.tv_nsec).unwrap_or(0))
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the pointer and the length are those of a live array.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    (usize::try_from(got) == Ok(N)).then_some(bytes)
}

/// A function of the program, or of a library that it has loaded; none if there is none of this name.
pub(crate) fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with a zero byte, which `CStr` sees to.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
