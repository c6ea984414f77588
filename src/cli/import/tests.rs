//! Importing, front to back: a sample of each kind, the wrong files, and that no message shows a secret.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::looks::Looks;
use super::reason::{FieldProblem, Hash, Reason, Reference};
use super::*;
use crate::key::TextError;

const KONG: &str = include_str!("../../../tests/data/import/kong.yaml");
const APISIX: &str = include_str!("../../../tests/data/import/apisix.yaml");
const APISIX_ADMIN: &str = include_str!("../../../tests/data/import/apisix-admin.json");
const NGINX: &str = include_str!("../../../tests/data/import/nginx.conf");
const CSV: &str = include_str!("../../../tests/data/import/keys.csv");
const KINDS: [Kind; 4] = [Kind::Kong, Kind::Apisix, Kind::Nginx, Kind::Csv];

/// The candidates as they are sent, by line.
fn sent(rows: &[Row]) -> Vec<(usize, Value)> {
    rows.iter().filter_map(|row| Some((row.line, row.outcome.as_ref().ok()?.to_batch()))).collect()
}

/// The lines, owners and reasons of the rows that are skipped.
fn skipped(rows: &[Row]) -> Vec<(usize, Option<&str>, Reason)> {
    let skips = rows.iter().filter_map(|row| Some((row.line, row.outcome.as_ref().err()?)));
    skips.map(|(line, skip)| (line, skip.owner.as_deref(), skip.reason.clone())).collect()
}

fn origins(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.origin.as_str()).collect()
}

const fn field(field: &'static str, problem: FieldProblem) -> Reason {
    Reason::Field { field, problem }
}

#[test]
fn kong_consumers_and_their_keys_are_taken() {
    let rows = read(Kind::Kong, KONG).unwrap();
    let expected = [
        (
            22,
            json!({"id": "6b9443ae-73f0-4db6-af00-4f1e3a415dbb", "name": "acme", "owner": "cust-001",
                   "secret": "Zk3vVw9QeRt7YuIoPa2SdFgHjKlXcVbN"}),
        ),
        (25, json!({"name": "acme", "owner": "cust-001", "secret": "0071234567"})),
        (
            26,
            json!({"name": "acme", "owner": "cust-001", "secret": "tTl0nceUponATimeInTheWest5Qx8Rz",
                   "expires": "2023-11-15T22:13:20Z"}),
        ),
        (40, json!({"name": "Bäckerei Schmidt", "owner": "schmidt", "secret": "sChmidtUmlaut3EdC4RfV5TgB6YhN7"})),
        (60, json!({"name": "acme", "owner": "cust-001", "secret": "tOpLevelByName1Qa2Ws3Ed4Rf5Tg"})),
    ];
    assert_eq!(sent(&rows), expected);
    assert_eq!(origins(&rows)[..2], ["consumers[0].keyauth_credentials[0]", "consumers[0].keyauth_credentials[1]"]);
}

#[test]
fn what_kong_has_besides_is_named() {
    let rows = read(Kind::Kong, KONG).unwrap();
    let first = "consumers[0].keyauth_credentials[0]".to_owned();
    let mobile = Some("mobile");
    let expected = [
        (29, Some("cust-001"), Reason::NoCreation),
        (36, Some("Bäckerei Müller"), field("username", FieldProblem::Text(TextError::Name))),
        (43, mobile, Reason::Reference(Reference::Vault)),
        (44, mobile, Reason::Reference(Reference::Environment)),
        (45, mobile, Reason::Reference(Reference::Environment)),
        (46, mobile, Reason::Duplicate { first }),
        (47, mobile, Reason::NotASecret),
        (48, mobile, Reason::NoSecret),
        (50, mobile, Reason::OtherCredential("a user name with a password (basic-auth)")),
        (53, mobile, Reason::OtherCredential("a secret for signing tokens (jwt)")),
        (58, None, Reason::ShowsSecret),
        (62, None, Reason::NoConsumer),
        (64, Some("cust-001"), Reason::Hash(Hash::Password("bcrypt"))),
    ];
    assert_eq!(skipped(&rows), expected);
}

#[test]
fn apisix_consumers_and_credentials_are_taken() {
    let rows = read(Kind::Apisix, APISIX).unwrap();
    let expected = [
        (13, json!({"name": "jack", "owner": "jack", "secret": "jAck3vVw9QeRt7YuIoPa2SdFgHjKl"})),
        (27, json!({"name": "off", "owner": "off", "secret": "oFf4TgB6YhN7UjM8IkZk3vVw9QeRt", "disabled": true})),
        (37, json!({"name": "jack", "owner": "jack", "secret": "sEcondOfJack7Hj2Kd9LmTgB6YhN7"})),
    ];
    assert_eq!(sent(&rows), expected);
    let expected = [
        (20, Some("jane"), Reason::Reference(Reference::Vault)),
        (22, Some("jane"), Reason::OtherCredential("a secret for signing tokens (jwt-auth)")),
        (33, Some("env"), Reason::Reference(Reference::Environment)),
        (41, Some("張三"), field("username", FieldProblem::Text(TextError::Name))),
    ];
    assert_eq!(skipped(&rows), expected);
    assert_eq!(rows[0].origin, "consumers[0].plugins.key-auth");
}

#[test]
fn answers_of_the_admin_api_of_apisix_are_taken() {
    let rows = read(Kind::Apisix, APISIX_ADMIN).unwrap();
    let expected = [
        (1, json!({"name": "jack", "owner": "jack", "secret": "jAck3vVw9QeRt7YuIoPa2SdFgHjKl/x"})),
        (2, json!({"name": "jack", "owner": "jack", "secret": "sEcondOfJack7Hj2Kd9LmTgB6YhN7"})),
    ];
    assert_eq!(sent(&rows), expected);
    let expected = [
        (3, Some("jack"), Reason::OtherCredential("a secret for signing requests (hmac-auth)")),
        (4, Some("none"), Reason::NoSecret),
    ];
    assert_eq!(skipped(&rows), expected);
    assert_eq!(rows[1].origin, "list[1].value.plugins.key-auth");
    let single = r#"{"key": "/apisix/consumers/a/credentials/b", "value": {"plugins": {"key-auth": {"key": "k"}}}}"#;
    assert_eq!(sent(&read(Kind::Apisix, single).unwrap())[0].1["owner"], "a");
    let old = r#"{"node": {"nodes": [{"key": "/apisix/consumers/a", "value": {"username": "a", "plugins": {"key-auth": {"key": "k"}}}}]}}"#;
    assert_eq!(sent(&read(Kind::Apisix, old).unwrap())[0].1["owner"], "a");
}

#[test]
fn nginx_maps_are_read_as_nginx_reads_them() {
    let rows = read(Kind::Nginx, NGINX).unwrap();
    let expected = [
        (12, json!({"name": "acme", "owner": "acme", "secret": "Zk3vVw9QeRt7YuIoPa2SdFgHjKlXcVbN"})),
        (13, json!({"name": "globex", "owner": "globex", "secret": "qUoted;wIth{sigNs}#3EdC4RfV5TgB6"})),
        (14, json!({"name": "Globex West", "owner": "Globex West", "secret": "wIth\"quote\"5TgB6YhN7UjM8IkZk3v"})),
        (15, json!({"name": "initech", "owner": "initech", "secret": "default_looking_7Hj2Kd9LmTgB6YhN7"})),
        (29, json!({"name": "nginx line 29", "secret": "yEsNoOwner7Hj2Kd9LmTgB6YhN7UjM8I"})),
        (34, json!({"name": "hooli", "owner": "hooli", "secret": "bEarer7Hj2Kd9LmTgB6YhN7UjM8IkZk3"})),
    ];
    assert_eq!(sent(&rows), expected);
    let expected = [
        (16, None, Reason::RefusedThere),
        (17, None, Reason::RefusedThere),
        (18, Some("testers"), Reason::Pattern),
        (19, Some("developers"), Reason::Pattern),
        (20, None, Reason::Included),
        (21, None, Reason::Variable),
        (22, Some("Bäckerei"), field("value", FieldProblem::Text(TextError::Name))),
        (23, Some("nobody"), Reason::NoSecret),
        (24, Some("words"), Reason::NoPair),
        (30, None, Reason::Pattern),
        (33, None, Reason::DefaultAdmits),
        (35, Some("old user"), Reason::OtherCredential("a user name with a password (HTTP Basic)")),
        (38, Some("acme"), Reason::Composite),
        (40, None, Reason::NotAKey),
    ];
    assert_eq!(skipped(&rows), expected);
}

#[test]
fn a_table_is_taken_with_all_its_columns() {
    let rows = read(Kind::Csv, CSV).unwrap();
    let digest = "sha256:7a01b16483b89cd1098c24da18e4ff0aa448da22b0c0835e5dda910e020d1bcd";
    let expected = [
        (
            2,
            json!({"id": "key_acme", "name": "Acme production", "owner": "acme", "plan": "pro",
                   "secret": "Zk3vVw9QeRt7YuIoPa2SdFgHjKlXcVbN", "scopes": ["orders:read", "orders:write"],
                   "networks": ["10.0.0.0/8", "192.0.2.7/32"], "expires": "2027-01-01T00:00:00Z"}),
        ),
        (3, json!({"name": "Bäckerei \"Sonne\", Köln", "owner": "baeckerei", "digest": digest})),
        (6, json!({"name": "Off", "owner": "off", "secret": "oFf\"4TgB6,YhN7UjM8IkZk3vVw9QeRt", "disabled": true})),
    ];
    assert_eq!(sent(&rows), expected);
    let x = Some("x");
    let expected = [
        (4, None, Reason::Cells { expected: 10, found: 9 }),
        (7, x, Reason::TwoSecrets),
        (8, x, Reason::NoSecret),
        (9, x, Reason::BareDigest),
        (10, x, Reason::Hash(Hash::Password("bcrypt"))),
        (11, Some("Jürgen"), field("owner", FieldProblem::Text(TextError::Name))),
        (12, x, field("networks", FieldProblem::Network)),
        (13, x, field("expires", FieldProblem::Time)),
        (14, x, field("disabled", FieldProblem::Switch)),
        (15, x, field("id", FieldProblem::Text(TextError::KeyId))),
        (16, x, Reason::ShowsSecret),
    ];
    assert_eq!(skipped(&rows), expected);
}

#[test]
fn a_column_that_says_sha256_is_believed_and_other_hashes_are_refused() {
    let hex = "0A".repeat(32);
    let rows = read(Kind::Csv, &format!("owner,sha256,md5\na,{hex},\nb,,{}\n", &hex[..32])).unwrap();
    assert_eq!(sent(&rows), [(2, json!({"name": "a", "owner": "a", "digest": format!("sha256:{}", "0a".repeat(32))}))]);
    assert_eq!(skipped(&rows), [(3, Some("b"), Reason::Hash(Hash::Other("MD5")))]);
}

#[test]
fn an_extra_allowance_is_a_bounded_number() {
    let rows = read(Kind::Csv, "secret,extra_day,extra_month\nZk3vVw9QeRt7YuIo,,7\nAk3vVw9QeRt7YuIo,1e3,\n").unwrap();
    assert_eq!(sent(&rows)[0].1["extra_allowance"], json!({"day": 0, "month": 7}));
    assert_eq!(skipped(&rows), [(3, None, field("extra_day", FieldProblem::Units))]);
}

#[test]
fn the_header_of_a_table_must_be_known() {
    let error = |text: &str| read(Kind::Csv, text).unwrap_err();
    let FileError::UnknownColumns { names, .. } = error("name,secret,colour,k3y9\na,b,c,d\n") else { panic!() };
    assert_eq!(names, "`colour`, number 4");
    let FileError::UnknownColumns { names, .. } = error("Zkqwertyuiop,disabled\n") else { panic!() };
    assert_eq!(names, "number 1");
    assert!(matches!(error("acme,Zk3vVw9QeRt7YuIo\n"), FileError::NoHeader { .. }));
    assert!(matches!(error("name;secret\na;b\n"), FileError::NoHeader { .. }));
    assert_eq!(error("name,secret,Name\n"), FileError::ColumnTwice("name"));
    assert_eq!(error("name,owner\na,b\n"), FileError::NoSecretColumn);
    assert_eq!(error("name,secret\n"), FileError::Nothing(Kind::Csv));
    assert!(matches!(error("name,secret\na,\"b\n"), FileError::Csv { line: 2, .. }));
    assert!(matches!(error("name,secret\na,\"b\"c\n"), FileError::Csv { line: 2, .. }));
    assert!(matches!(error("name,secret\na,b\"c\n"), FileError::Csv { line: 2, .. }));
}

#[test]
fn lines_in_cells_count_for_the_rows_after_them() {
    let rows = read(Kind::Csv, "name,secret\n\"a\nb\",one\nc,two").unwrap();
    let lines = rows.iter().map(|row| (row.line, row.outcome.as_ref().unwrap().name.as_str()));
    assert_eq!(lines.collect::<Vec<_>>(), [(2, "a\nb"), (4, "c")]);
}

#[test]
fn a_file_of_another_kind_is_recognised() {
    let samples = [
        (Kind::Kong, KONG),
        (Kind::Apisix, APISIX),
        (Kind::Apisix, APISIX_ADMIN),
        (Kind::Nginx, NGINX),
        (Kind::Csv, CSV),
    ];
    for wanted in KINDS {
        for (found, text) in samples.into_iter().filter(|(found, _)| *found != wanted) {
            let expected = FileError::Looks { wanted, found: Looks::Like(found) };
            assert_eq!(read(wanted, text).unwrap_err(), expected, "{wanted} of {found}");
        }
    }
    let tyk = r#"[{"key_hash": "3f8a", "data": {"org_id": "1", "access_rights": {}}}]"#;
    let krakend = r#"{"version": 3, "extra_config": {"auth/api-keys": {"hash": "fnv128", "keys": []}}}"#;
    let manifests = "apiVersion: v1\nkind: Secret\n---\napiVersion: configuration.konghq.com/v1\nkind: KongConsumer\n";
    for (text, found) in [(tyk, Looks::Tyk), (krakend, Looks::KrakenD), (manifests, Looks::Kubernetes)] {
        for wanted in KINDS {
            assert_eq!(read(wanted, text).unwrap_err(), FileError::Looks { wanted, found });
        }
    }
}

#[test]
fn a_file_without_keys_says_what_it_should_have() {
    for (kind, text) in [
        (Kind::Kong, "_format_version: \"3.0\"\nconsumers:\n- username: a\n"),
        (Kind::Apisix, "consumers:\n- username: a\n  plugins: {limit-count: {count: 1}}\n"),
        (Kind::Nginx, "server { listen 80; }"),
    ] {
        assert_eq!(read(kind, text).unwrap_err(), FileError::Nothing(kind));
    }
    for kind in KINDS {
        assert_eq!(read(kind, "\u{feff} \n").unwrap_err(), FileError::Empty);
    }
}

#[test]
fn broken_nginx_files_are_refused_by_their_line() {
    let error = |text: &str| match read(Kind::Nginx, text) {
        Err(FileError::Nginx { line, problem }) => (line, problem),
        other => panic!("{other:?}"),
    };
    let map = |inside: &str| format!("map $http_x_api_key $c {{\n{inside}");
    assert_eq!(error(&map("\"a b;\n}")), (3, "a quote is not closed"));
    assert_eq!(error(&map("a b;")), (2, "a `{` is not closed"));
    assert_eq!(error(&map("a b\n}")), (3, "a `;` is missing before `}`"));
    assert_eq!(error(&map("a {b c;}\n}")), (2, "a map has no blocks inside"));
    assert_eq!(error(&map("\"a\"b c;\n}")), (2, "a blank is missing after a quote"));
    assert_eq!(error(&map("a b;\n}\n}")), (4, "a `}` too many"));
}

/// Everything that is secret in the samples.
const SECRETS: [&str; 30] = [
    "Zk3vVw9QeRt7",
    "0071234567",
    "tTl0nce",
    "tTlWithout",
    "bAeckerei",
    "sChmidt",
    "with a blank",
    "DECK_MOBILE",
    "Passw0rd",
    "SecretThat",
    "eChoEcho",
    "tOpLevel",
    "R9h/cIPz0gi",
    "jAck3v",
    "oFf4Tg",
    "oFf\"4",
    "sEcondOf",
    "uNicodeO",
    "qUoted;",
    "wIth",
    "default_looking",
    "rEvoked",
    "yEsNoOwner",
    "bEarer7",
    "dXNlcj",
    "cOmbined",
    "oWner4",
    "iNname4",
    "bOth4",
    "three7",
];

#[test]
fn no_message_shows_a_secret() {
    let mut texts = Vec::new();
    let samples = [KONG, APISIX, APISIX_ADMIN, NGINX, CSV];
    for (kind, text) in KINDS.into_iter().flat_map(|kind| samples.map(|text| (kind, text))) {
        match read(kind, text) {
            Ok(rows) => {
                let told: Vec<Reported<'_>> = report(&rows, &[]);
                assert!(told.iter().all(|line| matches!(line.status, Status::Skipped | Status::Unanswered)));
                texts.push(format!("{rows:?} {told:?}"));
                texts.extend(
                    rows.iter().filter_map(|row| row.outcome.as_ref().err()).map(|skip| skip.reason.to_string()),
                );
            }
            Err(error) => texts.push(format!("{error} {error:?}")),
        }
        // Cut anywhere, a file must not be quoted by what is said of it.
        for length in (0..text.len()).step_by(37).filter(|length| text.is_char_boundary(*length)) {
            texts.extend(read(kind, &text[..length]).err().map(|error| format!("{error} {error:?}")));
        }
    }
    for secret in SECRETS {
        assert!(
            samples.iter().any(|text| text.contains(secret) || text.contains(&secret.replace('"', "\"\""))),
            "{secret}"
        );
        assert!(!texts.iter().any(|text| text.contains(secret)), "{secret} is shown");
    }
}

#[test]
fn reasons_read_as_sentences() {
    let rows = read(Kind::Kong, KONG).unwrap();
    let reasons: Vec<String> = skipped(&rows).into_iter().map(|(_, _, reason)| reason.to_string()).collect();
    assert_eq!(
        reasons[1],
        "`username` cannot be taken: a name has 1 to 128 printable ASCII characters and neither begins nor ends with a space"
    );
    let wrong = read(Kind::Kong, APISIX).unwrap_err().to_string();
    assert_eq!(wrong, "this is not a file for `kong`: it looks like a file for `apisix`; name that kind instead");
}

#[test]
fn large_files_are_read_whole() {
    let (mut table, mut tree) = ("owner,secret\n".to_owned(), "consumers:\n".to_owned());
    for n in 0..30_000 {
        table.push_str(&format!("owner-{n},secret-{n}\n"));
        tree.push_str(&format!("- username: owner-{n}\n  keyauth_credentials:\n  - key: secret-{n}\n"));
    }
    for (kind, text) in [(Kind::Csv, table), (Kind::Kong, tree)] {
        let rows = read(kind, &text).unwrap();
        assert_eq!(sent(&rows).last().unwrap().1["secret"], "secret-29999");
        assert_eq!(rows.len(), 30_000);
    }
}

#[test]
fn only_maps_over_something_named_like_a_key_are_taken() {
    let check = |variable: &str, taken: bool| {
        let rows = read(Kind::Nginx, &format!("map {variable} $c {{ some-secret acme; }}")).unwrap();
        assert_eq!(rows[0].outcome.is_ok(), taken, "{variable}");
    };
    for variable in ["$http_x_api_key", "$http_apikey", "${arg_apiKey}", "$cookie_auth_token", "$http_authorization"] {
        check(variable, true);
    }
    for variable in ["$http_x_api_version", "$arg_keyword", "$cookie_session", "$http_author", "$http_x_key$arg_key"] {
        check(variable, false);
    }
    assert_eq!(read(Kind::Nginx, "map $http_user_agent $c { a b; }").unwrap_err(), FileError::Nothing(Kind::Nginx));
}

/// Arbitrary text, and text out of the pieces that the formats are made of.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "consumers:",
        "keyauth_credentials",
        "\n",
        "\n- ",
        "  ",
        "key: ",
        "key-auth",
        "plugins: ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "\\",
        ",",
        ";",
        "map $http_x_api_key $c ",
        "default",
        "~",
        "#",
        "&a ",
        "*a",
        "<<: ",
        "name",
        "secret",
        "\r\n",
        "$",
        "ttl: ",
        "é",
        "1",
        "created_at: ",
        "\u{0}",
        "list",
        "value",
        ":",
        "Bearer ",
        "--- ",
        "include",
        "hostnames;",
        "|",
        "sha256",
        "digest",
    ]);
    prop_oneof![".{0,200}", prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())]
}

fn never_panics(kind: Kind, text: &str) {
    if let Ok(rows) = read(kind, text) {
        rows.iter().filter_map(|row| row.outcome.as_ref().ok()).for_each(|candidate| drop(candidate.to_batch()));
    }
}

proptest! {
    #[test]
    fn any_text_can_be_read_as_kong(text in texts()) {
        never_panics(Kind::Kong, &text);
        never_panics(Kind::Kong, &format!("consumers:\n- username: a\n  keyauth_credentials:\n  - key: {text}\n"));
    }

    #[test]
    fn any_text_can_be_read_as_apisix(text in texts()) {
        never_panics(Kind::Apisix, &text);
        never_panics(Kind::Apisix, &format!("consumers:\n- username: a\n  plugins: {text}\n"));
    }

    #[test]
    fn any_text_can_be_read_as_nginx(text in texts()) {
        never_panics(Kind::Nginx, &text);
        never_panics(Kind::Nginx, &format!("map $http_x_api_key $c {{ {text} }}"));
    }

    #[test]
    fn any_text_can_be_read_as_csv(text in texts()) {
        never_panics(Kind::Csv, &text);
        never_panics(Kind::Csv, &format!("name,owner,secret,digest,sha256,id,scopes,networks,expires,extra_day,extra_month,disabled\n{text}"));
    }

    #[test]
    fn a_secret_comes_out_of_every_format_as_it_went_in(secret in "[!-~]{1,64}") {
        prop_assume!(material::secret(&secret).is_ok() && secret.len() > 1);
        let yaml = secret.replace('\'', "''");
        let nginx = secret.replace('\\', "\\\\").replace('"', "\\\"");
        let files = [
            (Kind::Kong, format!("consumers:\n- username: ' '\n  custom_id: _\n  keyauth_credentials:\n  - key: '{yaml}'\n")),
            (Kind::Apisix, format!("consumers:\n- username: _\n  plugins:\n    key-auth:\n      key: '{yaml}'\n#END\n")),
            (Kind::Apisix, json!([{"value": {"username": "_", "plugins": {"key-auth": {"key": secret}}}}]).to_string()),
            (Kind::Csv, format!("owner,secret\n_,\"{}\"\n", secret.replace('"', "\"\""))),
            (Kind::Nginx, format!("map $http_x_api_key $c {{ \"\\\\{nginx}\" _; }}")),
        ];
        for (kind, file) in files {
            // In a map a leading `~` or backslash has a meaning of its own, which the backslash in front takes away.
            let rows = read(kind, &file).unwrap();
            prop_assert_eq!(&sent(&rows)[0].1["secret"], &json!(secret), "{}", kind);
        }
    }
}
