//! Sends a script's result to the client.

use crate::error::{Error, UNCUT, printable};
use crate::lua::port::ReplySink;
use crate::server::module_api::Ctx;

pub struct ClientReply(pub Ctx);

impl ReplySink for ClientReply {
    fn integer(&mut self, value: i64) {
        self.0.reply_integer(value);
    }

    fn bulk(&mut self, value: &[u8]) {
        self.0.reply_bulk(value);
    }

    fn status(&mut self, value: &[u8]) {
        match value {
            b"OK" => self.0.reply_ok(),
            _ => self.0.reply_status(&printable(value, UNCUT)),
        }
    }

    fn error(&mut self, value: &[u8]) {
        self.0.reply_error(&Error::Script(value.to_vec()));
    }

    fn boolean(&mut self, value: bool) {
        self.0.reply_bool(value);
    }

    fn null(&mut self) {
        self.0.reply_null();
    }

    fn array(&mut self, len: usize) {
        self.0.reply_array(len);
    }

    fn map(&mut self, len: usize) {
        self.0.reply_map(len);
    }

    fn set(&mut self, len: usize) {
        self.0.reply_set(len);
    }

    fn double(&mut self, value: f64) {
        self.0.reply_double(value);
    }

    fn big_number(&mut self, digits: &[u8]) {
        self.0.reply_big_number(digits);
    }

    fn verbatim(&mut self, format: &[u8], value: &[u8]) {
        self.0.reply_verbatim(format, value);
    }
}
