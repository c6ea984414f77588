//! Trailer fields: forwarded if they are nobody's business but the two ends'.
//!
//! A field that frames, routes, authenticates or identifies has no effect in a trailer, and is not passed on in one.

use super::roles::{RequestRole, ResponseRole, Roles};
use crate::http1::{Buffer, FieldSlots, LAST_CHUNK, parse_trailers};

/// Which way a trailer section goes, and what each field would be there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter<'a> {
    /// To the upstream.
    Request(&'a Roles<RequestRole>),
    /// To the client.
    Response(&'a Roles<ResponseRole>),
}

/// A trailer section that is not made of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Filter<'_> {
    /// Appends the last chunk and what may pass of the trailer `section`, its empty line included.
    pub(super) fn write_end(self, section: &[u8], into: &mut Buffer) -> Result<(), Malformed> {
        if section.len() <= 2 {
            into.append(LAST_CHUNK);
            return Ok(());
        }
        let mut slots = FieldSlots::new();
        let fields = parse_trailers(section, &mut slots).ok_or(Malformed)?;
        into.append(b"0\r\n");
        for field in fields.iter().filter(|field| self.passes(field.name)) {
            let parts: [&[u8]; 4] = [field.name, b": ", field.value, b"\r\n"];
            parts.iter().for_each(|part| _ = into.append(part));
        }
        into.append(b"\r\n");
        Ok(())
    }

    fn passes(self, name: &[u8]) -> bool {
        match self {
            Self::Request(roles) => roles.of(name) == RequestRole::Plain && !name.eq_ignore_ascii_case(b"trailer"),
            Self::Response(roles) => roles.of(name) == ResponseRole::Plain && !name.eq_ignore_ascii_case(b"trailer"),
        }
    }
}
