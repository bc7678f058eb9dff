//! Exchanges between a client and an app, generated from a seed, and what both see of each: without agents, through one,
//! through two, and through nginx, which is asked where these differ.

pub mod app;
pub mod client;
pub mod exchange;
pub mod generate;
pub mod rules;
pub mod view;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tempfile::TempDir;

use crate::agent::{Agent, Launch};
use crate::client::SERVER;
use crate::dialer::{Dialer, Group};
use crate::nginx::{Nginx, free_addresses};
use crate::pki::{Pki, dns};
use crate::volume::Volume;
use app::App;
use client::Client;
use exchange::Exchange;
use rules::{Difference, Views};
use view::{Between, View};

/// The seed of the exchanges that every change is tested with.
pub const SEED: u64 = 9112;

/// One way from a client to an app, which nobody else takes.
struct Way {
    between: Between,
    client: Client,
    app: App,
}

/// All ways, and what is on them.
pub struct Ways {
    ways: [Way; 4],
    _nginx: Nginx,
    _agents: [Agent; 3],
    _volumes: [Volume; 2],
    _folder: TempDir,
    _pki: Pki,
}

impl Default for Ways {
    fn default() -> Self {
        let (pki, folder) = (Pki::default(), TempDir::new().unwrap());
        let (server, caller) = (pki.volume(SERVER), pki.volume("storefront"));
        server.publish(&pki.leaf(SERVER), pki.roots());
        caller.publish(&pki.leaf("storefront"), pki.roots());
        let [direct, behind_one, behind_two, behind_nginx] = [(); 4].map(|()| App::default());
        let inbound = |app: &App| Launch::new(&server.path).inbound("http:", app.address).ready();
        let (one, second) = (inbound(&behind_one), inbound(&behind_two));
        let route = format!("{}#{}", second.address("inbound"), dns(SERVER));
        let first = Launch::new(&caller.path).outbound("http:", route).ready();
        let mtls = Dialer::new(&pki.leaf("storefront"), Group::X25519).unwrap();
        let (nginx, nginx_address) = nginx(&pki, &folder, behind_nginx.address);
        let way = |between, address, dialer: &Dialer, app| {
            let client = Client::new(address, dialer.clone());
            Way { between, client, app }
        };
        let plain = Dialer::plain();
        let ways = [
            way(Between::Nothing, direct.address, &plain, direct),
            way(Between::Agent, one.address("inbound"), &mtls, behind_one),
            way(Between::TwoAgents, first.address("outbound"), &plain, behind_two),
            way(Between::Nginx, nginx_address, &mtls, behind_nginx),
        ];
        Self {
            ways,
            _nginx: nginx,
            _agents: [one, first, second],
            _volumes: [server, caller],
            _folder: folder,
            _pki: pki,
        }
    }
}

/// As transparent as nginx can be.
fn nginx(pki: &Pki, folder: &TempDir, app: SocketAddr) -> (Nginx, SocketAddr) {
    let [listen] = free_addresses();
    let leaf = pki.credentials("nginx", &pki.leaf(SERVER), pki.roots());
    let config = format!(
        "
    map $http_host $host_or_ours {{ default $http_host; \"\" {app}; }}
    keepalive_timeout 1h; keepalive_requests 1000000; large_client_header_buffers 8 64k;
    underscores_in_headers on; ignore_invalid_headers off; merge_slashes off; client_max_body_size 0;
    upstream app {{ server {app}; keepalive 64; keepalive_requests 1000000; keepalive_timeout 1h; }}
    server {{
        listen {listen} ssl http2;
        ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on;
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\";
            proxy_set_header Host $host_or_ours; proxy_redirect off; proxy_next_upstream off;
            proxy_buffering off; proxy_request_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k;
            proxy_pass_header Server; proxy_pass_header Date;
        }}
    }}",
        leaf.cert.display(),
        leaf.key.display(),
        leaf.ca.display()
    );
    (Nginx::start(&folder.path().join("nginx"), &config, &[listen]), listen)
}

impl Ways {
    /// What is seen of each of these, in their order. The ways are taken at once, as none knows of another.
    pub fn run(&mut self, exchanges: &[Exchange]) -> Vec<Views> {
        let [direct, agent, two_agents, nginx] = std::thread::scope(|scope| {
            self.ways
                .each_mut()
                .map(|way| {
                    scope.spawn(|| exchanges.iter().map(|exchange| way.run(exchange)).collect::<Vec<_>>())
                })
                .map(|thread| thread.join().unwrap())
        });
        let all = direct.into_iter().zip(agent).zip(two_agents).zip(nginx);
        all.map(|(((direct, agent), two_agents), nginx)| Views { direct, agent, two_agents, nginx }).collect()
    }

    /// What nginx logged.
    pub fn nginx_log(&self) -> String {
        self._nginx.log()
    }

    /// The exchanges of which something else is seen with agents than without.
    pub fn differences(&mut self, exchanges: &[Exchange]) -> Vec<(Exchange, Vec<Difference>)> {
        let differing = self
            .run(exchanges)
            .into_iter()
            .zip(exchanges)
            .map(|(views, exchange)| (exchange.clone(), views.differences(exchange)));
        differing.filter(|(_, differences)| !differences.is_empty()).collect()
    }
}

impl Way {
    fn run(&mut self, exchange: &Exchange) -> View {
        // What nginx refuses must not keep it from judging the next request.
        let parts =
            if self.between == Between::Nginx { exchange.one_by_one() } else { vec![exchange.clone()] };
        let mut view = View::default();
        for part in parts {
            // The app speaks HTTP/1.1.
            let in_http2 = part.http2 && self.between != Between::Nothing;
            self.app.begin(&part);
            let mut got = self.client.run(&part, in_http2);
            let mut record = self.app.take();
            // A connection at rest may be closed at any time, and then nothing comes of what was sent on it.
            if self.client.reused && got[0].is_nothing() && record.seen[0].is_none() {
                self.app.begin(&part);
                got = self.client.run(&part, in_http2);
                record = self.app.take();
            }
            view.add(View::of(&part, self.between, &record, &got));
        }
        view
    }
}

/// For people: what differs, of the first exchange of each kind in full.
pub fn report(seed: u64, differing: &[(Exchange, Vec<Difference>)]) -> String {
    let mut kinds = BTreeMap::<String, (usize, u64)>::new();
    let mut report = String::new();
    for (exchange, differences) in differing {
        let mut is_new = false;
        for difference in differences {
            let version = if exchange.http2 { "HTTP/2" } else { "HTTP/1" };
            let kind = format!("{version}, {}: {}", difference.with, rules::without_number(&difference.what));
            let entry = kinds.entry(kind).or_insert((0, exchange.index));
            entry.0 += 1;
            is_new |= entry.0 == 1;
        }
        if is_new {
            report += &format!("seed {seed}, {exchange}");
            differences.iter().for_each(|difference| report += &difference.to_string());
        }
    }
    report += &format!("{} exchanges differ, by kind, each with the first exchange:\n", differing.len());
    for (kind, (count, first)) in kinds {
        report += &format!("{count:>6}  {kind} ({first})\n");
    }
    report
}
