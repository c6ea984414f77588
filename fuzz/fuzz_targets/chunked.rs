//! The chunked coding: any stream gives the same data and end, however it is cut, and never a panic.
#![no_main]

use keygate::http1::{Chunked, Step};
use libfuzzer_sys::fuzz_target;

/// The data and the length of the stream up to its end; `None` if it is refused or unfinished.
fn decode(stream: &[u8], first: usize, most: usize) -> Option<(Vec<u8>, usize)> {
    let (mut decoder, mut data, mut used) = (Chunked::new(), Vec::new(), 0);
    for end in [first.min(stream.len()), stream.len()] {
        loop {
            match decoder.step(&stream[used..end.max(used)], most).ok()? {
                Step::Skip(count) => used += count,
                Step::Data(count) => {
                    data.extend_from_slice(&stream[used..used + count]);
                    used += count;
                }
                Step::End(count) => return Some((data, used + count)),
                Step::More => break,
            }
        }
    }
    None
}

fuzz_target!(|input: (u16, u8, Vec<u8>)| {
    let (first, most, stream) = input;
    let whole = decode(&stream, stream.len(), usize::MAX);
    assert_eq!(whole, decode(&stream, usize::from(first), usize::from(most).max(1)));
});
