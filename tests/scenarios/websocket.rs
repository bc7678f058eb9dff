//! WebSocket through the agent: clients and servers of `ws` and `websockets`, which know nothing of it, over every
//! path, with every kind of message, and with the headers that they agree by.

mod extended_connect;
mod lifetime;
mod upgrade;

use std::net::SocketAddr;
use std::process::Command;

use kit::agent::{Agent, Launch};
use kit::client::{SERVER, python_files};
use kit::installed::{node, python};
use kit::pipe::Pipe;
use kit::pki::{Credentials, Pki, dns, spiffe};
use kit::volume::Volume;
use serde_json::{Value, json};

#[derive(Clone, Copy)]
enum Library {
    /// `ws`, of npm.
    Ws,
    /// `websockets`, of PyPI.
    Websockets,
}

use Library::{Websockets, Ws};

impl Library {
    fn program(self, mode: &str) -> Command {
        let mut program = match self {
            Ws => node("websocket.js"),
            Websockets => python("websocket.py"),
        };
        program.arg(mode);
        program
    }

    /// An app in plain text, or a server that asks for a client certificate.
    fn server(self, who: Option<&Credentials>) -> (Pipe, SocketAddr) {
        let mut server = self.program("server");
        if let Some(who) = who {
            server.args(python_files(who));
        }
        listening(server)
    }
}

/// Starts a server, and waits for the line with its port.
fn listening(program: Command) -> (Pipe, SocketAddr) {
    let mut server = Pipe::program(program);
    let port = server.line()["port"].as_u64().unwrap() as u16;
    (server, ([127, 0, 0, 1], port).into())
}

/// `payments` behind `--inbound http:`.
struct Inbound {
    agent: Agent,
    volume: Volume,
}

impl Inbound {
    fn new(pki: &Pki, mode: &str, app: SocketAddr, args: &[&str]) -> Self {
        let volume = pki.volume(SERVER);
        volume.publish(&pki.leaf(SERVER), pki.roots());
        let agent = Launch::new(&volume.path).inbound(mode, app).args(args).ready();
        Self { agent, volume }
    }

    fn address(&self) -> SocketAddr {
        self.agent.address("inbound")
    }

    fn url(&self) -> String {
        format!("wss://localhost:{}/chat?a=b", self.address().port())
    }
}

/// The agent of `storefront`, with a route to this server and a proxy.
struct Outbound {
    agent: Agent,
    volume: Volume,
}

impl Outbound {
    fn new(pki: &Pki, server: SocketAddr, args: &[&str]) -> Self {
        let volume = pki.volume("storefront");
        volume.publish(&pki.leaf("storefront"), pki.roots());
        let route = format!("localhost:{}#{}", server.port(), dns(SERVER));
        let agent = Launch::new(&volume.path).outbound("http:", route).http_proxy().args(args).ready();
        Self { agent, volume }
    }

    fn url(&self) -> String {
        format!("ws://{}/chat?a=b", self.agent.address("outbound"))
    }
}

/// The way from a client to a server.
#[derive(Clone, Copy, PartialEq)]
enum Route {
    /// A client with a certificate, the agent, an app.
    Inbound,
    /// An app, its agent, the other's agent, an app.
    Both,
    /// The same, with the first agent as the proxy of the app.
    Proxy,
    /// An app, its agent, a server with TLS of its own.
    Outbound,
}

/// Everything that a WebSocket does goes through: each kind of message, pings and closes of either side.
#[track_caller]
fn trial(client: Library, route: Route, server: Library) {
    let pki = Pki::default();
    let of_server = pki.client(SERVER);
    let (mut server, address) = server.server((route == Route::Outbound).then_some(&of_server));
    let mut program = client.program("trial");
    let (mut inbound, mut outbound) = (None, None);
    if route != Route::Outbound {
        inbound = Some(Inbound::new(&pki, "http:", address, &[]));
    }
    match (&inbound, route) {
        (Some(inbound), Route::Inbound) => {
            program.arg(inbound.url()).args(python_files(&pki.client("storefront")));
        }
        (Some(inbound), Route::Proxy) => {
            let out = outbound.insert(Outbound::new(&pki, inbound.address(), &[]));
            program.arg(inbound.url().replace("wss:", "ws:"));
            program.args(["--proxy", &out.agent.address("http-proxy").to_string()]);
        }
        (of, _) => {
            let to = of.as_ref().map_or(address, Inbound::address);
            program.arg(outbound.insert(Outbound::new(&pki, to, &[])).url());
        }
    }
    let result = Pipe::program(program).line();
    passed(&result);
    assert!(result["extensions"].as_str().unwrap().contains("permessage-deflate"), "{result}");
    let claims = claims(&result);
    match route {
        Route::Outbound => assert!(claims.iter().all(|claim| !claim.contains("URI=")), "{claims:?}"),
        _ => {
            assert_eq!(claims.len(), 1, "{result}");
            assert!(claims[0].contains(&format!("URI={}", spiffe("storefront"))), "{claims:?}");
            assert!(!claims[0].contains("evil"), "{claims:?}");
        }
    }
    heard_both_ends(&mut server);
}

/// What the client of a trial says when all went through.
#[track_caller]
fn passed(result: &Value) {
    assert_eq!(result["echoed"], json!([true, true, true, true]), "{result}");
    assert_eq!(result["subprotocol"], "echo.v2", "{result}");
    assert_eq!((&result["pong"], &result["ponged"]), (&true.into(), &"ponged".into()), "{result}");
    assert_eq!(result["closed"], json!([4002, "the server is done"]), "{result}");
    assert_eq!(result["asked"]["path"], "/chat?a=b", "{result}");
}

/// What the server was told of who calls.
fn claims(result: &Value) -> Vec<&str> {
    let headers = result["asked"]["headers"].as_array().unwrap().iter();
    let named = headers.filter(|header| header[0] == "x-forwarded-client-cert");
    named.map(|header| header[1].as_str().unwrap()).collect()
}

/// The server's words on the two connections of a trial.
#[track_caller]
fn heard_both_ends(server: &mut Pipe) {
    for (code, reason) in [(4001, "the client is done"), (4002, "the server is done")] {
        assert_eq!(server.line(), json!({ "closed": code, "reason": reason }));
    }
}

macro_rules! trials {
    ($($name:ident: $client:ident, $route:ident, $server:ident;)*) => {$(
        #[test]
        fn $name() {
            trial($client, Route::$route, $server);
        }
    )*};
}

trials! {
    ws_to_ws_inbound: Ws, Inbound, Ws;
    ws_to_websockets_inbound: Ws, Inbound, Websockets;
    websockets_to_ws_inbound: Websockets, Inbound, Ws;
    websockets_to_websockets_inbound: Websockets, Inbound, Websockets;
    ws_to_ws_across_two_agents: Ws, Both, Ws;
    ws_to_websockets_across_two_agents: Ws, Both, Websockets;
    websockets_to_ws_across_two_agents: Websockets, Both, Ws;
    websockets_to_websockets_across_two_agents: Websockets, Both, Websockets;
    ws_to_ws_through_the_proxy: Ws, Proxy, Ws;
    ws_to_websockets_through_the_proxy: Ws, Proxy, Websockets;
    websockets_to_ws_through_the_proxy: Websockets, Proxy, Ws;
    websockets_to_websockets_through_the_proxy: Websockets, Proxy, Websockets;
    ws_to_ws_outbound: Ws, Outbound, Ws;
    ws_to_websockets_outbound: Ws, Outbound, Websockets;
    websockets_to_ws_outbound: Websockets, Outbound, Ws;
    websockets_to_websockets_outbound: Websockets, Outbound, Websockets;
}
