//! Commands as lines of text, quoted like in redis-cli: `SET "a key" '\xff'`.

/// Splits a line into arguments. Double quotes know `\n \r \t \a \b \\ \" \xNN`, single quotes only `\'`.
#[track_caller]
pub fn argv(line: &str) -> Vec<Vec<u8>> {
    let mut bytes = line.bytes().peekable();
    let mut arguments = Vec::new();
    loop {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        let Some(first) = bytes.peek().copied() else { return arguments };
        let mut argument = Vec::new();
        if first == b'"' || first == b'\'' {
            bytes.next();
            loop {
                match bytes.next() {
                    Some(byte) if byte == first => break,
                    Some(b'\\') if first == b'"' => argument.push(escape(&mut bytes, line)),
                    Some(b'\\') if bytes.next_if_eq(&b'\'').is_some() => argument.push(b'\''),
                    Some(byte) => argument.push(byte),
                    None => panic!("unbalanced quotes in {line}"),
                }
            }
        } else {
            while let Some(byte) = bytes.next_if(|byte| !byte.is_ascii_whitespace()) {
                argument.push(byte);
            }
        }
        arguments.push(argument);
    }
}

fn escape(bytes: &mut impl Iterator<Item = u8>, line: &str) -> u8 {
    match bytes.next() {
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'a') => 7,
        Some(b'b') => 8,
        Some(b'x') => {
            let digits = [bytes.next(), bytes.next()].map(|digit| char::from(digit.unwrap_or(b'?')));
            u8::from_str_radix(&String::from_iter(digits), 16).unwrap_or_else(|_| panic!("bad \\x escape in {line}"))
        }
        Some(other) => other,
        None => panic!("unbalanced escape in {line}"),
    }
}

/// One argument as redis-cli shows a bulk string: in double quotes, with everything but printable ASCII escaped.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

/// A whole command as a line that [`argv`] reads back: with quotes only where needed.
pub fn line(arguments: &[Vec<u8>]) -> String {
    let plain = |argument: &[u8]| !argument.is_empty() && argument.iter().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(b));
    let shown: Vec<String> = arguments
        .iter()
        .map(|argument| if plain(argument) { String::from_utf8_lossy(argument).into_owned() } else { quoted(argument) })
        .collect();
    shown.join(" ")
}

#[test]
fn a_line_reads_back_as_the_same_arguments() {
    let arguments = vec![b"SET".to_vec(), b"a b".to_vec(), (0..=255).collect(), Vec::new(), b"\"".to_vec()];
    assert_eq!(argv(&line(&arguments)), arguments);
    assert_eq!(argv(r#"SET  k 'it\'s "so"' "\x00\n""#), [&b"SET"[..], b"k", b"it's \"so\"", b"\0\n"]);
}
