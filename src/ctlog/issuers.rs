//! The certificates above those of static-ct logs, fetched by fingerprint and kept.
//!
//! A log's leaves name some hundred issuers again and again. A certificate is known by its SHA-256, which is
//! compared, so that all logs share what one of them gave. Kept are at most [`MAX_KEPT`] of at most
//! [`MAX_CERTIFICATE_BYTES`] each, 64 MiB at the very worst and usually two; what came first goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::entries::Fingerprint;
use super::key::sha256;
use super::server::{LogError, Server};
use crate::entry::chain::MAX_CERTIFICATE_BYTES;

/// The public logs know a few hundred issuers that issue.
pub const MAX_KEPT: usize = 1_024;

/// Certificates of all logs.
#[derive(Debug, Default)]
pub struct IssuerCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    certificates: FxHashMap<Fingerprint, Arc<[u8]>>,
    /// In the order in which they came.
    order: VecDeque<Fingerprint>,
}

impl IssuerCache {
    pub fn get(&self, fingerprint: &Fingerprint) -> Option<Arc<[u8]>> {
        self.with(|kept| kept.certificates.get(fingerprint).cloned())
    }

    pub(super) fn keep(&self, fingerprint: Fingerprint, certificate: Arc<[u8]>) {
        self.with(|kept| {
            if kept.certificates.insert(fingerprint, certificate).is_some() {
                return;
            }
            kept.order.push_back(fingerprint);
            if kept.order.len() > MAX_KEPT
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.certificates.remove(&oldest);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        // Nothing that is done under the lock panics half-way.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks a log for one certificate.
pub(super) async fn fetch(server: &Server, fingerprint: &Fingerprint) -> Result<Arc<[u8]>, LogError> {
    let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    let read = |body: Vec<u8>| {
        if sha256(&body) == *fingerprint {
            Ok(body.into())
        } else {
            Err(format!("a certificate of another hash, {} bytes", body.len()))
        }
    };
    // One that is missing concerns its own entries and no other request.
    server.ask(&format!("issuer/{hex}"), MAX_CERTIFICATE_BYTES, &[404, 410], read).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_goes_first() {
        let cache = IssuerCache::default();
        let print = |n: usize| sha256(&n.to_be_bytes());
        for n in 0..MAX_KEPT + 2 {
            cache.keep(print(n), [1].into());
            cache.keep(print(n), [2].into());
        }
        assert_eq!(
            [0, 1, 2, MAX_KEPT + 1].map(|n| cache.get(&print(n)).is_some()),
            [false, false, true, true]
        );
        assert_eq!(cache.get(&print(5)).as_deref(), Some(&[2][..]));
        assert_eq!(cache.with(|kept| (kept.certificates.len(), kept.order.len())), (MAX_KEPT, MAX_KEPT));
    }
}
