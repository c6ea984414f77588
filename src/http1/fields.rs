//! Fields: name and value as they stand in the buffer, lists of tokens in them, and trailer sections.

use std::mem::MaybeUninit;

/// One field line: its name as written, its value without the white space around it.
pub type Field<'b> = httparse::Header<'b>;

/// The most fields a head can have, whatever the configuration says.
pub const MAX_FIELDS: usize = 128;

/// Room for the fields of one head, on the stack and not initialised.
#[derive(Debug)]
pub struct FieldSlots<'b>(pub(super) [MaybeUninit<Field<'b>>; MAX_FIELDS]);

impl FieldSlots<'_> {
    /// Empty slots.
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_FIELDS])
    }
}

impl Default for FieldSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields of one section, in order.
pub type ParsedFields<'b, 's> = &'s [Field<'b>];

/// Whether two field names are the same, without case and with `_` the same as `-`.
///
/// Servers that turn names into CGI-like variables see both spellings as one field (RFC 3875 section 4.1.18).
pub fn eq_folded(a: &[u8], b: &[u8]) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| fold(*a) == fold(*b))
}

/// The members of a comma-separated list of tokens (RFC 9110 section 5.6.1), white space and empty members left out.
#[derive(Clone, Debug)]
pub struct Tokens<'b>(std::slice::Split<'b, u8, fn(&u8) -> bool>);

impl<'b> Tokens<'b> {
    /// The members of `value`.
    pub fn of(value: &'b [u8]) -> Self {
        Self(value.split(|byte| *byte == b','))
    }
}

impl<'b> Iterator for Tokens<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        self.0.by_ref().map(<[u8]>::trim_ascii).find(|member| !member.is_empty())
    }
}

/// Parses a trailer section that ends with its empty line; `None` if any line of it is not a field.
///
/// Bare line feeds and carriage returns have been refused by the chunked decoder before.
pub fn parse_trailers<'b, 's>(section: &'b [u8], slots: &'s mut [Field<'b>]) -> Option<ParsedFields<'b, 's>> {
    match httparse::parse_headers(section, slots) {
        Ok(httparse::Status::Complete((used, fields))) if used == section.len() => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_underscore_is_hyphen() {
        assert!(eq_folded(b"X_Keygate-KEY", b"x-keygate-key"));
        assert!(!eq_folded(b"X-Keygate-Key2", b"x-keygate-key"));
    }

    #[test]
    fn tokens_come_without_white_space_and_empty_members() {
        let tokens: Vec<_> = Tokens::of(b" close, ,\tX-One ,x-two,").collect();
        assert_eq!(tokens, [&b"close"[..], b"X-One", b"x-two"]);
    }

    #[test]
    fn trailers_are_fields_up_to_the_empty_line() {
        let mut slots = [httparse::EMPTY_HEADER; 4];
        let fields = parse_trailers(b"A: 1\r\nB:2\r\n\r\n", &mut slots).unwrap();
        assert_eq!(fields.len(), 2);
        let mut slots = [httparse::EMPTY_HEADER; 4];
        assert!(parse_trailers(b"no colon\r\n\r\n", &mut slots).is_none());
    }
}
