//! What is odd about an entry: named, counted, and shown on the records of an entry that matches.

/// One oddity; the label is part of the contract of records and of `certsieve_anomalies_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Anomaly {
    /// An address written as a dNSName.
    IpInDns,
    /// An address written as a common name.
    IpInCommonName,
    /// An iPAddress of neither 4 nor 16 octets.
    IpLength,
    /// An IPv4 address written as `::ffff:a.b.c.d`.
    IpV4Mapped,
    /// A NUL inside a name.
    NulInName,
    /// Several names, a URL or a port in the place of one name.
    JoinedName,
    /// Bytes above 0x7f in a name.
    NonAsciiName,
    /// A label that is none: it stands for any one label.
    UnparsableLabel,
    /// A name so long that only its start and its end were read.
    NameTooLong,
    /// The text of a message and its DER name different things.
    TextDerMismatch,
    /// Bytes behind the certificate's end.
    TrailingData,
    /// The DER is there and is no certificate.
    AsDerInvalid,
    /// A field holds a value of another type than its name says.
    FieldType,
    /// `cert_index` is no index, or a leaf says another of itself than where it lay.
    IndexInvalid,
    /// A log signs another TBSCertificate than that of the precertificate it shows.
    PrecertMismatch,
    /// A chain that ends early, at what is no certificate.
    ChainInvalid,
    /// A certificate with another's issuance key and other content.
    SerialReuse,
    /// A name of one label.
    SingleLabelName,
    /// A name under no top-level domain that exists.
    UnknownTld,
    /// The issuer's own certificate says otherwise than the certificate claims.
    IssuerClaimMismatch,
}

impl Anomaly {
    pub const ALL: [Anomaly; 20] = [
        Anomaly::IpInDns,
        Anomaly::IpInCommonName,
        Anomaly::IpLength,
        Anomaly::IpV4Mapped,
        Anomaly::NulInName,
        Anomaly::JoinedName,
        Anomaly::NonAsciiName,
        Anomaly::UnparsableLabel,
        Anomaly::NameTooLong,
        Anomaly::TextDerMismatch,
        Anomaly::TrailingData,
        Anomaly::AsDerInvalid,
        Anomaly::FieldType,
        Anomaly::IndexInvalid,
        Anomaly::PrecertMismatch,
        Anomaly::ChainInvalid,
        Anomaly::SerialReuse,
        Anomaly::SingleLabelName,
        Anomaly::UnknownTld,
        Anomaly::IssuerClaimMismatch,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Anomaly::IpInDns => "ip_in_dns",
            Anomaly::IpInCommonName => "ip_in_cn",
            Anomaly::IpLength => "ip_length",
            Anomaly::IpV4Mapped => "ip_v4_mapped",
            Anomaly::NulInName => "nul_in_name",
            Anomaly::JoinedName => "joined_name",
            Anomaly::NonAsciiName => "non_ascii_name",
            Anomaly::UnparsableLabel => "unparsable_label",
            Anomaly::NameTooLong => "name_too_long",
            Anomaly::TextDerMismatch => "text_der_mismatch",
            Anomaly::TrailingData => "trailing_data",
            Anomaly::AsDerInvalid => "as_der_invalid",
            Anomaly::FieldType => "field_type",
            Anomaly::IndexInvalid => "index_invalid",
            Anomaly::PrecertMismatch => "precert_mismatch",
            Anomaly::ChainInvalid => "chain_invalid",
            Anomaly::SerialReuse => "serial_reuse",
            Anomaly::SingleLabelName => "single_label_name",
            Anomaly::UnknownTld => "unknown_tld",
            Anomaly::IssuerClaimMismatch => "issuer_claim_mismatch",
        }
    }
}

/// A set of anomalies.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Anomalies(u32);

impl Anomalies {
    pub fn add(&mut self, anomaly: Anomaly) {
        self.0 |= 1 << anomaly as u8;
    }

    pub fn merge(&mut self, other: Anomalies) {
        self.0 |= other.0;
    }

    /// Those of `self` that `other` has not.
    pub fn without(self, other: Anomalies) -> Anomalies {
        Anomalies(self.0 & !other.0)
    }

    pub fn has(self, anomaly: Anomaly) -> bool {
        self.0 & (1 << anomaly as u8) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Anomaly> {
        // Nearly every entry has none.
        let all: &[Anomaly] = if self.is_empty() { &[] } else { &Anomaly::ALL };
        all.iter().copied().filter(move |a| self.has(*a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_each_once_in_order() {
        for (i, anomaly) in Anomaly::ALL.into_iter().enumerate() {
            assert_eq!(anomaly as usize, i);
        }
    }
}
