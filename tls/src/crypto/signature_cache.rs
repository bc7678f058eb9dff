//! A cache of certificate signatures that verified. Whether a signature verifies depends on its bytes alone, and peers
//! come back with the same certificate: it is computed once and then looked up. Dates, usage, names and trust are
//! checked each time. What is computed and does not verify is charged to the budget of the verification.

use std::cell::RefCell;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, FipsStatus, InvalidSignature, SignatureVerificationAlgorithm};
use sha2::{Digest as _, Sha256};

use super::failure_budget;

/// Entries for each thread. Of signatures that share an entry, the newest is kept.
const ENTRIES: usize = 256;

type Fingerprint = [u8; 32];

thread_local! {
    static VERIFIED: RefCell<Vec<Option<Fingerprint>>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
thread_local! {
    /// Signatures of certificates that this thread has computed.
    pub(crate) static COMPUTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// `algorithms`, with a cache for the signatures of certificates. The signatures of a handshake are new each time and are
/// not cached. Leaks one allocation for each algorithm, so call it once for a provider.
pub fn caching(algorithms: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    let all: Vec<_> =
        algorithms.all.iter().zip(0..).map(|(algorithm, number)| leak(*algorithm, number)).collect();
    WebPkiSupportedAlgorithms { all: all.leak(), ..algorithms }
}

fn leak(
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    number: u8,
) -> &'static dyn SignatureVerificationAlgorithm {
    Box::leak(Box::new(CachingAlgorithm { algorithm, number }))
}

#[derive(Debug)]
struct CachingAlgorithm {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    /// Its index among all algorithms: a signature that verified under one says nothing about another.
    number: u8,
}

impl CachingAlgorithm {
    fn fingerprint(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Fingerprint {
        let mut hash = Sha256::new_with_prefix([self.number]);
        for part in [public_key, message, signature] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl SignatureVerificationAlgorithm for CachingAlgorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let fingerprint = self.fingerprint(public_key, message, signature);
        let index = usize::from(fingerprint[0]) % ENTRIES;
        if VERIFIED.with_borrow(|entries| entries.get(index) == Some(&Some(fingerprint))) {
            return Ok(());
        }
        if !failure_budget::has_room() {
            return Err(InvalidSignature);
        }
        #[cfg(test)]
        COMPUTED.set(COMPUTED.get() + 1);
        let verified = self.algorithm.verify_signature(public_key, message, signature);
        verified.inspect_err(|_| failure_budget::charge(public_key, message))?;
        VERIFIED.with_borrow_mut(|entries| {
            entries.resize(ENTRIES, None);
            entries[index] = Some(fingerprint);
        });
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips_status(&self) -> FipsStatus {
        self.algorithm.fips_status()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use rustls::pki_types::alg_id;

    use super::*;

    /// Accepts a signature that is its message reversed, and counts the calls.
    #[derive(Debug, Default)]
    struct Reversed(AtomicUsize);

    impl SignatureVerificationAlgorithm for Reversed {
        fn verify_signature(
            &self,
            _: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Relaxed);
            message.iter().rev().eq(signature).then_some(()).ok_or(InvalidSignature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    }

    fn two_of(asked: &'static Reversed) -> WebPkiSupportedAlgorithms {
        let all: &[&dyn SignatureVerificationAlgorithm] =
            vec![asked as &dyn SignatureVerificationAlgorithm; 2].leak();
        caching(WebPkiSupportedAlgorithms { all, mapping: &[] })
    }

    #[test]
    fn a_valid_signature_is_computed_once_and_an_invalid_one_each_time() {
        let asked: &Reversed = Box::leak(Box::default());
        let [first, second] = two_of(asked).all else { panic!("not two") };
        let verifies =
            |algorithm: &dyn SignatureVerificationAlgorithm, key: &[u8], message: &[u8], signature: &[u8]| {
                algorithm.verify_signature(key, message, signature).is_ok()
            };
        for _ in 0..3 {
            assert!(verifies(*first, b"key", b"abc", b"cba"));
        }
        assert_eq!(asked.0.load(Relaxed), 1);
        // Another signature, message, key, split of the same bytes, or algorithm is another entry.
        for _ in 0..2 {
            assert!(!verifies(*first, b"key", b"abc", b"cbb"));
            assert!(!verifies(*first, b"key", b"abd", b"cba"));
            assert!(!verifies(*first, b"keya", b"bc", b"cba"));
        }
        assert_eq!(asked.0.load(Relaxed), 7);
        assert!(verifies(*first, b"kez", b"abc", b"cba") && verifies(*second, b"key", b"abc", b"cba"));
        assert_eq!(asked.0.load(Relaxed), 9);
    }

    #[test]
    fn signatures_beyond_the_capacity_are_still_verified() {
        let asked: &Reversed = Box::leak(Box::default());
        let algorithm = two_of(asked).all[0];
        for number in 0..4 * ENTRIES as u32 {
            let (message, signature) = (number.to_be_bytes(), number.to_le_bytes());
            assert!(algorithm.verify_signature(b"key", &message, &signature).is_ok());
            assert!(algorithm.verify_signature(b"key", &message, b"").is_err());
        }
        assert_eq!(VERIFIED.with_borrow(Vec::len), ENTRIES);
    }
}
