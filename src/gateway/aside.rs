//! Waiting for what is rare, outside the code of what every request runs through.
//!
//! The code of a task is one large function, which a processor fetches in lines: what most requests never come to would stand
//! between what they all run. Called wherever a request may have to wait for more than its usual two heads.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Waits for `future`, whose code stands in a function of its own.
pub(super) async fn aside<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| poll(future.as_mut(), cx)).await
}

#[cold]
#[inline(never)]
fn poll<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(cx)
}
