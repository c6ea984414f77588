//! Our head parsers against those of others: whatever we accept, hyper accepts with the same meaning, and apart from bare line feeds
//! we accept what httparse does.
//!
//! hyper stands for the servers behind the gateway. Only heads that we accept are shown to it: refusing more is our part.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keygate::http1::{
    Field, FieldSlots, Framing, HeadLimits, HeadScan, Length, RequestHead, Version, find_response_end, parse_response,
    parse_target, valid_host,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use tokio::io::AsyncWriteExt;

const LIMITS: HeadLimits = HeadLimits { max_head_bytes: 32 * 1024, max_fields: 100, max_target_bytes: 8 * 1024 };

/// What a head means: method, target, version, fields with names in lower case, length of the body.
type Meaning = (String, String, String, Vec<(String, Vec<u8>)>, Option<u64>);

/// What the head at the beginning of `bytes` means to us, and how long it is.
fn ours(bytes: &[u8]) -> Option<(Meaning, usize)> {
    let most = HeadScan::default().advance(bytes, &LIMITS).ok()??;
    let mut slots = FieldSlots::new();
    let head = RequestHead::parse(&bytes[..most], &mut slots, &LIMITS).ok()?;
    let target = parse_target(head.method, head.target).ok()?;
    let named =
        |name: &'static str| head.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    let mut framing = Framing::default();
    named("content-length").try_for_each(|field| framing.content_length(field.value)).ok()?;
    named("transfer-encoding").try_for_each(|field| framing.transfer_encoding(field.value)).ok()?;
    let length = match framing.of_request(head.version).ok()? {
        Length::Known(bytes) => Some(bytes),
        Length::Chunked | Length::UntilClose => None,
    };
    let hosts: Vec<_> = named("host").collect();
    let host_fits = hosts.len() == 1 || (hosts.is_empty() && head.version == Version::Http10);
    if !host_fits
        || hosts.iter().any(|host| valid_host(host.value).is_err())
        || matches!(head.method, b"CONNECT" | b"TRACE")
    {
        return None;
    }
    // An empty path of an absolute-form target is the root (RFC 9110 section 4.2.3).
    let query = target.query.map_or(String::new(), |query| format!("?{}", text(query)));
    let meaning = (
        text(head.method),
        format!("{}|{}{query}", target.authority.map_or(String::new(), text), text(target.path)),
        format!("{:?}", head.version),
        head.fields.iter().map(|field| (text(field.name).to_ascii_lowercase(), field.value.to_vec())).collect(),
        length,
    );
    Some((meaning, head.length))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What hyper makes of the same bytes.
fn hypers(head: &[u8]) -> Option<Meaning> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seen: Arc<Mutex<Option<Meaning>>> = Arc::default();
    let service = service_fn(|request: Request<Incoming>| {
        *seen.lock().unwrap() = Some(meaning_of(&request));
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    });
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        client.write_all(head).await.unwrap();
        client.shutdown().await.unwrap();
        // It ends with an error if the body is missing, which it is here.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).await;
    });
    Mutex::into_inner(Arc::into_inner(seen).unwrap()).unwrap()
}

fn meaning_of(request: &Request<Incoming>) -> Meaning {
    let uri = request.uri();
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    let version = if request.version() == hyper::Version::HTTP_10 { "Http10" } else { "Http11" };
    let fields = request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    (
        request.method().to_string(),
        format!("{}|{}{query}", uri.authority().map_or("", |authority| authority.as_str()), uri.path()),
        version.to_owned(),
        fields.collect(),
        request.body().size_hint().exact(),
    )
}

/// hyper groups fields of one name; the order between names means nothing.
fn sorted(mut meaning: Meaning) -> Meaning {
    meaning.3.sort_by(|a, b| a.0.cmp(&b.0));
    meaning
}

/// Heads that are mostly right: each part comes from a list of right and wrong ones.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    // Each wrong part is rare, so that a head with one mistake, or none, is common.
    let mostly = |right: &'static [&'static str], wrong: &'static [&'static str]| prop_oneof![15 => prop::sample::select(right), 1 => prop::sample::select(wrong)];
    let line_end = mostly(&["\r\n"], &["\n", "\r", "\r\r\n"]);
    let field = (
        mostly(
            &["Accept", "X-Long-Name-1", "x_y", "Content-Length", "Transfer-Encoding", "!#$%&'*+-.^_`|~", "Cookie"],
            &["Host", "A b", "", " Folded", "T\u{e9}"],
        ),
        mostly(&[":", ": ", ":\t"], &[" : ", ""]),
        mostly(
            &["0", "7", "007", "chunked", "Chunked", "a\tb", "\u{e9}", "", "  spaces  "],
            &["+7", "7,7", "gzip, chunked", "\u{1}", "x\u{7f}"],
        ),
        line_end.clone(),
    );
    (
        mostly(&["", "\r\n"], &["\n", "\r\n\r\n"]),
        mostly(&["GET", "POST", "HEAD", "OPTIONS", "get", "M-SEARCH"], &["G T", "", "CONNECT", "TRACE", "(x)"]),
        mostly(&[" "], &["  ", "\t"]),
        mostly(
            &[
                "/",
                "/a/b?c=d&e",
                "/%2e%41?%zz",
                "http://h.example/x",
                "http://h.example",
                "https://h:1?q",
                "/~^{|}",
                "/?{x}^|",
            ],
            &["*", "/a b", "/\u{e4}", "/a#b", "a", "/?\"<>", "/`"],
        ),
        mostly(&[" "], &["  "]),
        mostly(&["HTTP/1.1", "HTTP/1.0"], &["HTTP/1.2", "HTTP/2.0", "http/1.1", ""]),
        line_end.clone(),
        prop::collection::vec(field, 0..4),
        prop::bool::weighted(0.9),
        line_end,
    )
        .prop_map(|(lead, method, space, target, space_2, version, end, fields, with_host, last)| {
            let host = if with_host { "Host: b.example\r\n" } else { "" };
            let fields: String =
                fields.iter().map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}")).collect();
            format!("{lead}{method}{space}{target}{space_2}{version}{end}{host}{fields}{last}").into_bytes()
        })
}

/// Response heads that are mostly right.
fn response_heads() -> impl Strategy<Value = Vec<u8>> {
    let mostly = |right: &'static [&'static str], wrong: &'static [&'static str]| prop_oneof![15 => prop::sample::select(right), 1 => prop::sample::select(wrong)];
    (
        mostly(&["HTTP/1.1", "HTTP/1.0"], &["HTTP/2.0", "HTTP/1.", "http/1.1", ""]),
        mostly(&[" "], &["  ", "\t", ""]),
        mostly(&["200", "404", "100", "999"], &["20", "2000", "099", "2x0", ""]),
        mostly(&["", " ", " OK", " Not Found", " \tso", " \u{e9}"], &["OK", " \u{1}", " \u{7f}"]),
        field_lines(),
    )
        .prop_map(|(version, space, status, reason, fields)| {
            format!("{version}{space}{status}{reason}\r\n{fields}").into_bytes()
        })
}

/// Fields and the end of a head.
fn field_lines() -> impl Strategy<Value = String> {
    let byte = prop_oneof![20 => "[ -~]", 1 => "[\t\u{0}-\u{1f}\u{7f}\u{e9}]"];
    let name = prop_oneof![20 => "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", 1 => "[ -~]{0,9}"];
    let line =
        (name, prop::collection::vec(byte, 0..40)).prop_map(|(name, value)| format!("{name}:{}\r\n", value.concat()));
    prop::collection::vec(line, 0..6).prop_map(|lines| format!("{}\r\n", lines.concat()))
}

type Parsed<'b> = (Vec<&'b [u8]>, u16, Vec<(&'b [u8], &'b [u8])>);

fn our_fields<'b>(fields: &[Field<'b>]) -> Vec<(&'b [u8], &'b [u8])> {
    fields.iter().map(|field| (field.name, field.value)).collect()
}

fn their_fields<'b>(fields: &[httparse::Header<'b>]) -> Vec<(&'b [u8], &'b [u8])> {
    fields.iter().map(|field| (field.name.as_bytes(), field.value)).collect()
}

/// Whether httparse takes more for a line end than we do in these bytes.
fn has_other_line_ends(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\r\n")
        || bytes.iter().enumerate().any(|(at, byte)| *byte == b'\n' && !bytes[..at].ends_with(b"\r"))
}

fn our_request(head: &[u8]) -> Option<Parsed<'_>> {
    let mut slots = FieldSlots::new();
    let head = RequestHead::parse(head, &mut slots, &LIMITS).ok()?;
    Some((vec![head.method, head.target], u16::from(head.version == Version::Http11), our_fields(head.fields)))
}

fn their_request(head: &[u8]) -> Option<Parsed<'_>> {
    let mut slots = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut slots);
    let whole = request.parse(head).ok()? == httparse::Status::Complete(head.len());
    let words = vec![request.method?.as_bytes(), request.path?.as_bytes()];
    whole.then(|| Some((words, request.version?.into(), their_fields(request.headers))))?
}

fn our_response(head: &[u8]) -> Option<Parsed<'_>> {
    let mut slots = FieldSlots::new();
    let head = parse_response(head, &mut slots).ok()?;
    Some((vec![head.reason], head.status * 2 + u16::from(head.version == Version::Http11), our_fields(head.fields)))
}

fn their_response(head: &[u8]) -> Option<Parsed<'_>> {
    let mut slots = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut slots);
    let whole = response.parse(head).ok()? == httparse::Status::Complete(head.len());
    let status = response.code.filter(|code| *code >= 100)?;
    let number = status * 2 + u16::from(response.version?);
    whole.then(|| Some((vec![response.reason?.as_bytes()], number, their_fields(response.headers))))?
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn what_we_accept_hyper_accepts_with_the_same_meaning(bytes in heads()) {
        if let Some((meaning, end)) = ours(&bytes) {
            prop_assert_eq!(hypers(&bytes[..end]).map(sorted), Some(sorted(meaning)));
        }
    }

    #[test]
    fn requests_are_read_as_by_httparse_but_for_their_line_ends(head in heads(), line in "[ -~]{0,20}", fields in field_lines()) {
        let with_fields = format!("{line} HTTP/1.1\r\n{fields}").into_bytes();
        for bytes in [head, with_fields, format!("GET / HTTP/1.1\r\n{fields}").into_bytes()] {
            let Ok(Some(most)) = HeadScan::default().advance(&bytes, &LIMITS) else { continue };
            let end = find_response_end(&bytes, 0).unwrap_or(most);
            prop_assert_eq!(our_request(&bytes[..most]), our_request(&bytes[..end]));
            if !has_other_line_ends(&bytes[..end]) {
                prop_assert_eq!(our_request(&bytes[..end]), their_request(&bytes[..end]));
            }
        }
    }

    #[test]
    fn responses_are_read_as_by_httparse_but_for_their_line_ends(bytes in response_heads()) {
        if let Some(end) = find_response_end(&bytes, 0) && !has_other_line_ends(&bytes[..end]) {
            prop_assert_eq!(our_response(&bytes[..end]), their_response(&bytes[..end]));
            prop_assert_eq!(our_response(&bytes), our_response(&bytes[..end]));
        }
    }
}

#[test]
fn many_of_the_generated_heads_are_accepted() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let requests = (0..2000).filter(|_| ours(&heads().new_tree(&mut runner).unwrap().current()).is_some());
    assert!(requests.count() > 200);
    let responses =
        (0..2000).filter(|_| our_response(&response_heads().new_tree(&mut runner).unwrap().current()).is_some());
    assert!(responses.count() > 200);
}
