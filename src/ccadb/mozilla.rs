//! Mozilla's roots for TLS, built in: what is known of root programs where nobody has given CCADB's reports.
//!
//! From `webpki-root-certs`, which is generated from Mozilla's own report. A root is found by fingerprint or
//! key id; what it issued through, only by a chain that leads to it. Who owns a root is not in there.

use ring::digest::{SHA256, digest};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authorities, Data, Owner, Program, Programs, Record};

pub fn roots() -> Authorities {
    let records = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| root(der)).collect();
    let nobody = Owner { name: "".into(), report_to: None };
    Authorities::new(Data::MozillaRoots, None, records, vec![nobody], 0)
}

fn root(der: &[u8]) -> Option<Record> {
    let (_, root) = X509Certificate::from_der(der).ok()?;
    let key = root.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.into()),
        _ => None,
    });
    let subject = root.subject();
    let name = subject
        .iter_common_name()
        .chain(subject.iter_organizational_unit())
        .chain(subject.iter_organization())
        .find_map(|attribute| attribute.as_str().ok())?;
    Some(Record {
        sha256: digest(&SHA256, der).as_ref().try_into().ok()?,
        key,
        parent: None,
        authority_key: None,
        owner: 0,
        name: name.into(),
        is_root: true,
        is_revoked: false,
        is_delegated: false,
        included: Programs::from_iter([Program::Mozilla]),
    })
}
