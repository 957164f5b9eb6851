//! The one identity walk: from a certificate's DER to every name and address in it.
//!
//! RFC 5280, 4.1. In one pass, without a copy, it finds what matching and judging need: dNSName and
//! iPAddress entries of every subjectAltName, every common name of the subject, serial number, issuer,
//! validity, subject key, authority key identifier, the poison of RFC 6962. What else a record shows
//! is left to x509-parser, which is also the oracle of this walk in the tests.
//!
//! It is lenient where a stranger gains nothing by it: repeated extensions are all read, names are
//! kept as bytes whatever they hold. Where the structure breaks (a wrong tag, a field too many, an end
//! that is missing) what can still be read is read and the error is returned beside it, so that a break
//! hides no name in front of it, and as few behind it as can be.

use super::der::{BOOLEAN, DerError, Element, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET};
use super::time::Timestamp;

/// Where in the certificate a name stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// dNSName of a subjectAltName.
    Dns,
    /// iPAddress of a subjectAltName.
    Ip,
    /// Common name of the subject; the tag of its string type.
    CommonName(u8),
}

/// A name as the certificate has it: a range of its DER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawName {
    pub place: Place,
    pub start: u32,
    pub end: u32,
}

/// What the walk found beside the names. Slices borrow the DER.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk<'a> {
    /// Content octets of the serial number.
    pub serial: &'a [u8],
    /// The issuer's Name, with its header.
    pub issuer: &'a [u8],
    /// The subject's Name, with its header.
    pub subject: &'a [u8],
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    /// SubjectPublicKeyInfo, with its header.
    pub spki: &'a [u8],
    /// keyIdentifier of the authority key identifier; `None` when missing or empty.
    pub authority_key_id: Option<&'a [u8]>,
    /// The critical extension of a precertificate, RFC 6962, 3.1.
    pub poison: bool,
    /// There is a subjectAltName.
    pub has_san: bool,
    /// All extensions, one behind the other, for [`extensions`].
    pub extensions: &'a [u8],
    /// Bytes after the certificate's end.
    pub trailing: usize,
    /// Where the structure broke, if it did.
    pub broken: Option<Broken>,
}

/// The structure broke; what was found before is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{part}: {error}")]
pub struct Broken {
    pub part: &'static str,
    pub error: DerError,
}

/// 2.5.4.3
pub(super) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.29.35
pub const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 0x23];
/// 1.3.6.1.4.1.11129.2.4.3
pub const POISON: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03];

const GENERAL_NAME_DNS: u8 = 0x82;
const GENERAL_NAME_IP: u8 = 0x87;
/// otherName, rfc822Name, x400Address, directoryName, ediPartyName, URI and registeredID name no host.
const OTHER_GENERAL_NAMES: [u8; 7] = [0xa0, 0x81, 0xa3, 0xa4, 0xa5, 0x86, 0x88];

/// Walks a Certificate. Names are added to `names` as ranges of `der`, which is at most 4 GiB by the
/// bound on messages.
pub fn walk<'a>(der: &'a [u8], names: &mut Vec<RawName>) -> Walk<'a> {
    let mut walk = Walk::default();
    walk.broken = Finder { der, names }.certificate(&mut walk).err();
    walk
}

/// Walks a bare TBSCertificate, which is what a log signs of a precertificate.
pub fn walk_tbs<'a>(der: &'a [u8], names: &mut Vec<RawName>) -> Walk<'a> {
    let mut walk = Walk::default();
    walk.broken = Finder { der, names }.bare(&mut walk).err();
    walk
}

/// One extension, RFC 5280, 4.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extension<'a> {
    pub id: &'a [u8],
    pub critical: bool,
    pub value: &'a [u8],
}

/// The extensions of [`Walk::extensions`], up to the first that is none.
pub fn extensions(list: &[u8]) -> impl Iterator<Item = Extension<'_>> + Clone {
    let mut list = Reader::new(list);
    std::iter::from_fn(move || {
        let mut r = Reader::new(list.read().ok()??.body);
        let id = r.expect(OID).ok()?.body;
        let critical = r.optional(BOOLEAN).ok()?.is_some_and(|flag| flag.body != [0]);
        Some(Extension { id, critical, value: r.expect(OCTET_STRING).ok()?.body })
    })
}

struct Finder<'a, 'n> {
    der: &'a [u8],
    names: &'n mut Vec<RawName>,
}

/// Says which part an error belongs to.
trait In<T> {
    fn within(self, part: &'static str) -> Result<T, Broken>;
}

impl<T> In<T> for Result<T, DerError> {
    fn within(self, part: &'static str) -> Result<T, Broken> {
        self.map_err(|error| Broken { part, error })
    }
}

impl<'a> Finder<'a, '_> {
    fn certificate(&mut self, walk: &mut Walk<'a>) -> Result<(), Broken> {
        let mut told = Ok(());
        let mut outer = Reader::new(self.der);
        let certificate = container(&mut outer, "certificate", &mut told)?;
        walk.trailing = outer.rest().len();
        let tbs = container(&mut Reader::new(certificate.body), "tbsCertificate", &mut told)?;
        let walked = self.tbs(tbs, walk);
        told.and(walked)
    }

    fn bare(&mut self, walk: &mut Walk<'a>) -> Result<(), Broken> {
        let mut told = Ok(());
        let mut outer = Reader::new(self.der);
        let tbs = container(&mut outer, "tbsCertificate", &mut told)?;
        walk.trailing = outer.rest().len();
        let walked = self.tbs(tbs, walk);
        told.and(walked)
    }

    fn tbs(&mut self, tbs: Element<'a>, walk: &mut Walk<'a>) -> Result<(), Broken> {
        let mut r = Reader::new(tbs.body);
        let mut told = self.fields(&mut r, walk);
        if told.is_err() {
            // One too many or too few: the extensions may have been taken for another field.
            r = Reader::new(tbs.body);
        }
        let mut extended = false;
        while let Some(element) = next(&mut r, "tbsCertificate", &mut told) {
            if element.tag == 0xa3 {
                told = told.and(self.extensions(element, walk));
            }
            // Nothing may stand behind: extensions under another tag would go unread.
            if element.tag != 0xa3 || extended {
                told = told.and(Err(DerError::Foreign(element.tag)).within("tbsCertificate"));
            }
            extended |= element.tag == 0xa3;
        }
        told
    }

    /// Everything in front of the extensions. A field of another tag than its own is told, and read all the
    /// same: it must not hide the names behind it.
    fn fields(&mut self, r: &mut Reader<'a>, walk: &mut Walk<'a>) -> Result<(), Broken> {
        let mut told = Ok(());
        r.optional(0xa0).within("version")?;
        walk.serial = field(r, INTEGER, "serialNumber", &mut told)?.body;
        field(r, SEQUENCE, "signature", &mut told)?;
        walk.issuer = field(r, SEQUENCE, "issuer", &mut told)?.whole;
        let validity = field(r, SEQUENCE, "validity", &mut told)?;
        let mut times = Reader::new(validity.body);
        for (end, part) in [(&mut walk.not_before, "notBefore"), (&mut walk.not_after, "notAfter")] {
            match times.read().within(part) {
                Ok(element) => *end = element.and_then(time),
                Err(broken) => told = told.and(Err(broken)),
            }
        }
        let subject = field(r, SEQUENCE, "subject", &mut told)?;
        walk.subject = subject.whole;
        told = told.and(self.common_names(subject));
        walk.spki = field(r, SEQUENCE, "subjectPublicKeyInfo", &mut told)?.whole;
        r.optional(0x81).within("issuerUniqueID")?;
        r.optional(0x82).within("subjectUniqueID")?;
        told
    }

    /// Where a part is not what it must be, it is told, and what follows is read all the same.
    fn common_names(&mut self, subject: Element<'a>) -> Result<(), Broken> {
        let mut rdns = Reader::new(subject.body);
        let mut told = Ok(());
        while let Some(rdn) = rdns.read().within("subject")? {
            if rdn.tag != SET {
                told = told.and(Err(DerError::Unexpected { wanted: SET, found: rdn.tag }).within("subject"));
            }
            let mut attributes = Reader::new(rdn.body);
            while let Some(attribute) = attributes.read().within("subject")? {
                let mut parts = Reader::new(attribute.body);
                let kind = match parts.expect(OID).within("subject") {
                    Ok(kind) => kind,
                    Err(broken) => {
                        told = told.and(Err(broken));
                        continue;
                    }
                };
                if kind.body != COMMON_NAME {
                    continue;
                }
                if let Some(value) = parts.read().within("subject")? {
                    self.found(Place::CommonName(value.tag), value.body);
                }
            }
        }
        told
    }

    fn extensions(&mut self, wrapped: Element<'a>, walk: &mut Walk<'a>) -> Result<(), Broken> {
        let mut broken = Ok(());
        let list = field(&mut Reader::new(wrapped.body), SEQUENCE, "extensions", &mut broken)?;
        walk.extensions = list.body;
        let mut extensions = Reader::new(list.body);
        while let Some(extension) = next(&mut extensions, "extensions", &mut broken) {
            // One broken extension must not hide those behind it.
            broken = broken.and(self.extension(extension, walk));
        }
        broken
    }

    fn extension(&mut self, extension: Element<'a>, walk: &mut Walk<'a>) -> Result<(), Broken> {
        let mut r = Reader::new(extension.body);
        let id = r.expect(OID).within("extension")?.body;
        if id == POISON {
            walk.poison = true;
            return Ok(());
        }
        if id != SUBJECT_ALT_NAME && id != AUTHORITY_KEY_ID {
            return Ok(());
        }
        r.optional(BOOLEAN).within("extension")?;
        let mut told = Ok(());
        let value = field(&mut r, OCTET_STRING, "extension", &mut told)?.body;
        if id == SUBJECT_ALT_NAME {
            walk.has_san = true;
            let list = field(&mut Reader::new(value), SEQUENCE, "subjectAltName", &mut told)?;
            let mut general_names = Reader::new(list.body);
            while let Some(name) = general_names.read().within("subjectAltName")? {
                match name.tag {
                    GENERAL_NAME_DNS => self.found(Place::Dns, name.body),
                    GENERAL_NAME_IP => self.found(Place::Ip, name.body),
                    tag if OTHER_GENERAL_NAMES.contains(&tag) => {}
                    tag => told = told.and(Err(DerError::Foreign(tag)).within("subjectAltName")),
                }
            }
            return told;
        }
        let list = Reader::new(value).expect(SEQUENCE).within("authorityKeyIdentifier")?;
        let mut fields = Reader::new(list.body);
        if let Some(key) = fields.optional(0x80).within("authorityKeyIdentifier")? {
            walk.authority_key_id = Some(key.body).filter(|id| !id.is_empty());
        }
        told
    }

    fn found(&mut self, place: Place, body: &'a [u8]) {
        let start = body.as_ptr() as usize - self.der.as_ptr() as usize;
        let end = start + body.len();
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) {
            self.names.push(RawName { place, start, end });
        }
    }
}

/// The next element, if there is one. Of one that is cut short what is there, and that it is: the names in
/// front of the cut are whole.
fn next<'a>(r: &mut Reader<'a>, part: &'static str, told: &mut Result<(), Broken>) -> Option<Element<'a>> {
    match r.read() {
        Ok(element) => element,
        Err(error) => {
            *told = told.and(Err(error).within(part));
            r.cut()
        }
    }
}

/// The next element, which should have this tag; of another it is told.
fn field<'a>(
    r: &mut Reader<'a>,
    tag: u8,
    part: &'static str,
    told: &mut Result<(), Broken>,
) -> Result<Element<'a>, Broken> {
    let Some(element) = next(r, part, told) else {
        return Err(told.err().unwrap_or(Broken { part, error: DerError::Missing(tag) }));
    };
    if element.tag != tag {
        *told = told.and(Err(DerError::Unexpected { wanted: tag, found: element.tag }).within(part));
    }
    Ok(element)
}

/// The next element, which must be a SEQUENCE: what begins otherwise is no certificate at all.
fn container<'a>(
    r: &mut Reader<'a>,
    part: &'static str,
    told: &mut Result<(), Broken>,
) -> Result<Element<'a>, Broken> {
    let element = field(r, SEQUENCE, part, told)?;
    if element.tag != SEQUENCE {
        (*told)?;
    }
    Ok(element)
}

/// UTCTime or GeneralizedTime in the forms that RFC 5280, 4.1.2.5 allows; also without seconds, which
/// old certificates have. `None` for anything else.
pub(super) fn time(element: Element<'_>) -> Option<Timestamp> {
    let digits = element.body.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = match element.tag {
        0x17 => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year), rest)
        }
        _ => return None,
    };
    if rest.len() != 10 && rest.len() != 8 {
        return None;
    }
    let part = |i: usize| rest.get(2 * i..2 * i + 2).map_or(0, number) as u8;
    let month = time::Month::try_from(part(0)).ok()?;
    let date = time::Date::from_calendar_date(i32::try_from(year).ok()?, month, part(1)).ok()?;
    let at = date.with_hms(part(2), part(3), part(4)).ok()?.assume_utc();
    Some(Timestamp(at.unix_timestamp() * 1000))
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut whole = vec![tag];
        if body.len() < 128 {
            whole.push(body.len() as u8);
        } else {
            whole.extend([0x82, (body.len() >> 8) as u8, body.len() as u8]);
        }
        whole.extend(body);
        whole
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        element(SEQUENCE, &parts.concat())
    }

    fn common_name(text: &[u8]) -> Vec<u8> {
        element(SET, &sequence(&[element(OID, COMMON_NAME), element(0x0c, text)]))
    }

    fn extension(id: &[u8], value: Vec<u8>) -> Vec<u8> {
        sequence(&[element(OID, id), element(OCTET_STRING, &value)])
    }

    /// A certificate of these extensions and common names, unsigned.
    fn certificate(common_names: &[&[u8]], extensions: &[Vec<u8>]) -> Vec<u8> {
        let subject: Vec<_> = common_names.iter().map(|cn| common_name(cn)).collect();
        let tbs = sequence(&[
            element(INTEGER, &[0x00, 0xd3, 0x16]),
            sequence(&[]),
            sequence(&[common_name(b"Some CA")]),
            sequence(&[element(0x17, b"261125083000Z"), element(0x18, b"20271125083000Z")]),
            sequence(&subject),
            sequence(&[element(0x03, &[0, 1])]),
            element(0xa3, &sequence(extensions)),
        ]);
        sequence(&[tbs, sequence(&[]), element(0x03, &[0])])
    }

    fn check(der: &[u8], want: &[(Place, &[u8])], broken: Option<&str>) {
        let mut names = Vec::new();
        let walk = walk(der, &mut names);
        let got: Vec<_> = names.iter().map(|n| (n.place, &der[n.start as usize..n.end as usize])).collect();
        assert_eq!(got, want);
        assert_eq!(walk.broken.map(|b| b.part), broken);
    }

    #[test]
    fn finds_every_name() {
        let san = |names: &[Vec<u8>]| extension(SUBJECT_ALT_NAME, sequence(names));
        let dns = |name: &[u8]| element(GENERAL_NAME_DNS, name);
        let ip = |octets: &[u8]| element(GENERAL_NAME_IP, octets);
        let cn = Place::CommonName(0x0c);

        check(
            &certificate(&[b"a.example", b"b.example"], &[]),
            &[(cn, b"a.example"), (cn, b"b.example")],
            None,
        );
        check(
            &certificate(&[], &[san(&[dns(b"a.example"), ip(&[1, 1, 1, 1])]), san(&[dns(b"second")])]),
            &[(Place::Dns, b"a.example"), (Place::Ip, &[1, 1, 1, 1]), (Place::Dns, b"second")],
            None,
        );
        check(
            &certificate(&[], &[san(&[ip(&[1, 1, 1, 1, 24]), dns(b"\xff\x00.example")])]),
            &[(Place::Ip, &[1, 1, 1, 1, 24]), (Place::Dns, b"\xff\x00.example")],
            None,
        );
        // A broken extension hides neither what stood before it nor the ones behind.
        let half =
            extension(SUBJECT_ALT_NAME, element(SEQUENCE, &[dns(b"first"), vec![0x82, 0x70]].concat()));
        check(
            &certificate(&[], &[half, san(&[dns(b"behind")])]),
            &[(Place::Dns, b"first"), (Place::Dns, b"behind")],
            Some("subjectAltName"),
        );
        check(b"", &[], Some("certificate"));
        // What is not where it must be may be a name that somebody else reads.
        let odd = extension(SUBJECT_ALT_NAME, sequence(&[element(0x47, &[1, 1, 1, 1]), dns(b"behind")]));
        check(&certificate(&[], &[odd]), &[(Place::Dns, b"behind")], Some("subjectAltName"));
        let mut hidden = certificate(&[], &[san(&[dns(b"hidden")])]);
        let at = hidden.iter().position(|byte| *byte == 0xa3).unwrap();
        hidden[at] = 0xa4;
        check(&hidden, &[], Some("tbsCertificate"));
        let mut hidden = certificate(&[b"a.example", b"b.example"], &[]);
        let at = hidden.windows(9).position(|window| window == b"a.example").unwrap() - 7;
        assert_eq!(hidden[at], OID);
        hidden[at] = 0x0d;
        check(&hidden, &[(cn, b"b.example")], Some("subject"));
    }

    /// Nothing that can be done to a field hides the names in the others.
    #[test]
    fn a_break_hides_no_more_than_it_must() {
        let san = extension(SUBJECT_ALT_NAME, sequence(&[element(GENERAL_NAME_DNS, b"san.example")]));
        let whole = certificate(&[b"cn.example"], &[san]);
        let tbs = Reader::new(&whole).expect(SEQUENCE).unwrap().body;
        let mut fields = Reader::new(Reader::new(tbs).expect(SEQUENCE).unwrap().body);
        let fields: Vec<Vec<u8>> =
            std::iter::from_fn(|| fields.read().unwrap()).map(|field| field.whole.to_vec()).collect();
        assert_eq!(fields.len(), 7);
        let cn = (Place::CommonName(0x0c), &b"cn.example"[..]);
        let san = (Place::Dns, &b"san.example"[..]);
        let changed = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut fields = fields.clone();
            change(&mut fields);
            sequence(&[sequence(&fields), sequence(&[])])
        };
        for (at, part) in [
            (0, "serialNumber"),
            (1, "signature"),
            (2, "issuer"),
            (3, "validity"),
            (4, "subject"),
            (5, "subjectPublicKeyInfo"),
        ] {
            check(&changed(&|fields| fields[at][0] = 0x31), &[cn, san], Some(part));
        }
        // One too few or too many: the subject is taken for another field, the extensions are found.
        for at in 0..6 {
            let without = changed(&|fields| drop(fields.remove(at)));
            let twice = changed(&|fields| fields.insert(at, vec![0x04, 0]));
            for der in [without, twice] {
                let mut names = Vec::new();
                let walk = walk(&der, &mut names);
                assert!(walk.broken.is_some(), "{at}");
                assert!(names.iter().any(|name| name.place == Place::Dns), "{at}");
            }
        }
        // Extensions twice, and cut in the signature or behind the names.
        check(&changed(&|fields| fields.push(fields[6].clone())), &[cn, san, san], Some("tbsCertificate"));
        for fewer in 1..6 {
            check(&whole[..whole.len() - fewer], &[cn, san], Some("certificate"));
        }
        // dNSName as some readers take it: with its tag in two bytes.
        let long = extension(SUBJECT_ALT_NAME, element(SEQUENCE, b"\x9f\x02\x0clong.example"));
        check(&certificate(&[], &[long]), &[(Place::Dns, b"long.example")], None);
        // A list of names under another tag.
        let set = extension(SUBJECT_ALT_NAME, element(SET, &element(GENERAL_NAME_DNS, b"set.example")));
        check(&certificate(&[], &[set]), &[(Place::Dns, b"set.example")], Some("subjectAltName"));
    }

    #[test]
    fn a_bare_tbs_certificate() {
        let san = extension(SUBJECT_ALT_NAME, sequence(&[element(GENERAL_NAME_DNS, b"san.example")]));
        let whole = certificate(&[b"cn.example"], &[san]);
        let tbs = Reader::new(Reader::new(&whole).expect(SEQUENCE).unwrap().body).expect(SEQUENCE).unwrap();
        let mut names = Vec::new();
        let bare = walk_tbs(tbs.whole, &mut names);
        assert_eq!((names.len(), bare.broken, bare.trailing), (2, None, 0));
        assert_eq!(bare.serial, walk(&whole, &mut Vec::new()).serial);
        let longer = [tbs.whole, &[0][..]].concat();
        assert_eq!(walk_tbs(&longer, &mut Vec::new()).trailing, 1);
        let ids: Vec<_> = extensions(bare.extensions).map(|e| (e.id, e.critical)).collect();
        assert_eq!(ids, [(SUBJECT_ALT_NAME, false)]);
    }

    #[test]
    fn reads_the_rest() {
        let key = extension(AUTHORITY_KEY_ID, sequence(&[element(0x80, &[7, 8])]));
        let der = certificate(&[], &[key, extension(POISON, vec![5, 0])]);
        let walk = walk(&der, &mut Vec::new());
        assert_eq!(walk.serial, [0x00, 0xd3, 0x16]);
        assert_eq!(walk.authority_key_id, Some(&[7, 8][..]));
        assert!(walk.poison && !walk.has_san);
        assert_eq!(walk.not_before.unwrap().to_string(), "2026-11-25T08:30:00.000Z");
        assert_eq!(walk.not_after.unwrap().to_string(), "2027-11-25T08:30:00.000Z");
        assert_eq!(walk.trailing, 0);

        let empty = certificate(&[], &[extension(AUTHORITY_KEY_ID, sequence(&[element(0x80, &[])]))]);
        assert_eq!(super::walk(&empty, &mut Vec::new()).authority_key_id, None);
    }

    #[test]
    fn no_prefix_panics() {
        let san = extension(SUBJECT_ALT_NAME, sequence(&[element(GENERAL_NAME_DNS, b"a.example")]));
        let der = certificate(&[b"cn.example"], &[san]);
        for end in 0..der.len() {
            walk(&der[..end], &mut Vec::new());
        }
    }
}
