//! Just enough DER to walk a certificate that a stranger wrote.
//!
//! An [`Element`] borrows its bytes; nothing is copied and nothing recurses, so the cost is one pass
//! and the depth is the caller's. Lengths that are longer than need be are accepted (real
//! certificates have them); indefinite lengths and tags of more than one byte are not, because no
//! certificate needs them and each would be a second way to write the same thing.

/// One tag, its content, and both with the header.
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
    #[error("a tag of more than one byte")]
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

    /// The next element, or `None` at the end.
    pub fn read(&mut self) -> Result<Option<Element<'a>>, DerError> {
        let bytes = self.rest;
        let Some((&tag, after)) = bytes.split_first() else { return Ok(None) };
        if tag & 0x1f == 0x1f {
            return Err(DerError::Tag);
        }
        let Some((&first, after)) = after.split_first() else {
            return Err(DerError::Truncated { wanted: 2, left: 1 });
        };
        let (length, header) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x80 => return Err(DerError::Indefinite),
            _ => {
                let count = first & 0x7f;
                if count > 4 {
                    return Err(DerError::Length(count));
                }
                let count = usize::from(count);
                let Some(octets) = after.get(..count) else {
                    return Err(DerError::Truncated { wanted: 2 + count, left: bytes.len() });
                };
                (octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)), 2 + count)
            }
        };
        let end = header + length;
        let Some(whole) = bytes.get(..end) else {
            return Err(DerError::Truncated { wanted: end, left: bytes.len() });
        };
        self.rest = &bytes[end..];
        Ok(Some(Element { tag, body: &whole[header..], whole }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        type Case = (&'static [u8], Result<(u8, usize), DerError>);
        let cases: [Case; 9] = [
            (&[0x30, 0x00], Ok((0x30, 0))),
            (&[0x04, 0x02, 1, 2, 9], Ok((0x04, 2))),
            (&[0x04, 0x81, 0x01, 7], Ok((0x04, 1))),
            (&[0x04, 0x84, 0, 0, 0, 1, 7], Ok((0x04, 1))),
            (&[0x30, 0x80, 0, 0], Err(DerError::Indefinite)),
            (&[0x30, 0x85, 0, 0, 0, 0, 0], Err(DerError::Length(5))),
            (&[0x1f, 0x81, 0x01, 0x00], Err(DerError::Tag)),
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
