//! Just enough DER to walk a certificate that a stranger wrote.
//!
//! An [`Element`] borrows its bytes; nothing is copied and nothing recurses, so the cost is one pass
//! and the depth is the caller's. Lengths that are longer than need be are accepted (real
//! certificates have them), and so is a tag in more than one byte, which some readers take for the short
//! one of the same number. Indefinite lengths are not: no certificate needs them.

/// One tag, its content, and both with the header. A number of more than five bits leaves all five set in
/// `tag`, which no wanted one has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    pub tag: u8,
    pub body: &'a [u8],
    pub whole: &'a [u8],
}

/// Why bytes are no DER; the offset is left to the caller, who knows what it was reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DerError {
    #[error("an element of {wanted} bytes where {left} are left")]
    Truncated { wanted: usize, left: usize },
    #[error("an indefinite length, which DER does not have")]
    Indefinite,
    #[error("a length of {0} bytes, more than 4")]
    Length(u8),
    #[error("a tag of more than 5 bytes")]
    Tag,
    #[error("tag {found:#04x} where {wanted:#04x} must stand")]
    Unexpected { wanted: u8, found: u8 },
    #[error("tag {0:#04x}, which has no place here")]
    Foreign(u8),
    #[error("nothing where tag {0:#04x} must stand")]
    Missing(u8),
}

pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;
pub const INTEGER: u8 = 0x02;
pub const OCTET_STRING: u8 = 0x04;
pub const OID: u8 = 0x06;
pub const BOOLEAN: u8 = 0x01;

/// Reads one element after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The next element, or `None` at the end. Nothing is read where there is none.
    pub fn read(&mut self) -> Result<Option<Element<'a>>, DerError> {
        let bytes = self.rest;
        if bytes.is_empty() {
            return Ok(None);
        }
        let (tag, header, length) = header(bytes)?;
        let end = header + length;
        let Some(whole) = bytes.get(..end) else {
            return Err(DerError::Truncated { wanted: end, left: bytes.len() });
        };
        self.rest = &bytes[end..];
        Ok(Some(Element { tag, body: &whole[header..], whole }))
    }

    /// What is there of an element that should be longer than what is left.
    pub fn cut(&mut self) -> Option<Element<'a>> {
        let whole = std::mem::take(&mut self.rest);
        let (tag, header, _) = header(whole).ok()?;
        Some(Element { tag, body: &whole[header..], whole })
    }

    /// The next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Result<Element<'a>, DerError> {
        match self.read()? {
            Some(element) if element.tag == tag => Ok(element),
            Some(element) => Err(DerError::Unexpected { wanted: tag, found: element.tag }),
            None => Err(DerError::Missing(tag)),
        }
    }

    /// The next element if it has this tag; otherwise nothing is read.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        match self.rest.first() {
            Some(&next) if next == tag => self.read(),
            _ => Ok(None),
        }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Tag, length of tag and length, and length of the content.
fn header(bytes: &[u8]) -> Result<(u8, usize, usize), DerError> {
    let missing = |more: usize| DerError::Truncated { wanted: bytes.len() + more, left: bytes.len() };
    let Some((&tag, after)) = bytes.split_first() else { return Err(missing(2)) };
    let (tag, after) = if tag & 0x1f == 0x1f { long_tag(tag, after)? } else { (tag, after) };
    let Some((&first, after)) = after.split_first() else { return Err(missing(1)) };
    let tagged = bytes.len() - after.len();
    match first {
        0..=0x7f => Ok((tag, tagged, usize::from(first))),
        0x80 => Err(DerError::Indefinite),
        _ => {
            let count = first & 0x7f;
            if count > 4 {
                return Err(DerError::Length(count));
            }
            let count = usize::from(count);
            let Some(octets) = after.get(..count) else { return Err(missing(count - after.len())) };
            let length = octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet));
            Ok((tag, tagged + count, length))
        }
    }
}

/// A tag whose number stands in the bytes behind it, seven bits each (X.690, 8.1.2.4).
fn long_tag(first: u8, after: &[u8]) -> Result<(u8, &[u8]), DerError> {
    let mut number = 0u32;
    for (at, byte) in after.iter().take(4).enumerate() {
        number = number << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let low = number.min(0x1f) as u8;
            return Ok((first & !0x1f | low, &after[at + 1..]));
        }
    }
    match after.len() {
        0..4 => Err(DerError::Truncated { wanted: after.len() + 2, left: after.len() + 1 }),
        _ => Err(DerError::Tag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        type Case = (&'static [u8], Result<(u8, usize), DerError>);
        let cases: [Case; 13] = [
            (&[0x30, 0x00], Ok((0x30, 0))),
            (&[0x04, 0x02, 1, 2, 9], Ok((0x04, 2))),
            (&[0x04, 0x81, 0x01, 7], Ok((0x04, 1))),
            (&[0x04, 0x84, 0, 0, 0, 1, 7], Ok((0x04, 1))),
            (&[0x30, 0x80, 0, 0], Err(DerError::Indefinite)),
            (&[0x30, 0x85, 0, 0, 0, 0, 0], Err(DerError::Length(5))),
            (&[0x9f, 0x02, 0x01, 7], Ok((0x82, 1))),
            (&[0xbf, 0x81, 0x01, 0x00], Ok((0xbf, 0))),
            (&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00], Err(DerError::Tag)),
            (&[0x1f, 0x81], Err(DerError::Truncated { wanted: 3, left: 2 })),
            (&[0x82], Err(DerError::Truncated { wanted: 2, left: 1 })),
            (&[0x30, 0x05, 1], Err(DerError::Truncated { wanted: 7, left: 3 })),
            (&[0x30, 0x82, 1], Err(DerError::Truncated { wanted: 4, left: 3 })),
        ];
        for (bytes, want) in cases {
            let got = Reader::new(bytes).read().map(|e| e.map(|e| (e.tag, e.body.len())).unwrap());
            assert_eq!(got, want, "{bytes:02x?}");
        }
        assert_eq!(Reader::new(&[]).read(), Ok(None));
        assert_eq!(Reader::new(&[]).expect(SEQUENCE), Err(DerError::Missing(SEQUENCE)));
    }
}
