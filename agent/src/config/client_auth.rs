//! The client authentication of the library as the value of an argument, with help for each choice.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use hotcert_tls::ClientAuth;

pub fn client_auth() -> impl TypedValueParser<Value = ClientAuth> {
    let choices = [
        PossibleValue::new(ClientAuth::Require.as_str())
            .help("mTLS: a client without a certificate that the trust bundle verifies is refused"),
        PossibleValue::new(ClientAuth::None.as_str()).help("Plain HTTPS, for a public server certificate"),
    ];
    PossibleValuesParser::new(choices).try_map(|name| name.parse())
}
