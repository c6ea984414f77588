//! Giving back to the system what only the start needed: reading a million keys leaves a fifth of their memory free and unused.
//!
//! The allocator would return it bit by bit as the process goes on allocating, and a gateway that has started hardly does.
#![allow(unsafe_code, reason = "the allocator's call has no safe form; it has no conditions")]

/// Returns free memory to the system; takes some milliseconds.
pub(super) fn give_back() {
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
