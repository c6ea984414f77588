//! What the configuration says about files that are wrong, with the exact places, and about files that are right.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::admin::{Console, Vault};
use crate::catalog::{FloodGuard, LimitHeaders};
use crate::key::State;
use crate::route::Access;
use crate::sink::Target;
use crate::telemetry::{LogFormat, LogOutput};

const REST: &str = "\
listeners: [{address: 127.0.0.1:0}]
upstreams: {a: {targets: ['http://127.0.0.1:9000']}}
routes: {all: {path: /, upstream: a}}
";
const DIGEST: &str = "sha256:7a01b16483b89cd1098c24da18e4ff0aa448da22b0c0835e5dda910e020d1bcd";
const OTHER_DIGEST: &str = "sha256:f8cd82e5030497b56d9e101823b55b3515c2aa343a0070785495ba5650cee9c6";
const SECRET: &str = "kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";

/// The problems of a text, each as `line:column message | remedy`.
fn problems(text: &str) -> Vec<String> {
    let problems = match load_str("t.yaml", text) {
        Ok(loaded) => loaded.warnings,
        Err(rejected) => rejected.problems,
    };
    let line = |p: &Problem| format!("{}:{} {}: {} | {}", p.line, p.column, p.severity.as_str(), p.message, p.remedy);
    problems.iter().map(line).collect()
}

/// A text that is right but for `wrong` at its beginning has one problem, which begins and ends like this.
fn check(wrong: &str, begin: &str, remedy: &str) {
    let found = problems(&format!("{wrong}\n{REST}"));
    let fits = found.len() == 1 && found[0].starts_with(begin) && found[0].ends_with(remedy);
    assert!(fits, "{wrong}\ngives {found:#?}\nnot {begin} … {remedy}");
}

/// As [`check`], for a text that stands alone.
fn check_whole(text: &str, begin: &str, remedy: &str) {
    let found = problems(text);
    let fits = found.len() == 1 && found[0].starts_with(begin) && found[0].ends_with(remedy);
    assert!(fits, "{text}\ngives {found:#?}\nnot {begin} … {remedy}");
}

fn settings(text: &str) -> Settings {
    load_str("t.yaml", &format!("{text}\n{REST}"))
        .unwrap_or_else(|rejected| panic!("{}", listed(&rejected.problems)))
        .settings
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn what_is_not_yaml_is_told_with_its_place() {
    check_whole("a: [1", "1:4 error: not valid YAML: ", "missing comma or closing bracket");
    check_whole("a:\n\tb: 1", "2:2 error: not valid YAML: ", "indent with spaces, not with tabs");
    check_whole("a: 'x", "1:4 error: not valid YAML: unclosed quote", "close the quote that opens here");
    check_whole("a: b: c", "1:5 error: not valid YAML: ", "a line of its own");
    check_whole("a: *b", "1:4 error: this alias refers to an anchor that is not defined above", "in quotes");
    check_whole("a: 1\n---\nb: 2", "2:1 error: a second YAML document begins here", "over several files");
    check_whole("a: &x [*x]", "1:8 error: this alias refers to the very thing it stands in", "write the value out");
    check_whole(
        "? [a]\n: 1\nlisteners: [{address: 127.0.0.1:0}]",
        "1:3 error: a name must be text, not a list or a mapping",
        "needs quotes",
    );
}

#[test]
fn an_empty_file_is_an_error() {
    for text in ["", "# nothing\n", "---\n", "null"] {
        check_whole(text, "0:0 error: the file is empty", "writes a file to begin with");
    }
    check_whole("[1]", "1:1 error: the file must be a mapping, found a list", "as in `listeners:`");
}

#[test]
fn unknown_fields_are_told_with_what_was_meant() {
    check("treads: 2", "1:1 error: the file has an unknown field `treads`", "did you mean `threads`?");
    check(
        "credentials: {header: [A]}",
        "1:15 error: `credentials` has an unknown field `header`",
        "did you mean `headers`?",
    );
    check("dashboard: {address: 127.0.0.1:1}", "1:1 error: the file has an unknown field `dashboard`", "revoked");
    check(
        "plans: {p: {burst: {}}}",
        "1:13 error: `plans.p` has an unknown field `burst`",
        "the fields here are limits, quotas, count, concurrency",
    );
}

#[test]
fn the_console_is_on_where_there_is_an_admin_api() {
    assert_eq!(settings("admin: {address: 127.0.0.1:1}").console, Some(Console::default()));
    assert_eq!(settings("").console, None);
    assert_eq!(settings("admin: {address: 127.0.0.1:1}\nconsole: {enabled: false}").console, None);
    let text = "admin: {address: 127.0.0.1:1}\nconsole: {public_url: 'https://k.example:8443', trusted_header: {name: X-User, \
                networks: [10.0.0.7, '::1']}}";
    let console = settings(text).console.unwrap();
    assert_eq!(console.public_url.unwrap().as_str(), "https://k.example:8443");
    let text = "admin: {address: 127.0.0.1:1}\nconsole: {gateway_url: 'https://api.example/v1'}";
    assert_eq!(settings(text).console.unwrap().gateway_url.unwrap().as_str(), "https://api.example/v1");
    let trusted = console.trusted_header.unwrap();
    assert_eq!((trusted.name.as_str(), trusted.networks.len()), ("X-User", 2));
    check("console: {}", "1:10 error: `console` is served by the admin listener, and there is none", "or take it out");
    check(
        "admin: {address: 127.0.0.1:1}\nconsole: {public_url: http://k.example}",
        "2:23 error: `console.public_url` must be where browsers find the console, found `http://k.example`",
        "http is for this machine alone",
    );
    check(
        "admin: {address: 127.0.0.1:1}\nconsole: {trusted_header: {name: X-User, networks: [0.0.0.0/0]}}",
        "2:52 error: `console.trusted_header.networks` has everybody in it, who could then be an operator",
        "write the addresses of the sign-on proxy alone",
    );
}

#[test]
fn the_key_of_recoverable_secrets_is_in_a_file_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (config, key) = (folder.path().join("keygate.yaml"), folder.path().join("key"));
    let console = "admin: {address: 127.0.0.1:1}\nconsole: {recoverable_secrets: {key_file: ./key}}";
    fs::write(&config, format!("{console}\n{REST}")).unwrap();
    let told = || load(&config).map(|loaded| loaded.settings.vault).map_err(|rejected| listed(&rejected.problems));
    let refused = |with: &str| {
        let problems = told().unwrap_err();
        assert!(problems.contains("keygate.yaml:2:43") && problems.contains(with), "{problems}");
    };
    refused("check the path");
    fs::write(&key, [7; 31]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    refused("a key has 32 bytes, or 64 hexadecimal digits in one line");
    fs::write(&key, [b'\n'; 32]).unwrap();
    assert_eq!(told().unwrap(), Some(Vault::from_file(&[b'\n'; 32]).unwrap()));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    refused("run `chmod 600` on it");
}

#[test]
fn an_admin_listener_that_others_can_reach_has_to_be_wanted() {
    check(
        "admin: {address: 0.0.0.0:9180}",
        "1:18 error: `admin.address` 0.0.0.0:9180 can be reached by others, and tokens would pass in clear",
        "`allow_insecure: true`",
    );
    let insecure = settings("admin: {address: 0.0.0.0:9180, allow_insecure: true}").admin.unwrap();
    assert_eq!(insecure.address, "0.0.0.0:9180".parse().unwrap());
    let settings = settings("admin: {address: '[::1]:9180'}\ndata_dir: there");
    assert_eq!(settings.data_dir, Some("there".into()));
    assert_eq!(settings.admin.unwrap().token_files, [PathBuf::from("there/admin.token")]);
}

/// A file with one sink, the fields of which are these.
fn sink(fields: &str) -> String {
    format!("usage:\n  sinks:\n    s: {{{fields}}}")
}

#[test]
fn sinks_are_read_with_their_defaults() {
    let file = &settings(&sink("type: file, folder: out")).sinks[0];
    assert_eq!((file.name.as_str(), file.batch, file.backoff.as_millis()), ("s", 500, 1000));
    assert!(
        matches!(&file.target, Target::File(file) if file.folder == Path::new("out") && file.max_bytes == 64 << 20)
    );
    let http =
        &settings(&sink("type: http, url: 'https://meter.example/api/v1/events', duplicate_window: 30d")).sinks[0];
    let Target::Http(http) = &http.target else { panic!("{http:?}") };
    assert_eq!((http.token.clone(), http.kind.as_str()), (None, "keygate.usage"));
    assert_eq!(http.duplicate_window, Some(Duration::from_secs(30 * 86_400)));
}

#[test]
fn the_type_of_a_sink_decides_over_its_fields() {
    check(
        &sink("folder: out"),
        "3:5 error: `usage.sinks.s` has no `type`",
        "one of `file`, `http`, `stripe`, `webhook`",
    );
    check(
        &sink("type: fille, folder: out"),
        "3:15 error: `usage.sinks.s` has no such `type`: the text `fille`",
        "did you mean `file`?",
    );
    check(
        &sink("type: file, folder: out, meter: m"),
        "3:34 error: `usage.sinks.s` has an unknown field `meter`",
        "backoff_max",
    );
    check(&sink("type: file"), "3:5 error: `usage.sinks.s` has no `folder`", "made if missing.");
    check(
        &sink("type: file, folder: out, backoff: 10m"),
        "3:43 error: `usage.sinks.s` has a `backoff` above its `backoff_max`",
        "as long as the first",
    );
    check(
        "usage: {sinks: {a: {type: file, folder: out}, b: {type: file, folder: out}}}",
        "1:71 error: two sinks write files of the same names",
        "another `folder` or `prefix`",
    );
}

#[test]
fn usage_is_not_sent_in_clear_to_elsewhere() {
    let to = |url: &str| sink(&format!("type: http, url: '{url}'"));
    check(
        &to("http://10.0.0.1/s3cret"),
        "3:26 error: `usage.sinks.s` would send usage and secrets in clear to http://10.0.0.1",
        "where the way is safe",
    );
    assert_eq!(settings(&to("http://127.0.0.1:1/")).sinks.len(), 1);
    let allowed = settings(&sink("type: http, url: 'http://10.0.0.1/', allow_insecure: true"));
    assert_eq!(allowed.sinks.len(), 1);
}

#[test]
fn secrets_of_sinks_stand_elsewhere_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let load_with = |secret: &str, field: &str| {
        fs::write(folder.path().join("secret"), secret).unwrap();
        let text = format!("{}\n{REST}", sink(&format!("type: webhook, url: 'https://h/x', secret: {field}")));
        fs::write(folder.path().join("k.yaml"), text).unwrap();
        load(&folder.path().join("k.yaml"))
    };
    let loaded = load_with("whsec_MDEyMzQ1Njc4OWFiY2RlZg==\n", "{file: secret}").unwrap();
    let Target::Webhook(webhook) = &loaded.settings.sinks[0].target else { panic!() };
    assert_eq!(webhook.secrets[0].expose(), b"0123456789abcdef");
    assert!(!format!("{:?}", loaded.settings.sinks).contains("MDEy"));
    assert!(loaded.files.contains(&folder.path().join("secret")));
    for (secret, field, told) in [
        ("s3cret", "{file: secret}", "`usage.sinks.s.secret` has fewer than 16 bytes"),
        ("s3cret", "s3cret", "`usage.sinks.s.secret` must be {file: …} or {env: …}, found other text"),
        ("s3cret", "{flie: s3cret}", "has an unknown field `flie`"),
    ] {
        let rejected = load_with(secret, field).unwrap_err();
        let text = listed(&rejected.problems);
        assert!(text.contains(told) && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_misspelt_field_is_not_called_missing_as_well() {
    check(
        "operations: {adress: '127.0.0.1:1'}",
        "1:14 error: `operations` has an unknown field",
        "did you mean `address`?",
    );
    check(&key("digset: x"), "2:7 error: `keys.k` has an unknown field `digset`", "did you mean `digest`?");
    check("keys:\n  k:", "2:3 error: `keys.k` must be a mapping, found nothing", "disabled");
}

#[test]
fn wrong_types_are_told_with_what_to_write() {
    check(
        "threads: many",
        "1:10 error: `threads` must be `auto` or a whole number, found `many`",
        "write `auto` or a whole number",
    );
    check(
        "via: yes",
        "1:6 error: `via` must be true or false, found the text `yes`",
        "write true or false, without quotes",
    );
    check(
        "operations: {address: 9100}",
        "1:23 error: `operations.address` must be an address and a port",
        "or [::]:8080",
    );
    check(
        "realm: 5",
        "1:8 error: `realm` must be a realm, found the number `5`",
        "put it in quotes to make text of it",
    );
    check("realm:", "1:1 error: `realm` must be a realm, found nothing", "without quotes and backslashes");
    check(
        "max_fields: '100'",
        "1:13 error: `max_fields` must be a whole number, found the text `100`",
        "write it without quotes",
    );
    check(
        "max_fields: -1",
        "1:13 error: `max_fields` must be a whole number, found the number `-1`",
        "write a whole number",
    );
    check(
        "trusted_proxies: 10.0.0.0/8",
        "1:18 error: `trusted_proxies` must be a list",
        "write a list of one: [10.0.0.0/8]",
    );
    check("plans: [a]", "1:8 error: `plans` must be a mapping of names, found a list", "no `-` in front");
    check(
        "operations: 127.0.0.1:1",
        "1:13 error: `operations` must be a mapping, found the text",
        "indented below it: address",
    );
    check("flood_guard: false", "1:14 error: `flood_guard` must be null, `off` or a mapping, found false", "a mapping");
    check(
        "limit_headers: standart",
        "1:16 error: `limit_headers` must be `standard`, `legacy`, `both` or `none`",
        "did you mean `standard`?",
    );
    check("realm: !secret x", "1:16 error: the tag `!secret` means nothing here", "{file: PATH} or {env: NAME}");
    check("plans: !!map {}\nrealm: !!str 5\nvia: nope", "3:6 error: `via` must be", "without quotes");
}

#[test]
fn wrong_values_are_told_with_what_to_write() {
    check(
        "head_timeout: 10",
        "1:15 error: `head_timeout` must be a duration, found the number `10`",
        "add a unit: ms, s, m, h or d, as in 10s",
    );
    check("head_timeout: 10 sec", "1:15 error: `head_timeout` must be a duration", "write 10s");
    check(
        "head_timeout: 0s",
        "1:15 error: `head_timeout` must be at least 1ms, found the text `0s`",
        "write a value from 1ms to 1d",
    );
    check("max_head_bytes: 32KB", "1:17 error: `max_head_bytes` must be a size", "write 32KiB");
    check(
        "max_head_bytes: 1",
        "1:17 error: `max_head_bytes` must be at least 1KiB, found the number `1`",
        "write a value from 1KiB to 48KiB",
    );
    check(
        "max_body_bytes: lots",
        "1:17 error: `max_body_bytes` must be null or a size, found the text `lots`",
        "8MiB or 1GiB, or null",
    );
    check(
        "trusted_proxies: [10.1.0.0/8]",
        "1:19 error: `trusted_proxies` must be a network, found `10.1.0.0/8`",
        "for the one address",
    );
    check(
        "operations: {address: ':9100'}",
        "1:23 error: `operations.address` must be an address and a port",
        "[::]:9100 for IPv6",
    );
    check("operations: {address: localhost:9100}", "1:23 error: `operations.address`", "write 127.0.0.1:9100");
    check(
        "identity_headers: {key: 'X Key'}",
        "1:25 error: `identity_headers.key` must be a header field name",
        "as in X-API-Key",
    );
    check(
        "logs: {sample: 2}",
        "1:16 error: `logs.sample` must be a number from 0 to 1, found the number `2`",
        "from 0 to 1",
    );
    check("brand: kga", "1:8 error: `brand` must be a brand, found `kga`", "belongs to admin tokens");
    check("realm: a\"b", "1:8 error: `realm` must be a realm", "without quotes and backslashes");
    check("plans: {' x': {}}", "1:9 error: ` x` is not a name for `plans`", "without a space at either end");
}

#[test]
fn missing_fields_are_told_where_they_are_missing() {
    check_whole("via: true", "0:0 error: the file has no `listeners`", "needs a restart.");
    let text = REST.replace("path: /, ", "");
    check_whole(&text, "3:10 error: `routes.all` has no `path`", "The longest path wins.");
    check_whole(
        &REST.replace("[{address: 127.0.0.1:0}]", "[]"),
        "1:12 error: `listeners` is an empty list",
        "if it is optional",
    );
    check_whole(
        &REST.replace("{address: 127.0.0.1:0}", "{}"),
        "1:13 error: `listeners` has no `address`",
        "lets the system choose.",
    );
    check(
        "plans:\n  p:\n    limits:\n      l:",
        "4:7 error: `plans.p.limits.l` must be a mapping, found nothing",
        "requests, per, burst",
    );
}

#[test]
fn names_that_are_defined_twice_are_told_with_both_places() {
    check("via: true\nvia: false", "2:1 error: `via` is defined twice; the other is on line 1", "give it another name");
    check(
        "plans:\n  p: {}\n  q: {}\n  p: {}",
        "4:3 error: `plans.p` is defined twice; the other is on line 2",
        "give it another name",
    );
}

#[test]
fn references_to_nothing_are_told_with_what_was_meant() {
    check("default_plan: fre\nplans: {free: {}}", "1:15 error: `default_plan` refers to `fre`", "did you mean `free`?");
    check(
        &format!("keys: {{k: {{digest: '{DIGEST}', plan: gold}}}}"),
        "1:101 error: `keys.k` refers to `gold`, which is not among the plans",
        "define it under `plans:`",
    );
    let text = REST.replace("upstream: a", "upstream: b, plans: [x]");
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("2:13 warning: no route leads to `upstreams.a`"), "{found:#?}");
    assert!(
        found[1].starts_with("3:35 error: `routes.all` refers to `b`, which is not among the upstreams"),
        "{found:#?}"
    );
    assert!(found[1].ends_with("define it under `upstreams:`, or take one of `a`"), "{found:#?}");
    assert!(found[2].starts_with("3:46 error: `routes.all` refers to `x`, which is not among the plans"), "{found:#?}");
}

#[test]
fn a_route_that_costs_more_than_a_limit_ever_has_is_warned_of() {
    let found = |route: &str| {
        let plans = "plans: {p: {limits: {l: {requests: 5, per: 1s}}}, q: {limits: {m: {requests: 9, per: 1s}}}}\n";
        problems(&(REST.replace("upstream: a", &format!("upstream: a, {route}")) + plans))
    };
    assert_eq!(found("cost: 5"), Vec::<String>::new());
    assert_eq!(found("cost: 6, plans: [q]"), Vec::<String>::new());
    let warnings = found("cost: 6");
    let [warning] = &warnings[..] else { panic!("{warnings:#?}") };
    assert!(
        warning.contains("warning: `routes.all` costs 6, which is more than `l` of `plans.p` ever has (5)"),
        "{warning}"
    );
}

#[test]
fn limits_that_let_nothing_through_are_errors() {
    let limit = |terms: &str| format!("plans: {{p: {{limits: {{l: {terms}}}}}}}");
    check(
        &limit("{requests: 0, per: 1s}"),
        "1:36 error: `plans.p.limits.l.requests` must be at least 1, found the number `0`",
        "1 to 1000000000",
    );
    check(
        &limit("{requests: 5, per: 1s, burst: 0}"),
        "1:55 error: `plans.p.limits.l.burst` must be at least 1",
        "1 to 1000000000",
    );
    check(
        &limit("{requests: 5, per: 0s}"),
        "1:44 error: `plans.p.limits.l.per` must be at least 1ms",
        "from 1ms to 31d",
    );
    check(
        &limit("{requests: 5, per: 32d}"),
        "1:44 error: `plans.p.limits.l.per` must be at most 31d",
        "from 1ms to 31d",
    );
    check(
        &limit("{requests: 5000000, per: 1s}"),
        "1:22 error: `plans.p.limits.l` is out of range: a limit is at most 1,000,000 requests per second",
        "`burst`",
    );
    let five: Vec<String> = (0..5).map(|n| format!("l{n}: {{requests: 1, per: 1s}}")).collect();
    check(
        &format!("plans: {{p: {{limits: {{{}}}}}}}", five.join(", ")),
        "1:134 error: `plans.p` has 5 limits, at most 4 are possible",
        "on every request",
    );
}

#[test]
fn routes_that_cannot_be_told_apart_are_errors() {
    let routes = |routes: &str| REST.replace("routes: {all: {path: /, upstream: a}}", &format!("routes:\n{routes}"));
    check_whole(
        &routes("  r: {path: /v1, upstream: a, methods: [GET]}\n  s: {path: /v1/, upstream: a, methods: [POST, HEAD]}"),
        "5:3 error: `routes.s` has the same host and path as `routes.r`, and a method in common; the other is on line 4",
        "no `methods` means all",
    );
    check_whole(
        &routes("  r: {path: /v1, upstream: a, access: public, scopes: [x]}"),
        "4:55 error: `routes.r` is public",
        "or `access: public`",
    );
    check_whole(&routes("  r: {path: v1, upstream: a}"), "4:13 error: `routes.r.path` must be a path, found `v1`", "");
    check_whole(&routes("  r: {path: /a/../b, upstream: a}"), "4:13 error: `routes.r.path` must be a path", "/b");
    check_whole(
        &routes("  r: {path: /v1, upstream: a, methods: [get]}"),
        "4:41 error: `routes.r.methods` must be a method",
        "write GET",
    );
    check_whole(
        &routes("  r: {path: /v1, upstream: a, host: 'h:80'}"),
        "4:37 error: `routes.r.host` must be a host",
        "leave the port out",
    );
}

#[test]
fn targets_are_plain_http_for_now() {
    let target = |target: &str| REST.replace("http://127.0.0.1:9000", target);
    check_whole(
        &target("https://a:1"),
        "2:27 error: `upstreams.a.targets` must be a target",
        "plain-text port of the backend",
    );
    check_whole(&target("a:1"), "2:27 error: `upstreams.a.targets` must be a target", "write http://a:1");
    check_whole(
        &target("http://a:1', 'http://A:1"),
        "2:41 error: `upstreams.a` names the target `http://A:1` twice",
        "of requests",
    );
}

#[test]
fn field_names_that_collide_are_errors() {
    check(
        "identity_headers: {key: X-A, owner: x_a}",
        "1:37 error: the field `x_a` is used for two things; the other is on line 1",
        "with `_` as `-`",
    );
    check(
        "identity_headers: {plan: x-api-key}",
        "1:26 error: the field `x-api-key` is used for two things",
        "with `_` as `-`",
    );
    check(
        "credentials: {headers: [X-Keygate-Plan]}",
        "1:25 error: the field `X-Keygate-Plan` is used for two things",
        "with `_` as `-`",
    );
    check("identity_headers: {plan: Host}", "1:26 error: the field `Host` cannot be used for this", "X-Keygate-Key");
    check(
        "credentials: {headers: [], query: []}",
        "1:24 error: no request could carry a key",
        "`headers: [Authorization]`",
    );
    check("credentials: {query: [k, k]}", "1:26 error: the query parameter `k` is used for two things", "as `-`");
}

#[test]
fn addresses_that_collide_are_errors() {
    let text = REST.replace("address: 127.0.0.1:0}", "address: 127.0.0.1:80}") + "operations: {address: 127.0.0.1:80}";
    check_whole(
        &text,
        "4:23 error: the address 127.0.0.1:80 is used twice; the other is on line 1",
        "a port of its own",
    );
}

fn key(fields: &str) -> String {
    format!("keys:\n  k: {{{fields}}}")
}

#[test]
fn keys_that_cannot_work_are_errors() {
    check(&key(""), "2:3 error: `keys.k` has neither `digest` nor `secret`", "prints a whole entry");
    check(
        &key(&format!("digest: '{DIGEST}', secret: {SECRET}")),
        "2:98 error: `keys.k` has both `digest` and `secret`",
        "take `secret` out",
    );
    check(
        &key("digest: sha256:00"),
        "2:15 error: `keys.k.digest` must be a digest, found other text",
        "makes one from a secret",
    );
    check(
        &key(&format!("digest: '{}'", &DIGEST[7..])),
        "2:15 error: `keys.k.digest` must be a digest",
        "put `sha256:` before the 64 digits",
    );
    check(
        &key("digest: 5"),
        "2:15 error: `keys.k.digest` must be a digest, {file: …} or {env: …}, found a number",
        "makes one from a secret",
    );
    check(
        &key(&format!("digest: '{DIGEST}', owner: 42")),
        "2:97 error: `keys.k.owner` must be a name, found the number `42`",
        "put it in quotes to make text of it",
    );
    check(
        &key(&format!("digest: 'hmac-sha256:p1:{}'", &DIGEST[7..])),
        "2:15 error: the digest of `keys.k` needs the pepper `p1`",
        "./data/pepper.p1`",
    );
}

#[test]
fn keys_with_wrong_values_are_errors() {
    check(
        &key(&format!("digest: '{DIGEST}', expires: 2027-01-01")),
        "2:99 error: `keys.k.expires` must be a time",
        "of that day in UTC",
    );
    check(
        &key(&format!("digest: '{DIGEST}', not_before: 2027-01-02T00:00:00Z, expires: 2027-01-01T00:00:00Z")),
        "2:133 error: `keys.k` expires before it becomes valid; the other is on line 2",
        "after `not_before`",
    );
    check(
        &key(&format!("digest: '{DIGEST}', scopes: ['a b']")),
        "2:99 error: `keys.k.scopes` must be a scope",
        "as in orders:read",
    );
    check(
        &key(&format!("digest: '{DIGEST}', extra_allowance: {{day: 1000000000001}}")),
        "2:113 error: `keys.k.extra_allowance.day` must be",
        "1000000000000",
    );
    check(
        &key(&format!("digest: '{DIGEST}', networks: []")),
        "2:100 error: `keys.k.networks` is an empty list",
        "if it is optional",
    );
    check(
        &format!("keys: {{'a b': {{digest: '{DIGEST}'}}}}"),
        "1:8 error: `a b` is not a key id for `keys`",
        "A-Z a-z 0-9 _ . -",
    );
    check(
        &format!("keys:\n  a: {{digest: '{DIGEST}'}}\n  b: {{digest: '{DIGEST}'}}"),
        "3:15 error: `keys.b` has the same secret as another key; the other is on line 2",
        "a secret of its own",
    );
}

#[test]
fn secrets_in_the_file_give_a_warning_or_an_error() {
    check(
        &key(&format!("secret: {SECRET}")),
        "2:15 warning: `keys.k.secret` stands in the file in clear",
        "`keygate keys hash -` prints",
    );
    let first = |text: &str| problems(&format!("{text}\n{REST}")).remove(0);
    let mistyped = first(&key(&format!("secret: {}n", &SECRET[..45])));
    assert!(mistyped.starts_with("2:15 error: `keys.k.secret` can never be presented"), "{mistyped}");
    let weak = first(&key("secret: hunter2"));
    assert!(weak.starts_with("2:15 error: `keys.k.secret` is too easy to guess"), "{weak}");
    let same = first(&format!("keys:\n  a: {{digest: '{DIGEST}'}}\n  b: {{secret: {SECRET}}}"));
    assert!(
        same.starts_with("3:15 error: `keys.b` has the same secret as another key; the other is on line 2"),
        "{same}"
    );
}

#[test]
fn a_plain_secret_is_hashed() {
    let with_secret = settings(&key(&format!("secret: {SECRET}")));
    let with_digest = settings(&key(&format!("digest: '{DIGEST}'")));
    assert_eq!(with_secret.keys[0].digests, with_digest.keys[0].digests);
}

#[test]
fn nothing_outside_can_be_reached_from_a_text() {
    check("include: [a.yaml]", "1:11 error: nothing can be included here", "into the one text");
    check(
        &key("digest: {env: PATH}"),
        "2:21 error: `keys.k.digest` may not come from a file or the environment here",
        "the value itself",
    );
    check(&key("digest: {file: x}"), "2:22 error: `keys.k.digest` may not come from a file", "the value itself");
    check(
        &key("digest: {}"),
        "2:7 error: `keys.k.digest` must have one field, found 0",
        "write one of `file` and `env`",
    );
    check(
        "hashing: {peppers: {p1: x}}",
        "1:25 error: `hashing.peppers.p1` may not come from a file",
        "the value itself",
    );
}

#[test]
fn ten_mistakes_are_reported_at_once() {
    let text = format!(
        "\
listeners:
  - address: 8080
threads: none
upstreams:
  a: {{targets: ['https://x:1'], conect_timeout: 2s}}
routes:
  r: {{path: v1, upstream: b, methods: [TRACE]}}
plans:
  p: {{limits: {{l: {{requests: 0, per: 1}}}}}}
keys:
  k: {{digest: '{DIGEST}', plan: q}}
  l: {{digest: '{DIGEST}'}}
"
    );
    let found = problems(&text);
    let places: Vec<&str> = found.iter().map(|problem| problem.split(' ').next().unwrap()).collect();
    let expected = ["2:14", "3:10", "5:3", "5:17", "5:33", "7:13", "7:27", "7:40", "9:30", "9:38", "11:96", "12:15"];
    assert_eq!(places, expected, "{found:#?}");
    assert_eq!(found.iter().filter(|problem| problem.contains(" warning: ")).count(), 1);
}

#[test]
fn a_problem_shows_its_line_and_what_to_do() {
    let rejected = load_str("t.yaml", &format!("{REST}  \nplans:\n  p: {{concurency: 5}}\n")).unwrap_err();
    let expected = "\
t.yaml:6:7: error: `plans.p` has an unknown field `concurency`
  6 |   p: {concurency: 5}
    |       ^
help: did you mean `concurrency`?";
    assert_eq!(rejected.problems[0].to_string(), expected);
    let json = rejected.problems[0].to_json();
    assert_eq!(json["line"], 6);
    assert_eq!(json["severity"], "error");
    assert_eq!(json["source_line"], "  p: {concurency: 5}");
}

#[test]
fn a_long_line_is_shown_in_part() {
    let names: Vec<String> = (0..500).map(|n| format!("p{n}: {{}}")).collect();
    let rejected =
        load_str("t.yaml", &format!("plans: {{{}, x: 5, {}}}\n{REST}", names.join(", "), "y: {}")).unwrap_err();
    let text = rejected.problems[0].to_string();
    let (line, caret) = (text.lines().nth(1).unwrap(), text.lines().nth(2).unwrap());
    assert!(line.chars().count() < 140, "{text}");
    assert_eq!(line.chars().nth(caret.chars().count() - 1), Some('5'), "{text}");
}

#[test]
fn no_secret_is_ever_shown() {
    let secrets = [SECRET, "hunter2-hunter2", "s3cr3t"];
    for secret in secrets {
        for text in [
            key(&format!("secret: {secret}, plan: q")),
            key(&format!("secrte: {secret}, plan: q")),
            key(&format!("plan: q, secret: [{secret}]")),
            key(&format!("secret: '{secret}', digest: '{secret}', plan: q")),
            format!("keys:\n  k:\n    secret: '{secret}\n"),
            format!("keys:\n  k:\n    secret: {secret}: x\n"),
            format!("keys:\n  k: {{secret: {secret}, secret: {secret}}}"),
            format!("keys: {{k: {{digest: {{sceret: {secret}}}}}}}"),
        ] {
            let rejected = load_str("t.yaml", &format!("{text}\n{REST}")).unwrap_err();
            let shown = listed(&rejected.problems)
                + &rejected.problems.iter().map(|p| p.to_json().to_string()).collect::<String>();
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let settings = settings("");
    assert_eq!(settings.gateway.threads, None);
    assert_eq!(settings.gateway.max_connections, None);
    assert_eq!(settings.gateway.drain_timeout, Duration::from_secs(30));
    assert_eq!(settings.operations, None);
    assert_eq!(settings.telemetry.format, LogFormat::Json);
    assert_eq!(settings.telemetry.access.output, LogOutput::Stdout);
    let wire = &settings.rules.wire;
    assert_eq!(wire.realm, "api");
    assert_eq!(wire.credentials.headers, ["Authorization", "X-API-Key"]);
    assert!(wire.credentials.query.is_empty() && wire.credentials.cookies.is_empty() && !wire.credentials.forward);
    assert_eq!(wire.identity.key.as_deref(), Some("X-Keygate-Key"));
    assert_eq!(wire.limit_headers, LimitHeaders::Standard);
    assert_eq!((wire.head.max_head_bytes, wire.head.max_fields, wire.head.max_target_bytes), (32 << 10, 100, 8 << 10));
    assert_eq!(wire.max_body_bytes, None);
    let timeouts = wire.timeouts;
    assert_eq!([timeouts.head, timeouts.idle, timeouts.body].map(|t| t.as_secs()), [10, 75, 60]);
    assert_eq!(wire.flood_guard, Some(FloodGuard { failures: 100, per: Duration::from_secs(10) }));
    assert!(wire.via && !wire.allow_underscores);
    let upstream = &settings.rules.upstreams[0];
    assert_eq!(upstream.connect_timeout, Duration::from_secs(2));
    assert_eq!(upstream.response_timeout, Some(Duration::from_secs(30)));
    assert_eq!((upstream.idle_timeout.as_secs(), upstream.keep_alive, upstream.preserve_host), (60, 256, true));
    let route = &settings.rules.routes[0];
    assert_eq!((route.access, route.cost, route.strip_prefix, route.max_body_bytes), (Access::Key, 1, false, None));
}

#[test]
fn values_can_be_turned_off() {
    let settings = settings(
        "flood_guard: off\nidentity_headers: {key: null, owner: false, plan: off}\nlogs: {requests: off, sample: 0}\nlimit_headers: none",
    );
    assert_eq!(settings.rules.wire.flood_guard, None);
    let identity = &settings.rules.wire.identity;
    assert_eq!((&identity.key, &identity.owner, &identity.plan), (&None, &None, &None));
    assert_eq!(settings.telemetry.access.output, LogOutput::Off);
    assert_eq!(settings.telemetry.access.sample, 0.0);
    assert_eq!(settings.rules.wire.limit_headers, LimitHeaders::None);
}

#[test]
fn keys_have_their_state_and_plan() {
    let settings = settings(&format!(
        "default_plan: free\nplans: {{free: {{}}, pro: {{}}}}\nrevoked: [gone, k3]\nkeys:\n  \
         k1: {{digest: '{DIGEST}', plan: pro, disabled: true, scopes: [b, a, b]}}\n  \
         k2: {{digest: '{OTHER_DIGEST}'}}\n  \
         k3: {{digest: '{}'}}",
        OTHER_DIGEST.replace('f', "e"),
    ));
    let keys: Vec<_> = settings
        .keys
        .iter()
        .map(|key| (key.key.id.as_str(), key.key.plan.as_ref().map(|plan| plan.as_str()), key.key.state))
        .collect();
    assert_eq!(
        keys,
        [
            ("k1", Some("pro"), State::Disabled),
            ("k2", None, State::Active),
            ("k3", None, State::Revoked),
            ("gone", None, State::Revoked),
        ]
    );
    assert_eq!(settings.rules.default_plan, Some("free".parse().unwrap()));
    assert!(settings.keys[3].digests.is_empty());
    assert_eq!(settings.keys[0].key.scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(settings.keys[1].key.name, "k2");
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "\
listeners: [{address: 127.0.0.1:0}]
upstreams:
  a: &a
    targets: ['http://127.0.0.1:9000']
    keep_alive: 7
    connect_timeout: 5s
  b:
    <<: *a
    keep_alive: 8
routes: {a: {path: /a, upstream: a}, b: {path: /b, upstream: b}}
";
    let settings = load_str("t.yaml", text).unwrap().settings;
    let [a, b] = &settings.rules.upstreams[..] else { panic!("two upstreams") };
    assert_eq!((a.keep_alive, b.keep_alive), (7, 8));
    assert_eq!(b.connect_timeout, Duration::from_secs(5));
    assert_eq!(a.targets, b.targets);
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 10].join(", ");
        text += &format!("a{n}: &a{n} [{items}]\n");
    }
    let found = problems(&text);
    assert!(found[0].contains("anchors and aliases make more than 1000000 values"), "{found:#?}");
    let deep: String = (1..40).map(|n| format!("a{n}: &a{n} [[[[*a{}]]]]\n", n - 1)).collect();
    let found = problems(&format!("a0: &a0 x\n{deep}"));
    assert!(found[0].contains("nested more than 64 levels deep"), "{found:#?}");
    let found = problems(&"[".repeat(100_000));
    assert!(found[0].contains("not valid YAML") || found[0].contains("levels deep"), "{found:#?}");
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn problems_of(folder: &Path) -> String {
    let text = listed(&load(&folder.join("k.yaml")).unwrap_err().problems);
    text.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn included_files_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "k.yaml", &format!("include: [keys.d/*.yaml, more.yaml, none.d/*, more.d/*]\n{REST}"));
    write(folder.path(), "keys.d/b.yaml", &format!("keys: {{b: {{digest: '{DIGEST}'}}}}"));
    write(folder.path(), "keys.d/a.yaml", &format!("keys: {{a: {{digest: '{OTHER_DIGEST}'}}}}"));
    write(folder.path(), "keys.d/.hidden.yaml", "not: yaml: at all");
    write(folder.path(), "keys.d/other.txt", "not: yaml: at all");
    write(folder.path(), "more.yaml", "# nothing yet\n");
    write(folder.path(), "more.d/x/y", "");
    let loaded = load(&folder.path().join("k.yaml")).unwrap_or_else(|r| panic!("{}", listed(&r.problems)));
    let ids: Vec<&str> = loaded.settings.keys.iter().map(|key| key.key.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].message.contains("none.d` cannot be read"), "{}", loaded.warnings[0]);
    let names: Vec<String> =
        loaded.files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
    assert_eq!(names, ["k.yaml", "keys.d", "keys.d/a.yaml", "keys.d/b.yaml", "more.yaml", "none.d", "more.d"]);
}

#[test]
fn problems_of_included_files_name_those_files() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "k.yaml",
        &format!("include: [a.yaml, b.yaml, gone.yaml, a.yaml, 'x*/y']\nplans: {{p: {{}}}}\n{REST}"),
    );
    write(folder.path(), "a.yaml", &format!("keys: {{k: {{digest: '{DIGEST}', plan: q}}}}\nplans: {{p: {{}}}}"));
    write(folder.path(), "b.yaml", &format!("realm: x\nkeys: {{l: {{digest: '{DIGEST}'}}}}"));
    let text = problems_of(folder.path());
    for expected in [
        "k.yaml:1:27: error: the file `gone.yaml` cannot be read: No such file",
        "k.yaml:1:38: error: the file `a.yaml` is included twice",
        "k.yaml:1:46: error: `*` may stand in the last part of a path only",
        "a.yaml:1:101: error: `keys.k` refers to `q`",
        "a.yaml:2:9: error: `plans.p` is defined twice; the other is at k.yaml:2",
        "b.yaml:1:1: error: the file has an unknown field `realm`",
        "help: move it to the main file; an included file holds upstreams, routes, plans, keys, revoked",
        "b.yaml:2:20: error: `keys.l` has the same secret as another key; the other is at a.yaml:1",
    ] {
        assert!(text.replace(&shown_folder(folder.path()), "").contains(expected), "no {expected} in\n{text}");
    }
    assert_eq!(text.matches("error:").count(), 7, "{text}");
}

/// Messages redact folder names that look like secrets; temporary ones can.
fn shown_folder(folder: &Path) -> String {
    let shown = problem::shown(&format!("{}/", folder.display()));
    shown.trim_matches('`').to_owned()
}

#[test]
fn values_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "keys:\n  a: {digest: {file: v/a.digest}}\n  b: {secret: {file: v/b.secret}}\n  c: {digest: {env: CARGO_MANIFEST_DIR}}\n";
    write(folder.path(), "k.yaml", &format!("{keys}hashing: {{peppers: {{p1: v/p1}}}}\n{REST}"));
    write(folder.path(), "v/a.digest", &format!("hmac-sha256:p1:{}\n", &DIGEST[7..]));
    write(folder.path(), "v/b.secret", "hunter2\r\n");
    write(folder.path(), "v/p1", "0123456789abcdef\n");
    let rejected = load(&folder.path().join("k.yaml")).unwrap_err();
    assert_eq!(rejected.problems.len(), 1, "{}", listed(&rejected.problems));
    assert_eq!(rejected.problems[0].message, "what `keys.c.digest` refers to is not a digest");
    let text = fs::read_to_string(folder.path().join("k.yaml"))
        .unwrap()
        .replace("  c: {digest: {env: CARGO_MANIFEST_DIR}}\n", "");
    write(folder.path(), "k.yaml", &text);
    let loaded = load(&folder.path().join("k.yaml")).unwrap_or_else(|r| panic!("{}", listed(&r.problems)));
    assert!(loaded.warnings.is_empty());
    let hasher = &loaded.settings.rules.wire.hasher;
    assert_eq!(
        loaded.settings.keys[1].digests[..],
        hasher.digests(b"hunter2").iter().copied().collect::<Vec<_>>()[1..]
    );
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn values_that_cannot_be_had_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "keys:\n  a: {digest: {file: none}}\n  b: {secret: {file: empty}}\n  c: {digest: {env: KEYGATE_SURELY_NOT_SET}}\n  d: {digest: {file: v}}\n";
    write(folder.path(), "k.yaml", &format!("{keys}hashing: {{peppers: {{p1: short, p2: none}}}}\n{REST}"));
    write(folder.path(), "empty", "\n");
    write(folder.path(), "short", "short\n");
    write(folder.path(), "v/x", "");
    let text = problems_of(folder.path()).replace(&shown_folder(folder.path()), "");
    for expected in [
        "k.yaml:2:22: error: the file `none` of `keys.a.digest` cannot be read",
        "k.yaml:3:22: error: the file `empty` of `keys.b.secret` is empty",
        "k.yaml:4:21: error: the environment variable `KEYGATE_SURELY_NOT_SET` of `keys.c.digest` is not set",
        "k.yaml:5:22: error: the file `v` of `keys.d.digest` is not a regular file",
        "k.yaml:6:25: error: `hashing.peppers.p1` has fewer than 16 bytes",
        "k.yaml:6:36: error: the file `none` of `hashing.peppers.p2` cannot be read",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    assert!(problems_of(folder.path()).starts_with("k.yaml: error: the file cannot be read: No such file"));
    fs::write(folder.path().join("k.yaml"), b"via: \xff").unwrap();
    assert!(
        problems_of(folder.path())
            .starts_with("k.yaml: error: the file is not UTF-8 text (first wrong byte at offset 5)")
    );
    fs::File::create(folder.path().join("k.yaml")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    assert!(problems_of(folder.path()).starts_with("k.yaml: error: the file is larger than 64 MiB"));
    fs::remove_file(folder.path().join("k.yaml")).unwrap();
    fs::create_dir(folder.path().join("k.yaml")).unwrap();
    assert!(problems_of(folder.path()).starts_with("k.yaml: error: the file is not a regular file"));
}

#[test]
fn a_hundred_thousand_keys_are_read() {
    let loaded = load_str("t.yaml", &many_keys(100_000)).unwrap_or_else(|r| panic!("{}", r.problems[0]));
    assert_eq!(loaded.settings.keys.len(), 100_000);
}

#[test]
fn every_one_of_very_many_problems_is_told() {
    let text = many_keys(10_000).replace("plan: free", "plan: fee");
    let broken = load_str("t.yaml", &text).unwrap_err();
    assert_eq!(broken.problems.len(), 10_000);
    assert!(broken.problems[9_999].remedy.contains("did you mean `free`?"));
}

fn many_keys(count: usize) -> String {
    let entry = |n: usize| {
        format!(
            "  key_{n}:\n    name: Customer {n}\n    owner: o{n}\n    plan: free\n    digest: sha256:{n:064x}\n    \
             scopes: [orders:read]\n"
        )
    };
    let keys: String = (0..count).map(entry).collect();
    format!("{REST}plans: {{free: {{}}}}\nkeys:\n{keys}")
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = load_str("t.yaml", &text);
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(text in yaml_like()) {
        if let Err(rejected) = load_str("t.yaml", &text) {
            prop_assert!(rejected.problems.iter().any(|problem| problem.severity == Severity::Error));
            let defect = rejected.problems.iter().any(|problem| problem.message.contains("cannot be used"));
            prop_assert!(!defect, "{text}");
            let _ = listed(&rejected.problems);
        }
    }
}

/// Lines of known and unknown names with values of all kinds, at all depths.
fn yaml_like() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = fields::ROOT
        .iter()
        .chain(fields::KEY)
        .chain(fields::ROUTE)
        .map(|field| field.name)
        .chain(["x", "<<", "- ", "*a"])
        .collect();
    let values = prop::sample::select(vec![
        "",
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "10s",
        "32KiB",
        "text",
        "'q'",
        "[]",
        "[a, 1]",
        "{}",
        "{a: b}",
        "&a x",
        "*a",
        "|\n  block",
        "[",
        "}",
        "\t",
        "http://a:1",
        "/v1",
        "{address: 127.0.0.1:0}",
        "[{address: 127.0.0.1:0}]",
        "{a: {targets: ['http://a:1']}}",
        "{r: {path: /, upstream: a}}",
        "\u{feff}",
        "é: ü",
    ]);
    let line = (0_usize..4, prop::sample::select(names), values)
        .prop_map(|(depth, name, value)| format!("{}{name}: {value}\n", "  ".repeat(depth)));
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}
