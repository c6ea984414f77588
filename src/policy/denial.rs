//! The one table of denials: every reason for which the gateway answers itself, and what follows from it.
//!
//! The true reason ([`Denial::reason`]) is for logs and metrics; everything public comes from the answer that a denial
//! is given, and denials that must look alike from outside share one. Called by `gateway`.

use super::answer::{self, Answer};

/// A reason for "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// No credential, or an empty one.
    KeyMissing,
    /// More than one credential.
    KeyAmbiguous,
    /// A credential that cannot be a key.
    KeyMalformed,
    /// A key that is not in the index.
    KeyUnknown,
    /// A key that was revoked.
    KeyRevoked,
    /// A key that is disabled for now.
    KeyDisabled,
    /// A key past its end.
    KeyExpired,
    /// A key before its beginning.
    KeyNotYetValid,
    /// A key that lacks a scope of the route.
    ScopeMissing,
    /// A key on a plan that the route is not for, or on one that is gone.
    PlanNotAllowed,
    /// A method that the route does not allow.
    MethodNotAllowed,
    /// A client outside the networks of the key.
    NetworkNotAllowed,
    /// A limit of the plan is reached.
    LimitExceeded,
    /// A quota of the key is used up.
    QuotaExceeded,
    /// As many requests of the key are running as the plan allows.
    ConcurrencyExceeded,
    /// Too many failed authentications from the client's network.
    TooManyFailures,
    /// No route for host and path.
    RouteUnknown,
    /// The upstream refused, reset or answered nonsense.
    UpstreamFailed,
    /// The upstream has no target to send to.
    UpstreamUnavailable,
    /// The upstream was too slow.
    UpstreamTimeout,
    /// The gateway has as many connections as it may.
    Overloaded,
    /// A request head that is not HTTP/1.
    BadHead,
    /// A request target in none of the forms that are served.
    BadTarget,
    /// No host, several, or an invalid one.
    BadHost,
    /// A path that could be read in more than one way.
    BadPath,
    /// A body whose length is ambiguous.
    BadFraming,
    /// A body that breaks its framing.
    BadBody,
    /// A transfer coding other than chunked.
    UnknownCoding,
    /// An HTTP version other than 1.0 and 1.1.
    VersionUnsupported,
    /// CONNECT or TRACE.
    MethodUnsupported,
    /// A head with too many bytes or fields.
    HeadTooLarge,
    /// A target with too many bytes.
    TargetTooLong,
    /// A head that did not come in time.
    HeadTimeout,
    /// A body that stopped coming.
    BodyTimeout,
    /// A body with too many bytes.
    BodyTooLarge,
    /// An expectation other than 100-continue.
    ExpectationFailed,
}

/// What `WWW-Authenticate` says (RFC 6750 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// There is no such field.
    None,
    /// `Bearer` and the realm.
    Bare,
    /// With `error="invalid_token"`.
    InvalidToken,
    /// With `error="invalid_request"`.
    InvalidRequest,
    /// With `error="insufficient_scope"`.
    InsufficientScope,
}

impl Denial {
    /// Every denial, in the order of [`Denial::index`].
    pub const ALL: [Self; 36] = [
        Self::KeyMissing,
        Self::KeyAmbiguous,
        Self::KeyMalformed,
        Self::KeyUnknown,
        Self::KeyRevoked,
        Self::KeyDisabled,
        Self::KeyExpired,
        Self::KeyNotYetValid,
        Self::ScopeMissing,
        Self::PlanNotAllowed,
        Self::MethodNotAllowed,
        Self::NetworkNotAllowed,
        Self::LimitExceeded,
        Self::QuotaExceeded,
        Self::ConcurrencyExceeded,
        Self::TooManyFailures,
        Self::RouteUnknown,
        Self::UpstreamFailed,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
        Self::Overloaded,
        Self::BadHead,
        Self::BadTarget,
        Self::BadHost,
        Self::BadPath,
        Self::BadFraming,
        Self::BadBody,
        Self::UnknownCoding,
        Self::VersionUnsupported,
        Self::MethodUnsupported,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::ExpectationFailed,
    ];

    /// Its place in [`Denial::ALL`], for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The true reason, as logs and the `reason` label of metrics have it; never sent to clients.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::KeyMissing => "key_missing",
            Self::KeyAmbiguous => "key_ambiguous",
            Self::KeyMalformed => "key_malformed",
            Self::KeyUnknown => "key_unknown",
            Self::KeyRevoked => "key_revoked",
            Self::KeyDisabled => "key_disabled",
            Self::KeyExpired => "key_expired",
            Self::KeyNotYetValid => "key_not_yet_valid",
            Self::ScopeMissing => "scope_missing",
            Self::PlanNotAllowed => "plan_not_allowed",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NetworkNotAllowed => "network_not_allowed",
            Self::LimitExceeded => "limit_exceeded",
            Self::QuotaExceeded => "quota_exceeded",
            Self::ConcurrencyExceeded => "concurrency_exceeded",
            Self::TooManyFailures => "too_many_failures",
            Self::RouteUnknown => "route_unknown",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Overloaded => "overloaded",
            Self::BadHead => "bad_head",
            Self::BadTarget => "bad_target",
            Self::BadHost => "bad_host",
            Self::BadPath => "bad_path",
            Self::BadFraming => "bad_framing",
            Self::BadBody => "bad_body",
            Self::UnknownCoding => "unknown_coding",
            Self::VersionUnsupported => "version_unsupported",
            Self::MethodUnsupported => "method_unsupported",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::ExpectationFailed => "expectation_failed",
        }
    }

    /// Everything that a client gets to see.
    const fn answer(self) -> &'static Answer {
        match self {
            Self::KeyMissing => &answer::KEY_MISSING,
            Self::KeyAmbiguous => &answer::KEY_AMBIGUOUS,
            Self::KeyMalformed
            | Self::KeyUnknown
            | Self::KeyRevoked
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::KeyNotYetValid => &answer::KEY_INVALID,
            Self::ScopeMissing => &answer::SCOPE_MISSING,
            Self::PlanNotAllowed => &answer::PLAN_NOT_ALLOWED,
            Self::MethodNotAllowed => &answer::METHOD_NOT_ALLOWED,
            Self::NetworkNotAllowed => &answer::NETWORK_NOT_ALLOWED,
            Self::LimitExceeded => &answer::LIMIT_EXCEEDED,
            Self::QuotaExceeded => &answer::QUOTA_EXCEEDED,
            Self::ConcurrencyExceeded => &answer::CONCURRENCY_EXCEEDED,
            Self::TooManyFailures => &answer::TOO_MANY_FAILURES,
            Self::RouteUnknown => &answer::ROUTE_UNKNOWN,
            Self::UpstreamFailed => &answer::UPSTREAM_FAILED,
            Self::UpstreamUnavailable => &answer::UPSTREAM_UNAVAILABLE,
            Self::UpstreamTimeout => &answer::UPSTREAM_TIMEOUT,
            Self::Overloaded => &answer::OVERLOADED,
            Self::BadHead => &answer::BAD_HEAD,
            Self::BadTarget => &answer::BAD_TARGET,
            Self::BadHost => &answer::BAD_HOST,
            Self::BadPath => &answer::BAD_PATH,
            Self::BadFraming => &answer::BAD_FRAMING,
            Self::BadBody => &answer::BAD_BODY,
            Self::UnknownCoding => &answer::UNKNOWN_CODING,
            Self::VersionUnsupported => &answer::VERSION_UNSUPPORTED,
            Self::MethodUnsupported => &answer::METHOD_UNSUPPORTED,
            Self::HeadTooLarge => &answer::HEAD_TOO_LARGE,
            Self::TargetTooLong => &answer::TARGET_TOO_LONG,
            Self::HeadTimeout => &answer::HEAD_TIMEOUT,
            Self::BodyTimeout => &answer::BODY_TIMEOUT,
            Self::BodyTooLarge => &answer::BODY_TOO_LARGE,
            Self::ExpectationFailed => &answer::EXPECTATION_FAILED,
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.answer().status
    }

    /// The public code, in the body and in the `code` label of metrics.
    pub const fn code(self) -> &'static str {
        self.answer().code
    }

    /// The `type` of the problem (RFC 9457), a URI.
    pub const fn problem_type(self) -> &'static str {
        self.answer().problem_type
    }

    /// The `title` of the problem; the status phrase where `problem_type` is `about:blank`.
    pub const fn title(self) -> &'static str {
        self.answer().title
    }

    /// The `detail` of the problem: what happened, and what the client can do.
    pub const fn detail(self) -> &'static str {
        self.answer().detail
    }

    /// What `WWW-Authenticate` says.
    pub const fn challenge(self) -> Challenge {
        self.answer().challenge
    }

    /// Whether the answer carries `Retry-After`.
    pub const fn retries(self) -> bool {
        self.answer().retries
    }

    /// The `grpc-status` for gRPC clients.
    pub const fn grpc_status(self) -> u8 {
        self.answer().grpc_status
    }

    /// Whether the client's connection ends with the answer, because what follows on it cannot be trusted or is not
    /// wanted.
    pub const fn closes(self) -> bool {
        match self {
            Self::TooManyFailures
            | Self::Overloaded
            | Self::BadHead
            | Self::BadFraming
            | Self::BadBody
            | Self::UnknownCoding
            | Self::VersionUnsupported
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::HeadTimeout
            | Self::BodyTimeout => true,
            Self::KeyMissing
            | Self::KeyAmbiguous
            | Self::KeyMalformed
            | Self::KeyUnknown
            | Self::KeyRevoked
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::KeyNotYetValid
            | Self::ScopeMissing
            | Self::PlanNotAllowed
            | Self::MethodNotAllowed
            | Self::NetworkNotAllowed
            | Self::LimitExceeded
            | Self::QuotaExceeded
            | Self::ConcurrencyExceeded
            | Self::RouteUnknown
            | Self::UpstreamFailed
            | Self::UpstreamUnavailable
            | Self::UpstreamTimeout
            | Self::BadTarget
            | Self::BadHost
            | Self::BadPath
            | Self::MethodUnsupported
            | Self::BodyTooLarge
            | Self::ExpectationFailed => false,
        }
    }

    /// Whether it counts as a failed authentication of the client's network.
    pub const fn is_failed_authentication(self) -> bool {
        match self {
            Self::KeyAmbiguous
            | Self::KeyMalformed
            | Self::KeyUnknown
            | Self::KeyRevoked
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::KeyNotYetValid => true,
            Self::KeyMissing
            | Self::ScopeMissing
            | Self::PlanNotAllowed
            | Self::MethodNotAllowed
            | Self::NetworkNotAllowed
            | Self::LimitExceeded
            | Self::QuotaExceeded
            | Self::ConcurrencyExceeded
            | Self::TooManyFailures
            | Self::RouteUnknown
            | Self::UpstreamFailed
            | Self::UpstreamUnavailable
            | Self::UpstreamTimeout
            | Self::Overloaded
            | Self::BadHead
            | Self::BadTarget
            | Self::BadHost
            | Self::BadPath
            | Self::BadFraming
            | Self::BadBody
            | Self::UnknownCoding
            | Self::VersionUnsupported
            | Self::MethodUnsupported
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyTooLarge
            | Self::ExpectationFailed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const KEY_INVALID: [Denial; 6] = [
        Denial::KeyMalformed,
        Denial::KeyUnknown,
        Denial::KeyRevoked,
        Denial::KeyDisabled,
        Denial::KeyExpired,
        Denial::KeyNotYetValid,
    ];

    /// The tables of the wire once more: denial, status, code, challenge, whether it carries `Retry-After`, whether
    /// it closes, gRPC status.
    const TABLE: &str = "
        KeyMissing          401 key_missing          Bare              -       -      16
        KeyAmbiguous        400 key_ambiguous        InvalidRequest    -       -      3
        KeyMalformed        401 key_invalid          InvalidToken      -       -      16
        KeyUnknown          401 key_invalid          InvalidToken      -       -      16
        KeyRevoked          401 key_invalid          InvalidToken      -       -      16
        KeyDisabled         401 key_invalid          InvalidToken      -       -      16
        KeyExpired          401 key_invalid          InvalidToken      -       -      16
        KeyNotYetValid      401 key_invalid          InvalidToken      -       -      16
        ScopeMissing        403 not_permitted        InsufficientScope -       -      7
        PlanNotAllowed      403 not_permitted        InsufficientScope -       -      7
        MethodNotAllowed    403 not_permitted        InsufficientScope -       -      7
        NetworkNotAllowed   403 not_permitted        InsufficientScope -       -      7
        LimitExceeded       429 limit_exceeded       None              retries -      8
        QuotaExceeded       429 quota_exceeded       None              retries -      8
        ConcurrencyExceeded 429 concurrency_exceeded None              -       -      8
        TooManyFailures     429 too_many_failures    None              retries closes 8
        RouteUnknown        404 route_unknown        None              -       -      12
        UpstreamFailed      502 upstream_failed      None              -       -      14
        UpstreamUnavailable 503 upstream_unavailable None              retries -      14
        UpstreamTimeout     504 upstream_timeout     None              -       -      4
        Overloaded          503 overloaded           None              retries closes 14
        BadHead             400 bad_request          None              -       closes 3
        BadTarget           400 bad_request          None              -       -      3
        BadHost             400 bad_request          None              -       -      3
        BadPath             400 bad_path             None              -       -      3
        BadFraming          400 bad_framing          None              -       closes 3
        BadBody             400 bad_body             None              -       closes 3
        UnknownCoding       501 unknown_coding       None              -       closes 12
        VersionUnsupported  505 version_unsupported  None              -       closes 12
        MethodUnsupported   405 method_unsupported   None              -       -      12
        HeadTooLarge        431 head_too_large       None              -       closes 8
        TargetTooLong       414 target_too_long      None              -       closes 8
        HeadTimeout         408 head_timeout         None              -       closes 4
        BodyTimeout         408 body_timeout         None              -       closes 4
        BodyTooLarge        413 body_too_large       None              -       -      8
        ExpectationFailed   417 expectation_failed   None              -       -      3
    ";

    fn row(denial: Denial) -> String {
        let (status, code, challenge) = (denial.status(), denial.code(), denial.challenge());
        let retries = if denial.retries() { "retries" } else { "-" };
        let closes = if denial.closes() { "closes" } else { "-" };
        format!("{denial:?} {status} {code} {challenge:?} {retries} {closes} {}", denial.grpc_status())
    }

    #[test]
    fn every_denial_has_its_row() {
        let one_space = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected: Vec<String> = TABLE.trim().lines().map(one_space).collect();
        assert_eq!(Denial::ALL.map(row).as_slice(), expected);
    }

    #[test]
    fn every_denial_stands_at_its_index() {
        for (index, denial) in Denial::ALL.into_iter().enumerate() {
            assert_eq!(denial.index(), index, "{denial:?}");
        }
    }

    #[test]
    fn keys_that_do_not_work_look_the_same_from_outside() {
        for denial in KEY_INVALID {
            assert!(std::ptr::eq(denial.answer(), Denial::KeyUnknown.answer()), "{denial:?}");
            assert_eq!(denial.closes(), Denial::KeyUnknown.closes(), "{denial:?}");
        }
    }

    #[test]
    fn every_true_reason_is_its_own_and_fits_a_label() {
        let reasons: BTreeSet<&str> = Denial::ALL.into_iter().map(Denial::reason).collect();
        assert_eq!(reasons.len(), Denial::ALL.len());
        for text in reasons.into_iter().chain(Denial::ALL.into_iter().map(Denial::code)) {
            assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{text}");
        }
    }

    #[test]
    fn one_code_means_one_status_and_one_challenge() {
        let mut by_code = BTreeMap::new();
        for denial in Denial::ALL {
            let meaning = (denial.status(), denial.challenge());
            assert_eq!(*by_code.entry(denial.code()).or_insert(meaning), meaning, "{denial:?}");
        }
    }

    #[test]
    fn public_texts_can_stand_in_json_as_they_are_and_name_no_insides() {
        for denial in Denial::ALL {
            let (title, detail) = (denial.title(), denial.detail());
            assert!(detail.ends_with('.') && !title.ends_with('.') && !title.is_empty(), "{denial:?}");
            let plain = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\');
            assert!(plain(title) && plain(detail), "{denial:?}");
            let lower = detail.to_lowercase();
            let insides = ["keygate", "upstream", "digest", "index", "revoked", "disabled", "sketch", "pool"];
            assert!(!insides.iter().any(|word| lower.contains(word)), "{denial:?}: {detail}");
        }
    }

    #[test]
    fn limits_have_the_registered_type_and_all_others_the_title_of_their_status() {
        for denial in Denial::ALL {
            let limits = denial.status() == 429;
            let expected =
                if limits { "https://iana.org/assignments/http-problem-types#quota-exceeded" } else { "about:blank" };
            assert_eq!(denial.problem_type(), expected, "{denial:?}");
            assert!(limits || denial.title() == phrase(denial.status()), "{denial:?}");
        }
    }

    /// RFC 9110 section 15 and RFC 6585.
    fn phrase(status: u16) -> &'static str {
        match status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => panic!("no phrase for {status}"),
        }
    }

    #[test]
    fn keys_that_do_not_work_count_as_failures_and_missing_ones_do_not() {
        let counted = KEY_INVALID.into_iter().chain([Denial::KeyAmbiguous]).collect::<Vec<_>>();
        for denial in Denial::ALL {
            assert_eq!(denial.is_failed_authentication(), counted.contains(&denial), "{denial:?}");
        }
    }
}
