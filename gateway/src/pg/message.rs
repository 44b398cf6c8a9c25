//! Messages to the client, written into one growing buffer.
//!
//! The buffer is sent by [`crate::pg::socket`]; nothing here awaits. A message that does not fit its length field
//! cannot be produced, because every variable part was limited before.

use bytes::{BufMut, BytesMut};

use crate::pg::backend::{Column, Format};
use crate::pg::encode::format_at;
use crate::pg::fault::Fault;

/// Messages not yet written to the socket.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) buffer: BytesMut,
}

impl Outgoing {
    /// Writes tag, length and body.
    pub(crate) fn message(&mut self, tag: u8, body: impl FnOnce(&mut BytesMut)) {
        let start = self.buffer.len();
        self.buffer.put_u8(tag);
        self.buffer.put_i32(0);
        body(&mut self.buffer);
        let length = i32::try_from(self.buffer.len() - start - 1).unwrap_or(i32::MAX);
        if let Some(slot) = self.buffer.get_mut(start + 1..start + 5) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
    }

    pub(crate) fn fault(&mut self, fault: &Fault) {
        self.message(b'E', |out| out.put_slice(&fault.fields()));
    }

    pub(crate) fn notice(&mut self, fault: &Fault) {
        self.message(b'N', |out| out.put_slice(&fault.fields()));
    }

    /// `Authentication*` with its code.
    pub(crate) fn authentication(&mut self, code: i32, data: &[u8]) {
        self.message(b'R', |out| {
            out.put_i32(code);
            out.put_slice(data);
        });
    }

    pub(crate) fn parameter_status(&mut self, name: &str, value: &str) {
        // libpq drops the connection at 30,000 bytes; a value is cut, not the connection.
        let value = value.get(..value.floor_char_boundary(20_000)).unwrap_or(value);
        self.message(b'S', |out| {
            text(out, name);
            text(out, value);
        });
    }

    pub(crate) fn backend_key(&mut self, process_id: i32, secret: &[u8]) {
        self.message(b'K', |out| {
            out.put_i32(process_id);
            out.put_slice(secret);
        });
    }

    pub(crate) fn negotiate_version(&mut self, minor: i32, unknown: &[String]) {
        self.message(b'v', |out| {
            out.put_i32(minor);
            out.put_i32(i32::try_from(unknown.len()).unwrap_or(0));
            for name in unknown {
                text(out, name);
            }
        });
    }

    pub(crate) fn ready(&mut self, status: u8) {
        self.message(b'Z', |out| out.put_u8(status));
    }

    pub(crate) fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| text(out, tag));
    }

    /// A message without body: ParseComplete, BindComplete, CloseComplete, NoData, PortalSuspended, CopyDone,
    /// EmptyQueryResponse.
    pub(crate) fn bare(&mut self, tag: u8) {
        self.message(tag, |_| {});
    }

    pub(crate) fn row_description(&mut self, columns: &[Column], formats: &[Format]) {
        self.message(b'T', |out| {
            out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
            for (index, column) in columns.iter().enumerate() {
                text(out, &column.name);
                out.put_u32(column.table_oid);
                out.put_i16(column.attnum);
                out.put_u32(column.pg.oid);
                out.put_i16(column.pg.len);
                out.put_i32(column.pg.typmod);
                out.put_i16(format_at(formats, index).code());
            }
        });
    }

    pub(crate) fn parameter_description(&mut self, types: &[u32]) {
        self.message(b't', |out| {
            out.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
            for oid in types {
                out.put_u32(*oid);
            }
        });
    }

    pub(crate) fn copy_out(&mut self, format: Format, columns: usize) {
        self.message(b'H', |out| {
            out.put_i8(if format == Format::Binary { 1 } else { 0 });
            out.put_i16(i16::try_from(columns).unwrap_or(i16::MAX));
            for _ in 0..columns {
                out.put_i16(format.code());
            }
        });
    }

    pub(crate) fn copy_data(&mut self, data: &[u8]) {
        self.message(b'd', |out| out.put_slice(data));
    }
}

/// A NUL-terminated string; NUL bytes inside it are dropped.
fn text(out: &mut BytesMut, value: &str) {
    if value.as_bytes().contains(&0) {
        out.extend(value.bytes().filter(|byte| *byte != 0));
    } else {
        out.put_slice(value.as_bytes());
    }
    out.put_u8(0);
}
