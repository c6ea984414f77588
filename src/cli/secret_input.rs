//! Secrets come in on standard input, never as arguments: those stand in the shell's history and in the list of processes.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::Failure;

/// Reads the secret, if the argument is the `-` that stands for standard input.
pub(super) fn read(argument: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if argument != "-" {
        // What it was is not repeated: it may be the secret.
        return Err(Failure::usage("the secret is read from standard input only: write `-` in its place").into());
    }
    // The whole capacity at once: growing would leave a copy behind that is not wiped.
    let mut input = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize));
    std::io::stdin().take(MAX_BYTES).read_to_end(&mut input).context("standard input")?;
    let secret = input.trim_ascii();
    if secret.is_empty() {
        bail!("standard input is empty");
    }
    Ok(Zeroizing::new(secret.to_vec()))
}

/// Reads the secret as a text.
pub(super) fn read_text(argument: &str) -> anyhow::Result<Zeroizing<String>> {
    let bytes = read(argument)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage("what stands on standard input is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// More than any key has.
const MAX_BYTES: u64 = 4096;
