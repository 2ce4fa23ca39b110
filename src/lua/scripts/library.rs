//! A script as the text of one of the server's function libraries, and back.
//!
//! The library `atomic_<sha1>` carries the bytes of the script in a Lua comment. It registers one function of the same name that
//! does nothing. Every server from 7.0 on loads, saves and replicates it, with or without this module.
//!
//! ```text
//! #!lua name=atomic_<sha1>
//! --[=[
//! <the script>
//! ]=]
//! redis.register_function('atomic_<sha1>',function()end)
//! ```
//!
//! A user who may load functions can store any text under such a name. So a library carries a script only if its whole text is
//! the one that this file makes of the script in it: the script has the digest of the name, and nothing else is there.

use std::collections::BTreeSet;

use crate::lua::source::digest::Digest;

/// Matches the names of these libraries, and few others.
pub const PATTERN: &str = "atomic_*";

const PREFIX: &[u8] = b"atomic_";
const HEAD: &[u8] = b"#!lua name=atomic_";

/// The call that registers the function, around its name. The server loads this form in half the time of the form with a table.
const BEFORE: &[u8] = b"redis.register_function('";
const AFTER: &[u8] = b"',function()end)\n";

/// The name of the library that carries a script.
#[must_use]
pub fn name(digest: Digest) -> Vec<u8> {
    [PREFIX, &digest.hex()].concat()
}

/// The digest in the name of a library; `None` for a name that [`name`] does not make.
#[must_use]
pub fn digest(library: &[u8]) -> Option<Digest> {
    let digest = Digest::parse(library.strip_prefix(PREFIX)?)?;
    (name(digest) == library).then_some(digest)
}

/// The text of the library that carries a script.
#[must_use]
pub fn text(digest: Digest, source: &[u8]) -> Vec<u8> {
    let mut text = comment(digest, source);
    text.extend_from_slice(&[BEFORE, &name(digest), AFTER].concat());
    text
}

/// The text before the function.
fn comment(digest: Digest, source: &[u8]) -> Vec<u8> {
    let signs = vec![b'='; level(source)];
    let parts: &[&[u8]] = &[b"#!lua name=", &name(digest), b"\n--[", &signs, b"[\n", source, b"\n]", &signs, b"]\n"];
    parts.concat()
}

/// The script that the text of a library carries, and its digest; `None` for any other text.
#[must_use]
pub fn script(text: &[u8]) -> Option<(Digest, &[u8])> {
    let (hex, rest) = text.strip_prefix(HEAD)?.split_first_chunk::<40>()?;
    let rest = rest.strip_prefix(b"\n--[")?;
    let (signs, body) = rest.split_at_checked(rest.iter().take_while(|&&byte| byte == b'=').count())?;
    let body = body.strip_prefix(b"[\n")?;
    let end = [b"\n]", signs, b"]"].concat();
    let source = body.get(..body.windows(end.len()).position(|window| window == end)?)?;
    let digest = Digest::of(source);
    if digest.hex() != *hex {
        return None;
    }
    let function = text.strip_prefix(comment(digest, source).as_slice())?;
    let rest = function.strip_prefix(BEFORE)?.strip_prefix(name(digest).as_slice())?.strip_prefix(AFTER)?;
    rest.is_empty().then_some((digest, source))
}

/// The lowest level of a comment, from 1 on, that nothing in `source` closes. (Lua 5.1 refuses a `[[` inside a comment of level
/// 0.) A line feed follows the source, so its last bytes cannot be part of the closing bracket.
fn level(source: &[u8]) -> usize {
    let mut taken = BTreeSet::new();
    let mut signs = None;
    for byte in source {
        signs = match (byte, signs) {
            (b']', Some(count)) => {
                taken.insert(count);
                Some(0)
            }
            (b']', None) => Some(0),
            (b'=', Some(count)) => Some(count + 1),
            _ => None,
        };
    }
    (1..).find(|level| !taken.contains(level)).unwrap_or(1)
}

#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    fn carried(source: &[u8]) -> Vec<u8> {
        let digest = Digest::of(source);
        let text = text(digest, source);
        assert_eq!(script(&text), Some((digest, source)), "{}", source.escape_ascii());
        text
    }

    #[test]
    fn every_source_comes_back() {
        for source in [
            &b""[..],
            b"return 1",
            b"\nreturn 1\n",
            b"\r\nreturn 1\r\n\r",
            b"return 1 --]]",
            b"--]=]",
            b"]",
            b"]=",
            b"]==",
            b"x ]=]]==]]===] ]",
            b"]=]=]=]",
            b"[[ [=[ ]=] ]]",
            b"]==]",
            b"\0\xff\x1a --[[",
            b"#!lua name=atomic_x\n--[=[\n",
        ] {
            carried(source);
        }
        for levels in 0..70 {
            let source: Vec<u8> = (0..levels).flat_map(|n| [&b"]"[..], &vec![b'='; n], b"]"].concat()).collect();
            carried(&source);
        }
        carried(&[b"]=".repeat(1000), b"=".repeat(100_000)].concat());
    }

    #[test]
    fn the_comment_has_the_lowest_level_that_works() {
        for (source, expected) in
            [("", 1), ("]]", 1), ("]=]", 2), ("]==]", 1), ("]=]==]", 3), ("]=", 1), ("]=]]==]]====]", 3), ("] =]=]", 2)]
        {
            assert_eq!(level(source.as_bytes()), expected, "{source}");
        }
    }

    #[test]
    fn text_is_what_this_file_says() {
        let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        let function = format!("('atomic_{sha}',function()end)");
        let expected = format!("#!lua name=atomic_{sha}\n--[=[\nreturn 1\n]=]\nredis.register_function{function}\n");
        assert_eq!(carried(b"return 1"), expected.as_bytes());
        assert_eq!(name(Digest::of(b"return 1")), format!("atomic_{sha}").as_bytes());
    }

    #[test]
    fn other_texts_carry_nothing() {
        let good = text(Digest::of(b"return 1"), b"return 1");
        for cut in 0..good.len() {
            assert_eq!(script(&good[..cut]), None, "the first {cut} bytes");
        }
        let more = [&good[..], b"redis.register_function('more',function()end)\n"].concat();
        assert_eq!(script(&more), None, "it registers more");
        let level = String::from_utf8(good.clone()).unwrap().replace("[=[", "[==[").replace("]=]", "]==]");
        assert_eq!(script(level.as_bytes()), None, "we would have taken another level");
        let other = String::from_utf8(good.clone()).unwrap().replace("return 1", "return 2");
        assert_eq!(script(other.as_bytes()), None, "the digest of another script");
        let upper =
            [&good[..HEAD.len()], &good[HEAD.len()..HEAD.len() + 40].to_ascii_uppercase(), &good[HEAD.len() + 40..]].concat();
        for foreign in [&b"#!lua name=mine\nredis.register_function('f', function() end)"[..], b"", HEAD, &upper] {
            assert_eq!(script(foreign), None);
        }
    }

    #[test]
    fn only_our_names_are_read() {
        let digest_of_1 = Digest::of(b"return 1");
        assert_eq!(digest(&name(digest_of_1)), Some(digest_of_1));
        let hex = String::from_utf8(digest_of_1.hex().to_vec()).unwrap();
        for other in ["atomic_".to_owned(), hex.clone(), format!("atomic_{hex}0"), format!("atomic_{}", hex.to_uppercase())] {
            assert_eq!(digest(other.as_bytes()), None, "{other}");
        }
    }
}
