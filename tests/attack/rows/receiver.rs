//! The receiver of notifications is open to strangers: what they hold must leave room for signed deliveries.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hotcert::notify::signature::Signer;
use kit::agent::Agent;
use kit::dialer::{Dialer, Group};
use kit::machine::{AUTHORITY, Machine};
use kit::pki::write;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::Row;
use crate::Times;
use crate::attacker::{Attacker, LATER, Target, hold, step};
use crate::compared::compare;
use crate::figures::Line;
use crate::honest::{Ask, Plan};

pub const ROW: Row = Row {
    name: "receiver",
    attack: "strangers hold 1,100 connections to the receiver of notifications, or 1,000 slow uploads, or 100 uploads \
             without their last byte",
    measure,
    attacks: &[
        ("anonymous", anonymous),
        ("slow-upload", |target| slow_uploads(target, PATH, BODY)),
        ("last-byte", |target| without_last_byte(target, PATH, BODY)),
    ],
};

const KINDS: [(&str, usize); 3] = [("anonymous", 1100), ("slow-upload", 1000), ("last-byte", 100)];
/// 16 MiB of bodies, and 64 KiB of buffers for each of 1,024 connections, whose heads may have 16 KiB.
const MOST_MIB: u64 = 80;
const PATH: &str = "/notifications/standard";
/// The largest message that is taken.
const BODY: usize = 256 << 10;
/// What a slow upload sends at once, and after each pause.
const PIECE: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(100);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SENDER: &str = "urn:hotcert:local";

fn measure(times: Times) -> anyhow::Result<Vec<Line>> {
    let machine = Machine::with(&[]);
    let controller = start(&machine);
    let address = controller.address("receiver");
    let tls = Dialer::anonymous(Group::X25519)?.config();
    let ask = deliveries()?;
    let (mut lines, mut rest) = (Vec::new(), None);
    for (kind, connections) in KINDS {
        let plans = vec![Plan::visits(address, tls.clone(), Arc::clone(&ask))];
        let compared = compare(times.each(), controller.id(), plans, || {
            Ok(vec![Attacker::start(kind, address, connections, None)?])
        })?;
        let kind = format!("{kind}: ");
        lines.extend(compared.visits(&format!("{kind}signed deliveries, "), 0));
        // What an attack leaves behind must not excuse the next.
        let rest = *rest.get_or_insert(compared.kib.0);
        lines.push(compared.memory(&kind, rest, MOST_MIB));
    }
    Ok(lines)
}

/// A controller on a directory that takes signed notifications.
fn start(machine: &Machine) -> Agent {
    machine.succeeds(&["issue", "shop/mtls-local-receiver", "--authority", AUTHORITY, "--create-authority"]);
    let directory = machine.home.path().join("notifications");
    std::fs::create_dir_all(&directory).unwrap();
    write(&directory.join("hook.key"), SECRET);
    let settings = write(
        &directory.join("notifications.yaml"),
        format!(
            "senders:\n- {{ name: standard, provider: standard, instance: '{SENDER}', keys: [hook.key], names: ['*'] }}\n"
        ),
    );
    let identity = machine.secret("receiver");
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (settings, identity) = (text(&settings), text(&identity));
    let flags =
        ["--notifications", &settings, "--receiver-listen", "127.0.0.1:0", "--receiver-identity", &identity];
    machine.controller(2, &flags)
}

/// Each is another event that changes nothing.
fn deliveries() -> anyhow::Result<Ask> {
    let signer = Signer::parse([SECRET.as_bytes()])?;
    let count = AtomicU64::new(0);
    Ok(Arc::new(move || {
        let id = format!("delivery-{}", count.fetch_add(1, Ordering::Relaxed));
        let event = json!({ "specversion": "1.0", "id": id, "source": SENDER, "type": "dev.hotcert.test" });
        let body = event.to_string();
        let headers = signer.headers(&id, body.as_bytes(), SystemTime::now());
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}{headers}\r\n{body}", head(PATH, body.len())).into_bytes()
    }))
}

/// All but the end of the head.
pub(super) fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n")
}

pub(super) fn anonymous(target: Target) -> io::Result<()> {
    target.keep(LATER, async |target| {
        let mut stream = target.tls("http/1.1").await?;
        step();
        hold(&mut stream).await
    })
}

/// Uploads that are begun at once and never at an end.
pub(super) fn slow_uploads(target: Target, path: &'static str, length: usize) -> io::Result<()> {
    target.keep(LATER, move |target| async move {
        let mut stream = target.tls("http/1.1").await?;
        stream.write_all(format!("{}\r\n", head(path, length)).as_bytes()).await?;
        step();
        for _ in 0..length / PIECE - 1 {
            stream.write_all(&[b' '; PIECE]).await?;
            stream.flush().await?;
            tokio::time::sleep(PAUSE).await;
        }
        hold(&mut stream).await
    })
}

pub(super) fn without_last_byte(target: Target, path: &'static str, length: usize) -> io::Result<()> {
    target.keep(LATER, move |target| async move {
        let mut stream = target.tls("http/1.1").await?;
        stream.write_all(format!("{}\r\n", head(path, length)).as_bytes()).await?;
        step();
        stream.write_all(&vec![b' '; length - 1]).await?;
        stream.flush().await?;
        hold(&mut stream).await
    })
}
