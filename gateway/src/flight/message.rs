//! The little of protobuf that is read and written here: commands packed into an `Any`, and the login of old clients.
//!
//! Everything comes from a client, so a length is never trusted beyond the bytes that are there.

use arrow_flight::sql::{Any, Command, ProstMessageExt};
use bytes::Bytes;

use crate::error::{ErrorCode, QueryError};

/// One text or bytes field of a message.
struct Field<'a> {
    number: u8,
    value: &'a [u8],
}

/// The length-delimited fields of a message; `None` if it is malformed or has other ones.
fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let (mut found, mut rest) = (Vec::new(), message);
    while let Some((tag, after)) = rest.split_first() {
        // Wire type 2, field numbers below 16.
        if tag & 0x87 != 0x02 {
            return None;
        }
        let (length, after) = varint(after)?;
        let (value, after) = after.split_at_checked(length)?;
        found.push(Field { number: tag >> 3, value });
        rest = after;
    }
    Some(found)
}

/// A length of at most five bytes.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// The command in a descriptor, a ticket or the body of an action.
///
/// # Errors
/// 08P01 for bytes that are none.
pub(super) fn unpacked(bytes: &[u8]) -> Result<Command, QueryError> {
    let malformed = || {
        QueryError::new(ErrorCode::ProtocolViolation, "the message is no Flight SQL command")
            .with_hint("connect with a client of Arrow Flight SQL")
    };
    let mut any = Any { type_url: String::new(), value: Bytes::new() };
    for field in fields(bytes).ok_or_else(malformed)? {
        match field.number {
            1 => any.type_url = String::from_utf8(field.value.to_vec()).map_err(|_| malformed())?,
            2 => any.value = Bytes::copy_from_slice(field.value),
            _ => return Err(malformed()),
        }
    }
    if any.type_url.is_empty() {
        return Err(malformed());
    }
    Command::try_from(any).map_err(|_| malformed())
}

/// The bytes of a message packed into an `Any`.
pub(super) fn packed(message: Any) -> Bytes {
    let Any { type_url, value } = message;
    let mut bytes = Vec::with_capacity(type_url.len() + value.len() + 12);
    for (tag, part) in [(0x0a, type_url.as_bytes()), (0x12, value.as_ref())] {
        bytes.push(tag);
        let mut length = part.len();
        while length >= 0x80 {
            bytes.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap_or_default());
        bytes.extend_from_slice(part);
    }
    bytes.into()
}

/// The bytes of a message by itself.
pub(super) fn bare<M: ProstMessageExt>(message: &M) -> Bytes {
    message.as_any().value
}

/// User and password of `BasicAuth`, the payload of an old client's Handshake: fields 2 and 3, both texts.
pub(super) fn basic_auth(payload: &[u8]) -> Option<(String, String)> {
    let (mut user, mut password) = (None, String::new());
    for field in fields(payload)? {
        let text = String::from_utf8(field.value.to_vec()).ok()?;
        match field.number {
            2 => user = Some(text),
            3 => password = text,
            _ => return None,
        }
    }
    Some((user?, password))
}

/// The last part of a type's URL, as it may stand in a text.
pub(super) fn name_of(url: &str) -> String {
    printable(url.rsplit(['/', '.']).next().unwrap_or_default())
}

/// A client's name as it may stand in a text.
pub(super) fn printable(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(100).collect()
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::CommandStatementQuery;

    use super::*;

    #[test]
    fn commands_survive_packing() {
        for length in [0, 1, 127, 128, 20_000, 3_000_000] {
            let query = CommandStatementQuery { query: "x".repeat(length), transaction_id: None };
            match unpacked(&packed(query.as_any())).unwrap() {
                Command::CommandStatementQuery(again) => assert_eq!(again, query),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let cut = packed(CommandStatementQuery::default().as_any());
        for bytes in
            [&b""[..], b"x", b"\x0a\xff\xff\xff\xff\xff", b"\x0a\x05abc", b"\x08\x01", &cut[..cut.len() - 3]]
        {
            assert_eq!(
                unpacked(bytes).map_err(|error| error.code),
                Err(ErrorCode::ProtocolViolation),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn the_payload_of_a_handshake_is_read_within_its_bounds() {
        let payload = b"\x12\x04demo\x1a\x06secret";
        assert_eq!(basic_auth(payload), Some(("demo".to_owned(), "secret".to_owned())));
        assert_eq!(basic_auth(b"\x12\x7fdemo"), None);
        assert_eq!(basic_auth(b"\x12\xff\xff\xff\xff"), None);
        assert_eq!(basic_auth(b""), None);
    }
}
