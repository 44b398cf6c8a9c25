//! The socket of one connection: reading with limits, writing with a stall timer, and watching both while work runs.
//!
//! Every wait of the connection goes through here, so that a cancel, a deadline, a gone client and a client that
//! stopped reading are noticed wherever they happen. What was written partially stays in the buffer: a frame is never
//! torn by a cancel.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::pg::backend::Control;
use crate::pg::fault::Fault;
use crate::pg::frame::{FrameLimits, Incoming, Next};
use crate::pg::message::Outgoing;

/// Rows are sent when this much has gathered.
pub(crate) const FLUSH_BYTES: usize = 64 << 10;
/// Waiting output is sent when nothing more came for this long.
const TRICKLE: Duration = Duration::from_millis(5);
/// Bytes read ahead while a statement runs.
const READ_AHEAD: usize = 64 << 10;

/// Why work stopped early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A cancel request, or the connection is being ended.
    Cancelled,
    /// The statement's deadline.
    TimedOut,
    /// Nobody is there any more, or nobody reads.
    Gone,
}

/// What a receive brought.
#[derive(Debug)]
pub(crate) enum Received {
    Message(u8, Bytes),
    TooLarge(u8, Fault),
    /// The client closed its side, in order or by vanishing.
    Closed,
}

/// The socket with its buffers.
#[derive(Debug)]
pub(crate) struct Socket {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    pub(crate) incoming: Incoming,
    pub(crate) out: Outgoing,
    stall: Duration,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, stall: Duration) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer, incoming: Incoming::default(), out: Outgoing::default(), stall }
    }

    /// Reads until `wanted` bytes are buffered; false when the client closed first. Only before login.
    pub(crate) async fn fill(&mut self, wanted: usize) -> bool {
        while self.incoming.buffer.len() < wanted {
            match self.reader.read_buf(&mut self.incoming.buffer).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }

    /// The next message; waits for it. Safe to drop.
    ///
    /// # Errors
    /// FATAL, as [`Incoming::next`].
    pub(crate) async fn receive(&mut self, limits: &FrameLimits, logged_in: bool) -> Result<Received, Fault> {
        loop {
            match self.incoming.next(limits, logged_in)? {
                Next::Message(tag, body) => return Ok(Received::Message(tag, body)),
                Next::TooLarge(tag, fault) => return Ok(Received::TooLarge(tag, fault)),
                Next::More => {}
            }
            self.incoming.buffer.reserve(8 << 10);
            match self.reader.read_buf(&mut self.incoming.buffer).await {
                Ok(0) | Err(_) => return Ok(Received::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Whether a whole message is already here, so that an answer may wait for the next flush.
    pub(crate) fn has_input(&self) -> bool {
        !self.incoming.buffer.is_empty()
    }

    /// Writes all waiting output; false when the client is gone or does not read for the stall time.
    pub(crate) async fn flush(&mut self) -> bool {
        while !self.out.buffer.is_empty() {
            match tokio::time::timeout(self.stall, self.writer.write_buf(&mut self.out.buffer)).await {
                Ok(Ok(written)) if written > 0 => {}
                _ => return false,
            }
        }
        self.shrink();
        true
    }

    /// Gives back the memory of a large answer.
    fn shrink(&mut self) {
        if self.out.buffer.is_empty() && self.out.buffer.capacity() > 4 * FLUSH_BYTES {
            self.out.buffer = bytes::BytesMut::new();
        }
    }

    /// Sends output while rows are produced, obeying cancel and deadline and watching for EOF.
    ///
    /// # Errors
    /// Why it stopped; what was not yet sent stays buffered.
    pub(crate) async fn drain(&mut self, control: &Control) -> Result<(), Stop> {
        let Self { reader, writer, incoming, out, stall } = self;
        let mut last_progress = Instant::now();
        while !out.buffer.is_empty() {
            tokio::select! {
                biased;
                () = control.cancel.cancelled() => return Err(Stop::Cancelled),
                () = until(control.deadline) => return Err(Stop::TimedOut),
                written = writer.write_buf(&mut out.buffer) => match written {
                    Ok(written) if written > 0 => last_progress = Instant::now(),
                    _ => return Err(Stop::Gone),
                },
                () = gone(reader, incoming) => return Err(Stop::Gone),
                () = tokio::time::sleep_until((last_progress + *stall).into()) => return Err(Stop::Gone),
            }
        }
        Ok(())
    }

    /// Runs work, obeying cancel and deadline and watching for EOF; output that waits longer than 5 ms is sent.
    ///
    /// # Errors
    /// Why it stopped; the work was dropped.
    pub(crate) async fn during<T>(
        &mut self,
        control: &Control,
        work: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        let Self { reader, writer, incoming, out, .. } = self;
        let tend = async {
            tokio::time::sleep(TRICKLE).await;
            while !out.buffer.is_empty() {
                match writer.write_buf(&mut out.buffer).await {
                    Ok(written) if written > 0 => {}
                    _ => return,
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = control.cancel.cancelled() => Err(Stop::Cancelled),
            result = work => Ok(result),
            () = until(control.deadline) => Err(Stop::TimedOut),
            () = gone(reader, incoming) => Err(Stop::Gone),
            () = tend => Err(Stop::Gone),
        }
    }

    /// Says goodbye to a client that may still be sending: closes our side, then reads what is left for a moment, so
    /// that the last message is not lost to a reset.
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            if !self.flush().await {
                return;
            }
            let _ = self.writer.shutdown().await;
            let mut rest = [0_u8; 4096];
            while matches!(self.reader.read(&mut rest).await, Ok(read) if read > 0) {}
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), goodbye).await;
    }
}

/// Completes when the client has closed; reads ahead meanwhile, up to its limit.
async fn gone(reader: &mut OwnedReadHalf, incoming: &mut Incoming) {
    loop {
        if incoming.buffer.len() >= READ_AHEAD {
            // Unread input means the client lives; its end shows in the next write.
            std::future::pending::<()>().await;
        }
        incoming.buffer.reserve(4096);
        match reader.read_buf(&mut incoming.buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
