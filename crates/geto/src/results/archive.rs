//! The members of a tar archive, read from somebody who is not trusted.
//!
//! The tar crate reads long names into memory whatever their length and takes an archive that ends
//! anywhere for a whole one, so only its layout of the header is used.

use std::io::{self, Read, Write};

use tar::Header;

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

const BLOCK: usize = 512;
/// How much of a file is read at a time.
const PIECE: usize = 64 << 10;
/// The most bytes of a header that extends the next one: room for two of the longest paths.
const EXTENSION_MAX: u64 = 64 << 10;
/// The most of them before a member. Real ones have up to three.
const EXTENSIONS_MAX: u32 = 8;

/// A member as its headers describe it; nothing of it has been checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// The permission bits, without those that change the user or group.
    pub(super) mode: u16,
    pub(super) mtime: Mtime,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File { size: u64 },
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: Vec<u8> },
    NamedPipe,
}

/// A time since 1970, the nanoseconds counted forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mtime {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// An archive that is read to its end, once.
pub(super) struct Archive<'a> {
    source: &'a mut dyn Read,
    /// How many bytes have been read.
    offset: u64,
    piece: Vec<u8>,
}

/// What the headers before a member say of it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<Mtime>,
}

impl<'a> Archive<'a> {
    pub(super) fn new(source: &'a mut dyn Read) -> Self {
        Self { source, offset: 0, piece: vec![0; PIECE] }
    }

    /// Reads the next member up to its content, which [`content`](Self::content) has to read
    /// before this is called again; `None` at the mark that ends an archive.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Cause> {
        let mut extensions = Extensions::default();
        for count in 0..=EXTENSIONS_MAX {
            let block = self.block()?;
            if is_zero(&block) && count > 0 {
                return Err(self.broken("the end instead of a member"));
            }
            if is_zero(&block) {
                return match is_zero(&self.block()?) {
                    true => Ok(None),
                    false => Err(self.broken("half of an end mark")),
                };
            }
            let header = Header::from_byte_slice(&block);
            if number(&header.as_old().cksum) != Some(checksum(&block)) {
                return Err(self.broken("no header of a member"));
            }
            let size = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| self.broken("a size that is no number"))?;
            match block[156] {
                b'L' => extensions.name = Some(self.long_text(size)?),
                b'K' => extensions.target = Some(self.long_text(size)?),
                b'x' | b'X' => {
                    let text = self.extension(size)?;
                    extensions.read(&text)?;
                }
                // What holds for all members: a comment of `git archive`, say.
                b'g' => {
                    let text = self.extension(size)?;
                    let mut global = Extensions::default();
                    global.read(&text)?;
                    if global.name.is_some() || global.target.is_some() || global.size.is_some() {
                        return Err(self.broken("one name or size for all members"));
                    }
                }
                flag => return member(header, flag, size, extensions).map(Some),
            }
        }
        Err(self.broken("too many headers for one member"))
    }

    /// Writes the content of a file to `sink`.
    pub(super) fn content(&mut self, size: u64, sink: &mut dyn Write) -> Result<(), Cause> {
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            match self.source.read(&mut self.piece[..room]) {
                Ok(0) => return Err(self.ended_early()),
                Ok(read) => {
                    sink.write_all(&self.piece[..read])?;
                    left -= read as u64;
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let padding = self.offset.next_multiple_of(BLOCK as u64) - self.offset;
        self.exactly(&mut [0; BLOCK][..usize::try_from(padding).unwrap_or_default()])
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Cause> {
        let mut block = [0; BLOCK];
        self.exactly(&mut block)?;
        Ok(block)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), Cause> {
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.ended_early(),
            _ => error.into(),
        })?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Cause> {
        if size > EXTENSION_MAX {
            return Err(self.broken("a header that is too long"));
        }
        let mut text = Vec::new();
        self.content(size, &mut text)?;
        Ok(text)
    }

    /// A name in the way of GNU tar, with or without a NUL at its end.
    fn long_text(&mut self, size: u64) -> Result<Vec<u8>, Cause> {
        let mut text = self.extension(size)?;
        text.pop_if(|byte| *byte == 0);
        Ok(text)
    }

    fn ended_early(&self) -> Cause {
        format!("the archive ended early, after about {} bytes", self.offset).into()
    }

    fn broken(&self, what: &str) -> Cause {
        format!("the archive is broken before byte {}: {what}", self.offset).into()
    }
}

impl Extensions {
    /// Takes the records `<length> <key>=<value>\n` of a pax header (POSIX, "pax Extended Header").
    fn read(&mut self, mut text: &[u8]) -> Result<(), Cause> {
        let broken = || Cause::from("the archive is broken: an extended header can't be read");
        while !text.is_empty() {
            let space = text.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length = decimal(&text[..space]).ok_or_else(broken)?;
            let length = usize::try_from(length).ok().ok_or_else(broken)?;
            let record = text.get(space + 1..length).ok_or_else(broken)?;
            let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value).ok_or_else(broken)?),
                b"mtime" => self.mtime = Some(pax_time(value).ok_or_else(broken)?),
                key if key.starts_with(b"GNU.sparse.") => return Err(sparse()),
                _ => {}
            }
            text = &text[length..];
        }
        Ok(())
    }
}

fn member(header: &Header, flag: u8, size: u64, said: Extensions) -> Result<Member, Cause> {
    let fields = header.as_old();
    let name = said.name.unwrap_or_else(|| short_name(header));
    let target = said.target.unwrap_or_else(|| until_nul(&fields.linkname).to_vec());
    let size = said.size.unwrap_or(size);
    let kind = match flag {
        // An archive from before POSIX tells a directory by its name only.
        b'0' | b'\0' | b'7' if !name.ends_with(b"/") => Kind::File { size },
        b'0' | b'\0' | b'5' => Kind::Directory,
        b'1' => Kind::HardLink { target },
        b'2' => Kind::Symlink { target },
        b'3' | b'4' => return Err(about(&name, "it is a device")),
        b'6' => Kind::NamedPipe,
        b'S' => return Err(about(&name, sparse())),
        flag => {
            let kind = flag.escape_ascii();
            return Err(about(&name, format!("members of type `{kind}` are not known")));
        }
    };
    if size != 0 && !matches!(kind, Kind::File { .. }) {
        return Err(about(&name, "it has content and is no file"));
    }
    let seconds = number(&fields.mtime).unwrap_or_default();
    let mode = number(&fields.mode).unwrap_or(0o600) & 0o777;
    let mode = u16::try_from(mode).unwrap_or_default();
    Ok(Member { name, kind, mode, mtime: said.mtime.unwrap_or(Mtime { seconds, nanos: 0 }) })
}

fn about(name: &[u8], cause: impl Into<Cause>) -> Cause {
    format!("`{}`: {}", crate::text::printable(name), cause.into()).into()
}

fn sparse() -> Cause {
    "sparse members are not taken; let tar write them in full".into()
}

fn short_name(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    match header.as_ustar().map(|fields| until_nul(&fields.prefix)) {
        None | Some([]) => name.to_vec(),
        Some(prefix) => [prefix, b"/", name].concat(),
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The sum of the bytes of a header, its own field taken as spaces.
fn checksum(block: &[u8; BLOCK]) -> i64 {
    let sum: i64 = block.iter().map(|byte| i64::from(*byte)).sum();
    let field: i64 = block[148..156].iter().map(|byte| i64::from(*byte)).sum();
    sum - field + 8 * i64::from(b' ')
}

/// Reads a numeric field: octal digits, or the binary form of GNU tar for what they can't hold.
fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let sign = if first & 0x40 == 0 { 0 } else { -1_i128 };
        let start = (sign << 6) | i128::from(first & 0x3f);
        let value = rest.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte));
        return i64::try_from(value).ok();
    }
    until_nul(field).trim_ascii().iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    match text.iter().all(u8::is_ascii_digit) {
        true => std::str::from_utf8(text).ok()?.parse().ok(),
        false => None,
    }
}

/// Reads seconds with a sign and any number of decimals.
fn pax_time(text: &[u8]) -> Option<Mtime> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let decimals = parts.next().unwrap_or_default();
    decimals.iter().all(u8::is_ascii_digit).then_some(())?;
    let nanos = (0..9).fold(0, |nanos, at| {
        nanos * 10 + u32::from(decimals.get(at).map_or(0, |digit| digit - b'0'))
    });
    Some(match (negative, nanos) {
        (false, _) => Mtime { seconds, nanos },
        (true, 0) => Mtime { seconds: -seconds, nanos },
        (true, _) => Mtime { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(8 << 30));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(number(b"12x\0"), None);
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let time = |text: &str| pax_time(text.as_bytes()).map(|time| (time.seconds, time.nanos));
        assert_eq!(time("1700000000.25"), Some((1_700_000_000, 250_000_000)));
        assert_eq!(time("5"), Some((5, 0)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("1.123456789123"), Some((1, 123_456_789)));
        for text in ["", "x", "1.x", "--1", "99999999999999999999"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_record_may_hold_line_feeds_and_must_be_whole() {
        let mut said = Extensions::default();
        said.read(b"12 path=a\nb\n9 size=7\n").unwrap();
        assert_eq!((said.name, said.size), (Some(b"a\nb".to_vec()), Some(7)));
        for text in ["9 size=7", "99 size=7\n", "x", "9 size-7\n", "0 a=b\n", "1 "] {
            assert!(Extensions::default().read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Extensions::default().read(b"22 GNU.sparse.major=1\n").is_err());
    }
}
