//! nginx: `map` blocks from a header, an argument or a cookie to the client's name.
//!
//! Words, quotes, escapes and comments are read as nginx does. A secret whose value is `1` or `true` has no owner, only a
//! name; nginx looks secrets up without regard to case, keygate does not. Called by [`super::read`].

use zeroize::Zeroizing;

use super::reason::{FileError, Reason};
use super::rows::{Found, Rows, name};
use super::{Candidate, Kind, Material, Row, material};

/// The rows of a file.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, FileError> {
    let mut reader = Reader { text, at: 0, line: 1 };
    let mut rows = Rows::default();
    let (mut depth, mut maps) = (0_usize, 0_usize);
    while let Some(statement) = reader.statement()? {
        match statement.end {
            End::Semicolon => {}
            End::Close if depth == 0 => return Err(reader.problem("a `}` too many")),
            End::Close => depth -= 1,
            End::Open => match source(&statement.words) {
                Some(source) => {
                    maps += usize::from(!matches!(source, Source::Other));
                    if matches!(source, Source::Doubtful) {
                        rows.push(whole_map(statement.line));
                    }
                    read_map(&mut reader, &mut rows, source)?;
                }
                None => depth += 1,
            },
        }
    }
    match (depth, maps) {
        (1.., _) => Err(reader.problem("a `{` is not closed")),
        (0, 0) => Err(FileError::Nothing(Kind::Nginx)),
        _ => Ok(rows.into_rows()),
    }
}

/// What a map looks at.
#[derive(Clone, Copy)]
enum Source {
    /// A field, an argument or a cookie that may have a key.
    Key,
    /// `Authorization`, whose value begins with a scheme.
    Authorization,
    /// Several variables, such a one among them.
    Composite,
    /// Something of the request that is not named like a key.
    Doubtful,
    /// Something else.
    Other,
}

/// What a map looks at; none if the block is no map.
fn source(words: &[Word]) -> Option<Source> {
    let [map, variable, _] = words else { return None };
    if map.as_str() != "map" {
        return None;
    }
    let variable = variable.as_str();
    if variable.matches('$').count() > 1 || !variable.starts_with('$') {
        let may_have_key = ["$http_", "$arg_", "$cookie_", "${http_", "${arg_", "${cookie_"];
        return Some(if may_have_key.iter().any(|part| variable.contains(part)) {
            Source::Composite
        } else {
            Source::Other
        });
    }
    let bare = variable[1..].trim_start_matches('{').trim_end_matches('}');
    let bare = bare.to_ascii_lowercase();
    let is_key = || bare.split('_').any(|part| KEY_WORDS.iter().any(|word| part.ends_with(word)));
    Some(match bare.split_once('_') {
        Some(("http", "authorization")) => Source::Authorization,
        Some(("http" | "arg" | "cookie", _)) if is_key() => Source::Key,
        Some(("http", field)) if OTHER_FIELDS.contains(&field) || field.starts_with("x_forwarded") => Source::Other,
        Some(("http" | "arg" | "cookie", _)) => Source::Doubtful,
        _ => Source::Other,
    })
}

fn read_map(reader: &mut Reader<'_>, rows: &mut Rows, source: Source) -> Result<(), FileError> {
    let mut hostnames = false;
    loop {
        let Some(statement) = reader.statement()? else { return Err(reader.problem("a `{` is not closed")) };
        match statement.end {
            End::Close if statement.words.is_empty() => return Ok(()),
            End::Close => return Err(reader.problem("a `;` is missing before `}`")),
            End::Open => return Err(reader.problem("a map has no blocks inside")),
            End::Semicolon => {}
        }
        match (statement.words.as_slice(), source) {
            (_, Source::Other | Source::Doubtful) | ([], _) => {}
            ([one], _) if one.as_str() == "hostnames" => hostnames = true,
            ([one], _) if one.as_str() == "volatile" => {}
            (words, _) => push(rows, &statement, words, source, hostnames_of(hostnames)),
        }
    }
}

/// How the secrets of a map are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Whole,
    /// With `*.` and `.*` as in names of hosts.
    Hostnames,
}

const fn hostnames_of(hostnames: bool) -> Comparison {
    if hostnames { Comparison::Hostnames } else { Comparison::Whole }
}

/// The row for a map as a whole whose entries are not looked at.
const fn whole_map(line: usize) -> Found<'static> {
    Found { line, origin: String::new(), raw: "", owner: None, outcome: Err(Reason::NotAKey) }
}

fn push(rows: &mut Rows, statement: &Statement, words: &[Word], source: Source, comparison: Comparison) {
    let first = words[0].as_str();
    let value = words.get(1).map(|word| word.as_str());
    let is_special = |word: &str| first == word;
    let raw = presented(first, source);
    let outcome = match (words, value.unwrap_or_default()) {
        ([_, _], _) if is_special("include") => Err(Reason::Included),
        // Also the usual way to say that nothing else gets in.
        ([_, _], "" | "0") if is_special("default") => return,
        ([_, _], _) if is_special("default") => Err(Reason::DefaultAdmits),
        (_, _) if matches!(source, Source::Composite) => Err(Reason::Composite),
        ([_, _], _) if first.starts_with('~') || is_mask(first, comparison) => Err(Reason::Pattern),
        ([_, _], _) if raw.is_empty() => Err(Reason::NoSecret),
        ([_, _], "" | "0") => Err(Reason::RefusedThere),
        ([_, _], value) if value.contains('$') => Err(Reason::Variable),
        ([_, _], value) => secret(raw, source).and_then(|material| candidate(value, material, statement.line)),
        _ => Err(Reason::NoPair),
    };
    let is_client =
        outcome.is_ok() || !matches!(outcome, Err(Reason::Included | Reason::DefaultAdmits | Reason::Variable));
    let owner = value.filter(|value| is_client && !YES.contains(value) && !value.is_empty() && *value != "0");
    rows.push(Found { line: statement.line, origin: String::new(), raw, owner, outcome });
}

fn secret(raw: &str, source: Source) -> Result<Material, Reason> {
    let is_basic = raw.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "));
    if matches!(source, Source::Authorization) && is_basic {
        return Err(Reason::OtherCredential("a user name with a password (HTTP Basic)"));
    }
    material::secret(raw)
}

fn candidate(value: &str, material: Material, line: usize) -> Result<Candidate, Reason> {
    if YES.contains(&value) {
        return Ok(Candidate::new(&format!("nginx line {line}"), None, material));
    }
    Ok(Candidate::new(value, Some(name("value", value)?), material))
}

/// The secret that a client presents: without the backslash that takes a word its special meaning, and without the scheme.
fn presented(word: &str, source: Source) -> &str {
    let word = word.strip_prefix('\\').unwrap_or(word);
    match (source, word.get(..BEARER.len())) {
        (Source::Authorization, Some(scheme)) if scheme.eq_ignore_ascii_case(BEARER) => {
            word[BEARER.len()..].trim_start()
        }
        _ => word,
    }
}

fn is_mask(word: &str, comparison: Comparison) -> bool {
    comparison == Comparison::Hostnames && (word.starts_with("*.") || word.starts_with('.') || word.ends_with(".*"))
}

/// Words up to what ends them.
struct Statement {
    /// The line of the first word.
    line: usize,
    words: Vec<Word>,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Semicolon,
    Open,
    Close,
}

type Word = Zeroizing<String>;

struct Reader<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl Reader<'_> {
    /// The next statement; none at the end of the file.
    fn statement(&mut self) -> Result<Option<Statement>, FileError> {
        let (mut words, mut line) = (Vec::new(), self.line);
        loop {
            self.skip_blanks();
            if words.is_empty() {
                line = self.line;
            }
            let end = match self.peek() {
                None if words.is_empty() => return Ok(None),
                None => return Err(self.problem("a `;` is missing at the end")),
                Some(';') => End::Semicolon,
                Some('{') => End::Open,
                Some('}') => End::Close,
                Some(_) => {
                    words.push(self.word()?);
                    continue;
                }
            };
            self.next();
            return Ok(Some(Statement { line, words, end }));
        }
    }

    fn word(&mut self) -> Result<Word, FileError> {
        let quote = self.peek().filter(|c| matches!(c, '"' | '\''));
        let mut text = Zeroizing::new(String::with_capacity(WORD_BYTES));
        if quote.is_some() {
            self.next();
        }
        while let Some(c) = self.peek() {
            let ends = match quote {
                Some(quote) => c == quote,
                None => c == ';' || is_blank(c) || (c == '{' && !text.ends_with('$')),
            };
            if ends {
                break;
            }
            self.next();
            match (c, self.peek()) {
                ('\\', Some(escaped)) => {
                    self.next();
                    push_escaped(&mut text, escaped);
                }
                _ => text.push(c),
            }
        }
        if quote.is_some() && self.next().is_none() {
            return Err(self.problem("a quote is not closed"));
        }
        if quote.is_some() && self.peek().is_some_and(|c| !is_blank(c) && !matches!(c, ';' | '{' | ')')) {
            return Err(self.problem("a blank is missing after a quote"));
        }
        Ok(text)
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.next();
                }
            } else if is_blank(c) {
                self.next();
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    const fn problem(&self, problem: &'static str) -> FileError {
        FileError::Nginx { line: self.line, problem }
    }
}

fn push_escaped(text: &mut String, escaped: char) {
    match escaped {
        '"' | '\'' | '\\' => text.push(escaped),
        't' => text.push('\t'),
        'r' => text.push('\r'),
        'n' => text.push('\n'),
        // nginx keeps the backslash of any other.
        _ => text.extend(['\\', escaped]),
    }
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// More than a key has, so that a growing word leaves no copies behind.
const WORD_BYTES: usize = 320;
const BEARER: &str = "Bearer ";
/// Values that say no more than that the secret is good.
const YES: [&str; 6] = ["1", "true", "yes", "ok", "on", "allow"];
/// How words in the names of fields, arguments and cookies that have keys end. A map over anything else could make a key of
/// `v1` or of the name of a backend.
const KEY_WORDS: [&str; 7] = ["key", "token", "auth", "authorization", "secret", "credential", "bearer"];
/// Fields that maps often look at and that have no keys.
const OTHER_FIELDS: [&str; 20] = [
    "upgrade",
    "host",
    "user_agent",
    "referer",
    "origin",
    "accept",
    "accept_language",
    "accept_encoding",
    "content_type",
    "cookie",
    "connection",
    "range",
    "if_none_match",
    "if_modified_since",
    "cache_control",
    "x_real_ip",
    "x_request_id",
    "cf_connecting_ip",
    "dnt",
    "save_data",
];
