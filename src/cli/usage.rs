//! Arguments that are refused, told without repeating what may be a secret: standard error ends up in logs of builds.
//!
//! An option's name and a mistyped word are repeated, any other value only if it can hardly be a secret.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::secret_input::{HIDDEN, is_harmless};

/// Tells what is wrong with the arguments, or what `--help` and `--version` have to say; the exit code is clap's.
pub(super) fn tell(error: clap::Error) -> ExitCode {
    let error = discreet(error);
    // Nobody is left to tell if neither stream can be written to.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// The error without the value that it refuses, and without advice that repeats it.
fn discreet(mut error: clap::Error) -> clap::Error {
    for kind in repeated(error.kind()) {
        let Some(ContextValue::String(value)) = error.get(*kind) else { continue };
        if !is_harmless(value) {
            error.insert(*kind, ContextValue::String(HIDDEN.to_owned()));
            error.remove(ContextKind::Suggested);
        }
    }
    error
}

/// Where an error of this kind repeats what was given.
fn repeated(kind: ErrorKind) -> &'static [ContextKind] {
    match kind {
        ErrorKind::UnknownArgument => &[ContextKind::InvalidArg],
        ErrorKind::InvalidSubcommand => &[ContextKind::InvalidSubcommand],
        _ => &[ContextKind::InvalidValue],
    }
}

const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    fn told(arguments: &[&str]) -> String {
        let arguments = [&["keygate"], arguments].concat();
        discreet(Arguments::command().try_get_matches_from(arguments).unwrap_err()).to_string()
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let secret = "acme_live_abcdefghijklmnopqrstuvwxyz0123453tqBbe";
        for arguments in [
            &["keys", "list", secret] as &[&str],
            &["keys", "show", "sk+live/secret"],
            &["keys", "show", "key_1", secret],
            &["keys", "revoke", &format!("{secret}/"), "--yes"],
            &["keys", "revoke", "key_1", &format!("--yes={secret}")],
            &["keys", "list", "--limit", secret],
            &["keys", "list", &format!("--state={secret}")],
            &["keys", "list", &format!("--{secret}")],
            &["explain", "-", secret, "--path", "/"],
            &["status", "--", secret],
            &["keys", secret],
            &[secret],
            &["tokens", "revoke", "7d793037a0764e3d9b2e1c6f"],
        ] {
            let told = told(arguments);
            assert!(told.contains(HIDDEN), "{told}");
            for part in ["live", "7d79", "0123"] {
                assert!(!told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn what_was_mistyped_is_repeated() {
        for (arguments, mistyped) in [
            (&["keyz"] as &[&str], "keyz"),
            (&["keys", "lst"], "lst"),
            (&["serve", "--no-such-option"], "--no-such-option"),
            (&["keys", "list", "--output", "yaml"], "yaml"),
            (&["keys", "list", "--limit", "-1x"], "-1"),
            (&["keys", "create", "--name", "x", "--expires", "90x"], "90x"),
        ] {
            let told = told(arguments);
            assert!(told.contains(&format!("'{mistyped}")), "{told}");
        }
    }
}
