//! `keygate healthcheck`: asks a running gateway's operations listener for `/readyz`.
//!
//! It says how the gateway is, not how its file is: a bad edit changes nothing, so it must not get a container replaced.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use super::terminal::say;
use super::{ConfigFile, Exit};
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// The operations listener's address, instead of the one in the configuration
    #[arg(long, value_name = "HOST:PORT", env = "KEYGATE_OPERATIONS")]
    address: Option<SocketAddr>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(address) = arguments.address.or_else(|| config::operations_address(&arguments.file.config)) else {
        say(&format!("{} names no operations listener to ask", arguments.file.config.display()));
        return Ok(Exit::Invalid);
    };
    let address = reachable(address);
    let answer = match ask(address) {
        Ok(answer) => answer,
        Err(error) => {
            say(&format!("not reachable at {address}: {error}"));
            return Ok(Exit::NotReachable);
        }
    };
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(Exit::Done);
    }
    let reason = answer.split_once("\r\n\r\n").map_or("no answer", |(_, body)| body.trim());
    say(&format!("not ready: {reason}"));
    Ok(Exit::Failed)
}

/// An address that listens on everything is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).context("no answer")?;
    Ok(answer)
}

const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_ANSWER: u64 = 64 * 1024;
