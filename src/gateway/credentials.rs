//! Where a credential may be: found for the decision, and taken out of what is forwarded.
//!
//! Exactly one must be there; two are ambiguous even if they are equal. What is empty is no credential, but is taken out too.

use super::roles::RequestRole;
use crate::catalog::Credentials;
use crate::http1::Field;
use crate::policy::Presented;

/// What the search brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'b> {
    /// None, one, or too many.
    pub(super) presented: Presented<'b>,
    /// Where the last one came from.
    pub(super) place: Place,
}

/// The kinds of place a credential can come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `Authorization: Bearer`.
    Authorization,
    /// A header field of its own.
    Header,
    /// A query parameter; the only place where values are percent-encoded.
    Query,
    /// A cookie.
    Cookie,
}

/// Looks for credentials in every place where one may be.
pub(super) fn find<'b>(
    fields: &[Field<'b>],
    roles: &[RequestRole],
    query: Option<&'b [u8]>,
    places: &Credentials,
    scratch: &'b mut Vec<u8>,
) -> Found<'b> {
    let mut found = Found { presented: Presented::None, place: Place::Header };
    for (field, role) in fields.iter().zip(roles) {
        match role {
            RequestRole::Bearer => found.add(bearer(field.value).unwrap_or_default(), Place::Authorization),
            RequestRole::Credential => found.add(field.value, Place::Header),
            RequestRole::Cookie => {
                let ours = cookies(field.value).filter(|cookie| is_credential_cookie(cookie, places));
                ours.for_each(|cookie| found.add(cookie_value(cookie), Place::Cookie));
            }
            _ => {}
        }
    }
    if !places.query.is_empty() {
        let pairs = query.into_iter().flat_map(parameters);
        pairs
            .filter(|pair| is_credential_parameter(pair, places))
            .for_each(|pair| found.add(parameter_value(pair), Place::Query));
    }
    found.decode(scratch)
}

/// Whether a field is forwarded no further because a credential is, or could be, all that it holds.
pub(super) fn is_all_credential(field: &Field<'_>, role: RequestRole) -> bool {
    match role {
        RequestRole::Credential => true,
        RequestRole::Bearer => bearer(field.value).is_some(),
        _ => false,
    }
}

/// The pairs of a query, as they stand.
pub(super) fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&')
}

/// Whether a pair of a query is a place for a credential; its name is compared after percent-decoding.
pub(super) fn is_credential_parameter(pair: &[u8], places: &Credentials) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    places.query.iter().any(|place| decoded(name).eq(place.bytes()))
}

/// The pairs of a cookie field, without the white space around them.
pub(super) fn cookies(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty())
}

/// Whether a cookie is a place for a credential.
pub(super) fn is_credential_cookie(cookie: &[u8], places: &Credentials) -> bool {
    let name = cookie.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
    places.cookies.iter().any(|place| place.as_bytes() == name)
}

impl<'b> Found<'b> {
    fn add(&mut self, credential: &'b [u8], place: Place) {
        if credential.is_empty() {
            return;
        }
        self.presented = match self.presented {
            Presented::None => Presented::One(credential),
            Presented::One(_) | Presented::Ambiguous => Presented::Ambiguous,
        };
        self.place = place;
    }

    /// What came in a query is compared decoded.
    fn decode(self, scratch: &'b mut Vec<u8>) -> Self {
        match self.presented {
            Presented::One(raw)
                if self.place == Place::Query && raw.contains(&b'%') && raw.len() <= MAX_ESCAPED_BYTES =>
            {
                scratch.clear();
                scratch.extend(decoded(raw));
                Found { presented: Presented::One(scratch), ..self }
            }
            _ => self,
        }
    }
}

/// What stands after `Bearer` (any case); none if the scheme is another.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(|b| matches!(b, b' ' | b'\t'));
    is_bearer.then(|| rest.trim_ascii())
}

fn parameter_value(pair: &[u8]) -> &[u8] {
    pair.iter().position(|byte| *byte == b'=').map_or(&b""[..], |at| &pair[at + 1..])
}

fn cookie_value(cookie: &[u8]) -> &[u8] {
    let value = parameter_value(cookie).trim_ascii();
    value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value)
}

/// The bytes of `text`, percent-decoded once; what is not a valid escape stands for itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, width) = match rest {
            [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (*byte, 1),
            [] => return None,
        };
        rest = &rest[width..];
        Some(byte)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A credential longer than this, escapes and all, is not decoded; it is far beyond any key.
const MAX_ESCAPED_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Credentials {
        Credentials {
            headers: vec!["Authorization".into(), "X-API-Key".into()],
            query: vec!["api_key".into()],
            cookies: vec!["session".into()],
            forward: false,
        }
    }

    /// `fields` as `role value`.
    fn check(fields: &[(RequestRole, &str)], query: Option<&str>, expected: &str) {
        let (roles, fields): (Vec<_>, Vec<_>) =
            fields.iter().map(|(role, value)| (*role, Field { name: b"x", value: value.as_bytes() })).unzip();
        let mut scratch = Vec::new();
        let found = find(&fields, &roles, query.map(str::as_bytes), &places(), &mut scratch);
        let got = match found.presented {
            Presented::None => "none".to_owned(),
            Presented::One(credential) => format!("one {}", String::from_utf8_lossy(credential)),
            Presented::Ambiguous => "ambiguous".to_owned(),
        };
        assert_eq!(got, expected, "{roles:?} {query:?}");
    }

    #[test]
    fn one_credential_is_found_in_each_place() {
        use RequestRole as R;
        check(&[(R::Bearer, "Bearer abc")], None, "one abc");
        check(&[(R::Bearer, "bEARER   abc ")], None, "one abc");
        check(&[(R::Credential, "a%62c")], None, "one a%62c");
        check(&[(R::Cookie, "a=b; session=abc ; c=d")], None, "one abc");
        check(&[(R::Cookie, "session=\"abc\"")], None, "one abc");
        check(&[], Some("a=b&api_key=abc&c"), "one abc");
        check(&[], Some("%61pi%5Fkey=a%62c"), "one abc");
    }

    #[test]
    fn what_is_empty_or_of_another_scheme_is_no_credential() {
        use RequestRole as R;
        for nothing in ["Basic abc", "Bearerabc", "Bearer", "Bearer ", ""] {
            check(&[(R::Bearer, nothing)], None, "none");
        }
        check(&[(R::Credential, "")], Some("api_key=&api_key"), "none");
        check(&[(R::Cookie, "sessions=abc; Session=abc; session=")], None, "none");
        check(&[], Some("API_KEY=abc&xapi_key=abc&api%255Fkey=abc"), "none");
    }

    #[test]
    fn two_are_ambiguous_even_if_they_are_equal() {
        use RequestRole as R;
        check(&[(R::Bearer, "Bearer abc"), (R::Credential, "abc")], None, "ambiguous");
        check(&[(R::Credential, "abc"), (R::Credential, "abc")], None, "ambiguous");
        check(&[(R::Cookie, "session=abc; session=abc")], None, "ambiguous");
        check(&[], Some("api_key=abc&%61pi_key=abc"), "ambiguous");
        check(&[(R::Credential, "abc")], Some("api_key=abc"), "ambiguous");
        check(&[(R::Credential, ""), (R::Bearer, "Bearer abc")], None, "one abc");
    }
}
