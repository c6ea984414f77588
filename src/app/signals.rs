//! The signals that the process follows, and one that it survives.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT stop, SIGHUP reloads.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Never asked: that it is caught lets a write beyond the largest size of files fail, instead of ending the process.
    _file_too_large: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _file_too_large: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// The name of the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => HANGUP,
        }
    }

    /// The name of the next one that stops.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            match self.next().await {
                HANGUP => {}
                name => return name,
            }
        }
    }
}

/// The signal that reloads.
pub(super) const HANGUP: &str = "SIGHUP";
