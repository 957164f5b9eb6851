//! A certificate authority for the length of a test, and what it signs, as PEM files and rustls keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A leaf and its key.
pub struct Leaf {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("ring makes keys");
        let certificate = params.self_signed(&key).expect("a CA signs itself").der().clone();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// A leaf for `name`, a name or an address.
    pub fn leaf(&self, name: &str) -> Leaf {
        self.sign(name, |_| {})
    }

    /// A leaf that has ended.
    pub fn expired_leaf(&self, name: &str) -> Leaf {
        self.sign(name, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a test's name is a name");
        change(&mut params);
        let key = KeyPair::generate().expect("ring makes keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("a CA signs").der().clone();
        Leaf { certificate, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }

    /// Writes the authority's certificate.
    pub fn write(&self, file: &Path) -> PathBuf {
        write_pem(file, "CERTIFICATE", &self.certificate)
    }

    /// A server with `leaf`; with `clients`, only who has a certificate of that authority may come.
    pub fn server(leaf: &Leaf, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.clone()).expect("a CA's certificate is one");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("one root is enough"))
            }
        };
        let chain = vec![leaf.certificate.clone()];
        Arc::new(builder.with_single_cert(chain, leaf.key.clone_key()).expect("key and leaf belong together"))
    }
}

impl Leaf {
    /// Writes certificate and key.
    pub fn write(&self, certificate: &Path, key: &Path) -> (PathBuf, PathBuf) {
        (
            write_pem(certificate, "CERTIFICATE", &self.certificate),
            write_pem(key, "PRIVATE KEY", self.key.secret_der()),
        )
    }
}

fn write_pem(file: &Path, label: &str, der: &[u8]) -> PathBuf {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    std::fs::write(file, pem).expect("the test's folder can be written");
    file.to_owned()
}
