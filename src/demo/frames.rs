//! WebSocket frames as the Go server's library cuts them (RFC 6455 section 5.2; gorilla/websocket with
//! write buffers of 4,096 bytes), and the few that a client may send.
//!
//! A payload of up to 4,096 bytes is one frame. Up to twice the buffer with its room for a header, it is
//! fragments of 4,096. Longer, it is one non-final frame with everything and an *empty* final
//! continuation. A client that takes a message for complete when its bytes are fails on the last.
//!
//! Pure: bytes in, bytes out.

/// Payload that fits the library's write buffer.
const BUFFER: usize = 4096;
/// Above this the library writes past its buffer: twice 4,096 bytes and room for two longest headers.
const UNBUFFERED: usize = 2 * (BUFFER + 14);

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Appends `message` as text frames.
pub fn push_text(out: &mut Vec<u8>, message: &[u8]) {
    if message.len() > UNBUFFERED {
        push_frame(out, TEXT, message);
        push_frame(out, FINAL | CONTINUATION, &[]);
        return;
    }
    let mut opcode = TEXT;
    let mut rest = message;
    while rest.len() > BUFFER {
        let (head, tail) = rest.split_at(BUFFER);
        push_frame(out, opcode, head);
        opcode = CONTINUATION;
        rest = tail;
    }
    push_frame(out, FINAL | opcode, rest);
}

/// A ping without payload.
pub fn ping() -> Vec<u8> {
    control(PING, &[])
}

/// A pong with what the ping held.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

/// A close frame.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    control(CLOSE, &payload)
}

/// A control frame holds at most 125 bytes.
fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_frame(&mut out, FINAL | opcode, &payload[..payload.len().min(125)]);
    out
}

fn push_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        short @ 0..126 => out.push(short as u8),
        middle @ 126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// The most that a client may send as one message, as the Go server has it.
pub const CLIENT_LIMIT: usize = 512;

/// What a client sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromClient {
    Ping(Vec<u8>),
    Pong,
    Close,
    /// Read and ignored.
    Data,
}

/// Why a client is disconnected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    #[error("client sent a frame without a mask")]
    Unmasked,
    #[error("client sent opcode {0:#x}, which is none")]
    Opcode(u8),
    #[error("client sent a message of {0} bytes, of {CLIENT_LIMIT} allowed")]
    TooLarge(u64),
}

impl ClientError {
    /// RFC 6455 section 7.4.1.
    pub fn close_code(self) -> u16 {
        match self {
            ClientError::Unmasked | ClientError::Opcode(_) => 1002,
            ClientError::TooLarge(_) => 1009,
        }
    }
}

/// Takes one whole frame off the front of `bytes`; `None` while it is incomplete.
pub fn take_from_client(bytes: &mut Vec<u8>) -> Result<Option<FromClient>, ClientError> {
    let &[first, second, ref rest @ ..] = bytes.as_slice() else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(ClientError::Unmasked);
    }
    let (length, rest) = match (second & 0x7f, rest) {
        (126, &[a, b, ref rest @ ..]) => (u64::from(u16::from_be_bytes([a, b])), rest),
        (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => {
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest)
        }
        (126 | 127, _) => return Ok(None),
        (short, rest) => (u64::from(short), rest),
    };
    if length > CLIENT_LIMIT as u64 {
        return Err(ClientError::TooLarge(length));
    }
    let length = length as usize;
    let &[a, b, c, d, ref rest @ ..] = rest else { return Ok(None) };
    if rest.len() < length {
        return Ok(None);
    }
    let payload: Vec<u8> =
        rest[..length].iter().zip([a, b, c, d].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let used = bytes.len() - rest.len() + length;
    bytes.drain(..used);
    match first & 0x0f {
        PING => Ok(Some(FromClient::Ping(payload))),
        PONG => Ok(Some(FromClient::Pong)),
        CLOSE => Ok(Some(FromClient::Close)),
        0..=2 => Ok(Some(FromClient::Data)),
        other => Err(ClientError::Opcode(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First byte and payload's length of each frame of a message of `length` bytes.
    fn cut(length: usize) -> Vec<(u8, usize)> {
        let mut out = Vec::new();
        push_text(&mut out, &vec![b'x'; length]);
        let mut frames = Vec::new();
        let mut rest = out.as_slice();
        while let [first, second, tail @ ..] = rest {
            let (length, tail) = match second {
                126 => (usize::from(u16::from_be_bytes([tail[0], tail[1]])), &tail[2..]),
                127 => (u64::from_be_bytes(tail[..8].try_into().unwrap()) as usize, &tail[8..]),
                short => (usize::from(*short), tail),
            };
            assert!(tail[..length].iter().all(|&byte| byte == b'x'));
            frames.push((*first, length));
            rest = &tail[length..];
        }
        frames
    }

    #[test]
    fn cuts_as_gorilla_does() {
        for (length, want) in [
            (0, vec![(0x81, 0)]),
            (125, vec![(0x81, 125)]),
            (126, vec![(0x81, 126)]),
            (4096, vec![(0x81, 4096)]),
            (4097, vec![(0x01, 4096), (0x80, 1)]),
            (8192, vec![(0x01, 4096), (0x80, 4096)]),
            (8193, vec![(0x01, 4096), (0x00, 4096), (0x80, 1)]),
            (8220, vec![(0x01, 4096), (0x00, 4096), (0x80, 28)]),
            (8221, vec![(0x01, 8221), (0x80, 0)]),
            (700_000, vec![(0x01, 700_000), (0x80, 0)]),
        ] {
            assert_eq!(cut(length), want, "{length}");
        }
    }

    #[test]
    fn reads_what_a_client_sends() {
        let masked = |first: u8, payload: &[u8]| {
            let mut out = vec![first, 0x80 | payload.len() as u8, 1, 2, 3, 4];
            out.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
            out
        };
        for (bytes, want) in [
            (masked(0x89, b"hello"), Ok(Some(FromClient::Ping(b"hello".to_vec())))),
            (masked(0x8a, b""), Ok(Some(FromClient::Pong))),
            (masked(0x88, &[3, 232]), Ok(Some(FromClient::Close))),
            (masked(0x81, b"anything"), Ok(Some(FromClient::Data))),
            (masked(0x83, b""), Err(ClientError::Opcode(3))),
            (vec![0x89, 0x00], Err(ClientError::Unmasked)),
            (vec![0x82, 0xfe, 2, 1], Err(ClientError::TooLarge(513))),
            (vec![0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255], Err(ClientError::TooLarge(u64::MAX))),
        ] {
            // Every prefix is incomplete or refused, never a frame.
            let whole = bytes.len();
            for end in 0..whole {
                let mut part = bytes[..end].to_vec();
                assert!(matches!(take_from_client(&mut part), Ok(None) | Err(_)), "{bytes:?} {end}");
            }
            let mut bytes = bytes;
            assert_eq!(take_from_client(&mut bytes), want);
            assert!(want.is_err() || bytes.is_empty());
        }
    }
}
