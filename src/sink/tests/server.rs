//! A server that does what it is told: answers, hangs, closes before or after it has taken a request.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::sink::Endpoint;

/// What is done with one request. After the last one, all are taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// The receiver takes it and its answer is sent.
    Take,
    /// The receiver does not see it.
    Say(u16),
    /// As before, with `Retry-After`.
    SayLater(u16, u64),
    /// The receiver takes it, and something else is said.
    TakeAndSay(u16),
    /// The receiver takes it and nothing is said.
    TakeAndHang,
    /// Nobody takes it and nothing is said.
    Hang,
    /// The connection is closed before the request was read.
    CloseBefore,
    /// The connection is closed after the request was taken.
    CloseAfter,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) target: String,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// Takes a request and says what is answered.
pub(super) type Receiver = Box<dyn FnMut(&Request) -> (u16, String) + Send>;

pub(super) struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    content: Mutex<Content>,
    changed: Condvar,
}

struct Content {
    script: VecDeque<Act>,
    requests: Vec<Request>,
    receiver: Receiver,
    is_over: bool,
}

impl Server {
    pub(super) fn start(receiver: Receiver) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let content = Content { script: VecDeque::new(), requests: Vec::new(), receiver, is_over: false };
        let state = Arc::new(State { content: Mutex::new(content), changed: Condvar::new() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if shared.content.lock().unwrap().is_over {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Self { address, state }
    }

    /// One that says 200 to everything that it takes.
    pub(super) fn willing() -> Self {
        Self::start(Box::new(|_| (200, "{}".into())))
    }

    pub(super) fn script(&self, acts: &[Act]) {
        self.state.content.lock().unwrap().script.extend(acts);
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        format!("http://{}/v1/events?k=1", self.address).parse().unwrap()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.content.lock().unwrap().requests.clone()
    }

    /// Waits until so many requests have come.
    pub(super) fn wait_for(&self, number: usize) -> Vec<Request> {
        let content = self.state.content.lock().unwrap();
        let too_few = |content: &mut Content| content.requests.len() < number;
        let (content, _) = self.state.changed.wait_timeout_while(content, Duration::from_secs(20), too_few).unwrap();
        assert!(content.requests.len() >= number, "{} of {number} requests came", content.requests.len());
        content.requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.content.lock().unwrap().is_over = true;
        self.state.changed.notify_all();
        drop(TcpStream::connect(self.address));
    }
}

impl State {
    /// Notes a request and what is to be done with it.
    fn next(&self, request: &Request) -> (Act, (u16, String)) {
        let mut content = self.content.lock().unwrap();
        content.requests.push(request.clone());
        self.changed.notify_all();
        let act = content.script.pop_front().unwrap_or(Act::Take);
        let answer = match act {
            Act::Take | Act::TakeAndSay(_) | Act::TakeAndHang | Act::CloseAfter => (content.receiver)(request),
            _ => (0, String::new()),
        };
        (act, answer)
    }

    /// Whether the next request is not even read.
    fn closes(&self) -> bool {
        let mut content = self.content.lock().unwrap();
        let closes = matches!(content.script.front(), Some(Act::CloseBefore));
        if closes {
            content.script.pop_front();
        }
        closes
    }

    fn hang(&self) {
        let content = self.content.lock().unwrap();
        drop(self.changed.wait_timeout_while(content, Duration::from_secs(20), |content| !content.is_over).unwrap());
    }
}

fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        if reader.fill_buf()?.is_empty() || state.closes() {
            return Ok(());
        }
        let request = read(&mut reader)?;
        let (act, (status, body)) = state.next(&request);
        let (status, more) = match act {
            Act::Take => (status, String::new()),
            Act::Say(status) | Act::TakeAndSay(status) => (status, String::new()),
            Act::SayLater(status, seconds) => (status, format!("retry-after: {seconds}\r\n")),
            Act::Hang | Act::TakeAndHang => {
                state.hang();
                return Ok(());
            }
            Act::CloseAfter | Act::CloseBefore => return Ok(()),
        };
        let head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n{more}\r\n", body.len());
        (&*stream).write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let target = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let fields: BTreeMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = fields.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request { target, fields, body })
}
