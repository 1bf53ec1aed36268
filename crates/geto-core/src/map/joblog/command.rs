//! Words → one line that a shell reads as these words.

/// Writes words so that a shell (bash, ksh93, mksh, zsh, busybox ash, any of POSIX.1-2024) reads
/// them again, as one line without tabs and control characters, whatever their bytes are.
///
/// Words with other bytes than printable text are written as `$'…'`, which older shells (dash)
/// don't know: what they have instead is nothing that people could read.
pub fn command_line<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut line = String::new();
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        push_word(&mut line, word);
    }
    line
}

fn push_word(line: &mut String, word: &[u8]) {
    match std::str::from_utf8(word) {
        Ok(word) if !word.is_empty() && word.bytes().all(is_plain) => line.push_str(word),
        Ok(word) if !word.chars().any(char::is_control) => {
            line.push('\'');
            line.push_str(&word.replace('\'', r"'\''"));
            line.push('\'');
        }
        _ => push_escaped(line, word),
    }
}

fn push_escaped(line: &mut String, word: &[u8]) {
    let push_octal = |line: &mut String, bytes: &[u8]| {
        for byte in bytes {
            line.push('\\');
            for shift in [6, 3, 0] {
                line.push(char::from(b'0' + ((byte >> shift) & 7)));
            }
        }
    };
    line.push_str("$'");
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => line.push_str(r"\n"),
                '\t' => line.push_str(r"\t"),
                '\r' => line.push_str(r"\r"),
                '\\' => line.push_str(r"\\"),
                '\'' => line.push_str(r"\'"),
                c if c.is_control() => push_octal(line, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => line.push(c),
            }
        }
        push_octal(line, chunk.invalid());
    }
    line.push('\'');
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./,:+@%-".contains(&byte)
}
