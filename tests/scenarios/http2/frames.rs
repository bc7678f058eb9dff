//! Frames of HTTP/2 that are wrong, or far too many: the agent ends the stream or the connection, lives on, serves the
//! next client, and needs no more memory than before.

use kit::agent::Launch;
use kit::client::{Curl, SERVER, python_files};
use kit::installed::python;
use kit::pipe::Pipe;
use kit::pki::Pki;
use kit::scene::Scene;

use crate::grpc::libraries::Library;

/// What allocators and pools may keep of a connection that is gone, in KiB.
const ROOM: u64 = 8 << 10;

/// Sends what has this name, of which one of these outcomes must come; and no app may have got a whole request.
#[track_caller]
fn is_refused(name: &str, outcomes: &[&str]) {
    let scene = Scene::http(&[]);
    let next = || Curl::https(scene.inbound(), "/bytes/10", &scene.client).args(["--http2"]).run();
    assert_eq!(next().answer.status, 200);
    let before = scene.agent.resident();
    let mut frames = python("frames.py");
    frames.arg(scene.inbound().to_string()).args(python_files(&scene.client)).args(["--name", name]);
    let mut frames = Pipe::program(frames);
    let seen = frames.line();
    let outcome = seen["outcome"].as_str().unwrap();
    assert!(outcomes.contains(&outcome), "{seen}, not of {outcomes:?}");
    // The client has not closed its connection yet.
    assert_eq!(next().answer.status, 200);
    let grown = scene.agent.resident_peak().saturating_sub(before);
    assert!(grown < ROOM, "{grown} KiB");
    drop(frames);
    assert_eq!(next().answer.status, 200);
}

/// An error of the connection, of the stream, or a response, with the code of the RFC or the general one.
macro_rules! wrong_frames {
    ($($name:ident: $($outcome:literal)|+;)*) => {$(
        #[test]
        fn $name() {
            is_refused(stringify!($name), &[$($outcome),+]);
        }
    )*};
}

wrong_frames! {
    oversized_frame: "goaway 1" | "goaway 6";
    data_on_stream_0: "goaway 1";
    headers_on_stream_0: "goaway 1";
    headers_on_an_even_stream: "goaway 1";
    headers_after_the_end_of_the_stream: "goaway 1" | "goaway 5" | "reset 5" | "reset 1";
    data_after_the_end_of_the_stream: "goaway 1" | "goaway 5" | "reset 5";
    data_on_an_idle_stream: "goaway 1";
    a_lower_stream_after_a_higher_one: "goaway 1" | "goaway 5";
    reset_of_an_idle_stream: "goaway 1";
    continuation_without_headers: "goaway 1";
    data_between_headers_and_continuation: "goaway 1";
    padding_longer_than_its_frame: "goaway 1";
    push_promise_of_a_client: "goaway 1";
    settings_of_half_a_pair: "goaway 1" | "goaway 6";
    settings_on_a_stream: "goaway 1";
    settings_window_too_large: "goaway 1" | "goaway 3";
    settings_push_neither_0_nor_1: "goaway 1";
    settings_frames_too_small: "goaway 1";
    ping_of_seven_bytes: "goaway 1" | "goaway 6";
    window_update_of_zero: "goaway 1" | "reset 1";
    window_overflow_of_the_connection: "goaway 3";
    window_overflow_of_a_stream: "goaway 3" | "reset 3";
    window_overflow_by_settings: "goaway 3";
    data_beyond_the_window: "goaway 3" | "reset 3";
    a_preface_that_is_none: "goaway 1" | "closed";
    no_headers: "goaway 1" | "reset 1" | "status 400";
    a_header_without_name: "goaway 1" | "reset 1" | "status 400";
    an_uppercase_header: "goaway 1" | "reset 1";
    a_header_with_a_line_break: "goaway 1" | "reset 1" | "status 400";
    a_header_with_nul: "goaway 1" | "reset 1" | "status 400";
    a_name_with_a_colon: "goaway 1" | "reset 1" | "status 400";
    a_name_with_a_space: "goaway 1" | "reset 1" | "status 400";
    connection: "goaway 1" | "reset 1";
    keep_alive: "goaway 1" | "reset 1";
    proxy_connection: "goaway 1" | "reset 1";
    transfer_encoding: "goaway 1" | "reset 1";
    upgrade: "goaway 1" | "reset 1";
    te_other_than_trailers: "goaway 1" | "reset 1";
    two_paths: "goaway 1" | "reset 1";
    two_methods: "goaway 1" | "reset 1";
    two_authorities: "goaway 1" | "reset 1";
    a_host_beside_another_authority: "status 400";
    an_authority_with_user_information: "status 400" | "reset 1";
    a_host_with_a_space: "status 400";
    an_empty_path: "goaway 1" | "reset 1" | "status 400";
    a_path_without_slash: "goaway 1" | "reset 1" | "status 400";
    no_method: "goaway 1" | "reset 1" | "status 400";
    no_path: "goaway 1" | "reset 1" | "status 400";
    a_status_in_a_request: "goaway 1" | "reset 1";
    an_unknown_pseudo_header: "goaway 1" | "reset 1";
    a_pseudo_header_at_the_end: "goaway 1" | "reset 1";
    connect_with_a_path: "goaway 1" | "reset 1" | "status 400" | "status 405";
    a_protocol_without_connect: "goaway 1" | "reset 1" | "status 400";
    less_than_the_content_length: "goaway 1" | "reset 1";
    more_than_the_content_length: "goaway 1" | "reset 1";
    two_content_lengths: "goaway 1" | "reset 1" | "status 400";
    one_content_length_twice: "status 400";
    a_content_length_with_a_sign: "goaway 1" | "reset 1" | "status 400";
    a_content_length_without_a_body: "goaway 1" | "reset 1" | "status 400";
    // The h2 crate drops them.
    pseudo_headers_in_trailers: "goaway 1" | "reset 1" | "survived";
    trailers_that_do_not_end: "goaway 1" | "reset 1";
    garbage_for_headers: "goaway 1" | "goaway 9";
    a_header_beyond_the_table: "goaway 1" | "goaway 9";
    a_table_beyond_its_limit: "goaway 1" | "goaway 9";
    compression_bomb: "goaway 1" | "goaway 9" | "goaway 11" | "reset 1" | "status 431";
    continuation_flood: "goaway 1" | "goaway 11" | "status 431" | "closed";
    empty_continuation_flood: "goaway 1" | "goaway 11" | "closed";
    rapid_reset: "goaway 11";
    // The library has limits of its own for these.
    empty_data_flood: "goaway 11" | "closed";
    padding_flood: "goaway 11" | "closed";
    too_many_streams: "goaway 11" | "reset 7";
}

/// They carry nothing and cost a connection its life, while a gRPC client beside it goes on.
#[track_caller]
fn is_sent_away(name: &str) {
    let pki = Pki::default();
    let mut server = Library::Grpcio.server(None);
    server.hear("listening on ").expect("the server starts");
    let target = server.hear("\n").expect("the server has an address").trim().to_owned();
    let (volume, caller) = (pki.volume(SERVER), pki.volume("caller"));
    volume.publish(&pki.leaf(SERVER), pki.roots());
    caller.publish(&pki.leaf("caller"), pki.roots());
    let agent = Launch::new(&volume.path).inbound("h2c:", target).ready();
    let address = agent.address("inbound");
    let mut client = Library::Grpcio.client(&address.to_string(), "bidirectional", Some(&caller.path), None);
    let mut call = || {
        client.say("call\n");
        client.hear("called\n").expect("calls go on");
    };
    call();
    let mut frames = python("frames.py");
    frames.arg(address.to_string()).args(python_files(&pki.client("flood"))).args(["--name", name]);
    let mut frames = Pipe::program(frames);
    let seen = frames.line();
    // What was said last may be lost with the connection.
    assert!(["goaway 11", "closed"].contains(&seen["outcome"].as_str().unwrap()), "{seen}");
    call();
    let closed = agent.metrics().sum("hotcert_connections_closed_total", &[("reason", "frames")]);
    assert_eq!(closed, 1.0, "{seen}");
    client.end();
    let result = client.rest();
    assert!(result.contains(" failed 0") && !result.contains("failure: "), "{result}");
}

macro_rules! floods {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            is_sent_away(stringify!($name));
        }
    )*};
}

floods! {
    settings_flood
    ping_flood
    window_update_flood
    priority_flood
    unknown_frame_flood
}
