//! Log entries made to order: a certificate as DER, byte by byte, and the messages in which servers of
//! each dialect would send it.
//!
//! No library is asked what a certificate may hold: names are bytes, serials begin with any octet, an
//! iPAddress has any length. Signatures are filler.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Where one name of a subjectAltName stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum San {
    Dns(Vec<u8>),
    Ip(Vec<u8>),
}

impl San {
    pub fn dns_text(name: String) -> San {
        San::Dns(name.into_bytes())
    }
}

pub fn dns(name: impl AsRef<[u8]>) -> San {
    San::Dns(name.as_ref().to_vec())
}

pub fn ip(address: &str) -> San {
    San::Ip(match address.parse().expect("a test's address is one") {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    })
}

/// What a certificate is made of.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Content octets of the INTEGER.
    pub serial: Vec<u8>,
    pub authority_key_id: Option<Vec<u8>>,
    pub issuer_organization: String,
    pub issuer_common_name: String,
    /// Seconds since the epoch.
    pub not_before: i64,
    pub not_after: i64,
    pub common_names: Vec<Vec<u8>>,
    /// `None`: no subjectAltName at all.
    pub san: Option<Vec<San>>,
    pub poison: bool,
    /// Each number is another subject key.
    pub subject_key: u8,
    /// Of an issuer's own certificate: organisation and common name of the subject, and its key identifier.
    pub authority: Option<(String, String, Vec<u8>)>,
}

pub const NOT_BEFORE: i64 = 1_795_595_398;
pub const NOT_AFTER: i64 = 1_827_131_398;

impl Certificate {
    /// For these names, by Fina RDC 2020, with the serial of the contract's worked alert.
    pub fn of(san: impl Into<Vec<San>>) -> Certificate {
        Certificate {
            serial: vec![0x00, 0xd3, 0x16, 0x7e, 0xfd, 0x77],
            authority_key_id: Some(vec![0x7f, 0x3c, 0x1d, 0x9a]),
            issuer_organization: "Financijska agencija".to_owned(),
            issuer_common_name: "Fina RDC 2020".to_owned(),
            not_before: NOT_BEFORE,
            not_after: NOT_AFTER,
            common_names: Vec::new(),
            san: Some(san.into()),
            poison: false,
            subject_key: 1,
            authority: None,
        }
    }

    /// The certificate of this one's issuer, as it should stand in the chain.
    pub fn issuer_certificate(&self) -> Certificate {
        let key_id = self.authority_key_id.clone().unwrap_or_default();
        let authority = Some((self.issuer_organization.clone(), self.issuer_common_name.clone(), key_id));
        Certificate { authority, san: None, ..Certificate::of([]).issuer("Root of it all", "Root") }
    }

    pub fn common_name(mut self, name: impl AsRef<[u8]>) -> Certificate {
        self.common_names.push(name.as_ref().to_vec());
        self
    }

    pub fn poisoned(mut self) -> Certificate {
        self.poison = true;
        self
    }

    pub fn issuer(mut self, organization: &str, common_name: &str) -> Certificate {
        organization.clone_into(&mut self.issuer_organization);
        common_name.clone_into(&mut self.issuer_common_name);
        self
    }

    /// The same certificate of an issuer, for another name and key id.
    pub fn issuer_of(mut self, organization: &str, common_name: &str, key_id: &[u8]) -> Certificate {
        self.authority = Some((organization.to_owned(), common_name.to_owned(), key_id.to_vec()));
        self
    }

    pub fn der(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        if let Some(id) = &self.authority_key_id {
            extensions.push(extension(&[0x55, 0x1d, 0x23], &sequence(&[element(0x80, id)])));
        }
        if let Some((_, _, key_id)) = &self.authority {
            extensions.push(extension(&[0x55, 0x1d, 0x0e], &element(0x04, key_id)));
        }
        if let Some(san) = &self.san {
            let names: Vec<Vec<u8>> = san
                .iter()
                .map(|name| match name {
                    San::Dns(name) => element(0x82, name),
                    San::Ip(octets) => element(0x87, octets),
                })
                .collect();
            extensions.push(extension(&[0x55, 0x1d, 0x11], &sequence(&names)));
        }
        if self.poison {
            let id = [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03];
            extensions.push(sequence(&[
                element(0x06, &id),
                element(0x01, &[0xff]),
                element(0x04, &[0x05, 0x00]),
            ]));
        }
        let authority = |organization: &str, common_name: &str| {
            let country = attribute(6, b"HR");
            vec![country, attribute(10, organization.as_bytes()), attribute(3, common_name.as_bytes())]
        };
        let issuer = sequence(&authority(&self.issuer_organization, &self.issuer_common_name));
        let subject: Vec<Vec<u8>> = match &self.authority {
            Some((organization, common_name, _)) => authority(organization, common_name),
            None => self.common_names.iter().map(|name| attribute(3, name)).collect(),
        };
        // id-ecPublicKey on prime256v1 (RFC 5480), and ecdsa-with-SHA256 (RFC 5758).
        let curve = sequence(&[
            element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]),
            element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
        ]);
        let point = [&[0x00, 0x04][..], &[self.subject_key; 64]].concat();
        let algorithm = sequence(&[element(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])]);
        let mut parts = vec![
            element(0xa0, &element(0x02, &[2])),
            element(0x02, &self.serial),
            algorithm.clone(),
            issuer,
            sequence(&[time(self.not_before), time(self.not_after)]),
            sequence(&subject),
            sequence(&[curve, element(0x03, &point)]),
        ];
        if !extensions.is_empty() {
            parts.push(element(0xa3, &sequence(&extensions)));
        }
        sequence(&[sequence(&parts), algorithm, element(0x03, &[0, 1, 2, 3])])
    }

    /// As the Go server writes it: in full with `der`, else lite. Not the bytes, the fields.
    pub fn go(&self, log: &str, index: u64, with_der: bool) -> Value {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let common_name = self.common_names.last().map(|name| text(name));
        let mut names: Vec<String> = common_name.iter().cloned().collect();
        let mut san_text = Vec::new();
        for name in self.san.iter().flatten() {
            match name {
                San::Dns(name) => {
                    let name = text(name);
                    san_text.push(format!("DNS:{name}"));
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                San::Ip(octets) => san_text.extend(address(octets).map(|ip| format!("IP Address:{ip}"))),
            }
        }
        let mut extensions = json!({});
        if let Some(id) = &self.authority_key_id {
            extensions["authorityKeyIdentifier"] = format!("keyid:{}", octets(id, ":")).into();
        }
        if self.san.is_some() {
            extensions["subjectAltName"] = san_text.join(", ").into();
        }
        if self.poison {
            extensions["ctlPoisonByte"] = true.into();
        }
        let serial: &[u8] = match self.serial.as_slice() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            serial => serial,
        };
        let mut leaf = json!({
            "all_domains": names,
            "extensions": extensions,
            "not_after": self.not_after,
            "not_before": self.not_before,
            "serial_number": octets(serial, "").to_uppercase(),
            "signature_algorithm": "ecdsa, sha256",
            "subject": {"C": null, "CN": common_name, "L": null, "O": null, "OU": null, "ST": null},
            "issuer": {"C": "HR", "CN": self.issuer_common_name, "O": self.issuer_organization,
                "L": null, "OU": null, "ST": null},
            "is_ca": false,
        });
        if with_der {
            leaf["as_der"] = STANDARD.encode(self.der()).into();
        }
        json!({
            "data": {
                "cert_index": index,
                "cert_link": "",
                "leaf_cert": leaf,
                "seen": 1_795_599_001.95,
                "source": {"name": "Example log", "url": format!("https://{log}"), "timestamp": 1_795_598_998.871,
                    "type": "rfc6962"},
                "update_type": if self.poison { "PrecertLogEntry" } else { "X509LogEntry" },
            },
            "message_type": "certificate_update",
        })
    }

    pub fn full(&self, log: &str, index: u64) -> String {
        self.go(log, index, true).to_string()
    }

    pub fn lite(&self, log: &str, index: u64) -> String {
        self.go(log, index, false).to_string()
    }
}

/// A message of a domains-only stream.
pub fn names(names: &[&str]) -> String {
    json!({"data": names, "message_type": "dns_entries"}).to_string()
}

/// Hexadecimal, lower case.
pub fn octets(bytes: &[u8], separator: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator)
}

fn address(octets: &[u8]) -> Option<std::net::IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(Into::into);
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(Into::into)).ok()
}

/// One element of DER.
pub fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    match body.len() {
        short @ 0..=127 => whole.push(short as u8),
        long => {
            let length = long.to_be_bytes();
            let from = length.iter().position(|b| *b != 0).unwrap_or(0);
            whole.push(0x80 | (length.len() - from) as u8);
            whole.extend(&length[from..]);
        }
    }
    whole.extend(body);
    whole
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// An extension that is not critical.
fn extension(id: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[element(0x06, id), element(0x04, value)])
}

/// One attribute of a Name, as UTF8String.
fn attribute(kind: u8, text: &[u8]) -> Vec<u8> {
    element(0x31, &sequence(&[element(0x06, &[0x55, 0x04, kind]), element(0x0c, text)]))
}

fn time(seconds: i64) -> Vec<u8> {
    let t = time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time of our days");
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    );
    element(0x18, text.as_bytes())
}
