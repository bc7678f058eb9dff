use super::*;

const SECRET_KEY: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = br#"{"test": 2432232314}"#;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn headers(given: &[(&'static str, String)]) -> HeaderMap {
    given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn seed(prefix: &str, bytes: &[u8]) -> Vec<u8> {
    format!("{prefix}_{}", STANDARD.encode(bytes)).into_bytes()
}

/// The example in the standard's reference libraries.
#[test]
fn signature_matches_the_reference_example() {
    let signer = Signer::parse([SECRET_KEY]).unwrap();
    let signed = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", BODY, at(1_614_265_330));
    assert_eq!(signed[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn signature_is_valid_for_its_keys_only() {
    let private = seed("whsk", &[7; 32]);
    let signer = Signer::parse([SECRET_KEY, private.as_slice()]).unwrap();
    let public = signer.public_keys();
    assert_eq!(public.len(), 1);
    let signed = headers(&signer.headers("id", BODY, at(1000)));
    let verify = |keys: &[&[u8]], headers: &HeaderMap, body: &[u8], now| {
        Verifier::parse(keys.iter().copied()).unwrap().verify(headers, body, now).map(str::to_owned)
    };
    let other = seed("whsec", &[1; 32]);
    let other_public = Signer::parse([seed("whsk", &[8; 32]).as_slice()]).unwrap().public_keys().remove(0);
    for keys in [&[SECRET_KEY][..], &[public[0].as_bytes()], &[other.as_slice(), SECRET_KEY]] {
        assert_eq!(verify(keys, &signed, BODY, at(1100)), Ok("id".to_owned()));
    }
    for keys in [&[other.as_slice()][..], &[other_public.as_bytes()], &[]] {
        assert_eq!(verify(keys, &signed, BODY, at(1000)), Err(SignatureError::Wrong));
    }
    assert_eq!(verify(&[SECRET_KEY], &signed, b"{}", at(1000)), Err(SignatureError::Wrong));
    assert_eq!(verify(&[SECRET_KEY], &signed, BODY, at(1301)), Err(SignatureError::Old));
    assert_eq!(verify(&[SECRET_KEY], &signed, BODY, at(699)), Err(SignatureError::Early));
    for (header, forged) in [(ID, "other"), (TIMESTAMP, "1001")] {
        let mut forged_headers = signed.clone();
        forged_headers.insert(header, forged.parse().unwrap());
        assert_eq!(verify(&[SECRET_KEY], &forged_headers, BODY, at(1000)), Err(SignatureError::Wrong));
    }
}

/// A public key is not a secret: anyone could make an HMAC with it.
#[test]
fn public_key_is_not_accepted_as_a_secret() {
    let pair = Signer::parse([seed("whsk", &[7; 32]).as_slice()]).unwrap();
    let public = pair.public_keys().remove(0);
    let as_secret = public.replace("whpk", "whsec");
    let forger = Signer::parse([as_secret.as_bytes()]).unwrap();
    let mut forged = headers(&forger.headers("id", BODY, at(1000)));
    let verifier = Verifier::parse([public.as_bytes()]).unwrap();
    assert_eq!(verifier.verify(&forged, BODY, at(1000)), Err(SignatureError::Wrong));
    let relabelled = forged[SIGNATURE].to_str().unwrap().replace("v1,", "v1a,");
    forged.insert(SIGNATURE, relabelled.parse().unwrap());
    assert_eq!(verifier.verify(&forged, BODY, at(1000)), Err(SignatureError::Wrong));
}

#[test]
fn missing_and_malformed_headers_are_named() {
    let signer = Signer::parse([SECRET_KEY]).unwrap();
    let verifier = Verifier::parse([SECRET_KEY]).unwrap();
    let signed = headers(&signer.headers("id", BODY, at(1000)));
    for header in [ID, TIMESTAMP, SIGNATURE] {
        let mut without = signed.clone();
        without.remove(header);
        assert_eq!(verifier.verify(&without, BODY, at(1000)), Err(SignatureError::Missing(header)));
    }
    for odd in ["-1", "1e3", "99999999999999999999", "x"] {
        let mut odd_time = signed.clone();
        odd_time.insert(TIMESTAMP, odd.parse().unwrap());
        assert_eq!(verifier.verify(&odd_time, BODY, at(1000)), Err(SignatureError::Missing(TIMESTAMP)));
    }
    for odd in ["v1", "v1,", "v1,*", ",", "v2,AAAA", &"v1,AAAA ".repeat(1000)] {
        let mut odd_signature = signed.clone();
        odd_signature.insert(SIGNATURE, odd.parse().unwrap());
        assert_eq!(verifier.verify(&odd_signature, BODY, at(1000)), Err(SignatureError::Wrong));
    }
}

#[test]
fn malformed_keys_are_rejected() {
    let private = |text: &[u8]| Signer::parse([text]).err();
    assert_eq!(private(b"secret"), Some(KeyError::Secret));
    assert_eq!(private(b"whsec_AAAA"), Some(KeyError::Secret));
    assert_eq!(private(b"whsk_AAAA"), Some(KeyError::Private));
    let mut torn = [7; 64];
    torn[63] = 0;
    assert_eq!(private(&seed("whsk", &torn)), Some(KeyError::Private));
    assert_eq!(Verifier::parse([&b"whpk_AAAA"[..]]).err(), Some(KeyError::Public));
    assert_eq!(Verifier::parse([&b"whsk_AAAA"[..]]).err(), Some(KeyError::Secret));
    let shown = format!("{:?}", Signer::parse([SECRET_KEY]).unwrap());
    assert_eq!(shown, "Signer(1 keys)");
}
