//! Sends a script's result to the client.

use std::time::Duration;

use super::watched::{FIELDS, Trace};
use crate::error::{Error, UNCUT, printable};
use crate::lua::port::ReplySink;
use crate::server::module_api::Ctx;

pub struct ClientReply {
    ctx: Ctx,
    /// The result is a field of a report.
    reports: bool,
    /// A part of the result was sent.
    started: bool,
    /// The error that is the whole result. It is kept, because it may undo the run.
    error: Option<Vec<u8>>,
}

impl ClientReply {
    pub fn new(ctx: Ctx, reports: bool) -> Self {
        Self { ctx, reports, started: false, error: None }
    }

    /// The error that the script returned as its result.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take().map(Error::Script)
    }

    /// Sends the rest of a report. `error` is the result, if none was sent.
    pub fn report(&self, error: Option<&Error>, trace: Trace, took: Duration, memory: usize) {
        if !self.started {
            self.ctx.reply_map(FIELDS);
            self.ctx.reply_bulk(b"error");
            self.ctx.reply_bulk(error.map(Error::wire).unwrap_or_default().as_bytes());
        }
        for (name, value) in trace.fields(took, memory) {
            self.ctx.reply_bulk(name.as_bytes());
            value.send(self.ctx);
        }
    }

    /// Called before each part of the result.
    fn start(&mut self) {
        if !self.started {
            self.started = true;
            if self.reports {
                self.ctx.reply_map(FIELDS);
                self.ctx.reply_bulk(b"reply");
            }
        }
    }
}

impl ReplySink for ClientReply {
    fn integer(&mut self, value: i64) {
        self.start();
        self.ctx.reply_integer(value);
    }

    fn bulk(&mut self, value: &[u8]) {
        self.start();
        self.ctx.reply_bulk(value);
    }

    fn status(&mut self, value: &[u8]) {
        self.start();
        match value {
            b"OK" => self.ctx.reply_ok(),
            _ => self.ctx.reply_status(&printable(value, UNCUT)),
        }
    }

    fn error(&mut self, value: &[u8]) {
        if self.started {
            self.ctx.reply_error(&Error::Script(value.to_vec()));
        } else {
            self.error = Some(value.to_vec());
        }
    }

    fn boolean(&mut self, value: bool) {
        self.start();
        self.ctx.reply_bool(value);
    }

    fn null(&mut self) {
        self.start();
        self.ctx.reply_null();
    }

    fn array(&mut self, len: usize) {
        self.start();
        self.ctx.reply_array(len);
    }

    fn map(&mut self, len: usize) {
        self.start();
        self.ctx.reply_map(len);
    }

    fn set(&mut self, len: usize) {
        self.start();
        self.ctx.reply_set(len);
    }

    fn double(&mut self, value: f64) {
        self.start();
        self.ctx.reply_double(value);
    }

    fn big_number(&mut self, digits: &[u8]) {
        self.start();
        self.ctx.reply_big_number(digits);
    }

    fn verbatim(&mut self, format: &[u8], value: &[u8]) {
        self.start();
        self.ctx.reply_verbatim(format, value);
    }
}
