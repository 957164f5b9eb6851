//! Names as certificates write them, in the one form in which they are compared.

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// UTS 46, non-transitional, to lower-case A-labels. A watched domain and a certificate's name go
/// through this one function. `None` where a label is no IDNA label (bad Punycode, a forbidden
/// character): the caller decides what such a label stands for.
pub fn to_a_labels(name: &str) -> Option<Cow<'_, str>> {
    Uts46::new().to_ascii(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore).ok()
}

/// The same name in U-labels, for keywords that are written in another script.
pub fn to_u_labels(name: &str) -> Cow<'_, str> {
    Uts46::new().to_unicode(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow).0
}
