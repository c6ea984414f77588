//! The process's memory once the start is over: what only the start needed goes back, and small pages from then on.
//!
//! Reading a million keys leaves a fifth of their memory free and unused. The allocator would return it bit by bit as the
//! process goes on allocating, and a gateway that has started hardly does.
//!
//! Keys that are read at the start lie in pages of 2 MiB, where the system has them: requests with keys in random order then
//! miss less. What comes later is mostly connections, and thousands of them would take whole such pages for a part of each.
#![allow(unsafe_code, reason = "the allocator's call has no safe form; it has no conditions")]

/// Returns free memory to the system, which takes some milliseconds, and has it given in small pages from now on.
pub(super) fn settle() {
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
    // A system without large pages has nothing to disable; memory is used as before then.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
