//! Frames of PostgreSQL's protocol, version 3: what the shadow's client writes and how it reads the answer.
//!
//! Lengths come from a server of ours, but are checked all the same: nothing here indexes or allocates by them blindly.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{DescribedColumn, StatementError};

/// No frame of a catalog answer is larger; a bigger length means that the stream is out of step.
const MAX_FRAME: usize = 256 << 20;

/// A complete backend frame.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Type byte, length and body.
    pub(super) bytes: Bytes,
}

impl Frame {
    pub(super) fn tag(&self) -> u8 {
        self.bytes.first().copied().unwrap_or(0)
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(5..).unwrap_or_default()
    }
}

/// Takes the next complete frame; `Err` when the stream is out of step.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, std::io::Error> {
    let Some(header) = buffer.get(..5) else { return Ok(None) };
    let length = header.get(1..5).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(4..=MAX_FRAME).contains(&length) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "frame length out of range"));
    }
    if buffer.len() < length + 1 {
        return Ok(None);
    }
    Ok(Some(Frame { bytes: buffer.split_to(length + 1).freeze() }))
}

/// Writes frontend frames into one buffer.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: BytesMut,
    /// How many ReadyForQuery the server owes for them.
    pub(super) ready: usize,
}

fn size(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn count(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

impl Writer {
    fn frame(&mut self, tag: u8, body: impl FnOnce(&mut BytesMut)) {
        self.bytes.put_u8(tag);
        let start = self.bytes.len();
        self.bytes.put_i32(0);
        body(&mut self.bytes);
        let length = size(self.bytes.len() - start).to_be_bytes();
        if let Some(slot) = self.bytes.get_mut(start..start + 4) {
            slot.copy_from_slice(&length);
        }
    }

    pub(super) fn startup(&mut self, user: &str, database: &str) {
        let mut body = BytesMut::new();
        body.put_i32(196_608);
        for text in ["user", user, "database", database, "client_encoding", "UTF8"] {
            text_z(&mut body, text);
        }
        body.put_u8(0);
        self.bytes.put_i32(size(body.len() + 4));
        self.bytes.extend_from_slice(&body);
        self.ready += 1;
    }

    pub(super) fn query(&mut self, sql: &str) {
        self.frame(b'Q', |body| text_z(body, sql));
        self.ready += 1;
    }

    pub(super) fn parse(&mut self, sql: &str, types: &[u32]) {
        self.frame(b'P', |body| {
            body.put_u8(0);
            text_z(body, sql);
            body.put_u16(count(types.len()));
            for oid in types {
                body.put_u32(*oid);
            }
        });
    }

    pub(super) fn bind(&mut self, formats: &[i16], values: &[Option<Bytes>], results: &[i16]) {
        self.frame(b'B', |body| {
            body.put_u16(0);
            body.put_u16(count(formats.len()));
            formats.iter().for_each(|format| body.put_i16(*format));
            body.put_u16(count(values.len()));
            for value in values {
                match value {
                    None => body.put_i32(-1),
                    Some(value) => {
                        body.put_i32(size(value.len()));
                        body.extend_from_slice(value);
                    }
                }
            }
            body.put_u16(count(results.len()));
            results.iter().for_each(|format| body.put_i16(*format));
        });
    }

    pub(super) fn describe(&mut self, kind: u8) {
        self.frame(b'D', |body| {
            body.put_u8(kind);
            body.put_u8(0);
        });
    }

    pub(super) fn execute(&mut self) {
        self.frame(b'E', |body| {
            body.put_u8(0);
            body.put_i32(0);
        });
    }

    pub(super) fn sync(&mut self) {
        self.frame(b'S', |_| {});
        self.ready += 1;
    }

    pub(super) fn terminate(&mut self) {
        self.frame(b'X', |_| {});
    }
}

fn text_z(body: &mut BytesMut, text: &str) {
    body.extend(text.bytes().filter(|byte| *byte != 0));
    body.put_u8(0);
}

/// Reads an ErrorResponse or NoticeResponse.
pub(super) fn error(frame: &Frame) -> StatementError {
    let mut error = StatementError::new("XX000", "");
    for field in frame.body().split(|byte| *byte == 0) {
        let Some((code, text)) = field.split_first() else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        match code {
            b'C' => error.sqlstate = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            b'H' => error.hint = Some(text),
            b'P' => error.position = text.parse().ok(),
            _ => {}
        }
    }
    error
}

/// The same ErrorResponse with another position; every other field stays as it is.
pub(super) fn with_position(frame: &Frame, position: Option<usize>) -> Bytes {
    let mut body = BytesMut::new();
    for field in frame.body().split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
        match (field.first(), position) {
            // The server's own query text and source lines are of no use to the client.
            (Some(b'P'), Some(position)) => {
                body.put_u8(b'P');
                body.extend_from_slice(position.to_string().as_bytes());
            }
            (Some(b'P'), None) => continue,
            _ => body.extend_from_slice(field),
        }
        body.put_u8(0);
    }
    body.put_u8(0);
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u8(frame.tag());
    out.put_i32(size(body.len() + 4));
    out.extend_from_slice(&body);
    out.freeze()
}

/// Values of a DataRow in text format.
pub(super) fn row(frame: &Frame) -> Vec<Option<String>> {
    let mut body = frame.body();
    let mut values = Vec::new();
    if body.len() < 2 {
        return values;
    }
    for _ in 0..body.get_u16() {
        if body.len() < 4 {
            break;
        }
        let Ok(length) = usize::try_from(body.get_i32()) else {
            values.push(None);
            continue;
        };
        let Some(value) = body.get(..length) else { break };
        values.push(Some(String::from_utf8_lossy(value).into_owned()));
        body.advance(length);
    }
    values
}

/// Type OIDs of a ParameterDescription.
pub(super) fn parameters(frame: &Frame) -> Vec<u32> {
    let mut body = frame.body();
    if body.len() < 2 {
        return Vec::new();
    }
    let _count = body.get_u16();
    body.chunks_exact(4).filter_map(|bytes| bytes.try_into().ok().map(u32::from_be_bytes)).collect()
}

/// Fields of a RowDescription.
pub(super) fn columns(frame: &Frame) -> Vec<DescribedColumn> {
    let mut body = frame.body();
    let mut columns = Vec::new();
    if body.len() < 2 {
        return columns;
    }
    for _ in 0..body.get_u16() {
        let Some(end) = body.iter().position(|byte| *byte == 0) else { break };
        let name = String::from_utf8_lossy(body.get(..end).unwrap_or_default()).into_owned();
        body.advance(end + 1);
        if body.len() < 18 {
            break;
        }
        columns.push(DescribedColumn {
            name,
            table_oid: body.get_u32(),
            attnum: body.get_i16(),
            type_oid: body.get_u32(),
            type_len: body.get_i16(),
            typmod: body.get_i32(),
        });
        let _format = body.get_i16();
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_at_their_length_and_a_wild_length_is_refused() {
        let mut buffer = BytesMut::from(&b"Z\0\0\0\x05IZ\0\0"[..]);
        assert_eq!(take(&mut buffer).unwrap().unwrap().body(), b"I");
        assert!(take(&mut buffer).unwrap().is_none());
        assert!(take(&mut BytesMut::from(&b"Z\xff\xff\xff\xff"[..])).is_err());
    }

    #[test]
    fn only_the_position_of_an_error_changes() {
        let frame = Frame { bytes: Bytes::from_static(b"E\0\0\0\x16SERROR\0P12\0Mx\0\0") };
        assert_eq!(&with_position(&frame, Some(7))[5..], b"SERROR\0P7\0Mx\0\0");
        assert_eq!(error(&frame).position, Some(12));
    }
}
