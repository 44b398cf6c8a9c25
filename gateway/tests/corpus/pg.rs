//! A small client of the PostgreSQL protocol that can ask in each of its three ways.
//!
//! Drivers hide the difference between them; this one shows a row's bytes as they came. Blocking, one statement at a
//! time, and no statement is ever split: what a test says is what is sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::door::{Answer, Column, Fault};
use super::{render, scram};

/// How a statement is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One Query message; the answer is text.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync, with text results.
    ExtendedText,
    /// The same with binary results.
    ExtendedBinary,
}

/// A logged-in connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    way: Way,
}

/// Reads a message's body from the front.
pub(crate) struct Body<'a>(pub(crate) &'a [u8]);

impl<'a> Body<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    pub(crate) fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.bytes(2).try_into().unwrap())
    }

    pub(crate) fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.bytes(4).try_into().unwrap())
    }

    pub(crate) fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.bytes(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(self.bytes(end).to_vec()).unwrap();
        self.bytes(1);
        text
    }
}

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = i32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), &body].concat()
}

impl Client {
    /// Logs in as the demo's user.
    pub(crate) fn login(address: &str, way: Way) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self { stream, way };
        let pairs = b"user\0demo\0database\0portolan\0application_name\0corpus\0\0";
        let length = i32::try_from(pairs.len() + 8).unwrap();
        client.send(&[&length.to_be_bytes()[..], &196_608_i32.to_be_bytes(), pairs].concat());
        loop {
            let (tag, body) = client.next();
            match tag {
                b'R' => client.authenticate(&body),
                b'E' => panic!("the login was refused: {}", fault(&body)),
                b'Z' => return client,
                _ => {}
            }
        }
    }

    fn authenticate(&mut self, body: &[u8]) {
        let mut body = Body(body);
        match body.i32() {
            10 => {
                let first = format!("n,,{}", scram::BARE);
                let length = i32::try_from(first.len()).unwrap().to_be_bytes();
                self.send(&message(b'p', &[b"SCRAM-SHA-256\0", &length, first.as_bytes()]));
            }
            11 => {
                let last = scram::proof("demo", std::str::from_utf8(body.0).unwrap());
                self.send(&message(b'p', &[last.as_bytes()]));
            }
            _ => {}
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn next(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).unwrap_or_else(|error| panic!("no answer: {error}"));
        let [tag, length @ ..] = head;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(length) - 4).unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        (tag, body)
    }

    /// Asks a statement and reads to the end of its answer.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<Answer, Fault> {
        if self.way == Way::Simple {
            self.send(&message(b'Q', &[sql.as_bytes(), b"\0"]));
        } else {
            let format = i16::from(self.way == Way::ExtendedBinary).to_be_bytes();
            let parts = [
                message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"]),
                message(b'B', &[b"\0\0\0\0\0\0\0\x01", &format]),
                message(b'D', &[b"P\0"]),
                message(b'E', &[b"\0\0\0\0\0"]),
                message(b'S', &[]),
            ];
            self.send(&parts.concat());
        }
        let (mut answer, mut failed) = (Answer::default(), None);
        let mut columns = Vec::new();
        loop {
            let (tag, body) = self.next();
            match tag {
                b'T' => {
                    columns = described(&body);
                    answer.is_rows = true;
                    answer.types = columns.iter().map(|(oid, _)| Column::of_oid(*oid)).collect();
                }
                b'D' => answer.rows.push(row(&body, &columns)),
                b'E' if failed.is_none() => failed = Some(fault(&body)),
                b'Z' => return failed.map_or(Ok(answer), Err),
                _ => {}
            }
        }
    }
}

/// OID and format of each column of a RowDescription.
fn described(body: &[u8]) -> Vec<(u32, i16)> {
    let mut body = Body(body);
    (0..body.i16())
        .map(|_| {
            body.text();
            body.bytes(6);
            let oid = body.i32().cast_unsigned();
            body.bytes(6);
            (oid, body.i16())
        })
        .collect()
}

fn row(body: &[u8], columns: &[(u32, i16)]) -> Vec<Option<String>> {
    let mut body = Body(body);
    let count = usize::try_from(body.i16()).unwrap();
    assert_eq!(count, columns.len(), "a row has as many values as its description");
    let mut row = Vec::with_capacity(count);
    for (oid, format) in columns {
        row.push(match usize::try_from(body.i32()) {
            Err(_) => None,
            Ok(length) => {
                let value = body.bytes(length);
                Some(if *format == 1 {
                    render::binary(*oid, value)
                } else {
                    String::from_utf8(value.to_vec()).unwrap()
                })
            }
        });
    }
    row
}

fn fault(body: &[u8]) -> Fault {
    let mut body = Body(body);
    let mut fault = Fault::default();
    loop {
        let [field] = body.bytes(1) else { return fault };
        match field {
            0 => return fault,
            b'C' => fault.sqlstate = body.text(),
            b'M' => fault.message = body.text(),
            b'H' => fault.hint = body.text(),
            b'P' => fault.position = body.text(),
            _ => {
                body.text();
            }
        }
    }
}
