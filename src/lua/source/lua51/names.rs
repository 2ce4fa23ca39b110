//! What the parser notes on its way: differences, and the names in the source.

use super::parser::{Parsed, Parser};

impl<'a> Parser<'a> {
    pub(super) fn differ(&mut self, at: usize, what: &'static str) {
        self.differences.push((at, what));
    }

    /// The name of a new local variable.
    pub(super) fn declared_name(&mut self) -> Parsed<&'a [u8]> {
        let name = self.name()?;
        if let Some(names) = &mut self.names {
            names.declared.insert(name);
        }
        Ok(name)
    }

    pub(super) fn note_assigned(&mut self, at: usize, name: &'a [u8]) {
        if let Some(names) = &mut self.names {
            names.assigned.push((at, name));
        }
    }

    pub(super) fn use_name(&mut self, at: usize, name: &'a [u8]) {
        if let Some(names) = &mut self.names {
            names.used.push((at, name));
        }
        match name {
            // The function that declares it. A local of the same name may be nearer; then the declaration has no effect.
            b"arg" => {
                let declares = self.functions.iter_mut().rev().find(|function| function.vararg && !function.is_main);
                if let Some(function) = declares {
                    function.mentions_arg = true;
                }
            }
            b"atomic" => self.is_ours = true,
            _ => {}
        }
    }
}
