//! Methods of requests, and the sets of them that routes allow.
//!
//! Methods are case-sensitive (RFC 9110 section 9.1). Called by `gateway` and by the router.

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// Any other token.
    Other(&'a [u8]),
}

/// A set of methods; the empty set stands for all of them. Where GET is in, HEAD is too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    known: u8,
    custom: Vec<Box<[u8]>>,
}

/// Why a text is not a method that a route can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// It is empty or holds a byte that is not allowed in a token.
    #[error("a method is a word of ASCII letters, such as GET")]
    NotAToken,
    /// A usual method in lower or mixed case, which no request would match.
    #[error("methods are case-sensitive: write {0}")]
    Case(&'static str),
    /// CONNECT or TRACE.
    #[error("CONNECT and TRACE are never forwarded: leave them out")]
    NeverForwarded,
}

impl<'a> Method<'a> {
    /// The method that a request line names; any bytes are taken.
    pub fn from_bytes(name: &'a [u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            other => Self::Other(other),
        }
    }

    /// The method as it stands in a request line.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Other(name) => name,
            known => known.as_str().as_bytes(),
        }
    }

    /// The method for logs; `?` if it is not text.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other(name) => std::str::from_utf8(name).unwrap_or("?"),
        }
    }

    /// The bits of this method in a set; none for a custom one.
    const fn bits(self) -> u8 {
        match self {
            Self::Get => 1,
            Self::Head => 1 << 1,
            Self::Post => 1 << 2,
            Self::Put => 1 << 3,
            Self::Patch => 1 << 4,
            Self::Delete => 1 << 5,
            Self::Options => 1 << 6,
            Self::Other(_) => 0,
        }
    }
}

impl Methods {
    /// The set of the methods named; all methods, if none is named.
    ///
    /// # Errors
    /// The first name that is not a method that a route can allow.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, MethodError> {
        let mut methods = Self::default();
        for name in names {
            methods.insert(name)?;
        }
        Ok(methods)
    }

    /// Whether every method is allowed.
    pub fn is_any(&self) -> bool {
        self.known == 0 && self.custom.is_empty()
    }

    /// Whether `method` is in the set.
    pub fn contains(&self, method: Method<'_>) -> bool {
        match method {
            _ if self.is_any() => true,
            Method::Other(name) => self.custom.iter().any(|custom| **custom == *name),
            known => self.known & known.bits() != 0,
        }
    }

    /// The names of the methods in the set; none if every method is allowed.
    pub fn names(&self) -> Vec<&str> {
        let known = USUAL.into_iter().filter(|name| self.known & Method::from_bytes(name.as_bytes()).bits() != 0);
        known.chain(self.custom.iter().map(|name| Method::Other(name).as_str())).collect()
    }

    /// Whether some method is in both sets.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_any()
            || other.is_any()
            || self.known & other.known != 0
            || self.custom.iter().any(|name| other.custom.contains(name))
    }

    fn insert(&mut self, name: &str) -> Result<(), MethodError> {
        match Method::from_bytes(name.as_bytes()) {
            Method::Other(custom) => {
                check_custom(name)?;
                self.custom.push(custom.into());
            }
            Method::Get => self.known |= Method::Get.bits() | Method::Head.bits(),
            known => self.known |= known.bits(),
        }
        Ok(())
    }
}

fn check_custom(name: &str) -> Result<(), MethodError> {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(MethodError::NotAToken);
    }
    if NEVER_FORWARDED.iter().any(|method| method.eq_ignore_ascii_case(name)) {
        return Err(MethodError::NeverForwarded);
    }
    match USUAL.iter().find(|method| method.eq_ignore_ascii_case(name)) {
        Some(usual) => Err(MethodError::Case(usual)),
        None => Ok(()),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const NEVER_FORWARDED: [&str; 2] = ["CONNECT", "TRACE"];

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Methods {
        Methods::new(names.iter().copied()).unwrap()
    }

    #[test]
    fn a_set_tells_the_names_of_its_methods() {
        assert_eq!(set(&["POST", "GET", "PROPFIND"]).names(), ["GET", "HEAD", "POST", "PROPFIND"]);
        assert!(set(&[]).names().is_empty());
    }

    #[test]
    fn every_method_is_written_as_it_is_read() {
        for name in USUAL.into_iter().chain(["PROPFIND", "get", "TRACE"]) {
            let method = Method::from_bytes(name.as_bytes());
            assert_eq!((method.as_bytes(), method.as_str()), (name.as_bytes(), name));
            assert_eq!(matches!(method, Method::Other(_)), !USUAL.contains(&name));
        }
        assert_eq!(Method::from_bytes(b"\xff").as_str(), "?");
    }

    #[test]
    fn a_set_contains_what_it_names_and_head_with_get() {
        let check = |names: &[&str], method: &str, expected| {
            let found = set(names).contains(Method::from_bytes(method.as_bytes()));
            assert_eq!(found, expected, "{method} in {names:?}");
        };
        check(&["GET"], "GET", true);
        check(&["GET"], "HEAD", true);
        check(&["HEAD"], "GET", false);
        check(&["GET", "POST"], "POST", true);
        check(&["GET", "POST"], "PUT", false);
        check(&["GET"], "get", false);
        check(&["PROPFIND"], "PROPFIND", true);
        check(&["PROPFIND"], "GET", false);
        check(&["GET"], "PROPFIND", false);
        check(&[], "ANYTHING", true);
        check(&[], "DELETE", true);
    }

    #[test]
    fn sets_overlap_where_they_share_a_method() {
        let check = |one: &[&str], other: &[&str], expected| {
            assert_eq!(set(one).overlaps(&set(other)), expected, "{one:?} {other:?}");
            assert_eq!(set(other).overlaps(&set(one)), expected, "{other:?} {one:?}");
        };
        check(&["GET"], &["POST"], false);
        check(&["GET"], &["HEAD"], true);
        check(&["GET", "PUT"], &["PUT"], true);
        check(&["PROPFIND"], &["PROPFIND"], true);
        check(&["PROPFIND"], &["PROPPATCH", "GET"], false);
        check(&[], &["PROPFIND"], true);
        check(&[], &[], true);
    }

    #[test]
    fn names_that_no_request_could_match_are_refused() {
        for (name, cause) in [
            ("", MethodError::NotAToken),
            ("GET POST", MethodError::NotAToken),
            ("GÉT", MethodError::NotAToken),
            ("get", MethodError::Case("GET")),
            ("Options", MethodError::Case("OPTIONS")),
            ("TRACE", MethodError::NeverForwarded),
            ("connect", MethodError::NeverForwarded),
        ] {
            assert_eq!(Methods::new([name]), Err(cause), "{name:?}");
        }
    }
}
