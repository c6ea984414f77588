//! Fields: name and value as they stand in the buffer, lists of tokens in them, and trailer sections.

use arrayvec::ArrayVec;

use super::grammar::{text_length, token_length};

/// One field line (RFC 9112 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'b> {
    /// The name as written, a token.
    pub name: &'b [u8],
    /// The value without the white space around it; no control character but tabs.
    pub value: &'b [u8],
}

/// The most fields a head can have, whatever the configuration says.
pub const MAX_FIELDS: usize = 128;

/// Room for the fields of one head, on the stack and not initialised.
#[derive(Debug, Default)]
pub struct FieldSlots<'b>(ArrayVec<Field<'b>, MAX_FIELDS>);

impl FieldSlots<'_> {
    /// Empty slots.
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }
}

/// The fields of one section, in order, and what stands behind its empty line.
pub(super) type Section<'b, 's> = (&'s [Field<'b>], &'b [u8]);

/// Why field lines are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionError {
    /// A line is no field line, or does not end with CR LF.
    Malformed,
    /// There are more than allowed.
    TooMany,
}

/// Parses field lines up to the empty line behind them: at most `most`, and [`MAX_FIELDS`].
///
/// # Errors
/// If there are more, any is malformed, or the section does not end.
pub(super) fn parse_section<'b, 's>(
    bytes: &'b [u8],
    slots: &'s mut FieldSlots<'b>,
    most: usize,
) -> Result<Section<'b, 's>, SectionError> {
    let fields = &mut slots.0;
    fields.clear();
    let mut rest = bytes;
    loop {
        if let Some(behind) = rest.strip_prefix(b"\r\n") {
            return Ok((fields, behind));
        }
        let (name, value) = rest.split_at(token_length(rest));
        let value = value.strip_prefix(b":").filter(|_| !name.is_empty()).ok_or(SectionError::Malformed)?;
        let (value, behind) = value.split_at(text_length(value));
        rest = behind.strip_prefix(b"\r\n").ok_or(SectionError::Malformed)?;
        if fields.len() == most || fields.try_push(Field { name, value: without_white_space(value) }).is_err() {
            return Err(SectionError::TooMany);
        }
    }
}

/// Without the spaces and tabs at both ends.
fn without_white_space(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

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
pub fn parse_trailers<'b, 's>(section: &'b [u8], slots: &'s mut FieldSlots<'b>) -> Option<&'s [Field<'b>]> {
    match parse_section(section, slots, MAX_FIELDS) {
        Ok((fields, b"")) => Some(fields),
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
        let mut slots = FieldSlots::new();
        let fields = parse_trailers(b"A: 1\r\nB:2\r\n\r\n", &mut slots).unwrap();
        assert_eq!(fields, [Field { name: b"A", value: b"1" }, Field { name: b"B", value: b"2" }]);
        for bad in [&b"no colon\r\n\r\n"[..], b"A: 1\r\n", b"A: 1\r\n\r\nB: 2", b"A: 1\n\n", b""] {
            assert!(parse_trailers(bad, &mut FieldSlots::new()).is_none(), "{bad:?}");
        }
    }
}
