//! The scripts that commands of this module replace (`lua/reference`), recognized by their tokens.
//!
//! Names of local variables, the quotes of strings, blanks and comments do not matter.

use std::collections::HashMap;

use super::check::{tokens, unquoted};
use super::lexer::{Token, TokenKind};

/// All files of `lua/reference`.
const REFERENCES: &[&str] = &[
    include_str!("../../../../lua/reference/circular_buffer.lua"),
    include_str!("../../../../lua/reference/compare_and_delete.lua"),
    include_str!("../../../../lua/reference/compare_and_set.lua"),
    include_str!("../../../../lua/reference/counter_with_reset.lua"),
    include_str!("../../../../lua/reference/fixed_window.lua"),
    include_str!("../../../../lua/reference/get_or_set.lua"),
    include_str!("../../../../lua/reference/hash_get_with_defaults.lua"),
    include_str!("../../../../lua/reference/hash_increment_with_bounds.lua"),
    include_str!("../../../../lua/reference/hash_set_if_greater.lua"),
    include_str!("../../../../lua/reference/increment.lua"),
    include_str!("../../../../lua/reference/increment_with_limit.lua"),
    include_str!("../../../../lua/reference/list_pop_with_minimum.lua"),
    include_str!("../../../../lua/reference/lock_acquire.lua"),
    include_str!("../../../../lua/reference/lock_extend.lua"),
    include_str!("../../../../lua/reference/lock_release.lua"),
    include_str!("../../../../lua/reference/push_trim_expire.lua"),
    include_str!("../../../../lua/reference/set_if_absent.lua"),
    include_str!("../../../../lua/reference/sliding_window.lua"),
    include_str!("../../../../lua/reference/token_bucket.lua"),
    include_str!("../../../../lua/reference/transfer.lua"),
];

/// The line of a reference that names its command.
const REPLACED_BY: &str = "-- Replaced by: ";

/// The command that does what this script does.
pub(super) fn replacement(script: &[Token<'_>]) -> Option<&'static str> {
    let script = canonical(script);
    let same = REFERENCES.iter().find(|reference| canonical(&tokens(reference.as_bytes())) == script)?;
    same.lines().find_map(|line| line.strip_prefix(REPLACED_BY))
}

/// A token as far as it matters. A variable is numbered by its first use, unless it is a name that scripts see.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(TokenKind, &'a [u8]),
    Variable(usize),
}

fn canonical<'a>(tokens: &[Token<'a>]) -> Vec<Part<'a>> {
    let mut numbers: HashMap<&[u8], usize> = HashMap::new();
    let mut is_field = false;
    let mut parts = Vec::with_capacity(tokens.len());
    // A semicolon between statements means nothing.
    for token in tokens.iter().filter(|token| !token.is(b";")) {
        let is_own = is_field || [&b"KEYS"[..], b"ARGV", b"redis", b"math", b"string", b"table"].contains(&token.text);
        parts.push(match token.kind {
            TokenKind::Name if !is_own => {
                let next = numbers.len();
                Part::Variable(*numbers.entry(token.text).or_insert(next))
            }
            TokenKind::Quoted => Part::Text(token.kind, unquoted(token.text).unwrap_or(token.text)),
            kind => Part::Text(kind, token.text),
        });
        is_field = token.is(b".");
    }
    parts
}

#[allow(clippy::unwrap_used)]
#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_reference_is_known_and_names_its_command() {
        let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/reference")).unwrap();
        let count = files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|it| it == "lua")).count();
        assert_eq!(count, REFERENCES.len());
        for reference in REFERENCES {
            let line = reference.lines().find_map(|line| line.strip_prefix(REPLACED_BY));
            assert_eq!(replacement(&tokens(reference.as_bytes())), line, "{reference}");
            assert!(line.is_some_and(|line| line.starts_with("ATOMIC.")), "{reference}");
        }
    }

    #[test]
    fn names_quotes_blanks_and_comments_do_not_matter_and_the_rest_does() {
        let replaced = |script: &str| replacement(&tokens(script.as_bytes()));
        let release = "if redis.call(\"get\", KEYS[1]) == ARGV[1] then return redis.call(\"del\", KEYS[1]) else return 0 end";
        assert_eq!(replaced(release), None);
        let cad = "local v=1 if redis.call(\"GET\",KEYS[1])==ARGV[1] then redis.call(\"DEL\",KEYS[1]) return 1 end return 0";
        assert_eq!(replaced(cad), None);
        let cad = cad.strip_prefix("local v=1 ").unwrap();
        assert_eq!(replaced(cad), Some("ATOMIC.CAD key expected"));
        let counter = "local n = redis.call('GET', KEYS[1]); if not n then redis.call('SET', KEYS[1], 1) return 1 end\n\
                       local m = tonumber(n) + 1 --[[ one more ]] redis.call('SET', KEYS[1], m) return m";
        assert_eq!(replaced(counter), Some("ATOMIC.INCRBY key 1"));
        assert_eq!(replaced(&counter.replace("return m", "return n")), None);
        assert_eq!(replaced(""), None);
    }
}
