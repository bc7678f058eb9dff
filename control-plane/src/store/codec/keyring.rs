//! A keyring: `state.json`, `ledger.json`, and for each root `ID.crt` and `ID.key`. A version of hotcert that keeps no
//! ledger drops it when it writes the keyring.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{Malformed, Part, malformed, part};
use crate::pki::authority::Authority;
use crate::pki::keyring::{Keyring, RootId, State};

const STATE: &str = "state.json";
const LEDGER: &str = "ledger.json";
/// A Secret may have 1 MiB; the rest is for the roots and the state.
const MAX_LEDGER: usize = 800 * 1024;
/// A rollover has two; each is validated, which takes time.
const MAX_ROOTS: usize = 8;

pub fn encode(keyring: &Keyring) -> Result<Vec<Part>, Malformed> {
    check_number(keyring.roots.len())?;
    let state =
        serde_json::to_vec_pretty(&keyring.state).map_err(|error| malformed(STATE, error.to_string()))?;
    let mut parts = vec![part(STATE, &state)];
    if let Some(ledger) = &keyring.state.ledger {
        let encoded =
            serde_json::to_vec(ledger.as_ref()).map_err(|error| malformed(LEDGER, error.to_string()))?;
        if encoded.len() > MAX_LEDGER {
            let secrets = ledger.iter().count();
            return Err(malformed(
                LEDGER,
                format!("{secrets} Secrets are too many for one authority: use another"),
            ));
        }
        parts.push(part(LEDGER, &encoded));
    }
    for (id, root) in &keyring.roots {
        parts.push(part(&format!("{id}.crt"), root.certificate_pem().as_bytes()));
        parts.push(part(&format!("{id}.key"), root.key_pem().as_bytes()));
    }
    Ok(parts)
}

/// The names of the parts that a keyring has, given all names that there are.
pub fn part_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, Malformed> {
    let names: Vec<_> = names.into_iter().collect();
    let ledger = names.iter().find(|name| **name == LEDGER).map(|name| (*name).to_owned());
    let roots = root_names(names)?.into_iter().flat_map(|id| [format!("{id}.crt"), format!("{id}.key")]);
    Ok(std::iter::once(STATE.to_owned()).chain(ledger).chain(roots).collect())
}

/// `value`: of the part of this name; empty if there is none.
pub fn decode<'a, 'v>(
    names: impl IntoIterator<Item = &'a str>,
    value: impl Fn(&str) -> &'v [u8],
) -> Result<Keyring, Malformed> {
    let mut state: State = match value(STATE) {
        [] => return Err(malformed(STATE, "it is missing or empty")),
        state => parse(STATE, state)?,
    };
    state.ledger = match value(LEDGER) {
        [] => None,
        ledger => Some(Arc::new(parse(LEDGER, ledger)?)),
    };
    let mut roots = BTreeMap::new();
    for name in root_names(names)? {
        let [certificate, key] = ["crt", "key"].map(|extension| format!("{name}.{extension}"));
        if value(&key).is_empty() {
            return Err(malformed(key, "it is missing or empty"));
        }
        let root = Authority::import(value(&certificate), value(&key))
            .map_err(|error| malformed(&certificate, error.to_string()))?;
        let id = RootId::of(&root);
        if id.to_string() != name {
            return Err(malformed(certificate, format!("it holds the root {id}")));
        }
        roots.insert(id, root);
    }
    match state.needed().into_iter().find(|id| !roots.contains_key(id)) {
        Some(missing) => Err(malformed(format!("{missing}.crt"), "it is missing, and the keyring needs it")),
        None => Ok(Keyring { state, roots }),
    }
}

fn parse<T: DeserializeOwned>(name: &str, value: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(value).map_err(|error| {
        malformed(name, format!("invalid at line {}, column {}", error.line(), error.column()))
    })
}

fn root_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<&'a str>, Malformed> {
    let roots: Vec<_> = names.into_iter().filter_map(|name| name.strip_suffix(".crt")).collect();
    check_number(roots.len())?;
    Ok(roots)
}

fn check_number(roots: usize) -> Result<(), Malformed> {
    if roots <= MAX_ROOTS {
        return Ok(());
    }
    Err(malformed("*.crt", format!("the keyring has {roots} roots, more than {MAX_ROOTS}")))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::pki::authority::AuthorityRequest;

    fn root() -> Authority {
        let request = AuthorityRequest {
            common_name: "root".into(),
            lifetime: Duration::from_secs(3600),
            ..AuthorityRequest::default()
        };
        Authority::create(&request, SystemTime::now()).unwrap()
    }

    fn decode(parts: &BTreeMap<String, Vec<u8>>) -> Result<Keyring, Malformed> {
        super::decode(parts.keys().map(String::as_str), |name| parts.get(name).map_or(&[], Vec::as_slice))
    }

    fn parts(keyring: &Keyring) -> BTreeMap<String, Vec<u8>> {
        encode(keyring).unwrap().into_iter().map(|(name, value)| (name, value.to_vec())).collect()
    }

    #[test]
    fn a_keyring_comes_back_as_it_was_written() {
        let keyring = Keyring::new(root());
        let parts = parts(&keyring);
        let decoded = decode(&parts).unwrap();
        assert_eq!(decoded.state, keyring.state);
        assert!(decoded.roots.keys().eq(keyring.roots.keys()));
        let mut names = part_names(parts.keys().map(String::as_str)).unwrap();
        names.sort();
        assert!(names.iter().eq(parts.keys()));
    }

    #[test]
    fn an_incomplete_keyring_is_refused_without_a_word_of_its_keys() {
        let keyring = Keyring::new(root());
        let id = keyring.state.signing().to_string();
        let with = |name: String, value: Option<&[u8]>| {
            let mut parts = parts(&keyring);
            match value {
                Some(value) => parts.insert(name, value.to_vec()),
                None => parts.remove(&name),
            };
            decode(&parts).unwrap_err().to_string()
        };
        assert!(with(STATE.into(), Some(b"{")).contains(STATE));
        assert!(with(STATE.into(), None).contains(STATE));
        assert!(with(format!("{id}.crt"), None).contains("missing"));
        assert!(with(format!("{id}.key"), None).contains("missing"));
        let other = root();
        let pem = other.certificate_pem().as_bytes();
        assert!(with(format!("{id}.crt"), Some(pem)).contains("does not belong"));
        for error in [with(format!("{id}.key"), Some(b"-----BEGIN PRIVATE")), with("x.crt".into(), Some(b""))]
        {
            assert!(!error.contains("PRIVATE") && error.contains(':'), "{error}");
        }
    }

    #[test]
    fn a_root_under_another_name_and_more_roots_than_eight_are_refused() {
        let keyring = Keyring::new(root());
        let id = keyring.state.signing().to_string();
        let mut renamed = parts(&keyring);
        for extension in ["crt", "key"] {
            let value = renamed[&format!("{id}.{extension}")].clone();
            renamed.insert(format!("other.{extension}"), value);
        }
        assert!(decode(&renamed).unwrap_err().cause.contains("it holds the root"));
        let mut many = parts(&keyring);
        many.extend((0..MAX_ROOTS).map(|number| (format!("{number}.crt"), Vec::new())));
        assert!(decode(&many).unwrap_err().cause.contains("more than 8"));
        assert!(part_names(many.keys().map(String::as_str)).is_err());
    }
}
