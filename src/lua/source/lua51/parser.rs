//! The grammar of Lua 5.1, as `lparser.c` has it. The parser finds the places to edit and the differences.

use super::escapes::{Escape, escape_of};
use super::lexer::{Lexer, NotLua51, Token, TokenKind, value};
use super::shapes::{Function, Named, Names, Shape, is_library};
use super::{Change, Edit};

/// The deepest nesting of blocks and expressions together (`LUAI_MAXCCALLS`).
const MOST_LEVELS: u16 = 200;

pub(super) type Parsed<T = ()> = Result<T, NotLua51>;

/// Reads a source once.
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    pub(super) token: Token<'a>,
    ahead: Option<Token<'a>>,
    levels: u16,
    pub(super) functions: Vec<Function<'a>>,
    /// The name that the function that starts here is assigned to.
    naming: Option<Named<'a>>,
    pub edits: Vec<Edit>,
    /// What means something else in Luau, with its offset.
    pub differences: Vec<(usize, &'static str)>,
    pub is_ours: bool,
    /// The names in the source, if they are asked for.
    pub names: Option<Names<'a>>,
}

impl<'a> Parser<'a> {
    pub fn new(source: &'a [u8]) -> Self {
        let token = Token { kind: TokenKind::End, text: b"", start: 0, first_of_line: true };
        let main = Function { vararg: true, is_main: true, ..Function::default() };
        Self {
            lexer: Lexer::new(source),
            token,
            ahead: None,
            levels: 0,
            functions: vec![main],
            naming: None,
            edits: Vec::new(),
            differences: Vec::new(),
            is_ours: false,
            names: None,
        }
    }

    /// Reads the whole source.
    pub fn source(&mut self) -> Parsed {
        self.advance()?;
        self.block()?;
        if self.token.kind == TokenKind::End { Ok(()) } else { Err(NotLua51) }
    }

    fn advance(&mut self) -> Parsed<Token<'a>> {
        let next = match self.ahead.take() {
            Some(token) => token,
            None => self.lexer.next()?,
        };
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn ahead_is(&mut self, text: &[u8]) -> Parsed<bool> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.next()?);
        }
        Ok(self.ahead.is_some_and(|token| token.is(text)))
    }

    fn accept(&mut self, text: &[u8]) -> Parsed<bool> {
        let found = self.token.is(text);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn need(&mut self, text: &[u8]) -> Parsed {
        if self.accept(text)? { Ok(()) } else { Err(NotLua51) }
    }

    pub(super) fn name(&mut self) -> Parsed<&'a [u8]> {
        if self.token.kind == TokenKind::Name { Ok(self.advance()?.text) } else { Err(NotLua51) }
    }

    fn enter(&mut self) -> Parsed {
        self.levels += 1;
        if self.levels > MOST_LEVELS { Err(NotLua51) } else { Ok(()) }
    }

    fn block_ends(&self) -> bool {
        self.token.kind == TokenKind::End || [&b"else"[..], b"elseif", b"end", b"until"].iter().any(|word| self.token.is(word))
    }

    fn block(&mut self) -> Parsed {
        self.enter()?;
        while !self.block_ends() {
            let last = self.statement()?;
            self.accept(b";")?;
            if last {
                break;
            }
        }
        self.levels -= 1;
        Ok(())
    }

    /// One statement. Answers whether it can only be the last one of its block.
    fn statement(&mut self) -> Parsed<bool> {
        if self.token.kind != TokenKind::Fixed {
            return self.expression_statement().map(|()| false);
        }
        match self.token.text {
            b"if" => self.if_statement()?,
            b"while" => {
                self.advance()?;
                self.expression()?;
                self.do_block()?;
            }
            b"do" => self.do_block()?,
            b"for" => self.for_statement()?,
            b"repeat" => {
                self.advance()?;
                self.block()?;
                self.need(b"until")?;
                self.expression()?;
            }
            b"function" => self.function_statement()?,
            b"local" => self.local_statement()?,
            b"return" => {
                self.return_statement()?;
                return Ok(true);
            }
            b"break" => {
                self.advance()?;
                return Ok(true);
            }
            _ => self.expression_statement()?,
        }
        Ok(false)
    }

    fn do_block(&mut self) -> Parsed {
        self.need(b"do")?;
        self.block()?;
        self.need(b"end")
    }

    fn if_statement(&mut self) -> Parsed {
        loop {
            self.advance()?;
            self.expression()?;
            self.need(b"then")?;
            self.block()?;
            if !self.token.is(b"elseif") {
                break;
            }
        }
        if self.accept(b"else")? {
            self.block()?;
        }
        self.need(b"end")
    }

    fn for_statement(&mut self) -> Parsed {
        self.advance()?;
        self.declared_name()?;
        if self.accept(b"=")? {
            self.expression()?;
            self.need(b",")?;
            self.expression()?;
            if self.accept(b",")? {
                self.expression()?;
            }
        } else {
            while self.accept(b",")? {
                self.declared_name()?;
            }
            self.need(b"in")?;
            self.expressions()?;
        }
        self.do_block()
    }

    fn function_statement(&mut self) -> Parsed {
        self.advance()?;
        let at = self.token.start;
        let first = self.name()?;
        self.use_name(at, first);
        if !self.token.is(b".") && !self.token.is(b":") {
            self.note_assigned(at, first);
        }
        let mut name = Named::Variable(first);
        while self.accept(b".")? {
            name = Named::Field(self.name()?);
        }
        if self.accept(b":")? {
            name = Named::Field(self.name()?);
        }
        self.body(Some(name))
    }

    fn local_statement(&mut self) -> Parsed {
        self.advance()?;
        if self.accept(b"function")? {
            let name = Named::Variable(self.declared_name()?);
            return self.body(Some(name));
        }
        let name = self.declared_name()?;
        let mut alone = true;
        while self.accept(b",")? {
            self.declared_name()?;
            alone = false;
        }
        if self.accept(b"=")? {
            self.name_function(alone.then_some(Named::Variable(name)));
            self.expressions()?;
        }
        Ok(())
    }

    /// `return`. In 5.1 a function that calls itself in a tail call needs no memory for that; here 20,000 calls are the limit.
    fn return_statement(&mut self) -> Parsed {
        self.advance()?;
        if self.block_ends() || self.token.is(b";") {
            return Ok(());
        }
        let at = self.token.start;
        let shape = self.expression()?;
        if self.token.is(b",") {
            self.advance()?;
            return self.expressions();
        }
        if let Shape::Call(Some(name)) = shape
            && self.functions.iter().any(|function| function.name == Some(name))
        {
            self.differ(
                at,
                "a function that returns a call of itself uses a level of the stack for each call; 20,000 are the limit",
            );
        }
        Ok(())
    }

    /// A call or an assignment. Of two values for one name 5.1 keeps the first one, Luau the last one.
    fn expression_statement(&mut self) -> Parsed {
        let mut at = self.token.start;
        let first = self.primary()?;
        if matches!(first, Shape::Call(_)) {
            return Ok(());
        }
        let mut names = Vec::new();
        let mut target = first;
        loop {
            if let Shape::Name(name) = target {
                self.note_assigned(at, name);
            }
            match target {
                Shape::Name(name) if names.contains(&name) => {
                    self.differ(at, "of two values that are assigned to one name at once the last one counts, not the first one");
                }
                Shape::Name(name) => names.push(name),
                Shape::Index(_) => {}
                _ => return Err(NotLua51),
            }
            if !self.accept(b",")? {
                break;
            }
            at = self.token.start;
            target = self.primary()?;
        }
        self.need(b"=")?;
        self.name_function(match first {
            Shape::Name(name) => Some(Named::Variable(name)),
            Shape::Index(name) => name.map(Named::Field),
            _ => None,
        });
        self.expressions()
    }

    /// Gives this name to the function that starts here, if one does.
    fn name_function(&mut self, name: Option<Named<'a>>) {
        self.naming = name.filter(|_| self.token.is(b"function"));
    }

    fn expressions(&mut self) -> Parsed {
        self.expression()?;
        while self.accept(b",")? {
            self.expression()?;
        }
        Ok(())
    }

    fn expression(&mut self) -> Parsed<Shape<'a>> {
        self.operation(0)
    }

    /// An expression whose operators have a higher precedence than `limit`.
    fn operation(&mut self, limit: u8) -> Parsed<Shape<'a>> {
        const UNARY: u8 = 8;
        self.enter()?;
        let mut shape = if [&b"not"[..], b"-", b"#"].iter().any(|operator| self.token.is(operator)) {
            self.advance()?;
            self.operation(UNARY)?;
            Shape::Other
        } else {
            self.simple()?
        };
        while let Some((_, right)) = self.token.priorities().filter(|(left, _)| *left > limit) {
            self.advance()?;
            self.operation(right)?;
            shape = Shape::Other;
        }
        self.levels -= 1;
        Ok(shape)
    }

    fn simple(&mut self) -> Parsed<Shape<'a>> {
        match self.token.kind {
            TokenKind::Number => return Ok(Shape::Number(self.advance()?.text)),
            TokenKind::Quoted | TokenKind::Long => {
                self.string()?;
                return Ok(Shape::Other);
            }
            TokenKind::Fixed => {}
            TokenKind::Name | TokenKind::End => return self.primary(),
        }
        match self.token.text {
            b"nil" | b"true" | b"false" => drop(self.advance()?),
            b"..." => {
                let function = self.functions.last_mut().filter(|function| function.vararg).ok_or(NotLua51)?;
                function.uses_dots = true;
                self.advance()?;
            }
            b"{" => self.table()?,
            b"function" => {
                self.advance()?;
                let name = self.naming.take();
                self.body(name)?;
            }
            _ => return self.primary(),
        }
        Ok(Shape::Other)
    }

    fn primary(&mut self) -> Parsed<Shape<'a>> {
        let (mut shape, mut callee, mut is_ours) = if self.token.kind == TokenKind::Name {
            let Token { text: name, start, .. } = self.advance()?;
            self.use_name(start, name);
            (Shape::Name(name), Some(Named::Variable(name)), !is_library(name))
        } else {
            self.need(b"(")?;
            self.expression()?;
            self.need(b")")?;
            (Shape::Other, None, true)
        };
        loop {
            match (self.token.kind, self.token.text) {
                (TokenKind::Fixed, b".") => {
                    self.advance()?;
                    let name = self.name()?;
                    callee = is_ours.then_some(Named::Field(name));
                    shape = Shape::Index(Some(name));
                }
                (TokenKind::Fixed, b"[") => {
                    self.advance()?;
                    self.expression()?;
                    self.need(b"]")?;
                    callee = None;
                    shape = Shape::Index(None);
                }
                (TokenKind::Fixed, b":") => {
                    self.advance()?;
                    let name = self.name()?;
                    self.arguments()?;
                    shape = Shape::Call(Some(Named::Field(name)));
                    (callee, is_ours) = (None, true);
                }
                (TokenKind::Fixed, b"(" | b"{") | (TokenKind::Quoted | TokenKind::Long, _) => {
                    self.arguments()?;
                    shape = Shape::Call(callee.take());
                    is_ours = true;
                }
                _ => return Ok(shape),
            }
        }
    }

    fn arguments(&mut self) -> Parsed {
        match (self.token.kind, self.token.text) {
            (TokenKind::Quoted | TokenKind::Long, _) => self.string(),
            (TokenKind::Fixed, b"{") => self.table(),
            // It could be the start of a statement.
            (TokenKind::Fixed, b"(") if !self.token.first_of_line => {
                self.advance()?;
                if !self.token.is(b")") {
                    self.expressions()?;
                }
                self.need(b")")
            }
            _ => Err(NotLua51),
        }
    }

    /// A table. Of two values for one place 5.1 keeps the one without a key, Luau the last one.
    fn table(&mut self) -> Parsed {
        self.advance()?;
        let (mut items, mut keys) = (0.0, Vec::new());
        while !self.token.is(b"}") {
            if self.token.kind == TokenKind::Name && self.ahead_is(b"=")? {
                let name = self.name()?;
                self.advance()?;
                self.name_function(Some(Named::Field(name)));
                self.expression()?;
            } else if self.accept(b"[")? {
                if let Shape::Number(number) = self.expression()? {
                    keys.extend(value(number));
                }
                self.need(b"]")?;
                self.need(b"=")?;
                self.expression()?;
            } else {
                items += 1.0;
                self.expression()?;
            }
            if !self.accept(b",")? && !self.accept(b";")? {
                break;
            }
        }
        if keys.iter().any(|key: &f64| key.fract() == 0.0 && (1.0..=items).contains(key)) {
            self.differ(
                self.token.start,
                "of two values for one place of a table the last one counts, not the one without a key",
            );
        }
        self.need(b"}")
    }

    /// Parameters and body of a function.
    fn body(&mut self, name: Option<Named<'a>>) -> Parsed {
        self.need(b"(")?;
        let mut vararg = false;
        while !self.token.is(b")") {
            vararg = self.accept(b"...")?;
            if vararg {
                break;
            }
            self.declared_name()?;
            if !self.accept(b",")? {
                break;
            }
            if self.token.is(b")") {
                return Err(NotLua51);
            }
        }
        let at = self.token.end();
        self.need(b")")?;
        self.functions.push(Function { name, vararg, ..Function::default() });
        self.block()?;
        self.need(b"end")?;
        if let Some(Function { mentions_arg: true, uses_dots, .. }) = self.functions.pop() {
            self.edits.push(Edit { at, what: if uses_dots { Change::Nil } else { Change::Arguments } });
        }
        Ok(())
    }

    /// A string. A backslash that starts no escape means nothing in 5.1. Luau has escapes of `x`, `u` and `z`, and refuses
    /// malformed ones.
    fn string(&mut self) -> Parsed {
        let token = self.advance()?;
        if token.kind == TokenKind::Long {
            return Ok(());
        }
        let mut rest = token.text;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let escape = rest.get(at.saturating_add(1)..).unwrap_or_default();
            match escape_of(escape) {
                Escape::Same => {}
                Escape::Bad => return Err(NotLua51),
                Escape::Differs => {
                    self.differ(token.start, "the escapes \\x, \\u and \\z have a meaning; in Lua 5.1 they are the plain letter")
                }
                Escape::Refused => {
                    let at = token.end().saturating_sub(escape.len()).saturating_sub(1);
                    self.edits.push(Edit { at, what: Change::Remove });
                }
            }
            rest = escape.get(1..).unwrap_or_default();
        }
        Ok(())
    }
}
