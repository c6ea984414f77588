//! Listening sockets: one per address and data thread, and the loop that accepts on each.
//!
//! Running out of file descriptors, or of the connections that are allowed, never ends the loop: it answers 503 while it
//! can and holds back otherwise.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;

use super::connection;
use super::shared::{ConnectionSlot, Handed};
use super::thread::Thread;
use crate::upstream::is_exhaustion;

/// Binds `address` once for each of `threads`, so that the kernel spreads connections over them; with port 0, all get one port.
///
/// # Errors
/// If the address cannot be bound; also if another process, be it another keygate, has it already.
pub(super) fn bind(address: SocketAddr, threads: usize) -> io::Result<Vec<StdListener>> {
    let address = probe(address)?;
    (0..threads).map(|_| listen(address)).collect()
}

/// Binds without sharing the port first: with `SO_REUSEPORT` alone a second instance would silently get half of the traffic.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))
}

fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Accepts until the thread drains.
pub(super) async fn accept(listener: StdListener, thread: Rc<Thread>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => welcome(stream, peer, &thread).await,
            Err(error) => {
                thread.metrics.accept_errors.add(1);
                // Others are errors of one connection, gone before it was accepted.
                if is_exhaustion(&error) {
                    tokio::time::sleep(EXHAUSTION_PAUSE).await;
                }
            }
        }
    }
}

async fn welcome(stream: TcpStream, peer: SocketAddr, thread: &Rc<Thread>) {
    // Without it the last part of an answer waits for an acknowledgement; it cannot fail on a live socket.
    let _ = stream.set_nodelay(true);
    let Some(slot) = thread.shared.connection_slot(thread.index) else {
        thread.metrics.refused.add(1);
        return turn_away(stream, thread).await;
    };
    if slot.thread() == thread.index {
        return serve(stream, peer, slot, thread);
    }
    // A socket that cannot be moved is broken, and a thread that has stopped takes nobody in: closed, both times.
    if let Ok(stream) = stream.into_std() {
        let _ = slot.hand_over(stream, peer);
    }
}

/// Serves what other threads have accepted, to the end of this thread.
pub(super) async fn take_in(mut incoming: UnboundedReceiver<Handed>, thread: Rc<Thread>) -> io::Result<Infallible> {
    loop {
        // Without a sender the gateway itself is gone.
        let Some((stream, peer, slot)) = incoming.recv().await else { std::future::pending().await };
        if let Ok(stream) = TcpStream::from_std(stream) {
            serve(stream, peer, slot, &thread);
        }
    }
}

fn serve(stream: TcpStream, peer: SocketAddr, slot: ConnectionSlot, thread: &Rc<Thread>) {
    thread.metrics.accepted.add(1);
    let running = thread.running();
    tokio::task::spawn_local(connection::serve(stream, peer, Rc::clone(thread), (slot, running)));
}

/// Tells a client that the gateway is full. Only so many at once; while they are being told, no more are accepted.
async fn turn_away(mut stream: TcpStream, thread: &Rc<Thread>) {
    let Ok(permit) = Arc::clone(&thread.turnstile).acquire_owned().await else { return };
    let running = thread.running();
    tokio::task::spawn_local(async move {
        let told = tokio::time::timeout(TURN_AWAY_TIMEOUT, async {
            stream.write_all(FULL.as_bytes()).await?;
            stream.shutdown().await?;
            let mut rest = [0; 512];
            while stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        });
        // Whether it was heard makes no difference.
        let _ = told.await;
        drop((permit, running));
    });
}

/// The answer of a gateway that is full, before any request has been read.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 141\r\n\
Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"Too many connections. Try again in a moment.\",\"code\":\"overloaded\"}";

/// Connections that wait in the kernel for being accepted.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when file descriptors have run out.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(50);
/// How long telling a client that the gateway is full may take.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_cannot_have_the_port() {
        let first = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = first[0].local_addr().unwrap();
        assert_eq!(first[1].local_addr().unwrap(), address);
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(bind(address, 1).is_ok());
    }

    #[test]
    fn the_full_answer_has_the_length_it_says() {
        let (head, body) = FULL.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
