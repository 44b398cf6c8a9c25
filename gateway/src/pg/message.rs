//! Messages to the client, written into one growing buffer in pgwire's encoding.
//!
//! The buffer is sent by [`crate::pg::socket`]; nothing here awaits. Texts are limited and lose their NUL bytes before
//! they become a message. `DataRow` and `CopyData` are not here but in [`crate::pg::encode`] and below: they are written
//! straight from Arrow, where pgwire's would first gather a row.

use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::copy::CopyOutResponse;
use pgwire::messages::data::{FieldDescription, ParameterDescription, RowDescription};
use pgwire::messages::response::{
    CommandComplete, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

use crate::pg::backend::{Column, Format};
use crate::pg::encode::format_at;
use crate::pg::fault::Fault;

/// Messages not yet written to the socket.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) buffer: BytesMut,
}

impl Outgoing {
    /// Appends a message. One that is longer than its kind may be is left out: pgwire has written its tag by then.
    pub(crate) fn send(&mut self, message: &impl Message) {
        let start = self.buffer.len();
        if let Err(error) = message.encode(&mut self.buffer) {
            self.buffer.truncate(start);
            tracing::error!(%error, "a message could not be encoded");
        }
    }

    pub(crate) fn fault(&mut self, fault: &Fault) {
        self.send(&ErrorResponse::new(fault.fields()));
    }

    pub(crate) fn notice(&mut self, fault: &Fault) {
        self.send(&NoticeResponse::new(fault.fields()));
    }

    pub(crate) fn authentication(&mut self, step: &Authentication) {
        self.send(step);
    }

    pub(crate) fn parameter_status(&mut self, name: &str, value: &str) {
        // libpq drops the connection at 30,000 bytes; a value is cut, not the connection.
        let value = value.get(..value.floor_char_boundary(20_000)).unwrap_or(value);
        self.send(&ParameterStatus::new(text(name), text(value)));
    }

    pub(crate) fn backend_key(&mut self, process_id: i32, secret: &[u8]) {
        let secret = SecretKey::Bytes(Bytes::copy_from_slice(secret));
        self.send(&BackendKeyData::new(process_id, secret));
    }

    pub(crate) fn negotiate_version(&mut self, minor: i32, unknown: &[String]) {
        let unknown = unknown.iter().map(|name| text(name)).collect();
        self.send(&NegotiateProtocolVersion::new(minor, unknown));
    }

    pub(crate) fn ready(&mut self, status: TransactionStatus) {
        self.send(&ReadyForQuery::new(status));
    }

    pub(crate) fn complete(&mut self, tag: &str) {
        self.send(&CommandComplete::new(text(tag)));
    }

    pub(crate) fn row_description(&mut self, columns: &[Column], formats: &[Format]) {
        let field = |(index, column): (usize, &Column)| {
            FieldDescription::new(
                text(&column.name),
                column.table_oid.cast_signed(),
                column.attnum,
                column.pg.oid,
                column.pg.len,
                column.pg.typmod,
                format_at(formats, index).code(),
            )
        };
        self.send(&RowDescription::new(columns.iter().enumerate().map(field).collect()));
    }

    pub(crate) fn parameter_description(&mut self, types: &[u32]) {
        self.send(&ParameterDescription::new(types.to_vec()));
    }

    pub(crate) fn copy_out(&mut self, format: Format, columns: usize) {
        let overall = if format == Format::Binary { 1 } else { 0 };
        let count = i16::try_from(columns).unwrap_or(i16::MAX);
        self.send(&CopyOutResponse::new(overall, count, vec![format.code(); columns]));
    }

    /// One `CopyData`, without a copy of its bytes in between.
    pub(crate) fn copy_data(&mut self, data: &[u8]) {
        let Ok(length) = i32::try_from(data.len() + 4) else {
            tracing::error!(bytes = data.len(), "a line of COPY is too long");
            return;
        };
        self.buffer.put_u8(b'd');
        self.buffer.put_i32(length);
        self.buffer.put_slice(data);
    }
}

/// The text as it may stand in a message: NUL bytes, which would end it, are dropped.
fn text(value: &str) -> String {
    value.chars().filter(|character| *character != '\0').collect()
}

#[cfg(test)]
mod tests {
    use pgwire::messages::extendedquery::ParseComplete;

    use super::*;

    #[test]
    fn messages_are_written_as_the_protocol_has_them() {
        let mut out = Outgoing::default();
        out.complete("SELECT\0 1");
        out.ready(TransactionStatus::Transaction);
        out.send(&ParseComplete::new());
        out.copy_data(b"1\n");
        out.backend_key(7, &[1, 2, 3, 4, 5]);
        assert_eq!(
            out.buffer.as_ref(),
            b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05T1\0\0\0\x04d\0\0\0\x061\nK\0\0\0\x0d\0\0\0\x07\x01\x02\x03\x04\x05"
        );
    }

    #[test]
    fn a_message_that_is_too_long_leaves_nothing_behind() {
        let mut out = Outgoing::default();
        out.complete(&"x".repeat(40_000));
        assert!(out.buffer.is_empty());
        out.parameter_status("search_path", &"é".repeat(40_000));
        assert!(out.buffer.len() < 30_000 && out.buffer.first() == Some(&b'S'));
    }
}
