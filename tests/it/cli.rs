//! The command line: each command from outside, its output and its exit code.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Output;

use crate::harness::{
    ALICE, Client, Gateway, Process, Settings, Upstream, digest_of, keyless, mistyped, run, run_in, run_with_input,
    wait_until,
};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn words(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

/// The first run of letters, digits and `_` that begins with `prefix` and is `length` long.
fn find_word(text: &str, prefix: &str, length: usize) -> Option<String> {
    let word_end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
    text.split(word_end).find(|word| word.starts_with(prefix) && word.len() == length).map(str::to_owned)
}

fn write_config(folder: &Path, yaml: &str) -> String {
    let path = folder.join("keygate.yaml");
    fs::write(&path, yaml).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn check_is_content_with_a_good_file() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), &Settings::before(&upstream).yaml());
    let output = run(&["check", "--config", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
}

#[test]
fn check_reports_every_problem_with_its_place() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::before(&upstream)
        .top("no_such_field: 1")
        .route("lost", &["path: /lost", "upstream: nowhere"])
        .plan("empty", &["limits: {none: {requests: 0, per: 1s}}"])
        .key(ALICE, &["plan: missing"]);
    let yaml = settings.yaml();
    let path = write_config(folder.path(), &yaml);
    let output = run(&["check", "--config", &path]);
    assert_eq!(output.status.code(), Some(2));
    let report = words(&output);
    for wrong in ["no_such_field: 1", "upstream: nowhere", "requests: 0", "plan: missing"] {
        let line = yaml.lines().position(|line| line.contains(wrong)).unwrap() + 1;
        assert!(report.contains(&format!("keygate.yaml:{line}:")), "{wrong} in line {line} is missing in\n{report}");
    }
}

#[test]
fn check_as_json_tells_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), "no_such_field: 1\n");
    let output = run(&["check", "--config", &path, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON");
    assert!(json.to_string().contains("no_such_field"), "{json}");
    let upstream = Upstream::echo();
    let good = write_config(folder.path(), &Settings::before(&upstream).yaml());
    let output = run(&["check", "--config", &good, "--json"]);
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("stdout is JSON");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    for command in ["check", "serve"] {
        let output = run(&[command, "--config", "/no/such/keygate.yaml"]);
        assert!(matches!(output.status.code(), Some(1..=3)), "{:?}", output.status);
        assert!(words(&output).contains("/no/such/keygate.yaml"));
    }
}

#[test]
fn a_secret_in_the_place_of_a_file_is_not_repeated() {
    let token = "kga_0123456789ABCDEFGHIJKLMNOPQRSTUV28nN6S";
    for secret in [ALICE.secret, token, &format!("./{token}.yaml")] {
        for arguments in [
            vec!["serve", "--config", secret],
            vec!["check", "--config", secret],
            vec!["check", "--json", "--config", secret],
            vec!["healthcheck", "--config", secret],
            vec!["keys", "hash", "-", "--config", secret],
            vec!["status", "--token-file", secret],
            vec!["keys", "import", "csv", secret],
            vec!["store", "check", secret],
            vec!["store", "inspect", secret],
            vec!["store", "backup", secret, secret],
            vec!["audit", "verify", "--store", secret],
        ] {
            let output = run_with_input(&arguments, "x");
            assert_ne!(output.status.code(), Some(0), "{arguments:?}");
            assert!(!words(&output).contains(&secret[6..30]), "{}", words(&output));
        }
    }
}

#[test]
fn serve_refuses_an_invalid_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), "no_such_field: 1\n");
    let output = run(&["serve", "--config", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("no_such_field"));
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        vec!["no-such-command"],
        vec!["serve", "--no-such-option"],
        vec!["keys", "hash"],
        vec!["completions", "no-such-shell"],
    ] {
        assert_eq!(run(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_told() {
    for (arguments, wanted) in
        [(vec!["--help"], "serve"), (vec!["keys", "--help"], "create"), (vec!["--version"], env!("CARGO_PKG_VERSION"))]
    {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).contains(wanted), "{arguments:?}");
    }
}

#[test]
fn the_schema_is_a_schema_that_knows_the_top_level() {
    let output = run(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON");
    for section in ["listeners", "operations", "upstreams", "routes", "plans", "keys", "revoked"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[test]
fn hash_reads_the_secret_from_standard_input() {
    for input in [ALICE.secret.to_owned(), format!("{}\n", ALICE.secret), format!("{}\r\n", ALICE.secret)] {
        let output = run_with_input(&["keys", "hash", "-"], &input);
        assert_eq!((output.status.code(), stdout(&output).trim()), (Some(0), ALICE.digest));
    }
    let output = run_with_input(&["keys", "hash", "-"], "");
    assert_ne!(output.status.code(), Some(0));
}

#[test]
fn a_key_that_is_made_offline_works_when_its_fragment_is_pasted() {
    let arguments = [
        "keys",
        "create",
        "--offline",
        "--name",
        "Acme production",
        "--owner",
        "acme",
        "--plan",
        "free",
        "--scope",
        "orders:read",
        "--extra-day",
        "5",
    ];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let text = stdout(&output);
    let secret = find_word(&words(&output), "kg_live_", 46).expect("a secret is printed");
    assert!(text.contains(&digest_of(&secret)), "{text}");
    let fragment = fragment(&text);
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::before(&upstream).plan("free", &["concurrency: 10"]).without_key(ALICE.id);
    let settings = settings.route("all", &["path: /", "scopes: [orders:read]"]);
    let path = write_config(folder.path(), &(settings.yaml() + &fragment));
    let gateway = Gateway::start_in(folder, path.into());
    gateway.ask(keyless("GET", "/", &[&format!("X-API-Key: {secret}")])).expect(200);
    assert_eq!(upstream.last().value("x-keygate-owner"), Some("acme"));
}

/// The YAML from the line `keys:` on.
fn fragment(text: &str) -> String {
    let start = text.find("keys:\n").unwrap_or_else(|| panic!("no YAML fragment in\n{text}"));
    let lines = text[start..].lines().enumerate();
    lines
        .take_while(|(number, line)| *number == 0 || line.starts_with([' ', '#']))
        .map(|(_, line)| format!("{line}\n"))
        .collect()
}

#[test]
fn offline_keys_are_of_the_environment_that_was_asked_for_and_never_twice_the_same() {
    let create = || {
        let output = run(&["keys", "create", "--offline", "--name", "x", "--env", "test", "--expires", "90d"]);
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        find_word(&words(&output), "kg_test_", 46).expect("a secret is printed")
    };
    assert_ne!(create(), create());
}

#[test]
fn healthcheck_tells_whether_the_gateway_of_the_file_is_well() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let operations = free_address();
    let settings = Settings::before(&upstream).operations_at(&operations.to_string());
    let path = write_config(folder.path(), &settings.yaml());
    assert_eq!(run(&["healthcheck", "--config", &path]).status.code(), Some(6), "nobody is there");
    let mut gateway = settings.start();
    assert_eq!(run(&["healthcheck", "--config", &path]).status.code(), Some(0));
    assert_eq!(run(&["healthcheck", "--address", &operations.to_string()]).status.code(), Some(0));
    write_config(folder.path(), &settings.yaml().replace("routes:", "rutes:"));
    assert_eq!(run(&["healthcheck", "--config", &path]).status.code(), Some(0), "a bad edit harms no running gateway");
    gateway.stop();
    assert_ne!(run(&["healthcheck", "--config", &path]).status.code(), Some(0));
}

/// A port that nobody has; on an address of its own, so that no other test gets it in between.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.77:0").unwrap().local_addr().unwrap()
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("quickstart"), "{shell}");
    }
}

#[test]
fn quickstart_prints_a_curl_line_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new");
    let mut process = Process::start(&["quickstart", "--dir", place.to_str().unwrap()]);
    let (url, fields) = wait_until("the curl line", || {
        assert!(process.is_running(), "{}{}", process.stdout(), process.stderr());
        curl_line(&(process.stdout() + &process.stderr()))
    });
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an http URL");
    let address: SocketAddr = address.replace("localhost", "127.0.0.1").parse().unwrap();
    let secret =
        find_word(&fields.join(" "), "kg_", 46).or_else(|| find_word(&url, "kg_", 46)).expect("the line carries a key");
    let request = keyless("GET", &format!("/{path}"), &fields.iter().map(String::as_str).collect::<Vec<_>>());
    wait_until("the gateway to listen", || std::net::TcpStream::connect(address).ok());
    Client::connect(address).ask(&request).expect(200);
    Client::connect(address).ask(request.replace(&secret, &mistyped(&secret))).expect(401);
    let written: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).collect();
    let config =
        written.iter().find(|path| path.extension().is_some_and(|kind| kind == "yaml")).expect("a starter file");
    assert!(fs::read_to_string(config).unwrap().contains('#'), "the starter file is commented");
    assert_eq!(run_in(&place, &["check", "--config", config.to_str().unwrap()]).status.code(), Some(0));
    let another =
        process.stdout().lines().find(|line| line.contains("another key")).expect("how to make one").to_owned();
    let words = shell_words(another.split_once("keys create").unwrap().1);
    let output = run(&[vec!["keys".to_owned(), "create".to_owned()], words].concat());
    let made = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    Client::connect(address).ask(request.replace(&secret, made.trim())).expect(200);
    process.signal(rustix::process::Signal::INT);
    assert_eq!(process.exit_code(), Some(0));
}

/// URL and `-H` values of the first line that begins with `curl`, once it is whole.
fn curl_line(text: &str) -> Option<(String, Vec<String>)> {
    let text = text.replace("\\\n", " ");
    let (_, after) = text.split_once("curl ")?;
    let (line, _) = after.split_once('\n')?;
    let words = shell_words(line);
    let url = words.iter().find(|word| word.starts_with("http://"))?.clone();
    let fields =
        words.windows(2).filter(|pair| matches!(pair[0].as_str(), "-H" | "--header")).map(|pair| pair[1].clone());
    Some((url, fields.collect()))
}

/// Splits at blanks outside of quotes; enough of a shell for a line that is meant to be pasted.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn a_curl_line_is_read_as_a_shell_reads_it() {
    let (url, fields) = curl_line("try:\n  curl -i \\\n   -H 'A: b c' \"http://127.0.0.1:1/x\"\n").unwrap();
    assert_eq!((url.as_str(), fields), ("http://127.0.0.1:1/x", vec!["A: b c".to_owned()]));
}
