//! Sinks over TLS: who is trusted, and that nothing is said to others.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::options::http_options;
use super::server::Server;
use super::{NOW, bucket, open, outbox, run};
use crate::sink::cloudevents::CloudEvents;
use crate::sink::{Endpoint, Roots, RootsError, Step, TroubleKind};

/// For 127.0.0.1, signed by nobody else, and used by these tests alone.
const CERTIFICATE: &[u8] = include_bytes!("tls/certificate.pem");
const KEY: &[u8] = include_bytes!("tls/key.pem");

/// A server with that certificate, which takes everything.
fn server() -> Endpoint {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || answer(StreamOwned::new(connection, stream)));
        }
    });
    endpoint
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>) {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        text.extend(&chunk[..length]);
        if text.ends_with(b"]") {
            stream.write_all(b"HTTP/1.1 204 So\r\n\r\n").unwrap();
            text.clear();
        }
    }
}

fn check(endpoint: Endpoint, roots: Option<Roots>, trouble: Option<TroubleKind>) {
    let outbox = outbox([bucket(1, "acme", 5)]);
    let mut options = http_options(endpoint);
    options.connection.roots = roots;
    let mut delivery = open(&outbox, Box::new(CloudEvents::new(options)), 10);
    assert_eq!(run(&mut delivery, NOW) == Step::Idle, trouble.is_none());
    assert_eq!(delivery.tally().trouble.as_ref().map(|(_, trouble)| trouble.kind), trouble);
}

#[test]
fn a_receiver_is_trusted_by_its_certificate() {
    check(server(), Some(Roots::parse(CERTIFICATE).unwrap()), None);
}

#[test]
fn a_receiver_that_is_not_trusted_is_sent_nothing_and_leaves_no_doubt() {
    check(server(), None, Some(TroubleKind::Unreachable));
}

#[test]
fn a_receiver_without_tls_is_told_nothing() {
    let plain = Server::willing();
    let endpoint = plain.endpoint().expose().replace("http:", "https:").parse().unwrap();
    check(endpoint, None, Some(TroubleKind::NoAnswer));
    assert!(plain.requests().is_empty());
}

#[test]
fn roots_are_certificates_and_nothing_else() {
    assert_eq!(Roots::parse(CERTIFICATE).unwrap(), Roots::parse(&[KEY, CERTIFICATE].concat()).unwrap());
    for bad in [KEY, b"", b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
        assert_eq!(Roots::parse(bad).unwrap_err(), RootsError);
    }
}
