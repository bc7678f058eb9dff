//! Envoy, its identity from files that it watches (SDS from a path, with `watched_directory`).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Mode, Peer, Programs, Site};

pub struct Envoy;

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "Envoy"
    }

    fn program(&self, programs: &Programs) -> PathBuf {
        programs.envoy.clone()
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Tcp, Mode::Http, Mode::LoggedHttp, Mode::Grpc]
    }

    fn command(&self, program: &Path, site: &Site) -> anyhow::Result<Command> {
        let identity = |name: &str| json!({"filename": site.volume.path.join(name)});
        let watched = json!({"path": site.volume.path});
        site.write(
            "leaf.json",
            &secret(json!({
                "name": "leaf",
                "tls_certificate": {
                    "certificate_chain": identity("tls.crt"), "private_key": identity("tls.key"),
                    "watched_directory": watched,
                },
            })),
        )?;
        site.write(
            "roots.json",
            &secret(json!({
                "name": "roots",
                "validation_context": {"trusted_ca": identity("ca.crt"), "watched_directory": watched},
            })),
        )?;
        let config = site.write("envoy.json", &config(site).to_string())?;
        let mut command = Command::new(program);
        command
            .args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart", "-c"])
            .arg(config);
        Ok(command)
    }

    fn watches(&self) -> bool {
        true
    }
}

fn secret(secret: Value) -> String {
    let mut secret = secret;
    secret["@type"] = json!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
    json!({"resources": [secret]}).to_string()
}

fn config(site: &Site) -> Value {
    let from = |file: &str, name: &str| {
        json!({"name": name, "sds_config": {"resource_api_version": "V3",
            "path_config_source": {"path": site.file(file)}}})
    };
    let mut tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
        "disable_stateful_session_resumption": true,
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3",
                "ecdh_curves": ["X25519MLKEM768", "X25519"],
            },
            "tls_certificate_sds_secret_configs": [from("leaf.json", "leaf")],
            "validation_context_sds_secret_config": from("roots.json", "roots"),
        },
    });
    let access_log = match site.mode {
        Mode::LoggedHttp => json!([{"name": "envoy.access_loggers.stdout", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"}}]),
        _ => json!([]),
    };
    let filter = match site.mode {
        Mode::Tcp => json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "in", "cluster": "app",
        }}),
        Mode::Http | Mode::LoggedHttp | Mode::Grpc => {
            json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "in",
                "access_log": access_log,
                "forward_client_cert_details": "SANITIZE_SET",
                "set_current_client_cert_details": {"uri": true, "dns": true},
                "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}]}]},
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
            }})
        }
    };
    let mut cluster = json!({
        "name": "app", "type": "STATIC", "connect_timeout": "5s",
        // The default of 1,024 connections is for another purpose.
        "circuit_breakers": {"thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000,
            "max_requests": 100_000}]},
        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": address(site.app)}}]}]},
    });
    if site.mode == Mode::Grpc {
        tls["common_tls_context"]["alpn_protocols"] = json!(["h2"]);
        cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    json!({
        "node": {"id": "bench", "cluster": "bench"},
        "static_resources": {
            "listeners": [{
                "name": "in", "address": address(site.listen),
                "filter_chains": [{
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                    "filters": [filter],
                }],
            }],
            "clusters": [cluster],
        },
    })
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}
