//! Keys against a model: whatever is done to them, by the API, by the file and by restarts, each secret that was ever handed
//! out is admitted or refused as a few lines of rules say.
//!
//! A case has a gateway of its own. After each step every secret is tried, and every key is asked for. Of what ends by itself
//! nothing is asked within half a second of its end; at the end of a case all that ends soon is seen to end.

use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{AdminClient, Client, Gateway, Settings, Upstream, digest_of, keyless, wait_for, with_admin};

/// Something that is done; the key is the one with this number among those that it can be done to, counted round and round.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    CreateInFile,
    Disable(u8),
    Enable(u8),
    Rotate(u8, Span),
    Expire(u8, Span),
    RevokeByApi(u8),
    RevokeByFile(u8),
    TakeLineOut(u8),
    TakeOutOfFile(u8),
    PutBackIntoFile(u8),
    Restart,
    Kill,
    RevokeByFileWhileDown(u8),
    ImportRevoked(u8),
    /// The file gets a key with a secret of a key of the store.
    FileTakesSecret(u8, u8),
    /// The file gets a key with the id of a key of the store, and a secret of its own.
    FileTakesId(u8),
}

/// How long something goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Over,
    Second,
    Hour,
    Ever,
}

/// A key as the rules see it.
struct Known {
    id: String,
    /// Where it was made: in the file or in the store.
    is_of_file: bool,
    is_in_file: bool,
    /// Whether the file's `revoked:` has it.
    is_listed: bool,
    is_disabled: bool,
    /// For good.
    is_revoked: bool,
    end: End,
    secrets: Vec<(String, End)>,
    /// Of a key of the store: the secret that the file gives to its id.
    in_file: Option<String>,
}

/// What a key says of a secret: of those that say something, the greatest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// Whether the key is revoked, or has rotated it out.
    is_over: bool,
    is_of_file: bool,
    /// Whether a request with it is let in; none: perhaps.
    admits: Option<bool>,
}

/// When something ends: between these, in ms since 1970.
#[derive(Clone, Copy, Debug)]
struct End(i64, i64);

/// A gateway and what should be true of it.
struct Trial {
    base: Settings,
    gateway: Gateway,
    admin: AdminClient,
    data: Client,
    keys: Vec<Known>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let grace = || proptest::sample::select(vec![Span::Over, Span::Second, Span::Hour]);
    let life = || proptest::sample::select(vec![Span::Over, Span::Second, Span::Ever, Span::Ever]);
    let step = prop_oneof![
        4 => Just(Step::Create),
        2 => Just(Step::CreateInFile),
        2 => any::<u8>().prop_map(Step::Disable),
        2 => any::<u8>().prop_map(Step::Enable),
        4 => (any::<u8>(), grace()).prop_map(|(key, grace)| Step::Rotate(key, grace)),
        3 => (any::<u8>(), life()).prop_map(|(key, life)| Step::Expire(key, life)),
        2 => any::<u8>().prop_map(Step::RevokeByApi),
        2 => any::<u8>().prop_map(Step::RevokeByFile),
        2 => any::<u8>().prop_map(Step::TakeLineOut),
        1 => any::<u8>().prop_map(Step::TakeOutOfFile),
        1 => any::<u8>().prop_map(Step::PutBackIntoFile),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => any::<u8>().prop_map(Step::RevokeByFileWhileDown),
        1 => any::<u8>().prop_map(Step::ImportRevoked),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(key, secret)| Step::FileTakesSecret(key, secret)),
        1 => any::<u8>().prop_map(Step::FileTakesId),
    ];
    proptest::collection::vec(step, 1..=25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 36, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_keys_each_secret_is_admitted_or_refused_as_the_model_says(steps in steps()) {
        let upstream = Upstream::fixed("HTTP/1.1 204 No Content\r\n\r\n");
        let mut trial = Trial::start(&upstream);
        for step in steps {
            trial.take(step);
            trial.check();
        }
        trial.see_the_ends();
    }
}

impl Trial {
    fn start(upstream: &Upstream) -> Self {
        let base = with_admin(Settings::before(upstream).top("flood_guard: off"));
        let gateway = base.start();
        Self { admin: AdminClient::connect(&gateway), data: gateway.client(), base, gateway, keys: Vec::new() }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create => self.create(),
            Step::CreateInFile => self.create_in_file(),
            Step::Disable(pick) => self.switch(pick, "disable"),
            Step::Enable(pick) => self.switch(pick, "enable"),
            Step::Rotate(pick, grace) => self.rotate(pick, grace),
            Step::Expire(pick, life) => self.expire(pick, life),
            Step::RevokeByApi(pick) => self.revoke(pick),
            Step::RevokeByFile(pick) => self.edit_file(pick, |_| true, Known::be_listed),
            Step::TakeLineOut(pick) => self.edit_file(pick, |key| key.is_listed, |key| key.is_listed = false),
            Step::TakeOutOfFile(pick) => self.edit_file(pick, |key| key.is_in_file, |key| key.is_in_file = false),
            Step::PutBackIntoFile(pick) => {
                let could = |key: &Known| (key.is_of_file || key.in_file.is_some()) && !key.is_in_file;
                self.edit_file(pick, could, |key| key.is_in_file = true);
            }
            Step::Restart => {
                assert_eq!(self.gateway.stop(), Some(0));
                self.start_again();
            }
            Step::Kill => {
                self.gateway.kill();
                self.start_again();
            }
            Step::RevokeByFileWhileDown(pick) => {
                let Some(place) = self.pick(pick, |_| true) else { return };
                self.gateway.kill();
                self.keys[place].be_listed();
                self.write_file();
                self.start_again();
            }
            Step::ImportRevoked(pick) => self.import_revoked(pick),
            Step::FileTakesSecret(pick, secret) => self.take_secret(pick, secret),
            Step::FileTakesId(pick) => {
                let number = self.keys.len();
                let Some(place) = self.pick(pick, |key| !key.is_of_file && key.in_file.is_none()) else { return };
                let key = &mut self.keys[place];
                key.in_file = Some(format!("secret-of-the-id-{number}-{}-0123456789", key.id));
                key.is_in_file = true;
                self.reload();
            }
        }
    }

    fn create(&mut self) {
        let (id, secret) = self.admin.create("of the store");
        self.keys.push(Known::new(id, secret, false));
    }

    fn create_in_file(&mut self) {
        let number = self.keys.len();
        let secret = format!("secret-of-the-file-{number}-0123456789abcdef");
        self.keys.push(Known::new(format!("file_{number}"), secret, true));
        self.reload();
    }

    /// No two keys of the file have one secret: such a file is refused.
    fn take_secret(&mut self, pick: u8, secret: u8) {
        let Some(place) = self.pick(pick, |key| !key.is_of_file) else { return };
        let secrets = &self.keys[place].secrets;
        let secret = secrets[usize::from(secret) % secrets.len()].0.clone();
        if self.keys.iter().all(|key| !key.is_of_file || key.secrets[0].0 != secret) {
            self.keys.push(Known::new(format!("file_{}", self.keys.len()), secret, true));
            self.reload();
        }
    }

    fn switch(&mut self, pick: u8, call: &str) {
        let Some(place) = self.pick(pick, |_| true) else { return };
        if self.change(place, "POST", &format!("/{call}"), &Value::Null).is_some() {
            self.keys[place].is_disabled = call == "disable";
        }
    }

    fn rotate(&mut self, pick: u8, grace: Span) {
        // Only so many that have ended are remembered.
        let Some(place) = self.pick(pick, |key| key.secrets.len() < MOST_SECRETS) else { return };
        let before = now_ms();
        let Some(rotated) = self.change(place, "POST", "/rotate", &json!({"grace": grace.text()})) else { return };
        let (newest, older) = self.keys[place].secrets.split_last_mut().expect("a key has a secret");
        newest.1 = grace.end(before);
        older.iter_mut().for_each(|(_, end)| *end = Span::Over.end(before));
        let secret = rotated["secret"].as_str().expect("a new secret").to_owned();
        self.keys[place].secrets.push((secret, Span::Ever.end(before)));
    }

    fn expire(&mut self, pick: u8, life: Span) {
        let Some(place) = self.pick(pick, |_| true) else { return };
        let before = now_ms();
        let expires = match life {
            Span::Over => json!("2020-01-01T00:00:00Z"),
            Span::Ever => Value::Null,
            Span::Second | Span::Hour => json!(life.text()),
        };
        if self.change(place, "PATCH", "", &json!({"expires": expires})).is_some() {
            self.keys[place].end = life.end(before);
        }
    }

    fn revoke(&mut self, pick: u8) {
        let Some(place) = self.pick(pick, |_| true) else { return };
        let is_shared = self.is_shared(place);
        let key = &mut self.keys[place];
        let answer = self.admin.call("DELETE", &key.path(), &Value::Null);
        if key.state().is_none() {
            answer.expect_problem(404, "not_found");
            return;
        }
        if is_shared && !key.is_revoked {
            answer.expect_problem(409, "conflict");
            return;
        }
        let answer = answer.expect(200);
        assert_eq!(answer.body["key"]["state"], "revoked", "{}", answer.body);
        key.is_revoked = true;
    }

    /// Whether a key of the file has the secret of one of the store that is not revoked.
    fn is_shared(&self, place: usize) -> bool {
        let Known { is_of_file, secrets, .. } = &self.keys[place];
        let has_it = |key: &Known| key.secrets.iter().any(|(secret, _)| *secret == secrets[0].0);
        *is_of_file && self.keys.iter().any(|key| !key.is_of_file && !key.is_revoked && has_it(key))
    }

    /// The secrets that a key had when it was revoked are not taken in again.
    fn import_revoked(&mut self, pick: u8) {
        let Some(place) = self.pick(pick, |key| key.is_revoked) else { return };
        let had = self.keys[place].secrets.iter().filter(|(_, end)| !end.is_gone());
        let rows: Vec<Value> =
            had.map(|(secret, _)| json!({"name": "brought along", "digest": digest_of(secret)})).collect();
        let answer = self.admin.post("/v1/keys:batch", &json!({"keys": rows})).expect(200);
        for result in answer.body["results"].as_array().expect("a list of outcomes") {
            assert_eq!((&result["status"], &result["code"]), (&json!("refused"), &json!("revoked")), "{result}");
        }
    }

    /// A change of a key by the API that the model allows; nothing if it must be refused, and it is.
    fn change(&mut self, place: usize, method: &str, call: &str, body: &Value) -> Option<Value> {
        let key = &self.keys[place];
        let answer = self.admin.call(method, &format!("{}{call}", key.path()), body);
        match key.state() {
            None => answer.expect_problem(404, "not_found"),
            _ if key.is_in_file => answer.expect_problem(409, "conflict"),
            Some("revoked") => answer.expect_problem(409, "revoked"),
            Some(_) => return Some(answer.expect(200).body),
        };
        None
    }

    /// Changes what the file says of a key, and has it loaded.
    fn edit_file(&mut self, pick: u8, fits: fn(&Known) -> bool, edit: fn(&mut Known)) {
        let Some(place) = self.pick(pick, fits) else { return };
        edit(&mut self.keys[place]);
        self.reload();
    }

    fn reload(&mut self) {
        self.write_file();
        self.admin.post("/v1/reload", &Value::Null).expect(200);
    }

    fn write_file(&self) {
        let mut settings = self.base.clone();
        for key in &self.keys {
            if key.is_in_file {
                settings = settings.key_with_digest(&key.id, &digest_of(key.secret_in_file()), &[]);
            }
            if key.is_listed {
                settings = settings.revoke(&key.id);
            }
        }
        self.gateway.replace_config(&settings.yaml());
    }

    fn start_again(&mut self) {
        self.gateway.start_again();
        (self.admin, self.data) = (AdminClient::connect(&self.gateway), self.gateway.client());
    }

    /// The place of a key among those that fit.
    fn pick(&self, number: u8, fits: fn(&Known) -> bool) -> Option<usize> {
        let places: Vec<usize> = (0..self.keys.len()).filter(|place| fits(&self.keys[*place])).collect();
        (!places.is_empty()).then(|| places[usize::from(number) % places.len()])
    }

    fn check(&mut self) {
        for key in &self.keys {
            for secret in key.secrets.iter().map(|(secret, _)| secret).chain(&key.in_file) {
                let before = now_ms();
                let status = ask(&mut self.data, secret);
                let claims: Vec<_> = self.keys.iter().filter_map(|key| key.claim(secret, before, now_ms())).collect();
                if let Some(expected) = claims.iter().max().map_or(Some(false), |claim| claim.admits) {
                    let wanted = if expected { 204 } else { 401 };
                    assert_eq!(status, wanted, "with {secret} of {}, claimed as {claims:?}", key.told());
                }
            }
            let answer = self.admin.get(&key.path());
            match key.state() {
                None => drop(answer.expect_problem(404, "not_found")),
                Some(state) => {
                    let answer = answer.expect(200);
                    assert_eq!(answer.body["key"]["state"], state, "{} is not {}", answer.body, key.told());
                }
            }
        }
    }

    /// Waits for what ends within moments.
    fn see_the_ends(&mut self) {
        let now = now_ms();
        for key in &self.keys {
            // Another key can have it then.
            let alone = |secret: &str| self.keys.iter().filter(|other| other.has(secret)).count() == 1;
            for (secret, end) in key.secrets.iter().filter(|(secret, _)| alone(secret)) {
                let End(_, latest) = end.or_before(key.end);
                if latest > now - TOLERANCE_MS && latest < now + 10_000 {
                    wait_for("the end of a secret", || ask(&mut self.data, secret) == 401);
                }
            }
        }
        self.check();
    }
}

impl Known {
    fn new(id: String, secret: String, is_of_file: bool) -> Self {
        let ever = Span::Ever.end(0);
        Self {
            id,
            is_of_file,
            is_in_file: is_of_file,
            is_listed: false,
            is_disabled: false,
            is_revoked: false,
            end: ever,
            secrets: vec![(secret, ever)],
            in_file: None,
        }
    }

    fn has(&self, secret: &str) -> bool {
        self.secrets.iter().map(|(secret, _)| secret).chain(&self.in_file).any(|known| known == secret)
    }

    fn secret_in_file(&self) -> &str {
        self.in_file.as_ref().unwrap_or(&self.secrets[0].0)
    }

    fn path(&self) -> String {
        format!("/v1/keys/{}", self.id)
    }

    /// Goes into the file's `revoked:`. A key of the store stays revoked when the line is gone.
    fn be_listed(&mut self) {
        self.is_listed = true;
        self.is_revoked |= !self.is_of_file;
    }

    /// Its state as the API tells it; none: there is no such key.
    fn state(&self) -> Option<&'static str> {
        let is_there = self.is_in_file || !self.is_of_file || self.is_revoked;
        is_there.then_some(match self {
            key if key.is_revoked || key.is_listed => "revoked",
            // What the file says of an id is in force.
            key if key.is_disabled && !key.is_in_file => "disabled",
            _ => "active",
        })
    }

    /// What it says of a secret to who looks at the clock between these times.
    fn claim(&self, secret: &str, before_ms: i64, after_ms: i64) -> Option<Claim> {
        let is_in_file = self.is_in_file && self.secret_in_file() == secret;
        let place = self.secrets.iter().position(|(known, _)| known == secret).filter(|_| !self.is_of_file);
        let is_rotated = place.is_some_and(|place| place + 1 < self.secrets.len());
        let claim = |is_over, admits| Some(Claim { is_over, is_of_file: self.is_in_file, admits });
        match (self.state()?, place) {
            ("revoked", _) if is_in_file || place.is_some() || self.is_revoked && self.has(secret) => {
                claim(true, Some(false))
            }
            (_, _) if is_in_file => claim(false, Some(true)),
            (_, Some(_)) if self.is_in_file => is_rotated.then(|| claim(true, Some(false))).flatten(),
            (_, Some(place)) => claim(is_rotated, self.admits(self.secrets[place].1, before_ms, after_ms)),
            (_, None) => None,
        }
    }

    /// Whether a secret of its that ends then is admitted by who looks at the clock between these times; none: perhaps.
    fn admits(&self, end: End, before_ms: i64, after_ms: i64) -> Option<bool> {
        let End(earliest, latest) = end.or_before(self.end);
        let is_over = before_ms >= latest.saturating_add(TOLERANCE_MS);
        if self.state() != Some("active") || is_over {
            return Some(false);
        }
        (after_ms <= earliest.saturating_sub(TOLERANCE_MS)).then_some(true)
    }

    fn told(&self) -> String {
        let Self { id, is_in_file, is_listed, is_disabled, is_revoked, end, secrets, .. } = self;
        let flags = format!("in file {is_in_file}, listed {is_listed}, disabled {is_disabled}, revoked {is_revoked}");
        let ends: Vec<End> = secrets.iter().map(|(_, end)| *end).collect();
        format!("{id}: {flags}, ends {end:?}, its secrets end {ends:?}")
    }
}

impl Span {
    fn text(self) -> &'static str {
        match self {
            Self::Over => "0s",
            Self::Second => "1s",
            Self::Hour => "1h",
            Self::Ever => "never",
        }
    }

    /// The end of a span that began between `before_ms` and now.
    fn end(self, before_ms: i64) -> End {
        match self {
            Self::Over => End(i64::MIN, i64::MIN),
            Self::Second => End(before_ms + 1_000, now_ms() + 1_000),
            Self::Hour => End(before_ms + 3_600_000, now_ms() + 3_600_000),
            Self::Ever => End(i64::MAX, i64::MAX),
        }
    }
}

impl End {
    /// Whether it is of a secret that a rotation has taken away at once.
    fn is_gone(self) -> bool {
        self.1 == i64::MIN
    }

    fn or_before(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.min(other.1))
    }
}

/// The status of a request with this secret.
fn ask(data: &mut Client, secret: &str) -> u16 {
    data.ask(keyless("GET", "/", &[&format!("X-API-Key: {secret}")])).status
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Secrets of a key, of which a gateway remembers all.
const MOST_SECRETS: usize = 8;

/// Clocks of two processes need not agree better.
const TOLERANCE_MS: i64 = 500;
