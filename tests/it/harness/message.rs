//! A message head as it was on the wire: parsed strictly, kept byte for byte.

/// A head: its first line, its fields in order, and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The request line or status line, without CRLF.
    pub(crate) start: String,
    /// Names and values as they were sent; values without surrounding blanks.
    pub(crate) fields: Vec<(String, String)>,
    /// Everything, the final empty line included.
    pub(crate) raw: Vec<u8>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Parses a head that ends with its empty line. Errors say what is not as the RFC has it.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, String> {
        let text = latin1(raw);
        let lines = text.strip_suffix("\r\n\r\n").ok_or("no empty line at the end")?;
        let mut lines = lines.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(parse_field).collect::<Result<Vec<_>, _>>()?;
        if start.is_empty() || text.replace("\r\n", "").contains(['\r', '\n', '\0']) {
            return Err(format!("stray line end or NUL in head {text:?}"));
        }
        Ok(Self { start, fields, raw: raw.to_vec() })
    }

    /// All values of a field, by name without case.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that must not be there twice.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(values.len() <= 1, "{name} is there more than once: {values:?}");
        values.first().copied()
    }

    /// Whether a field is there in any spelling: without case, `_` the same as `-`.
    pub(crate) fn count_in_any_spelling(&self, name: &str) -> usize {
        let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
        self.fields.iter().filter(|(n, _)| plain(n) == plain(name)).count()
    }

    /// The status of a status line. Errors say why it is not one.
    pub(crate) fn status(&self) -> Result<u16, String> {
        let wrong = || format!("not a status line: {:?}", self.start);
        let rest = self.start.strip_prefix("HTTP/1.1 ").ok_or_else(wrong)?;
        let digits = rest.split(' ').next().unwrap_or_default();
        let status = digits.parse().map_err(|_| wrong())?;
        if digits.len() == 3 && rest.len() > 3 { Ok(status) } else { Err(wrong()) }
    }

    /// The method and the target of a request line. Errors say why it is not one.
    pub(crate) fn request_line(&self) -> Result<(&str, &str), String> {
        let parts: Vec<&str> = self.start.split(' ').collect();
        match parts[..] {
            [method, target, "HTTP/1.1"] => Ok((method, target)),
            _ => Err(format!("not a request line: {:?}", self.start)),
        }
    }

    /// The framing of a request's body.
    pub(crate) fn request_framing(&self) -> Result<Framing, String> {
        Ok(self.declared_framing()?.unwrap_or(Framing::Empty))
    }

    /// The framing of the answer's body to a request with `method`.
    pub(crate) fn response_framing(&self, method: &str) -> Result<Framing, String> {
        let declared = self.declared_framing()?;
        if method == "HEAD" || matches!(self.status()?, 100..=199 | 204 | 304) {
            return Ok(Framing::Empty);
        }
        Ok(declared.unwrap_or(Framing::UntilClose))
    }

    fn declared_framing(&self) -> Result<Option<Framing>, String> {
        let lengths = self.values("content-length");
        let codings = self.values("transfer-encoding");
        match (&lengths[..], &codings[..]) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([length], []) => {
                let length = length.parse().map_err(|_| format!("bad length {length:?}"))?;
                Ok(Some(Framing::Length(length)))
            }
            _ => Err(format!("ambiguous framing: {lengths:?} and {codings:?}")),
        }
    }
}

/// Bytes as text, one character per byte, so that nothing is lost or refused.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// A field line as name and value.
pub(crate) fn parse_field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
    if name.is_empty() || name.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(format!("bad field name in {line:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}
