//! Why a row is not taken, or a whole file: each with what to do about it, and never with a value of the file in it.

use crate::key::{Extra, TextError};

use super::Kind;
use super::looks::Looks;

/// What would have been a key, and why it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// The cause.
    pub(crate) reason: Reason,
    /// Whom it belongs to in the file, fit to be printed.
    pub(crate) owner: Option<String>,
}

/// Why a row is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// The same secret as a row before.
    #[error("has the same secret as {first}; give each key a secret of its own if both are in use")]
    Duplicate {
        /// Where that row is.
        first: String,
    },
    /// No secret there.
    #[error("has no secret; there is nothing to take")]
    NoSecret,
    /// A secret and a digest.
    #[error("has more than one of `secret`, `digest` and `sha256`; keep one of them")]
    TwoSecrets,
    /// Cannot be presented.
    #[error("the secret is not 1 to 256 visible ASCII characters; issue a new key for this client")]
    NotASecret,
    /// The owner's name, or another field that is shown, is the secret.
    #[error(
        "the secret also stands in its name, owner or another field that is shown; rename it there, or issue a new key"
    )]
    ShowsSecret,
    /// Longer than any key is.
    #[error("its name, scopes and networks have more than 64 KiB together; shorten them")]
    TooLong,
    /// The secret is elsewhere.
    #[error(
        "the secret is a reference to {0}, which is not resolved here; put the secret itself into a copy of the file"
    )]
    Reference(Reference),
    /// A hash that nothing here can compare with.
    #[error("{0}; issue a new key, or import the secret itself from where it is still known")]
    Hash(Hash),
    /// A digest without its kind.
    #[error(
        "does not say what kind of digest it is; write `sha256:` in front if it is the SHA-256 of the key in hexadecimal digits"
    )]
    BareDigest,
    /// No digest.
    #[error(
        "the digest is not `sha256:` or `hmac-sha256:PEPPER:` and 64 hexadecimal digits; correct it or leave the row out"
    )]
    Digest,
    /// A credential of another kind.
    #[error("is {0}, not an API key; it is not carried over")]
    OtherCredential(&'static str),
    /// Its consumer is elsewhere.
    #[error("its consumer is not in this file; export consumers and credentials together")]
    NoConsumer,
    /// The consumer has neither of the two.
    #[error("its consumer has no name; give it one, or import it as CSV with an `owner`")]
    Nameless,
    /// A lifetime from an unknown point on.
    #[error("has a lifetime (`ttl`) but no `created_at`, so its end is not known; import it as CSV with `expires`")]
    NoCreation,
    /// A field that cannot be taken.
    #[error("`{field}` cannot be taken: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it must be.
        problem: FieldProblem,
    },
    /// A row with too few or too many cells.
    #[error("has {found} cells where the header has {expected}; put cells with commas in quotes")]
    Cells {
        /// In the header.
        expected: usize,
        /// In the row.
        found: usize,
    },
    /// Refused there as well.
    #[error("is refused there as well: its value is empty or 0")]
    RefusedThere,
    /// Every request with any secret gets in there.
    #[error(
        "the default lets requests without a known key in; that is no key: make the route `access: public` if it is meant"
    )]
    DefaultAdmits,
    /// Many secrets at once.
    #[error("is a pattern that any number of secrets fit; write each secret out")]
    Pattern,
    /// Entries elsewhere.
    #[error(
        "includes another file, which is not read; put its entries into this map, or import it with a map around it"
    )]
    Included,
    /// A value that depends on the request.
    #[error("its value contains a variable, so its owner is not known; write the owner out")]
    Variable,
    /// Neither one nor two words.
    #[error("is not a pair of a secret and a value; correct it or leave it out")]
    NoPair,
    /// A map over something that does not look like keys.
    #[error(
        "is a map over a variable without key, token, auth, secret or credential in its name; rename it in a copy of the file if its values are keys"
    )]
    NotAKey,
    /// A combination of variables.
    #[error(
        "its map looks at more than one variable, so a secret alone does not decide; list the secrets in a map of their own"
    )]
    Composite,
}

/// Where a secret is when it is not in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reference {
    /// `{vault://…}` or `$secret://…`.
    #[error("a secret store")]
    Vault,
    /// `${{ env "…" }}`, `${…}`, `$env://…` or `$NAME`.
    #[error("an environment variable")]
    Environment,
}

/// Hashes that other gateways keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Hash {
    /// bcrypt, argon2, scrypt, PBKDF2 and the like.
    #[error("is a password hash ({0}), which is slow on purpose and has no place on the way of a request")]
    Password(&'static str),
    /// MD5, SHA-1 and the like.
    #[error("is a hash of another kind ({0}) than the SHA-256 that keys are found by")]
    Other(&'static str),
    /// A column or field that does not say more.
    #[error("is a hash of a kind that the file does not name")]
    Unknown,
}

/// What a field must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldProblem {
    /// Not an id, name or scope.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Not a time.
    #[error("a time is written as 2027-01-01T00:00:00Z")]
    Time,
    /// Not a number of seconds.
    #[error("it is a number of seconds")]
    Seconds,
    /// Not a number of units.
    #[error("it is a whole number from 0 to {}", Extra::MOST)]
    Units,
    /// Not a network.
    #[error("a network is an address or a CIDR whose host bits are 0, such as 10.0.0.0/8")]
    Network,
    /// Neither true nor false.
    #[error("it is true or false")]
    Switch,
}

/// Why nothing of a file is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// More than [`super::MAX_FILE_BYTES`].
    #[error("the file is larger than {} MiB; split it", super::MAX_FILE_BYTES >> 20)]
    TooLarge,
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Neither YAML nor JSON.
    #[error("line {line} is not valid YAML; check indentation, quotes and brackets there and on the line above")]
    NotYaml {
        /// Where.
        line: usize,
    },
    /// A name twice in one mapping.
    #[error("line {line} repeats a name of the same mapping; remove one of the two")]
    NameTwice {
        /// Where.
        line: usize,
    },
    /// More than one YAML document.
    #[error("a second YAML document begins on line {line}; split the file")]
    SecondDocument {
        /// Where.
        line: usize,
    },
    /// Deeper than any such file is.
    #[error("line {line} is nested deeper than any such file; look for a bracket too many")]
    TooDeep {
        /// Where.
        line: usize,
    },
    /// Aliases that multiply.
    #[error("anchors and aliases up to line {line} make far more of this file than it holds; write the values out")]
    TooManyAliases {
        /// Where.
        line: usize,
    },
    /// The file of another gateway.
    #[error("this is not a file for `{wanted}`: it looks like {found}; {}", found.remedy())]
    Looks {
        /// What was asked for.
        wanted: Kind,
        /// What it is.
        found: Looks,
    },
    /// Nothing of what such a file has.
    #[error("there is nothing to import: the file has no {}", .0.contents())]
    Nothing(Kind),
    /// Quotes or braces that do not pair.
    #[error("line {line} of the nginx file: {problem}; a file with the map block alone will do")]
    Nginx {
        /// Where.
        line: usize,
        /// What.
        problem: &'static str,
    },
    /// Quotes that do not pair.
    #[error("line {line} of the CSV file: {problem}")]
    Csv {
        /// Where.
        line: usize,
        /// What.
        problem: &'static str,
    },
    /// A first line without a known column.
    #[error("the first line is no header: it has no known column; known are {columns}, separated by commas")]
    NoHeader {
        /// The known ones.
        columns: String,
    },
    /// Columns that mean nothing here.
    #[error("unknown columns: {names}; known are {columns}; remove or rename the others")]
    UnknownColumns {
        /// Those, fit to be printed.
        names: String,
        /// The known ones.
        columns: String,
    },
    /// A column twice.
    #[error("the column `{0}` is there twice; keep one")]
    ColumnTwice(&'static str),
    /// No column with something to authenticate by.
    #[error("no column has the secrets; add `secret`, or `digest`")]
    NoSecretColumn,
}
