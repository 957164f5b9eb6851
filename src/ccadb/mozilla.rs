//! Mozilla's roots for TLS, built in: what is known of root programs where nobody has given CCADB's reports.
//!
//! From `webpki-root-certs`, which is generated from Mozilla's own report. A root is found by fingerprint or
//! key id; what it issued through, only by a chain that leads to it. Who owns a root is not in there.

use super::{Authorities, Data, Owner, Program, Programs, Record, key_of_hex, names_of};
use crate::entry::chain::ChainCertificate;

pub fn roots() -> Authorities {
    let records = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| root(der)).collect();
    let nobody = Owner { name: "".into(), report_to: None };
    Authorities::new(Data::MozillaRoots, None, records, vec![nobody], 0)
}

fn root(der: &[u8]) -> Option<Record> {
    let root = ChainCertificate::read(der).ok()?;
    Some(Record {
        sha256: root.sha256,
        key: root.key_id.as_deref().and_then(key_of_hex),
        parent: None,
        authority_key: None,
        owner: 0,
        name: names_of(&root.subject).first()?.as_str().into(),
        is_root: true,
        is_revoked: false,
        is_delegated: false,
        included: Some(Programs::from_iter([Program::Mozilla])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_is_read_and_can_be_found() {
        let roots = roots();
        assert_eq!(roots.records.len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(roots.records.len() > 100, "{roots:?}");
        for record in &roots.records {
            assert!(!record.name.is_empty(), "{record:?}");
        }
        // TWCA's has none.
        let keyless = roots.records.iter().filter(|record| record.key.is_none()).count();
        assert!(keyless <= 1, "{keyless} without a key id");
        assert_eq!(roots.counts().roots, [0, 0, 0, roots.records.len()]);
    }
}
