//! What goes wrong, in the form a client receives it: the fields of `ErrorResponse` and `NoticeResponse`.
//!
//! A fault carries a SQLSTATE always. Fields are cut to 8 KiB in total and lose their NUL bytes here, so that no text,
//! wherever it came from, can break the message it travels in. It must never hold row data or secrets.

use std::borrow::Cow;
use std::fmt;

/// Longest text of one field; together the fields of one response stay below 8 KiB.
const FIELD_BYTES: usize = 2000;

/// How grave a fault is; `Fatal` ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed, the connection goes on.
    Error,
    /// The connection ends.
    Fatal,
    /// A notice about something the user probably did not want.
    Warning,
    /// A notice.
    Notice,
    /// A notice that is sent whatever `client_min_messages` says.
    Info,
    /// Sent only to clients that ask for it.
    Debug,
    /// A message for the log.
    Log,
}

impl Severity {
    /// The word in fields S and V.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Log => "LOG",
        }
    }
}

/// An error or a notice as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Fields S and V.
    pub severity: Severity,
    /// Field C: five characters.
    pub sqlstate: Cow<'static, str>,
    /// Field M: what failed, lower case, no full stop.
    pub message: String,
    /// Field D.
    pub detail: Option<String>,
    /// Field H: what to do.
    pub hint: Option<String>,
    /// Field P: 1-based, in characters of the text the client sent.
    pub position: Option<usize>,
}

impl Fault {
    /// An error that fails the statement.
    pub fn new(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// An error that ends the connection.
    pub fn fatal(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Fatal, ..Self::new(sqlstate, message) }
    }

    /// A warning, sent as a notice.
    pub fn warning(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(sqlstate, message) }
    }

    /// A notice.
    pub fn notice(message: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, ..Self::new("00000", message) }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a position, 1-based, in characters of the statement.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// Moves the position by the characters that stand before the statement in the client's text.
    #[must_use]
    pub fn shifted(mut self, characters: usize) -> Self {
        self.position = self.position.map(|position| position.saturating_add(characters));
        self
    }

    /// `0A000`: refused by name, never ignored.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new("0A000", format!("{what} is not supported"))
    }

    /// `08P01`: the client broke the protocol.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }

    /// `57014`: the client asked for it.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new("57014", "canceling statement due to user request")
    }

    /// `57014`: `statement_timeout` ran out.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::new("57014", "canceling statement due to statement timeout")
    }

    /// Reads the body of an `ErrorResponse` or `NoticeResponse`, for example one from the shadow catalog.
    /// Fields not kept here (schema, table, file, line) are dropped.
    #[must_use]
    pub fn from_response(body: &[u8]) -> Self {
        let mut fault = Self::new("XX000", "");
        for field in body.split(|byte| *byte == 0) {
            let Some((code, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match code {
                b'V' | b'S' => {
                    fault.severity = match text.as_str() {
                        "FATAL" | "PANIC" => Severity::Fatal,
                        "WARNING" => Severity::Warning,
                        "NOTICE" => Severity::Notice,
                        "INFO" => Severity::Info,
                        "DEBUG" => Severity::Debug,
                        "LOG" => Severity::Log,
                        _ => Severity::Error,
                    }
                }
                b'C' => fault.sqlstate = Cow::Owned(text),
                b'M' => fault.message = text,
                b'D' => fault.detail = Some(text),
                b'H' => fault.hint = Some(text),
                b'P' => fault.position = text.parse().ok(),
                _ => {}
            }
        }
        fault
    }

    /// The fields of the message: code and text, cut and without NUL bytes.
    pub(crate) fn fields(&self) -> Vec<(u8, String)> {
        let mut out = Vec::with_capacity(7);
        let mut field = |code: u8, text: &str| {
            out.push((code, cut(text).chars().filter(|character| *character != '\0').collect()));
        };
        field(b'S', self.severity.word());
        field(b'V', self.severity.word());
        field(b'C', &self.sqlstate);
        field(b'M', &self.message);
        if let Some(detail) = &self.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &self.hint {
            field(b'H', hint);
        }
        if let Some(position) = self.position {
            field(b'P', &position.to_string());
        }
        out
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(FIELD_BYTES)).unwrap_or(text)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.severity.word(), self.message, self.sqlstate)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use pgwire::messages::Message as _;
    use pgwire::messages::response::ErrorResponse;

    use super::*;

    fn body(fault: &Fault) -> BytesMut {
        let mut body = BytesMut::new();
        ErrorResponse::new(fault.fields()).encode_body(&mut body).unwrap();
        body
    }

    #[test]
    fn fields_survive_a_round_trip() {
        let fault = Fault::new("42703", "column \"x\" does not exist").with_hint("perhaps \"y\"").at(8);
        assert_eq!(Fault::from_response(&body(&fault)), fault);
    }

    #[test]
    fn hostile_text_cannot_break_the_message() {
        let fault = Fault::new("22021", format!("a\0b{}", "é".repeat(5000)));
        let fields = body(&fault);
        assert!(fields.len() < 2100);
        let read = Fault::from_response(&fields);
        assert!(read.message.starts_with("abé"));
    }
}
