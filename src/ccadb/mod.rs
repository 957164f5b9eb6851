//! What is known of certificate authorities beside what they say of themselves: who owns a key, which
//! root programs include a root above it, where to report a problem.
//!
//! Bytes in, one immutable [`Authorities`] out. It is made of the reports of the Common CA Database (see
//! [`Reading`]), or of Mozilla's roots as they are built in. A look-up is a few hash maps, made once per
//! finding: chain first, then the authority key id, then the issuer's name. Where files lie and when they
//! have changed is left to `config` and `topology`; what follows for a verdict, to `judge`.
//!
//! It says *inclusion*, not validation: distrust dates and disallowed lists are not applied, and a revoked
//! certificate opens a path only where the key has no other one. What is not in the data is *unknown*,
//! which is never the same as untrusted.
//!
//! Memory: some 300 bytes a certificate, and CCADB has about 11,000; the bounds stand in `reports`.

mod mozilla;
mod reports;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use rustc_hash::FxHashMap;
use time::Date;

use crate::entry::chain::ChainCertificate;
use crate::entry::{DistinguishedName, Facts};

pub use reports::{CcadbError, MAX_BYTES, Reading};

/// A root program that publishes what its store includes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    Apple,
    Chrome,
    Microsoft,
    Mozilla,
}

impl Program {
    pub const ALL: [Program; 4] = [Program::Apple, Program::Chrome, Program::Microsoft, Program::Mozilla];

    pub fn label(self) -> &'static str {
        match self {
            Program::Apple => "apple",
            Program::Chrome => "chrome",
            Program::Microsoft => "microsoft",
            Program::Mozilla => "mozilla",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of root programs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Programs(u8);

impl Programs {
    pub const NONE: Programs = Programs(0);
    pub const ALL: Programs = Programs(0b1111);

    pub fn has(self, program: Program) -> bool {
        self.0 & program.bit() != 0
    }

    pub fn add(&mut self, program: Program) {
        self.0 |= program.bit();
    }

    pub fn iter(self) -> impl Iterator<Item = Program> {
        Program::ALL.into_iter().filter(move |program| self.has(*program))
    }

    fn and(self, other: Programs) -> Programs {
        Programs(self.0 | other.0)
    }

    fn without(self, other: Programs) -> Programs {
        Programs(self.0 & !other.0)
    }
}

impl FromIterator<Program> for Programs {
    fn from_iter<I: IntoIterator<Item = Program>>(programs: I) -> Programs {
        programs.into_iter().fold(Programs::NONE, |set, program| Programs(set.0 | program.bit()))
    }
}

/// What the look-ups stand on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// The Common CA Database.
    Ccadb,
    /// Mozilla's roots for TLS, as they were when this program was built: of other programs nothing is known.
    MozillaRoots,
}

impl Data {
    pub fn label(self) -> &'static str {
        match self {
            Data::Ccadb => "ccadb",
            Data::MozillaRoots => "mozilla-roots",
        }
    }
}

/// By what an issuer was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// By the SHA-256 of a certificate of its chain, or the key above it.
    Chain,
    /// By the authority key id, which is the issuer's claim.
    KeyId,
    /// By the issuer's common name, where there is no key id: the weakest.
    Name,
}

impl Method {
    pub fn label(self) -> &'static str {
        match self {
            Method::Chain => "chain",
            Method::KeyId => "key id",
            Method::Name => "name",
        }
    }
}

/// The root programs above an issuer: `certsieve.trust`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trust {
    /// Their store includes a root above the issuer for TLS.
    pub programs: Programs,
    /// Of these the data does not say.
    pub unknown: Programs,
    pub data: Data,
    /// The day that the data speaks of.
    pub as_of: Option<Date>,
    /// `None` where the issuer is not in the data.
    pub method: Option<Method>,
}

/// Whether the data agrees with the name that an issuer gives itself beside its key id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Claim {
    /// A certificate of that key has this common name. CCADB keeps no organisation: of that it says nothing.
    Agrees,
    /// That key belongs to another name, or to another owner than the chain leads to.
    Disagrees,
    /// The key is not in the data, or the entry has no key id or no name.
    #[default]
    NotAtHand,
}

/// What is known of the authority behind one entry. Made once per finding, before it is judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Issuing {
    /// By chain or key id; several where certificates of one key belong to several owners (a CA that another
    /// one has cross-signed), the key's own first. Never by name alone, which is no evidence.
    pub ca_owners: Vec<Arc<str>>,
    /// Where the first of them takes problem reports, or else the owner of what stands above the issuer: text
    /// of CCADB, an address or a sentence with one.
    pub report_to: Option<Arc<str>>,
    pub claim: Claim,
    pub trust: Trust,
}

impl Issuing {
    /// `certsieve.issuer.ca_owner`.
    pub fn ca_owner(&self) -> Option<&str> {
        self.ca_owners.first().map(|owner| &**owner)
    }

    /// What of the trust is worth a reason: its code and its sentence.
    pub fn remark(&self) -> Option<(&'static str, String)> {
        let Trust { programs, unknown, data, as_of, .. } = self.trust;
        let only = programs == Programs::from_iter([Program::Microsoft]) && unknown == Programs::NONE;
        if !only || data != Data::Ccadb {
            return None;
        }
        let of = as_of.map_or_else(String::new, |date| format!(" of {date}"));
        Some(("trust.microsoft_only", format!("Included by Microsoft only (CCADB{of})")))
    }
}

/// The key identifier of a subject: up to 20 bytes in practice, whatever a file holds here.
type Key = Box<[u8]>;

type Sha256 = [u8; 32];

/// One certificate of the data.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Record {
    sha256: Sha256,
    key: Option<Key>,
    /// The certificate above it; of a root, none.
    parent: Option<Sha256>,
    /// The key above it, where `parent` is not in the data.
    authority_key: Option<Key>,
    /// Index into the owners.
    owner: u32,
    /// CCADB's "Certificate Name": the common name, or what stands in its place.
    name: Box<str>,
    is_root: bool,
    is_revoked: bool,
    /// Somebody else than the owner holds the key.
    is_delegated: bool,
    /// Of a root: who includes it for TLS. Of another: who includes the root above it, where its own row says
    /// so.
    included: Option<Programs>,
}

/// What stands above a certificate, itself included.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Above {
    programs: Programs,
    /// The links lead to a root, or to a row that speaks of one: what is not in `programs` is not included.
    /// Without that nothing is known of it.
    is_whole: bool,
}

impl Above {
    fn and(self, other: Above) -> Above {
        Above { programs: self.programs.and(other.programs), is_whole: self.is_whole || other.is_whole }
    }
}

/// One key with every certificate of it: a root and its cross-signs sign as one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Signer {
    /// Indexes into the records; never empty.
    records: Vec<u32>,
    above: Above,
}

/// Everything that is known of authorities. Immutable and shared; a reload makes another one.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    data: Data,
    as_of: Option<Date>,
    records: Vec<Record>,
    owners: Vec<Owner>,
    signers: Vec<Signer>,
    /// Indexes into the signers.
    by_sha256: FxHashMap<Sha256, u32>,
    by_key: HashMap<Key, u32>,
    by_name: HashMap<Box<str>, Vec<u32>>,
    left_out: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Owner {
    name: Arc<str>,
    report_to: Option<Arc<str>>,
}

/// What the data holds, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    pub certificates: usize,
    pub owners: usize,
    /// Owners with an address for problem reports.
    pub report_to: usize,
    /// As [`Program::ALL`]: roots that it includes for TLS.
    pub roots: [usize; Program::ALL.len()],
    /// Rows without a fingerprint, which nothing could find.
    pub left_out: u64,
}

/// Levels between a certificate and the farthest root that counts: real chains have four, cross-signs
/// included. Links in a circle end here too.
const MAX_LEVELS: usize = 32;

impl Authorities {
    /// Mozilla's roots, built in: what there is without CCADB's reports.
    pub fn built_in() -> Arc<Authorities> {
        static BUILT_IN: LazyLock<Arc<Authorities>> = LazyLock::new(|| Arc::new(mozilla::roots()));
        BUILT_IN.clone()
    }

    fn new(
        data: Data,
        as_of: Option<Date>,
        records: Vec<Record>,
        owners: Vec<Owner>,
        left_out: u64,
    ) -> Authorities {
        let mut authorities = Authorities {
            data,
            as_of,
            records,
            owners,
            signers: Vec::new(),
            by_sha256: FxHashMap::default(),
            by_key: HashMap::new(),
            by_name: HashMap::new(),
            left_out,
        };
        authorities.index();
        authorities.climb();
        authorities
    }

    fn index(&mut self) {
        // The bound on records is far below 2^32.
        for (i, record) in (0..).zip(&self.records) {
            let of_key = record.key.as_ref().and_then(|key| self.by_key.get(key));
            let known = of_key.or(self.by_sha256.get(&record.sha256)).copied();
            let signer = known.unwrap_or(self.signers.len() as u32);
            match self.signers.get_mut(signer as usize) {
                Some(signer) => signer.records.push(i),
                None => self.signers.push(Signer { records: vec![i], above: Above::default() }),
            }
            self.by_sha256.insert(record.sha256, signer);
            if let Some(key) = &record.key {
                self.by_key.insert(key.clone(), signer);
            }
            let name = folded(&record.name);
            let named = self.by_name.entry(name.into()).or_default();
            if !named.contains(&signer) {
                named.push(signer);
            }
        }
        self.by_name.remove("");
    }

    /// What stands above each signer. It only grows, from parents to children and a level each round, so that
    /// links in a circle end.
    fn climb(&mut self) {
        let parents: Vec<Option<u32>> = self.records.iter().map(|record| self.parent(record)).collect();
        for _ in 0..MAX_LEVELS {
            let mut grown = false;
            for i in 0..self.signers.len() {
                let signer = &self.signers[i];
                let of_record = |i: u32| match (parents[i as usize], self.records[i as usize].included) {
                    (Some(parent), _) => self.signers[parent as usize].above,
                    (None, Some(programs)) => Above { programs, is_whole: true },
                    (None, None) => Above::default(),
                };
                let above = self.open(signer).fold(signer.above, |all, i| all.and(of_record(i)));
                grown |= above != signer.above;
                self.signers[i].above = above;
            }
            if !grown {
                return;
            }
        }
    }

    /// The signer of a record; `None` of a root, and where it is not in the data.
    fn parent(&self, record: &Record) -> Option<u32> {
        if record.is_root {
            return None;
        }
        let by_key = || {
            let key = record.authority_key.as_ref().filter(|key| record.key.as_ref() != Some(key))?;
            self.by_key.get(key)
        };
        record.parent.and_then(|parent| self.by_sha256.get(&parent)).or_else(by_key).copied()
    }

    /// The records of a signer without what is revoked, unless nothing else is left.
    fn open<'a>(&'a self, signer: &'a Signer) -> impl Iterator<Item = u32> {
        let is_open = |i: u32| !self.records[i as usize].is_revoked;
        let any = signer.records.iter().any(|i| is_open(*i));
        signer.records.iter().copied().filter(move |i| !any || is_open(*i))
    }

    /// What is known of the authority behind an entry.
    pub fn issuing(&self, facts: &Facts) -> Issuing {
        let chain = chain_of(facts);
        let by_chain = chain.first().and_then(|first| self.by_sha256.get(&first.sha256)).copied();
        let above = self.above_chain(chain);
        // A key id is the issuer's word: where its chain leads to another owner's root, it is borrowed.
        let by_key = self.of_key(facts.authority_key_id.as_deref());
        let is_borrowed = |key: &u32| above.is_some_and(|above| self.are_strangers(above, *key));
        let borrowed = by_key.filter(|key| by_chain.is_none() && is_borrowed(key));
        let issuer = by_chain.or(by_key.filter(|_| borrowed.is_none()));
        let (signers, method) = match (issuer, above) {
            (Some(issuer), _) if by_chain.is_some() => (vec![issuer], Some(Method::Chain)),
            (Some(issuer), _) => (vec![issuer], Some(Method::KeyId)),
            // It is new, or hidden: who stands above it says what its certificates are worth.
            (None, Some(above)) => (vec![above], Some(Method::Chain)),
            (None, None) if facts.authority_key_id.is_none() => self.named(&facts.issuer),
            (None, None) => (Vec::new(), None),
        };
        let issuer = issuer.map(|issuer| &self.signers[issuer as usize]);
        let ca_owners = issuer.map(|issuer| self.owners_of(issuer)).unwrap_or_default();
        let signers = signers.iter().map(|signer| &self.signers[*signer as usize]);
        let above = signers.clone().fold(Above::default(), |all, signer| all.and(signer.above));
        let records = signers.flat_map(|signer| self.open(signer)).map(|i| &self.records[i as usize]);
        let owners = records.map(|record| &self.owners[record.owner as usize]);
        let responsible = |owner: &&Owner| ca_owners.first().is_none_or(|first| owner.name == *first);
        Issuing {
            report_to: owners.filter(responsible).find_map(|owner| owner.report_to.clone()),
            claim: match (issuer, borrowed) {
                (Some(issuer), _) => self.claim(issuer, &facts.issuer),
                (None, Some(_)) => Claim::Disagrees,
                (None, None) => Claim::NotAtHand,
            },
            trust: Trust {
                programs: above.programs,
                unknown: self.unknown(above),
                data: self.data,
                as_of: self.as_of,
                method,
            },
            ca_owners,
        }
    }

    /// Whether what a chain leads to has nothing to do with a key: it does not stand above it by any path, and
    /// belongs to others.
    fn are_strangers(&self, led_to: u32, key: u32) -> bool {
        let [ours, theirs] = [key, led_to].map(|signer| self.owners_of(&self.signers[signer as usize]));
        if ours.is_empty() || theirs.is_empty() || ours.iter().any(|owner| theirs.contains(owner)) {
            return false;
        }
        let mut above = vec![key];
        let mut next = 0;
        for _ in 0..MAX_LEVELS {
            let level = next..above.len();
            next = above.len();
            for i in level {
                for record in &self.signers[above[i] as usize].records {
                    let parent = self.parent(&self.records[*record as usize]);
                    above.extend(parent.filter(|parent| !above.contains(parent)));
                }
            }
        }
        !above.contains(&led_to)
    }

    fn of_key(&self, key_id: Option<&str>) -> Option<u32> {
        self.by_key.get(&key_of_hex(key_id?)?).copied()
    }

    fn unknown(&self, found: Above) -> Programs {
        match self.data {
            Data::Ccadb if found.is_whole => Programs::NONE,
            // Another path may lead to another root: what is not found is not known.
            _ => Programs::ALL.without(found.programs),
        }
    }

    /// The owners of a key, its own before those who have cross-signed it.
    fn owners_of(&self, signer: &Signer) -> Vec<Arc<str>> {
        let mut owners: Vec<Arc<str>> = Vec::new();
        for is_delegated in [false, true] {
            for record in self.open(signer).map(|i| &self.records[i as usize]) {
                let owner = &self.owners[record.owner as usize].name;
                if record.is_delegated == is_delegated && !owner.is_empty() && !owners.contains(owner) {
                    owners.push(owner.clone());
                }
            }
        }
        owners
    }

    /// The first of a chain that the data has, by fingerprint or by the key above the last one.
    fn above_chain(&self, chain: &[ChainCertificate]) -> Option<u32> {
        let known = chain.iter().find_map(|certificate| self.by_sha256.get(&certificate.sha256));
        known.copied().or_else(|| {
            let last = chain.last()?;
            let above = self.of_key(last.authority_key_id.as_deref())?;
            let claim = self.claim(&self.signers[above as usize], &last.issuer);
            (claim == Claim::Agrees).then_some(above)
        })
    }

    /// Those of one owner that have the issuer's name; a name that two owners use says nothing.
    fn named(&self, issuer: &DistinguishedName) -> (Vec<u32>, Option<Method>) {
        let named = names_of(issuer).iter().find_map(|name| self.by_name.get(folded(name).as_str()));
        let Some(named) = named else { return (Vec::new(), None) };
        let signers = named.iter().map(|signer| &self.signers[*signer as usize]);
        let mut owners = signers.flat_map(|signer| &signer.records).map(|i| self.records[*i as usize].owner);
        let first = owners.next();
        match owners.all(|owner| Some(owner) == first) {
            true => (named.clone(), Some(Method::Name)),
            false => (Vec::new(), None),
        }
    }

    fn claim(&self, signer: &Signer, issuer: &DistinguishedName) -> Claim {
        let names = names_of(issuer);
        if names.is_empty() {
            return Claim::NotAtHand;
        }
        let agrees = signer.records.iter().any(|i| {
            let recorded = &self.records[*i as usize].name;
            names.iter().any(|name| is_same_name(name, recorded))
        });
        if agrees { Claim::Agrees } else { Claim::Disagrees }
    }

    pub fn data(&self) -> Data {
        self.data
    }

    /// The day that the data speaks of.
    pub fn as_of(&self) -> Option<Date> {
        self.as_of
    }

    pub fn counts(&self) -> Counts {
        let roots = |program: &Program| {
            let included = |record: &&Record| {
                record.is_root && record.included.is_some_and(|included| included.has(*program))
            };
            self.records.iter().filter(included).count()
        };
        Counts {
            certificates: self.records.len(),
            owners: self.owners.len(),
            report_to: self.owners.iter().filter(|owner| owner.report_to.is_some()).count(),
            roots: Program::ALL.each_ref().map(roots),
            left_out: self.left_out,
        }
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities")
            .field("data", &self.data)
            .field("as_of", &self.as_of)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// As an operator reads it: `CCADB of 2026-11-20: 10,874 certificates …`.
impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        match self.data {
            Data::MozillaRoots => {
                return write!(
                    f,
                    "Mozilla's {} roots, built in; of Apple, Chrome and Microsoft nothing is known without CCADB",
                    counts.certificates
                );
            }
            Data::Ccadb => f.write_str("CCADB")?,
        }
        if let Some(date) = self.as_of {
            write!(f, " of {date}")?;
        }
        write!(f, ": {} certificates of {} owners", counts.certificates, counts.owners)?;
        write!(f, ", {} with an address for problem reports; roots for TLS", counts.report_to)?;
        for (i, (program, roots)) in Program::ALL.iter().zip(counts.roots).enumerate() {
            write!(f, "{} {} {roots}", if i == 0 { ":" } else { "," }, program.label())?;
        }
        if counts.left_out > 0 {
            write!(f, "; {} rows without a fingerprint are left out", counts.left_out)?;
        }
        Ok(())
    }
}

/// The chain as far as its names hang together with the entry, without a Precertificate Signing Certificate at
/// its front: a server could send any. A log takes no entry whose chain does not hold.
fn chain_of(facts: &Facts) -> &[ChainCertificate] {
    let mut chain = facts.chain.as_slice();
    if let [first, rest @ ..] = chain
        && first.signs_precertificates
    {
        chain = rest;
    }
    let mut issuer = &facts.issuer;
    let links = chain.iter().take_while(|certificate| {
        let holds = names_of(issuer) == names_of(&certificate.subject);
        issuer = &certificate.issuer;
        holds
    });
    &chain[..links.count()]
}

/// What CCADB would call an authority: its common name, else its unit, else its organisation.
fn names_of(name: &DistinguishedName) -> &[String] {
    let candidates = [&name.common_name, &name.organizational_unit, &name.organization];
    let is_said = |names: &&Vec<String>| names.iter().any(|name| !name.is_empty());
    candidates.into_iter().find(is_said).map_or(&[], Vec::as_slice)
}

/// CCADB keeps at most so many characters of a name.
const NAME_CHARS: usize = 80;

fn is_same_name(name: &str, recorded: &str) -> bool {
    let (name, folded_record) = (folded(name), folded(recorded));
    name == folded_record || (recorded.chars().count() >= NAME_CHARS && name.starts_with(&folded_record))
}

/// Letters and digits in lower case: people typed these names in.
fn folded(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A key identifier in hexadecimal, as facts have it.
fn key_of_hex(text: &str) -> Option<Key> {
    if text.is_empty() || text.len() % 2 == 1 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests;
