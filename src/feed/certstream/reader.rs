//! Reads one open connection to its end: the only place where messages come out of a WebSocket.
//!
//! Every message goes to the intake as soon as it is whole. Between messages the reader looks after the
//! connection: it pings, notices silence, and lets the intake rest. What the server does wrong becomes a
//! [`Disconnect`] with a label and a sentence.
//!
//! The task never waits for anything but the socket and gives way at the end of its turn. A judgement
//! that something is missing is made on an empty socket only: where the intake, or another task on this
//! thread, took long, what the server has sent meanwhile is heard first.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::{SinkExt, StreamExt, poll};
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tracing::info;

use super::super::dial::{Wire, tls_cause, tls_error};
use super::super::{DisconnectReason, Intake, REST_AFTER, Refusal};
use super::{Client, MAX_WORDS, Timing, stopped};
use crate::clock;
use crate::entry::Timestamp;

/// A stream that was refused counts as accepted again after so many messages: a heartbeat or two may
/// come before the first certificate, which is what an intake refuses.
const ACCEPTED_AFTER: u64 = 16;

/// Reads one open connection.
pub(super) struct Reader<'a, I> {
    client: &'a Client<'a>,
    intake: &'a mut I,
    /// Frames and messages since the last rest, and the messages' bytes and last arrival.
    frames: u32,
    messages: u32,
    bytes: u64,
    arrival: Timestamp,
    rested: Timestamp,
    /// Messages of this connection, the time of the first and, or the opening, of the last.
    total: u64,
    first_message: Option<Instant>,
    last_message: Instant,
    next_ping: Instant,
    pings: u64,
    /// When the oldest ping without an answer was sent, and what had been received by then.
    unanswered: Option<(Instant, u64)>,
    was_refused: bool,
}

impl<'a, I: Intake> Reader<'a, I> {
    pub(super) fn new(client: &'a Client<'a>, intake: &'a mut I) -> Reader<'a, I> {
        let now = Instant::now();
        Reader {
            client,
            intake,
            frames: 0,
            messages: 0,
            bytes: 0,
            arrival: Timestamp(0),
            rested: clock::now(),
            total: 0,
            first_message: None,
            last_message: now,
            next_ping: now + client.timing.ping_every,
            pings: 0,
            unanswered: None,
            was_refused: client.meter.refused().is_some(),
        }
    }

    pub(super) async fn read(
        &mut self,
        socket: &mut WebSocketStream<&mut Wire>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Ending {
        let ending = self.read_on(socket, shutdown).await;
        self.rest();
        ending
    }

    async fn read_on(
        &mut self,
        socket: &mut WebSocketStream<&mut Wire>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Ending {
        // One timer for a connection, set anew when it has fired: what it waits for only moves away.
        let mut alarm = pin!(sleep_until(self.due()));
        loop {
            let next = match poll!(socket.next()) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    self.rest();
                    if self.due() <= Instant::now() {
                        // The task's turn may be what ended the read. In a new turn the socket itself
                        // answers: what lies in it is heard before it is missed.
                        yield_now().await;
                        match poll!(socket.next()) {
                            Poll::Ready(next) => next,
                            Poll::Pending => match self.tend(socket, true).await {
                                Ok(()) => continue,
                                Err(lost) => return Ending::Lost(lost),
                            },
                        }
                    } else if socket.get_ref().gave_way() {
                        if *shutdown.borrow() {
                            return Ending::Stopped;
                        }
                        yield_now().await;
                        continue;
                    } else {
                        if alarm.is_elapsed() {
                            alarm.as_mut().reset(self.due());
                        }
                        tokio::select! {
                            biased;
                            () = stopped(shutdown) => return Ending::Stopped,
                            next = next_or_turn(socket) => match next {
                                Some(next) => next,
                                None => continue,
                            },
                            () = &mut alarm => continue,
                        }
                    }
                }
            };
            self.frames += 1;
            let taken = match next {
                Some(Ok(Message::Text(text))) => self.take(text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) => self.take(&bytes),
                Some(Ok(Message::Ping(_))) => {
                    // The next read sends the pong. Who floods with pings gets no more than a turn.
                    consume_budget().await;
                    Ok(())
                }
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => Ok(()),
                Some(Ok(Message::Close(frame))) => {
                    return Ending::Lost(Disconnect::from_close(frame, self.client));
                }
                Some(Err(error)) => return Ending::Lost(Disconnect::from_error(error, self.client)),
                None => return Ending::Lost(Disconnect::Eof),
            };
            if let Err(refusal) = taken {
                return Ending::Refused(refusal);
            }
            if self.frames >= REST_AFTER || self.messages > 0 && self.arrival != self.rested {
                self.rest();
                if *shutdown.borrow() {
                    return Ending::Stopped;
                }
                // Where the socket is never empty, the alarm is never waited for.
                if self.due() <= Instant::now()
                    && let Err(lost) = self.tend(socket, false).await
                {
                    return Ending::Lost(lost);
                }
            }
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<(), Refusal> {
        self.arrival = clock::now();
        self.messages += 1;
        self.bytes += message.len() as u64;
        self.intake.take(message, self.arrival)
    }

    /// Lets the intake send on what it has, and brings the meter up to date.
    fn rest(&mut self) {
        self.frames = 0;
        if self.messages == 0 {
            return;
        }
        let now = Instant::now();
        self.rested = clock::now();
        self.intake.rest(self.rested);
        self.client.meter.count_messages(self.bytes, self.arrival);
        self.total += u64::from(self.messages);
        self.first_message.get_or_insert(now);
        self.last_message = now;
        self.messages = 0;
        self.bytes = 0;
        if self.was_refused && (self.total >= ACCEPTED_AFTER || self.is_stable()) {
            self.was_refused = false;
            self.client.meter.set_refused(None);
            info!(feed = self.client.feed.name, "the feed can be used again");
        }
    }

    /// When there is something to look after.
    fn due(&self) -> Instant {
        let silent = self.last_message + self.client.feed.silence_after;
        let pong = self.unanswered.map_or(silent, |(sent, _)| sent + self.client.timing.pong_within);
        self.next_ping.min(silent).min(pong)
    }

    /// Looks after the connection: does it give messages, does it live, is it time for a ping?
    ///
    /// A byte that answers a ping can only be missed on a `drained` socket: an intake that took long
    /// is not the server's silence.
    async fn tend(
        &mut self,
        socket: &mut WebSocketStream<&mut Wire>,
        drained: bool,
    ) -> Result<(), Disconnect> {
        let now = Instant::now();
        let Timing { ping_every, pong_within, .. } = *self.client.timing;
        if now - self.last_message >= self.client.feed.silence_after {
            return Err(Disconnect::Silent(self.client.feed.silence_after));
        }
        let received = socket.get_ref().received();
        match self.unanswered {
            Some((_, before)) if received > before => self.unanswered = None,
            Some((sent, _)) if drained && now - sent >= pong_within => {
                return Err(Disconnect::PongTimeout(pong_within));
            }
            _ => {}
        }
        if self.next_ping > now {
            return Ok(());
        }
        self.next_ping = now + ping_every;
        self.unanswered.get_or_insert((now, received));
        self.pings += 1;
        let ping = Message::Ping(format!("certsieve {}", self.pings).into());
        // Polled once: a server that reads nothing is not waited for. Its pong will be missed.
        match poll!(pin!(socket.send(ping))) {
            Poll::Ready(Err(error)) if !matches!(error, WsError::WriteBufferFull(_)) => {
                Err(Disconnect::from_error(error, self.client))
            }
            _ => Ok(()),
        }
    }

    /// It gave messages for [`Timing::stable_after`].
    pub(super) fn is_stable(&self) -> bool {
        self.first_message.is_some_and(|first| self.last_message - first >= self.client.timing.stable_after)
    }
}

/// What ended the reading.
pub(super) enum Ending {
    Stopped,
    Refused(Refusal),
    Lost(Disconnect),
}

impl Ending {
    /// The close frame for the server.
    pub(super) fn goodbye(&self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Ending::Stopped => (CloseCode::Away, ""),
            Ending::Refused(_) => (CloseCode::Unsupported, "this stream cannot be used"),
            Ending::Lost(Disconnect::TooLarge { .. }) => (CloseCode::Size, "message too large"),
            Ending::Lost(Disconnect::Protocol(_)) => (CloseCode::Protocol, ""),
            Ending::Lost(Disconnect::Silent(_)) => (CloseCode::Normal, "no message for too long"),
            Ending::Lost(_) => (CloseCode::Normal, ""),
        };
        Some(CloseFrame { code, reason: reason.into() })
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Disconnect {
    #[error("the server closed it with code {code}{reason}")]
    Close { code: u16, reason: String },
    #[error("the server closed it without a code")]
    CloseWithoutCode,
    #[error("the server ended the stream without a word")]
    Eof,
    #[error("no message for {0:?} (silence_after)")]
    Silent(Duration),
    #[error("no pong and no other byte for {0:?} after a ping")]
    PongTimeout(Duration),
    #[error("a message has {size} bytes or more, max_message_bytes is {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("the server broke the WebSocket protocol: {0}")]
    Protocol(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("{0}")]
    Io(io::Error),
}

impl Disconnect {
    pub(super) fn reason(&self) -> DisconnectReason {
        match self {
            Disconnect::Close { .. } | Disconnect::CloseWithoutCode => DisconnectReason::Close,
            Disconnect::Eof => DisconnectReason::Eof,
            Disconnect::Silent(_) => DisconnectReason::Silent,
            Disconnect::PongTimeout(_) => DisconnectReason::PongTimeout,
            Disconnect::TooLarge { .. } => DisconnectReason::TooLarge,
            Disconnect::Protocol(_) => DisconnectReason::Protocol,
            Disconnect::Tls(_) => DisconnectReason::Tls,
            Disconnect::Io(_) => DisconnectReason::Io,
        }
    }

    fn from_error(error: WsError, client: &Client<'_>) -> Disconnect {
        match error {
            WsError::ConnectionClosed
            | WsError::AlreadyClosed
            | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Disconnect::Eof,
            WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                Disconnect::TooLarge { size, limit: max_size }
            }
            WsError::Io(error) if tls_error(&error).is_some() => {
                Disconnect::Tls(tls_cause(&error, client.feed.ca_file.as_deref()))
            }
            WsError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Disconnect::Eof,
            WsError::Io(error) => Disconnect::Io(error),
            WsError::Utf8(_) => Disconnect::Protocol("a text frame is not UTF-8".to_owned()),
            other => Disconnect::Protocol(client.secrets.printable(other.to_string().as_bytes(), MAX_WORDS)),
        }
    }

    fn from_close(frame: Option<CloseFrame>, client: &Client<'_>) -> Disconnect {
        let Some(frame) = frame else { return Disconnect::CloseWithoutCode };
        let words = client.secrets.printable(frame.reason.as_bytes(), MAX_WORDS);
        let reason = if words.is_empty() { words } else { format!(": {words}") };
        Disconnect::Close { code: frame.code.into(), reason }
    }
}

/// Waits for what comes next on the socket; `None` when reading used up the task's turn.
async fn next_or_turn(socket: &mut WebSocketStream<&mut Wire>) -> Option<Option<Result<Message, WsError>>> {
    poll_fn(|cx| match socket.poll_next_unpin(cx) {
        Poll::Ready(next) => Poll::Ready(Some(next)),
        Poll::Pending if socket.get_ref().gave_way() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::tests::{client, feed};
    use super::*;

    #[test]
    fn a_servers_last_words_are_escaped_and_cut() {
        let frame = CloseFrame { code: 1008.into(), reason: "a\x1b[2J\n".repeat(30).into() };
        let said =
            client(&feed("ws://h/", &[]), |client| Disconnect::from_close(Some(frame), client).to_string());
        assert!(said.starts_with("the server closed it with code 1008: a\\u{1b}[2J\\n"), "{said}");
        assert!(said.len() < 160 && said.chars().all(|c| !c.is_control()), "{said}");
    }
}
