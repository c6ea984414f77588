//! Sessions of the console, and the links that open one: in memory, bounded, gone with a restart.
//!
//! A session ends when it is idle for 30 minutes, after 12 hours, or when its browser signs out; that it ends with the token it
//! came from is seen to by `auth`, which asks about that token at every call. Each is found by the digest of a ticket that
//! is made here and never taken from a client, so nobody can be given a session that somebody else knows. Called by `auth`,
//! `session`, `portal` and the console.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ticket::Ticket;
use crate::key::{Digest, Name, TokenId};
use crate::store::Role;
use crate::time::Instant;

/// All sessions and links.
#[derive(Default)]
pub struct Sessions(Mutex<Content>);

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) source: Source,
    pub(super) role: Role,
    pub(super) look: Look,
    begun: Instant,
    used: Instant,
}

/// What a session came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Somebody signed in with this token.
    Token(Credential),
    /// A link for this owner; made with that token, unless its maker had none.
    Portal(Name, Option<Credential>),
}

/// A token without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) id: TokenId,
    pub(super) digest: Digest,
}

/// How the page looks to its visitor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) display_name: Option<String>,
    pub(super) return_url: Option<String>,
    pub(super) theme: Option<Theme>,
}

/// The colours of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    Light,
    Dark,
}

/// There are as many links as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Default)]
struct Content {
    sessions: HashMap<Digest, Session>,
    links: HashMap<Digest, Link>,
}

/// A link that nobody has followed yet.
struct Link {
    session: Session,
    made: Instant,
}

impl Session {
    pub(super) const fn new(source: Source, role: Role, look: Look, now: Instant) -> Self {
        Self { source, role, look, begun: now, used: now }
    }

    /// When it ends, however much it is used.
    pub(super) fn end(&self) -> Instant {
        self.begun.after(LONGEST)
    }

    fn is_live(&self, now: Instant) -> bool {
        now.since(self.used) < IDLE && now.since(self.begun) < LONGEST
    }

    fn owner(&self) -> Option<&Name> {
        match &self.role {
            Role::Owner(owner) => Some(owner),
            Role::Operator | Role::Viewer => None,
        }
    }
}

impl Source {
    /// The token that it hangs on.
    pub(super) const fn credential(&self) -> Option<&Credential> {
        match self {
            Self::Token(credential) => Some(credential),
            Self::Portal(_, by) => by.as_ref(),
        }
    }
}

impl Sessions {
    /// No sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the session that a link leads to, if nobody has followed it and its minute is not over: its cookie.
    pub fn follow(&self, link: &str, now: Instant) -> Option<String> {
        let ticket = Ticket::generate().ok()?;
        let mut content = self.content();
        let Link { session, made } = content.links.remove(&Digest::of(link.as_bytes()))?;
        if now.since(made) >= LINK {
            return None;
        }
        content.begin(ticket.digest(), Session { begun: now, used: now, ..session });
        Some(cookie(&ticket))
    }

    /// Begins a session: the cookie for its browser.
    pub(super) fn begin(&self, session: Session) -> Result<String, getrandom::Error> {
        let ticket = Ticket::generate()?;
        self.content().begin(ticket.digest(), session);
        Ok(cookie(&ticket))
    }

    /// Makes a link that leads to this session.
    pub(super) fn link(&self, session: Session, now: Instant) -> Result<Result<Ticket, Full>, getrandom::Error> {
        let ticket = Ticket::generate()?;
        Ok(self.content().link(ticket.digest(), Link { session, made: now }).map(|()| ticket))
    }

    /// The session of this digest, which is used by that.
    pub(super) fn find(&self, digest: &Digest, now: Instant) -> Option<Session> {
        let mut content = self.content();
        let session = content.sessions.get_mut(digest)?;
        if !session.is_live(now) {
            content.sessions.remove(digest);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Whether there is a session of this digest.
    pub(super) fn is_live(&self, digest: &Digest, now: Instant) -> bool {
        self.content().sessions.get(digest).is_some_and(|session| session.is_live(now))
    }

    /// Ends a session.
    pub(super) fn end(&self, digest: &Digest) {
        self.content().sessions.remove(digest);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing is left half done under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn begin(&mut self, digest: Digest, session: Session) {
        let now = session.used;
        self.sessions.retain(|_, other| other.is_live(now));
        self.make_room(MOST_OF_SOURCE, |other| is_same_source(other, &session));
        if session.owner().is_some() {
            self.make_room(MOST_OF_OWNER, |other| other.owner() == session.owner());
        }
        // Owners never push out those who run the gateway, nor the other way round.
        self.make_room(MOST, |other| other.owner().is_some() == session.owner().is_some());
        self.sessions.insert(digest, session);
    }

    /// Ends the sessions that were not used for longest, until fewer than `most` of a kind are left.
    fn make_room(&mut self, most: usize, is_of_kind: impl Fn(&Session) -> bool) {
        let mut of_kind: Vec<(Instant, Digest)> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_of_kind(session))
            .map(|(digest, session)| (session.used, *digest))
            .collect();
        if of_kind.len() >= most {
            of_kind.sort_by_key(|(used, _)| *used);
            of_kind[..=of_kind.len() - most].iter().for_each(|(_, digest)| drop(self.sessions.remove(digest)));
        }
    }

    fn link(&mut self, digest: Digest, link: Link) -> Result<(), Full> {
        let now = link.made;
        self.links.retain(|_, other| now.since(other.made) < LINK);
        if self.links.len() >= MOST_LINKS {
            return Err(Full);
        }
        self.links.insert(digest, link);
        Ok(())
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = self.content();
        f.debug_struct("Sessions")
            .field("sessions", &content.sessions.len())
            .field("links", &content.links.len())
            .finish()
    }
}

fn is_same_source(one: &Session, other: &Session) -> bool {
    match (&one.source, &other.source) {
        (Source::Token(one), Source::Token(other)) => one.id == other.id,
        (Source::Portal(one, _), Source::Portal(other, _)) => one == other,
        (Source::Token(_) | Source::Portal(..), _) => false,
    }
}

/// A field of `Set-Cookie`: for this host alone, over TLS or on this machine, for no script, and from no other site.
fn cookie(ticket: &Ticket) -> String {
    format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", ticket.expose())
}

/// The name of the cookie; the prefix keeps other hosts of the same domain from setting it.
pub(super) const COOKIE: &str = "__Host-keygate";
/// How long a session may be without use.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a session lasts.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a link leads anywhere.
pub(super) const LINK: Duration = Duration::from_secs(60);
/// Sessions of one token, or of the links of one owner.
const MOST_OF_SOURCE: usize = 32;
/// Sessions that are confined to one owner, by tokens and links together.
const MOST_OF_OWNER: usize = 64;
/// Sessions of owners, and again as many of operators and viewers.
const MOST: usize = 2048;
/// Links that nobody has followed yet.
const MOST_LINKS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u32) -> Instant {
        Instant::from_ns(1).after(MINUTE * minutes)
    }

    fn portal(owner: &str, now: Instant) -> Session {
        let owner: Name = owner.parse().unwrap();
        Session::new(Source::Portal(owner.clone(), None), Role::Owner(owner), Look::default(), now)
    }

    fn of_token(role: Role, now: Instant) -> Session {
        let credential = Credential { id: TokenId::generate().unwrap(), digest: Digest::of(b"t") };
        Session::new(Source::Token(credential), role, Look::default(), now)
    }

    /// The digest that the browser's next request is looked up by.
    fn digest(cookie: &str) -> Digest {
        let value = cookie.strip_prefix("__Host-keygate=").unwrap().split(';').next().unwrap();
        assert_eq!(value.len(), 43);
        Digest::of(value.as_bytes())
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_after_twelve_hours() {
        let sessions = Sessions::new();
        let idle = digest(&sessions.begin(of_token(Role::Viewer, at(0))).unwrap());
        assert!(sessions.find(&idle, at(29)).is_some() && sessions.find(&idle, at(58)).is_some());
        assert!(sessions.is_live(&idle, at(87)) && !sessions.is_live(&idle, at(88)));
        assert!(sessions.find(&idle, at(88)).is_none() && sessions.find(&idle, at(59)).is_none());
        let busy = digest(&sessions.begin(of_token(Role::Viewer, at(0))).unwrap());
        assert!((0..720).step_by(20).all(|minute| sessions.find(&busy, at(minute)).is_some()));
        assert!(sessions.find(&busy, at(719)).is_some() && sessions.find(&busy, at(720)).is_none());
    }

    #[test]
    fn a_session_that_was_ended_is_gone() {
        let sessions = Sessions::new();
        let [one, other] = [(); 2].map(|()| digest(&sessions.begin(portal("acme", at(0))).unwrap()));
        sessions.end(&one);
        assert!(sessions.find(&one, at(0)).is_none() && sessions.find(&other, at(0)).is_some());
    }

    #[test]
    fn a_link_leads_to_a_session_once_and_for_a_minute() {
        let sessions = Sessions::new();
        let link = |now| sessions.link(portal("acme", now), now).unwrap().unwrap();
        let (one, late) = (link(at(0)), link(at(0)));
        let cookie = sessions.follow(one.expose(), Instant::from_ns(1)).unwrap();
        assert_eq!(sessions.find(&digest(&cookie), at(1)).unwrap().role, Role::Owner("acme".parse().unwrap()));
        assert_eq!(sessions.follow(one.expose(), at(0)), None);
        assert_eq!(sessions.follow(late.expose(), at(1)), None);
        assert_eq!(sessions.follow("", at(1)), None);
        assert!(sessions.find(&late.digest(), at(0)).is_none());
    }

    #[test]
    fn the_cookie_is_for_this_host_no_script_and_no_other_site() {
        let cookie = Sessions::new().begin(portal("acme", at(0))).unwrap();
        assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    }

    #[test]
    fn who_begins_too_many_ends_the_own_oldest_ones() {
        let sessions = Sessions::new();
        let operator = digest(&sessions.begin(of_token(Role::Operator, at(0))).unwrap());
        let first = digest(&sessions.begin(portal("acme", at(0))).unwrap());
        let second = digest(&sessions.begin(portal("acme", at(1))).unwrap());
        for _ in 2..=MOST_OF_SOURCE {
            sessions.begin(portal("acme", at(2))).unwrap();
        }
        assert!(!sessions.is_live(&first, at(2)) && sessions.is_live(&second, at(2)));
        for owner in 0..=MOST {
            sessions.begin(portal(&format!("o{owner}"), at(3))).unwrap();
        }
        assert!(!sessions.is_live(&second, at(3)) && sessions.is_live(&operator, at(3)));
        assert_eq!(sessions.content().sessions.len(), MOST + 1);
    }

    #[test]
    fn links_are_bounded_until_some_have_ended() {
        let sessions = Sessions::new();
        let link = |now| sessions.link(portal("acme", now), now).unwrap().map(drop);
        (0..MOST_LINKS).for_each(|_| link(at(0)).unwrap());
        assert_eq!(link(at(0)), Err(Full));
        assert_eq!(link(at(1)), Ok(()));
    }
}
