//! One call of the admin API: what is asked, and whether asking twice can do harm.

use std::fmt::Write as _;

use serde_json::Value;
use zeroize::Zeroizing;

/// What is asked.
pub(super) struct Call {
    /// How it is asked.
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    /// Header fields of its own.
    pub(super) fields: Vec<(&'static str, String)>,
    /// None if the method has none; empty if there is nothing to say.
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
    is_idempotent: bool,
}

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

impl Call {
    /// Reads.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path, None)
    }

    /// Takes away.
    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::Delete, path, None)
    }

    /// Does what the path says.
    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path, Some(Zeroizing::default()))
    }

    /// Does what path and body say.
    pub(super) fn post_json(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::Post, path, Some(bytes(body)))
    }

    /// Does what path and body say; the body is JSON already.
    pub(super) fn post_bytes(path: impl Into<String>, body: Zeroizing<Vec<u8>>) -> Self {
        Self::new(Method::Post, path, Some(body))
    }

    /// Changes what the body names.
    pub(super) fn patch_json(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::Patch, path, Some(bytes(body)))
    }

    /// Adds to the query, if there is something to add.
    pub(super) fn query(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(name);
            self.target.push('=');
            encode_into(&mut self.target, value);
        }
        self
    }

    /// Gives it a name, under which a gateway does it only once.
    pub(super) fn once(mut self) -> anyhow::Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let name = random.iter().map(|byte| format!("{byte:02x}")).collect();
        self.fields.push(("idempotency-key", name));
        Ok(self)
    }

    /// Says that done twice it is as if done once.
    pub(super) fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Only if what is to be changed is still of this revision.
    pub(super) fn if_revision(mut self, revision: Option<u64>) -> Self {
        self.fields.extend(revision.map(|revision| ("if-match", format!("\"{revision}\""))));
        self
    }

    /// Whether it can be asked again after the connection was lost.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_idempotent || self.fields.iter().any(|(name, _)| *name == "idempotency-key")
    }

    /// What is to be said if it was asked and no answer came.
    pub(super) fn uncertainty(&self) -> &'static str {
        match self.method {
            Method::Get => "",
            Method::Post | Method::Patch | Method::Delete => "; whether it was done is not known",
        }
    }

    fn new(method: Method, path: impl Into<String>, body: Option<Zeroizing<Vec<u8>>>) -> Self {
        Self { method, target: path.into(), fields: Vec::new(), body, is_idempotent: method == Method::Get }
    }
}

impl Method {
    /// As it stands in a request.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

fn bytes(body: &Value) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(body.to_string().into_bytes())
}

/// Percent-encodes all but the unreserved characters of RFC 3986 section 2.3.
fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded() {
        let call = Call::get("/v1/keys").query("q", Some("a b&c=é")).query("plan", None).query("limit", Some("5"));
        assert_eq!(call.target, "/v1/keys?q=a%20b%26c%3D%C3%A9&limit=5");
    }

    #[test]
    fn what_changes_something_is_asked_twice_only_under_a_name() {
        assert!(Call::get("/").is_repeatable());
        assert!(!Call::post("/").is_repeatable());
        assert!(Call::post("/").idempotent().is_repeatable());
        assert!(Call::post("/").once().unwrap().is_repeatable());
    }
}
