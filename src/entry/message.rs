//! One CertStream message, in every dialect: from JSON to what it claims about one log entry.
//!
//! Decoding is tolerant: each field may be missing, null, empty or of another type, and a number may be
//! written as a string; servers differ, and a strict reader loses the certificate for the sake of a
//! field that it never needed. What is not tolerated is text that is no single JSON value (RFC 8259),
//! because then nothing says what was meant. Depth costs no stack (what is not wanted is passed over by
//! a loop, and what is wanted is shallow); size is bounded by the feed.
//!
//! Where names belong, a value of another type is never passed over in silence: one that has an obvious
//! reading (one name for a list of names, a list for one, an empty array for an empty object) is read and its
//! [`Shape`] says so; any other is wrong, and the entry malformed.
//!
//! A repeated key: the last one counts, as in the JSON readers of every other consumer.
//!
//! Facts of the dialects: certstream-server-go v1.9.0, certstream-server-rust v1.5.3, CaliDog's Elixir
//! v1.6.0 and Python servers.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::chain::MAX_CERTIFICATES;
use super::time::Timestamp;

/// What a message is.
#[derive(Debug)]
pub enum Message<'a> {
    /// `certificate_update`: one log entry.
    Certificate(Box<CertificateUpdate<'a>>),
    /// `dns_entries`, of a domains-only stream: names alone.
    Names(Names<'a>),
    /// A heartbeat, an empty frame: nothing was said.
    Idle,
}

/// Why bytes are no message; the label is the reason in `certsieve_malformed_total`.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the message is {0}, not an object")]
    NotObject(&'static str),
    #[error("message_type names no kind of message, and neither does data")]
    Type,
    #[error("data holds no leaf_cert")]
    NoLeaf,
}

impl MessageError {
    pub fn reason(&self) -> &'static str {
        match self {
            MessageError::Json(_) => "json",
            MessageError::NotObject(_) => "not_object",
            MessageError::Type => "message_type",
            MessageError::NoLeaf => "no_leaf",
        }
    }
}

/// Decodes one message, which borrows `bytes` wherever JSON has no escape.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, MessageError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Message::Idle);
    }
    // The whole at once is checked faster than string by string. Where it is no UTF-8, what matters is
    // whether a string that is wanted is none.
    let outer: Object<Envelope<'_>> = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text)?,
        Err(_) => serde_json::from_slice(bytes)?,
    };
    let envelope = match outer {
        Object::Is(envelope) => envelope,
        Object::Other(kind) => return Err(MessageError::NotObject(kind)),
    };
    let kind = envelope.message_type.as_str();
    if envelope.message_type.shape != Shape::Usual {
        return Err(MessageError::Type);
    }
    match envelope.data {
        Data::Names(names) if kind.is_none_or(|k| k == "dns_entries") => Ok(Message::Names(names)),
        Data::Update(update) if kind.is_none_or(|k| k == "certificate_update") => match update.leaf.given {
            true => Ok(Message::Certificate(update)),
            false => Err(MessageError::NoLeaf),
        },
        Data::Other(names) if kind == Some("dns_entries") => Ok(Message::Names(names)),
        _ => match kind {
            Some("certificate_update") => Err(MessageError::NoLeaf),
            Some("dns_entries") | None => Err(MessageError::Type),
            // `heartbeat`, and whatever a later server says beside certificates.
            Some(_) => Ok(Message::Idle),
        },
    }
}

/// The `as_der` of each certificate of a message's chain, until one has none. [`decode`] passes the chain
/// over: only an entry that goes on has a use for it, and then it is looked for again.
pub fn chain(message: &[u8]) -> impl Iterator<Item = Text<'_>> {
    let links = match serde_json::from_slice::<ChainEnvelope<'_>>(message) {
        Ok(envelope) => envelope.data.chain.0,
        Err(_) => Vec::new(),
    };
    links
        .into_iter()
        .map(|link| link.as_der)
        .take_while(|der| der.shape != Shape::Usual || der.as_str().is_some())
}

#[derive(Debug, Default)]
struct ChainEnvelope<'a> {
    data: ChainData<'a>,
}

#[derive(Debug, Default)]
struct ChainData<'a> {
    chain: Links<'a>,
}

/// The first of a chain; the rest is passed over.
#[derive(Debug, Default)]
struct Links<'a>(Vec<Link<'a>>);

#[derive(Debug, Default)]
struct Link<'a> {
    as_der: Text<'a>,
}

/// A JSON object, or the name of what stands in its place.
#[derive(Debug)]
enum Object<T> {
    Is(T),
    Other(&'static str),
}

#[derive(Debug, Default)]
struct Envelope<'a> {
    message_type: Text<'a>,
    data: Data<'a>,
}

#[derive(Debug)]
enum Data<'a> {
    Update(Box<CertificateUpdate<'a>>),
    Names(Names<'a>),
    /// Neither an object nor an array, read as a list of names.
    Other(Names<'a>),
}

impl Default for Data<'_> {
    fn default() -> Self {
        Data::Other(Names::default())
    }
}

/// What type of value stood in a field's place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Shape {
    #[default]
    Usual,
    /// Another than it should be, with one obvious reading.
    Odd,
    /// One that cannot be read as what belongs there: what it is.
    Wrong(&'static str),
}

const BOOL: Shape = Shape::Wrong("true or false");
const NUMBER: Shape = Shape::Wrong("a number");
const TEXT: Shape = Shape::Wrong("a string");
const ARRAY: Shape = Shape::Wrong("an array");
const OBJECT: Shape = Shape::Wrong("an object");

/// `data` of a `certificate_update`.
#[derive(Debug, Default)]
pub struct CertificateUpdate<'a> {
    /// `X509LogEntry`, `PrecertLogEntry`, of old servers `PreCertEntry`.
    pub update_type: Text<'a>,
    pub index: Number,
    pub seen: Number,
    /// certstream-server-rust: the log's time.
    pub submission_timestamp: Number,
    pub source: LogSource<'a>,
    pub leaf: Leaf<'a>,
}

impl CertificateUpdate<'_> {
    /// The log's own time of the entry.
    pub fn log_time(&self) -> Option<Timestamp> {
        self.source.timestamp.time().or_else(|| self.submission_timestamp.time())
    }

    pub fn is_precertificate(&self) -> Option<bool> {
        match self.update_type.as_str()? {
            "PrecertLogEntry" | "PreCertEntry" => Some(true),
            "X509LogEntry" => Some(false),
            _ => None,
        }
    }

    /// The shape of each field in which names or the certificate stand.
    pub fn shapes(&self) -> [(&'static str, Shape); 6] {
        let Leaf { as_der, all_domains, extensions, subject, .. } = &self.leaf;
        [
            ("as_der", as_der.shape),
            ("all_domains", all_domains.shape),
            ("extensions", extensions.shape),
            ("extensions.subjectAltName", extensions.subject_alt_name.shape),
            ("subject", subject.shape),
            ("subject.CN", subject.common_name.shape),
        ]
    }
}

#[derive(Debug, Default)]
pub struct LogSource<'a> {
    pub name: Text<'a>,
    pub url: Text<'a>,
    pub timestamp: Number,
}

#[derive(Debug, Default)]
pub struct Leaf<'a> {
    /// An object stood there.
    pub given: bool,
    pub as_der: Text<'a>,
    pub all_domains: Names<'a>,
    pub serial_number: Text<'a>,
    pub not_before: Number,
    pub not_after: Number,
    pub signature_algorithm: Text<'a>,
    pub subject: DistinguishedName<'a>,
    pub issuer: DistinguishedName<'a>,
    pub extensions: Extensions<'a>,
}

#[derive(Debug, Default)]
pub struct DistinguishedName<'a> {
    pub given: bool,
    pub shape: Shape,
    pub common_name: Texts<'a>,
    pub organization: Text<'a>,
    pub organizational_unit: Text<'a>,
    pub country: Text<'a>,
    pub locality: Text<'a>,
    pub state: Text<'a>,
    pub aggregated: Text<'a>,
}

#[derive(Debug, Default)]
pub struct Extensions<'a> {
    pub given: bool,
    pub shape: Shape,
    pub subject_alt_name: Texts<'a>,
    pub authority_key_identifier: Text<'a>,
    pub poison: Flag,
}

/// A string, or a scalar that was written in its place; empty counts as missing.
#[derive(Debug, Default)]
pub struct Text<'a> {
    value: Option<Cow<'a, str>>,
    pub shape: Shape,
}

impl Text<'_> {
    pub fn as_str(&self) -> Option<&str> {
        self.value.as_deref().filter(|text| !text.is_empty())
    }
}

/// A string, or in its place a list of strings; empty ones count as missing.
#[derive(Debug, Default)]
pub struct Texts<'a> {
    /// Kept apart, so that the usual one costs no allocation.
    first: Option<Cow<'a, str>>,
    more: Vec<Cow<'a, str>>,
    pub shape: Shape,
}

impl Texts<'_> {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.first.iter().chain(&self.more).map(|text| &**text).filter(|text| !text.is_empty())
    }
}

/// A number, or a string that holds one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number {
    value: Option<Numeric>,
    /// Something else stood there.
    pub odd: bool,
}

/// `true`; anything else counts as false.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flag(pub bool);

#[derive(Clone, Copy, Debug)]
enum Numeric {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

impl Number {
    /// As an index: whole and not negative.
    pub fn index(&self) -> Option<u64> {
        match self.value? {
            Numeric::Unsigned(n) => Some(n),
            // Whole numbers up to 2^53 are exact in a double.
            Numeric::Float(f) if f >= 0.0 && f.fract() == 0.0 && f <= 9_007_199_254_740_992.0 => {
                Some(f as u64)
            }
            _ => None,
        }
    }

    /// As a time in seconds.
    pub fn time(&self) -> Option<Timestamp> {
        Timestamp::from_seconds(match self.value? {
            Numeric::Unsigned(n) => n as f64,
            Numeric::Negative(n) => n as f64,
            Numeric::Float(f) => f,
        })
    }

    pub fn is_given(&self) -> bool {
        self.value.is_some() || self.odd
    }
}

/// A list of names, or one in its place.
#[derive(Debug, Default)]
pub struct Names<'a> {
    pub list: Vec<Cow<'a, str>>,
    pub shape: Shape,
}

/// The same value in place of every scalar, and of null unless that has its own.
macro_rules! default_for_scalars {
    ($value:expr) => {
        default_for_scalars!($value, $value);
    };
    ($value:expr, $null:expr) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($null)
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

/// A string, or what else stands in its place, through `$of`. Null is a server's way to write that there is
/// nothing.
macro_rules! of_one_value {
    ($of:ident $(, $wrap:path)?) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($($wrap)?($of(Err(BOOL))))
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($($wrap)?($of(Err(NUMBER))))
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($($wrap)?($of(Err(NUMBER))))
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($($wrap)?($of(Err(NUMBER))))
        }
        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok($($wrap)?($of(Ok(Cow::Borrowed(text)))))
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok($($wrap)?($of(Ok(Cow::Owned(text.to_owned())))))
        }
    };
}

/// `Deserialize` for a struct whose fields each take any JSON value; what is no object gives the default.
macro_rules! tolerant_object {
    ($type:ident { $($key:literal => $field:ident),* $(,)? } $($given:ident $($shape:ident)?)?) => {
        impl $type<'_> {
            /// What stood in its place counts where names are in it.
            fn not_an_object(of: Shape) -> Self {
                let _ = of;
                Self { $($($shape: of,)?)? ..Self::default() }
            }
        }
        impl<'de> Deserialize<'de> for $type<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> Visitor<'de> for Fields {
                    type Value = $type<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut found = $type::default();
                        $(found.$given = true;)?
                        while let Some(key) = map.next_key::<Key<'de>>()? {
                            match key.0.as_ref() {
                                $($key => found.$field = map.next_value()?,)*
                                _ => drop(map.next_value::<IgnoredAny>()?),
                            }
                        }
                        Ok(found)
                    }
                    fn visit_unit<E>(self) -> Result<Self::Value, E> {
                        Ok($type::default())
                    }
                    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                        Ok($type::not_an_object(BOOL))
                    }
                    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                        Ok($type::not_an_object(NUMBER))
                    }
                    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                        Ok($type::not_an_object(NUMBER))
                    }
                    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                        Ok($type::not_an_object(NUMBER))
                    }
                    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                        Ok($type::not_an_object(if text.is_empty() { Shape::Odd } else { TEXT }))
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                        // PHP writes an empty object so.
                        let empty = seq.next_element::<IgnoredAny>()?.is_none();
                        if !empty {
                            while seq.next_element::<IgnoredAny>()?.is_some() {}
                        }
                        Ok($type::not_an_object(if empty { Shape::Odd } else { ARRAY }))
                    }
                }
                deserializer.deserialize_any(Fields)
            }
        }
    };
}

tolerant_object!(Envelope { "message_type" => message_type, "data" => data });
tolerant_object!(ChainEnvelope { "data" => data });
tolerant_object!(ChainData { "chain" => chain });
tolerant_object!(Link { "as_der" => as_der });
tolerant_object!(LogSource { "name" => name, "url" => url, "timestamp" => timestamp });
tolerant_object!(DistinguishedName {
    "CN" => common_name,
    "O" => organization,
    "OU" => organizational_unit,
    "C" => country,
    "L" => locality,
    "ST" => state,
    "aggregated" => aggregated,
} given shape);
tolerant_object!(Extensions {
    "subjectAltName" => subject_alt_name,
    "authorityKeyIdentifier" => authority_key_identifier,
    "ctlPoisonByte" => poison,
} given shape);
tolerant_object!(Leaf {
    "as_der" => as_der,
    "all_domains" => all_domains,
    "serial_number" => serial_number,
    "not_before" => not_before,
    "not_after" => not_after,
    "signature_algorithm" => signature_algorithm,
    "subject" => subject,
    "issuer" => issuer,
    "extensions" => extensions,
} given);
tolerant_object!(CertificateUpdate {
    "update_type" => update_type,
    "cert_index" => index,
    "seen" => seen,
    "submission_timestamp" => submission_timestamp,
    "source" => source,
    "leaf_cert" => leaf,
});

/// A key; borrowed unless it is written with an escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Object<Envelope<'de>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OuterVisitor;
        impl<'de> Visitor<'de> for OuterVisitor {
            type Value = Object<Envelope<'de>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Envelope::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Object::Is)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Object::Other("an array"))
            }
            default_for_scalars!(Object::Other("a scalar"));
        }
        deserializer.deserialize_any(OuterVisitor)
    }
}

impl<'de> Deserialize<'de> for Data<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DataVisitor;
        impl<'de> Visitor<'de> for DataVisitor {
            type Value = Data<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("data")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                CertificateUpdate::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(|update| Data::Update(Box::new(update)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                names(seq).map(Data::Names)
            }
            of_one_value!(names_of, Data::Other);
        }
        deserializer.deserialize_any(DataVisitor)
    }
}

fn names<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Names<'de>, A::Error> {
    let mut names = Names::default();
    while let Some(Text { value, shape }) = seq.next_element()? {
        // Null in a list is nobody's name.
        let shape = if value.is_none() { shape.max(Shape::Odd) } else { shape };
        names.list.extend(value);
        names.shape = names.shape.max(shape);
    }
    Ok(names)
}

/// One value in the place of a list of names.
fn names_of(name: Result<Cow<'_, str>, Shape>) -> Names<'_> {
    match name {
        Ok(name) if name.is_empty() => Names { list: Vec::new(), shape: Shape::Odd },
        Ok(name) => Names { list: vec![name], shape: Shape::Odd },
        Err(shape) => Names { list: Vec::new(), shape },
    }
}

/// One value where a string belongs.
fn texts_of(text: Result<Cow<'_, str>, Shape>) -> Texts<'_> {
    match text {
        Ok(text) => Texts { first: Some(text), ..Texts::default() },
        Err(shape) => Texts { shape, ..Texts::default() },
    }
}

impl<'de> Deserialize<'de> for Names<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                names(seq)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(names_of(Err(OBJECT)))
            }
            of_one_value!(names_of);
        }
        deserializer.deserialize_any(NamesVisitor)
    }
}

impl<'de> Deserialize<'de> for Texts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let Names { list, shape } = names(seq)?;
                Ok(Texts { first: None, more: list, shape: shape.max(Shape::Odd) })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(texts_of(Err(OBJECT)))
            }
            of_one_value!(texts_of);
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl<'de> Deserialize<'de> for Links<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LinksVisitor;
        impl<'de> Visitor<'de> for LinksVisitor {
            type Value = Links<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a chain")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut links = Links::default();
                while links.0.len() < MAX_CERTIFICATES
                    && let Some(link) = seq.next_element()?
                {
                    links.0.push(link);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(links)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Links::default())
            }
            default_for_scalars!(Links::default());
        }
        deserializer.deserialize_any(LinksVisitor)
    }
}

/// Any JSON value, of which a scalar is kept and the rest is passed over.
enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// True when nothing is in it.
    Array(bool),
    Object,
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(flag))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Unsigned(n))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Negative(n))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Float(n))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let empty = seq.next_element::<IgnoredAny>()?.is_none();
                if !empty {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                }
                Ok(Scalar::Array(empty))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Object)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Text { value: Some(text), shape: Shape::Usual },
            Scalar::Null => Text::default(),
            Scalar::Unsigned(n) => Text { value: Some(Cow::Owned(n.to_string())), shape: Shape::Odd },
            Scalar::Negative(n) => Text { value: Some(Cow::Owned(n.to_string())), shape: Shape::Odd },
            Scalar::Bool(_) => Text { value: None, shape: BOOL },
            Scalar::Float(_) => Text { value: None, shape: NUMBER },
            Scalar::Array(empty) => Text { value: None, shape: if empty { Shape::Odd } else { ARRAY } },
            Scalar::Object => Text { value: None, shape: OBJECT },
        })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Scalar::deserialize(deserializer)? {
            Scalar::Null => return Ok(Number::default()),
            Scalar::Unsigned(n) => Some(Numeric::Unsigned(n)),
            Scalar::Negative(n) => Some(Numeric::Negative(n)),
            Scalar::Float(n) => Some(Numeric::Float(n)),
            Scalar::Text(text) => match text.trim() {
                "" => return Ok(Number::default()),
                // How the Elixir server writes 9999-12-31T23:59:59Z (RFC 5280, 4.1.2.5).
                "no_expiration" => Some(Numeric::Unsigned(253_402_300_799)),
                text => {
                    text.parse().map(Numeric::Unsigned).ok().or_else(|| text.parse().ok().map(Numeric::Float))
                }
            },
            Scalar::Bool(_) | Scalar::Array(_) | Scalar::Object => None,
        };
        Ok(Number { value, odd: value.is_none() })
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Flag(matches!(Scalar::deserialize(deserializer)?, Scalar::Bool(true))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(json: &str) -> Box<CertificateUpdate<'_>> {
        match decode(json.as_bytes()).expect(json) {
            Message::Certificate(update) => update,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_message() {
        let kind = |json: &str| match decode(json.as_bytes()) {
            Ok(Message::Certificate(_)) => "certificate",
            Ok(Message::Names(_)) => "names",
            Ok(Message::Idle) => "idle",
            Err(error) => error.reason(),
        };
        for (json, want) in [
            (r#"{"message_type":"certificate_update","data":{"leaf_cert":{}}}"#, "certificate"),
            (r#"{"data":{"leaf_cert":{}}}"#, "certificate"),
            (r#"{"data":{"leaf_cert":{}},"message_type":null}"#, "certificate"),
            (r#"{"message_type":"certificate_update","data":{"leaf_cert":null}}"#, "no_leaf"),
            (r#"{"message_type":"certificate_update","data":null}"#, "no_leaf"),
            (r#"{"message_type":"certificate_update","data":"x"}"#, "no_leaf"),
            (r#"{"message_type":"certificate_update"}"#, "no_leaf"),
            (r#"{"message_type":"dns_entries","data":["a.example"]}"#, "names"),
            (r#"{"message_type":"dns_entries","data":null}"#, "names"),
            (r#"{"message_type":"dns_entries","data":"a.example"}"#, "names"),
            (r#"{"message_type":"dns_entries","data":7}"#, "names"),
            (r#"{"message_type":"dns_entries","data":{}}"#, "message_type"),
            (r#"{"data":"a.example"}"#, "message_type"),
            (r#"{"message_type":"certificate_update","data":{"leaf_cert":[]}}"#, "no_leaf"),
            (r#"{"message_type":"certificate_update","data":["a.example"]}"#, "no_leaf"),
            (r#"{"message_type":"heartbeat"}"#, "idle"),
            (r#"{"message_type":"heartbeat","timestamp":1.5}"#, "idle"),
            (r#"{"message_type":["certificate_update"],"data":["a.example"]}"#, "message_type"),
            ("{}", "message_type"),
            ("", "idle"),
            (" \n\t", "idle"),
            ("null", "not_object"),
            ("[1]", "not_object"),
            ("7", "not_object"),
            (r#"{"data":["\ud800.example"],"message_type":"dns_entries"}"#, "json"),
            (r#"{"message_type":"heartbeat"}{"message_type":"heartbeat"}"#, "json"),
            (r#"{"data":{"seen":NaN}}"#, "json"),
            (r#"{"data":["\u00"#, "json"),
        ] {
            assert_eq!(kind(json), want, "{json}");
        }
        let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(kind(&deep), "names", "what is passed over costs no stack");
    }

    #[test]
    fn fields_of_any_type() {
        let update = certificate(
            r#"{"data":{"cert_index":"7","seen":1.5e3,"source":{"url":"https:\/\/log.example","timestamp":"12"},
                "leaf_cert":{"all_domains":["a.example",5,null,{},["x"],"b.example"],"not_after":"no_expiration",
                "serial_number":5,"as_der":[],"subject":7,"issuer":{"O":"Some CA","CN":""},
                "extensions":{"ctlPoisonByte":true,"subjectAltName":null}}}}"#,
        );
        assert_eq!(update.index.index(), Some(7));
        assert_eq!(update.seen.time(), Some(Timestamp(1_500_000)));
        assert_eq!(update.source.url.as_str(), Some("https://log.example"));
        assert_eq!(update.log_time(), Some(Timestamp(12_000)));
        let leaf = &update.leaf;
        assert_eq!(leaf.all_domains.list, ["a.example", "5", "b.example"]);
        assert_eq!((leaf.all_domains.shape, leaf.as_der.shape), (OBJECT, Shape::Odd));
        assert_eq!(leaf.not_after.time().unwrap().to_string(), "9999-12-31T23:59:59.000Z");
        assert_eq!(leaf.serial_number.as_str(), Some("5"));
        assert!(!leaf.subject.given && leaf.issuer.given);
        assert_eq!(
            (leaf.issuer.organization.as_str(), leaf.issuer.common_name.iter().next()),
            (Some("Some CA"), None)
        );
        assert!(leaf.extensions.poison.0 && leaf.extensions.subject_alt_name.iter().next().is_none());

        for (index, want) in [("7.0", Some(7)), ("-1", None), ("1.5", None), ("[]", None), ("null", None)] {
            let json = format!(r#"{{"data":{{"cert_index":{index},"leaf_cert":{{}}}}}}"#);
            assert_eq!(certificate(&json).index.index(), want, "{index}");
        }
    }
}
