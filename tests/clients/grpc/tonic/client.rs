//! The client: its channels, the loops that make calls, and what it is told on standard input.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::SERVER;
use crate::behaviour::{Behaviour, OpenStream};

const LOOPS: usize = 2;
const BETWEEN_CALLS: Duration = Duration::from_millis(2);

pub async fn call(target: &str, behaviour: Behaviour, directory: Option<PathBuf>) -> anyhow::Result<()> {
    let server = Server { target: target.to_owned(), directory };
    let channel = server.channel()?;
    let load = Load {
        server,
        behaviour,
        state: Mutex::new(State {
            channel,
            asked: 0,
            answered: 0,
            done: [0; LOOPS],
            succeeded: 0,
            failed: 0,
            ended: false,
        }),
    };
    let load = Arc::new(load);
    let loops: Vec<_> = (0..LOOPS).map(|number| tokio::spawn(Arc::clone(&load).run(number))).collect();
    let mut stream = None;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            "call" => load.change(|state| state.asked += 1),
            word => match load.answer(word, &mut stream).await {
                Ok(answer) => println!("{answer}"),
                Err(error) => println!("failure: {}", one_line(&error)),
            },
        }
    }
    load.change(|state| state.ended = true);
    for each in loops {
        each.await?;
    }
    load.change(|state| println!("succeeded {} failed {}", state.succeeded, state.failed));
    Ok(())
}

struct Server {
    target: String,
    directory: Option<PathBuf>,
}

impl Server {
    /// With connections of its own, and with the files as they are now.
    fn channel(&self) -> anyhow::Result<Channel> {
        let Some(directory) = &self.directory else {
            return Ok(Endpoint::from_shared(format!("http://{}", self.target))?.connect_lazy());
        };
        let endpoint = Endpoint::from_shared(format!("https://{}", self.target))?;
        Ok(endpoint.tls_config(tls(directory)?)?.connect_lazy())
    }
}

fn tls(directory: &Path) -> std::io::Result<ClientTlsConfig> {
    let read = |name: &str| std::fs::read(directory.join(name));
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt")?))
        .identity(Identity::from_pem(read("tls.crt")?, read("tls.key")?))
        .domain_name(SERVER))
}

struct Load {
    server: Server,
    behaviour: Behaviour,
    state: Mutex<State>,
}

struct State {
    channel: Channel,
    /// How many times `call` was said, and answered.
    asked: u64,
    answered: u64,
    /// By loop: how many times it had been said when the loop began the call that it ended last.
    done: [u64; LOOPS],
    succeeded: u64,
    failed: u64,
    ended: bool,
}

impl Load {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no holder of this lock panics"))
    }

    async fn run(self: Arc<Self>, number: usize) {
        loop {
            let (ended, asked, before, channel) =
                self.change(|state| (state.ended, state.asked, state.done[number], state.channel.clone()));
            if ended {
                return;
            }
            self.attempt(Ok(channel)).await;
            if number == 0 && asked > before {
                self.attempt(self.server.channel()).await;
            }
            self.change(|state| {
                state.done[number] = asked;
                let all = state.done.into_iter().min().unwrap_or_default();
                if all > state.answered {
                    state.answered = all;
                    println!("called");
                }
            });
            tokio::time::sleep(BETWEEN_CALLS).await;
        }
    }

    async fn answer(&self, word: &str, stream: &mut Option<OpenStream>) -> anyhow::Result<String> {
        Ok(match word {
            "reload" => {
                let channel = self.server.channel()?;
                self.change(|state| state.channel = channel);
                "reloaded".into()
            }
            "open" => {
                *stream = Some(OpenStream::open(self.server.channel()?).await?);
                "opened".into()
            }
            "exchange" => {
                stream.as_mut().context("no stream")?.exchange().await?;
                "exchanged".into()
            }
            "wait" => format!("ended {:?}", stream.as_mut().context("no stream")?.end().await?),
            _ => bail!("{word:?} is not known"),
        })
    }

    async fn attempt(&self, channel: anyhow::Result<Channel>) {
        let result = match channel {
            Ok(channel) => self.behaviour.check(channel).await,
            Err(error) => Err(error),
        };
        self.change(|state| match result {
            Ok(()) => state.succeeded += 1,
            Err(error) => {
                state.failed += 1;
                println!("failure: {}", one_line(&error));
            }
        });
    }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:?}").replace('\n', " ")
}
