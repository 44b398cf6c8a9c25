//! Messages from the client: cut from the stream by length, limited before they are buffered, parsed inside their
//! own slice.
//!
//! No byte of one message can be read as part of another, no allocation follows a number a client sent, and an
//! oversized body is skipped as it arrives. What cannot be parsed is a [`Fault`] 08P01.

#![warn(clippy::indexing_slicing)]

use bytes::{Buf, Bytes, BytesMut};

use crate::pg::backend::Format;
use crate::pg::fault::Fault;

/// Sizes beyond which a message is refused.
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    /// Any message after login.
    pub message_bytes: usize,
    /// The text of Query and Parse.
    pub statement_bytes: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { message_bytes: 16 << 20, statement_bytes: 1 << 20 }
    }
}

/// Largest message between startup and the end of the login: a SASL response; a password is at most 16 KiB of it.
pub(crate) const LOGIN_BYTES: usize = 64 << 10;
/// A Parse may also carry a name and 65,535 types.
const PARSE_EXTRA: usize = 65_535 * 4 + 64 * 1024;

/// What a Describe or Close is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Statement,
    Portal,
}

/// A message after login.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frontend {
    Query(String),
    Parse {
        name: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target, String),
    Execute {
        portal: String,
        max_rows: i32,
    },
    Close(Target, String),
    Sync,
    Flush,
    FunctionCall,
    /// CopyData, CopyDone, CopyFail.
    Copy,
    Terminate,
}

/// Bind's content; counts were checked against each other, not yet against the statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    pub(crate) formats: Vec<i16>,
    pub(crate) values: Vec<Option<Bytes>>,
    pub(crate) result_formats: Vec<i16>,
}

/// What the stream holds next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A whole message: tag and body.
    Message(u8, Bytes),
    /// A message over its limit; its body is being skipped.
    TooLarge(u8, Fault),
    /// More bytes are needed.
    More,
}

/// The inbound stream.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) buffer: BytesMut,
    skip: usize,
}

impl Incoming {
    fn discard(&mut self) {
        let now = self.skip.min(self.buffer.len());
        self.buffer.advance(now);
        self.skip -= now;
    }

    /// Cuts the next message.
    ///
    /// # Errors
    /// A FATAL fault when the stream is not the protocol: nothing after it can be trusted.
    pub(crate) fn next(&mut self, limits: &FrameLimits, logged_in: bool) -> Result<Next, Fault> {
        self.discard();
        if self.skip > 0 {
            return Ok(Next::More);
        }
        let Some(tag) = self.buffer.first().copied() else { return Ok(Next::More) };
        let known = if logged_in { b"QPBDECSHFdcfX".contains(&tag) } else { tag == b'p' };
        if !known && logged_in {
            return Err(Fault::fatal("08P01", format!("invalid frontend message type {tag}")));
        }
        if !known {
            return Err(Fault::fatal("08P01", format!("expected password response, got message type {tag}")));
        }
        let Some(length) = self.buffer.get(1..5).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) else {
            return Ok(Next::More);
        };
        let Some(body) =
            usize::try_from(i32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4))
        else {
            return Err(Fault::fatal("08P01", "invalid message length"));
        };
        if !logged_in {
            if body > LOGIN_BYTES {
                return Err(Fault::fatal("08P01", "invalid password packet size"));
            }
        } else if let Some(fault) = oversized(tag, body, limits) {
            self.buffer.advance(5);
            self.skip = body;
            self.discard();
            return Ok(Next::TooLarge(tag, fault));
        }
        if self.buffer.len() < body + 5 {
            return Ok(Next::More);
        }
        self.buffer.advance(5);
        let body = self.buffer.split_to(body).freeze();
        Ok(Next::Message(tag, body))
    }
}

fn oversized(tag: u8, body: usize, limits: &FrameLimits) -> Option<Fault> {
    let (limit, what) = match tag {
        b'Q' => (limits.statement_bytes + 1, "statement"),
        b'P' => (limits.statement_bytes + PARSE_EXTRA, "statement"),
        _ => (limits.message_bytes, "message"),
    };
    (body > limit)
        .then(|| too_large(what, body, if what == "statement" { limits.statement_bytes } else { limit }))
}

fn too_large(what: &str, size: usize, limit: usize) -> Fault {
    Fault::new("54000", format!("{what} of {size} bytes is larger than the limit of {limit} bytes"))
        .with_hint("split the statement, or pass long lists as an array parameter")
}

/// Parses a message body.
///
/// # Errors
/// 08P01 for a malformed body, 22021 for text that is not UTF-8, 54000 for a statement over its limit.
pub(crate) fn parse(tag: u8, body: Bytes, limits: &FrameLimits) -> Result<Frontend, Fault> {
    let mut reader = Reader { body };
    let message = match tag {
        b'Q' => Frontend::Query(reader.string()?),
        b'P' => {
            let name = reader.string()?;
            let sql = reader.string()?;
            if sql.len() > limits.statement_bytes {
                return Err(too_large("statement", sql.len(), limits.statement_bytes));
            }
            let count = reader.u16()?;
            Frontend::Parse { name, sql, types: reader.many(count, Reader::u32)? }
        }
        b'B' => {
            let portal = reader.string()?;
            let statement = reader.string()?;
            let count = reader.u16()?;
            let formats = reader.many(count, Reader::i16)?;
            let count = reader.u16()?;
            let values = reader.many(count, Reader::value)?;
            let count = reader.u16()?;
            let result_formats = reader.many(count, Reader::i16)?;
            if formats.len() > 1 && formats.len() != values.len() {
                return Err(Fault::protocol(format!(
                    "bind message has {} parameter formats but {} parameters",
                    formats.len(),
                    values.len()
                )));
            }
            Frontend::Bind(Bind { portal, statement, formats, values, result_formats })
        }
        b'D' | b'C' => {
            let target = match reader.u8()? {
                b'S' => Target::Statement,
                b'P' => Target::Portal,
                other => {
                    let what = if tag == b'D' { "DESCRIBE" } else { "CLOSE" };
                    return Err(Fault::protocol(format!("invalid {what} message subtype {other}")));
                }
            };
            let name = reader.string()?;
            if tag == b'D' { Frontend::Describe(target, name) } else { Frontend::Close(target, name) }
        }
        b'E' => Frontend::Execute { portal: reader.string()?, max_rows: reader.i32()? },
        b'S' => Frontend::Sync,
        b'H' => Frontend::Flush,
        b'F' => return Ok(Frontend::FunctionCall),
        b'X' => return Ok(Frontend::Terminate),
        _ => return Ok(Frontend::Copy),
    };
    if reader.body.has_remaining() {
        return Err(Fault::protocol("invalid message format"));
    }
    Ok(message)
}

/// The wire's number of a format.
///
/// # Errors
/// 22023 for anything but 0 and 1.
pub(crate) fn format(code: i16) -> Result<Format, Fault> {
    match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        other => Err(Fault::new("22023", format!("unsupported format code: {other}"))),
    }
}

/// Reads inside one body.
pub(crate) struct Reader {
    pub(crate) body: Bytes,
}

impl Reader {
    fn short() -> Fault {
        Fault::protocol("insufficient data left in message")
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Fault> {
        if self.body.len() < length {
            return Err(Self::short());
        }
        Ok(self.body.split_to(length))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.body.try_get_u8().map_err(|_| Self::short())
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.body.try_get_u16().map_err(|_| Self::short())
    }

    fn i16(&mut self) -> Result<i16, Fault> {
        self.body.try_get_i16().map_err(|_| Self::short())
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.body.try_get_u32().map_err(|_| Self::short())
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Fault> {
        self.body.try_get_i32().map_err(|_| Self::short())
    }

    fn value(&mut self) -> Result<Option<Bytes>, Fault> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| Fault::protocol("invalid parameter length in bind message"))?;
                self.take(length).map(Some)
            }
        }
    }

    /// Grows with what is really there, not with the announced count.
    fn many<T>(&mut self, count: u16, read: impl Fn(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }

    /// A NUL-terminated string.
    pub(crate) fn string(&mut self) -> Result<String, Fault> {
        let end = self
            .body
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| Fault::protocol("invalid string in message"))?;
        let text = self.take(end)?;
        self.u8()?;
        String::from_utf8(text.into())
            .map_err(|_| Fault::new("22021", "invalid byte sequence for encoding \"UTF8\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_whatever_the_packets() {
        let stream = b"Q\0\0\0\x0dselect 1\0S\0\0\0\x04";
        for cut in 1..stream.len() {
            let mut incoming = Incoming::default();
            let mut seen = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                incoming.buffer.extend_from_slice(part);
                while let Next::Message(tag, body) = incoming.next(&FrameLimits::default(), true).unwrap() {
                    seen.push(parse(tag, body, &FrameLimits::default()).unwrap());
                }
            }
            assert_eq!(seen, [Frontend::Query("select 1".into()), Frontend::Sync]);
        }
    }

    #[test]
    fn an_oversized_body_is_skipped_without_being_buffered() {
        let limits = FrameLimits { statement_bytes: 100, ..FrameLimits::default() };
        let mut incoming = Incoming::default();
        incoming.buffer.extend_from_slice(b"Q\0\x01\0\x04");
        assert!(matches!(incoming.next(&limits, true).unwrap(), Next::TooLarge(b'Q', _)));
        for _ in 0..65_536 / 1024 {
            incoming.buffer.extend_from_slice(&[7; 1024]);
            assert!(matches!(incoming.next(&limits, true).unwrap(), Next::More));
            assert!(incoming.buffer.is_empty());
        }
        incoming.buffer.extend_from_slice(b"S\0\0\0\x04");
        assert!(matches!(incoming.next(&limits, true).unwrap(), Next::Message(b'S', _)));
    }

    #[test]
    fn malformed_bodies_are_protocol_violations() {
        let limits = FrameLimits::default();
        for (tag, body) in [
            (b'Q', &b"select 1"[..]),
            (b'Q', b"select\0 1\0"),
            (b'B', b"\0\0\0\x01\0\0\0\x05"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xf0\0\0"),
            (b'B', b"\0\0\0\x02\0\0\0\0\0\x01\0\0\0\0\0\0"),
            (b'D', b"X\0"),
            (b'E', b"\0\0"),
            (b'P', b"\0select 1\0\xff\xff"),
        ] {
            let fault = parse(tag, Bytes::copy_from_slice(body), &limits).unwrap_err();
            assert_eq!(fault.sqlstate, "08P01", "{body:?}");
        }
        assert_eq!(parse(b'Q', Bytes::from_static(b"\xff\0"), &limits).unwrap_err().sqlstate, "22021");
    }

    /// Why the reader is our own: pgwire's takes counts on trust and replaces what is not UTF-8. What pgwire's client
    /// side writes is the referee for it here.
    #[test]
    fn what_pgwire_writes_is_read_back() {
        use pgwire::messages::Message;
        use pgwire::messages::extendedquery as wire;
        use pgwire::messages::simplequery::Query;

        fn read(message: &impl Message) -> Frontend {
            let mut incoming = Incoming::default();
            message.encode(&mut incoming.buffer).unwrap();
            let limits = FrameLimits::default();
            let Next::Message(tag, body) = incoming.next(&limits, true).unwrap() else { panic!("cut short") };
            assert!(incoming.buffer.is_empty());
            parse(tag, body, &limits).unwrap()
        }
        assert_eq!(read(&Query::new("sélect 1".to_owned())), Frontend::Query("sélect 1".to_owned()));
        assert_eq!(
            read(&wire::Parse::new(Some("s".to_owned()), "select $1".to_owned(), vec![23, 0, u32::MAX])),
            Frontend::Parse {
                name: "s".to_owned(),
                sql: "select $1".to_owned(),
                types: vec![23, 0, u32::MAX]
            }
        );
        let values = vec![Some(Bytes::from_static(b"\0\xff")), None, Some(Bytes::new())];
        assert_eq!(
            read(&wire::Bind::new(None, Some("s".to_owned()), vec![0, 1, 1], values.clone(), vec![1])),
            Frontend::Bind(Bind {
                portal: String::new(),
                statement: "s".to_owned(),
                formats: vec![0, 1, 1],
                values,
                result_formats: vec![1],
            })
        );
        assert_eq!(
            read(&wire::Describe::new(b'P', Some("p".to_owned()))),
            Frontend::Describe(Target::Portal, "p".to_owned())
        );
        assert_eq!(read(&wire::Close::new(b'S', None)), Frontend::Close(Target::Statement, String::new()));
        assert_eq!(
            read(&wire::Execute::new(Some("p".to_owned()), 7)),
            Frontend::Execute { portal: "p".to_owned(), max_rows: 7 }
        );
        assert_eq!(read(&wire::Sync::new()), Frontend::Sync);
        assert_eq!(read(&wire::Flush::new()), Frontend::Flush);
    }
}
