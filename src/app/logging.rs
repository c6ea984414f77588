//! The thread that writes the request log: a stuck pipe or disk holds up this thread and nothing else.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::telemetry::access::Writer;
use crate::telemetry::{self, log};
use crate::time;

/// The writing thread.
#[derive(Debug)]
pub(super) struct LogThread {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

enum Order {
    Configure(Box<telemetry::Options>),
    Reopen,
    Stop,
}

impl LogThread {
    /// Starts the thread.
    pub(super) fn start(writer: Writer) -> io::Result<Self> {
        let (orders, received) = channel();
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || write_on(writer, &received))?;
        Ok(Self { orders, thread })
    }

    /// Goes on under other options.
    pub(super) fn configure(&self, options: telemetry::Options) {
        self.order(Order::Configure(Box::new(options)));
    }

    /// Opens the file again, after it has been rotated away.
    pub(super) fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Whether it has ended.
    pub(super) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes what is left, and ends; false if that takes too long, as it does when nobody reads the pipe.
    pub(super) async fn stop(self, timeout: Duration) -> bool {
        self.order(Order::Stop);
        let ended = async {
            while !self.thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(timeout, ended).await.is_ok()
    }

    fn order(&self, order: Order) {
        // It fails only if the thread has ended, which `has_failed` tells.
        let _ = self.orders.send(order);
    }
}

fn write_on(mut writer: Writer, orders: &Receiver<Order>) {
    loop {
        let order = orders.recv_timeout(INTERVAL);
        writer.drain(time::now());
        let done = match order {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(Order::Configure(options)) => writer.configure(&options, time::now()),
            Ok(Order::Reopen) => writer.reopen(time::now()),
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = done {
            log::error("the request log cannot be opened; it goes on where it was", &[("error", &error)]);
        }
    }
}

/// How often queued lines are written.
const INTERVAL: Duration = Duration::from_millis(50);
