//! DECLARE, FETCH and MOVE: the options of a cursor, and the directions in which it is read.

use super::parser::Parser;
use crate::pg::classify::command::{FetchDirection, SessionCommand};
use crate::pg::fault::Fault;

impl Parser<'_> {
    pub(super) fn declare(&mut self) -> Result<SessionCommand, Fault> {
        let name = self.name()?;
        let (mut binary, mut scroll) = (false, None);
        loop {
            if self.accept("binary") {
                binary = true;
            } else if self.accept("no") {
                self.expect("scroll")?;
                scroll = Some(false);
            } else if self.accept("scroll") {
                scroll = Some(true);
            } else if !self.accept_any(&["insensitive", "asensitive"]) {
                break;
            }
        }
        self.expect("cursor")?;
        let hold = self.accept("with");
        if hold || self.accept("without") {
            self.expect("hold")?;
        }
        self.expect("for")?;
        Ok(SessionCommand::Declare { name, binary, scroll, hold, query: self.rest()? })
    }

    pub(super) fn fetch(&mut self, only_move: bool) -> Result<SessionCommand, Fault> {
        let start = self.at;
        let direction = self.direction();
        let _ = self.accept_any(&["from", "in"]);
        // A cursor may be called like a direction: `FETCH next` reads from the cursor "next".
        let (direction, name) = match self.name() {
            Ok(name) => (direction, name),
            Err(fault) => {
                let end = self.at;
                self.at = start;
                match self.name() {
                    Ok(name) if self.is_end() && !matches!(name.as_str(), "from" | "in") => {
                        (FetchDirection::Forward(1), name)
                    }
                    _ => {
                        self.at = end;
                        return Err(fault);
                    }
                }
            }
        };
        Ok(SessionCommand::Fetch { only_move, direction, name })
    }

    fn direction(&mut self) -> FetchDirection {
        if let Some(count) = self.integer() {
            return FetchDirection::Forward(count);
        }
        let start = self.at;
        let Some(word) = self.word() else { return FetchDirection::Forward(1) };
        match word.as_str() {
            "next" => FetchDirection::Forward(1),
            "prior" => FetchDirection::Backward(1),
            "first" => FetchDirection::Absolute(1),
            "last" => FetchDirection::Absolute(-1),
            "all" => FetchDirection::ForwardAll,
            "absolute" => FetchDirection::Absolute(self.integer().unwrap_or(1)),
            "relative" => FetchDirection::Relative(self.integer().unwrap_or(1)),
            "forward" if self.accept("all") => FetchDirection::ForwardAll,
            "forward" => FetchDirection::Forward(self.integer().unwrap_or(1)),
            "backward" if self.accept("all") => FetchDirection::BackwardAll,
            "backward" => FetchDirection::Backward(self.integer().unwrap_or(1)),
            _ => {
                self.at = start;
                FetchDirection::Forward(1)
            }
        }
    }
}
