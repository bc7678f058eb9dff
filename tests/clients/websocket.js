// WebSocket by `ws`, as a server or as a client. What it does is said in `websocket.py`, which does the same.
const fs = require('fs');
const http = require('http');
const https = require('https');
const crypto = require('crypto');
const readline = require('readline');
const { parseArgs } = require('util');
const { once } = require('events');
const WebSocket = require('ws');

const string = { type: 'string' };
const { positionals: [mode, url], values: options } = parseArgs({
  allowPositionals: true,
  options: { cert: string, key: string, ca: string, proxy: string },
});
const say = (line) => console.log(JSON.stringify(line));
const tls = () => options.cert ? {
  cert: fs.readFileSync(options.cert), key: fs.readFileSync(options.key), ca: fs.readFileSync(options.ca),
} : {};

function server() {
  const listener = options.cert
    ? https.createServer({ ...tls(), requestCert: true, rejectUnauthorized: true })
    : http.createServer();
  const choose = (offered) => offered.has('echo.v2') ? 'echo.v2' : false;
  const served = new WebSocket.Server({ server: listener, handleProtocols: choose, perMessageDeflate: true });
  served.on('connection', (connection, request) => {
    connection.on('error', () => {});
    connection.on('close', (code, reason) => say({ closed: code, reason: reason.toString() }));
    connection.on('message', (message, binary) => {
      const [word, code, ...reason] = binary ? [] : message.toString().split(' ');
      if (word === 'headers') {
        const headers = [];
        for (let at = 0; at < request.rawHeaders.length; at += 2) {
          headers.push([request.rawHeaders[at].toLowerCase(), request.rawHeaders[at + 1]]);
        }
        connection.send(JSON.stringify({ path: request.url, headers }));
      } else if (word === 'ping') {
        connection.once('pong', () => connection.send('ponged'));
        connection.ping('of the server');
      } else if (word === 'close') {
        connection.close(Number(code), reason.join(' '));
      } else {
        connection.send(message, { binary });
      }
    });
  });
  listener.listen(0, '127.0.0.1', () => say({ port: listener.address().port }));
}

// A tunnel through the proxy, as the agents of npm open it.
async function tunnel() {
  const [host, port] = options.proxy.split(':');
  const target = new URL(url).host;
  const asked = http.request({ host, port, method: 'CONNECT', path: target, headers: { host: target } });
  asked.end();
  const [answer, socket, head] = await once(asked, 'connect');
  if (answer.statusCode !== 200) throw new Error(`the proxy answered ${answer.statusCode}`);
  if (head.length) socket.unshift(head);
  return { createConnection: () => socket };
}

async function opened() {
  const through = options.proxy ? await tunnel() : {};
  const connection = new WebSocket(url, ['other.v1', 'echo.v2'], {
    ...tls(), ...through, headers: { 'x-forwarded-client-cert': 'evil' },
  });
  const refused = new Promise((_, reject) => connection.once('unexpected-response', async (request, response) => {
    let body = '';
    for await (const part of response) body += part;
    say({ refused: response.statusCode, body });
    request.destroy();
    process.exit();
  }));
  const [response] = await Promise.race([
    Promise.all([once(connection, 'upgrade').then(([answer]) => answer), once(connection, 'open')]), refused,
  ]);
  connection.on('error', () => {});
  return [connection, response];
}

const heard = async (connection) => {
  const [message, binary] = await once(connection, 'message');
  return binary ? message : message.toString();
};

async function trial() {
  const result = { echoed: [] };
  let [connection, response] = await opened();
  result.subprotocol = connection.protocol;
  result.extensions = response.headers['sec-websocket-extensions'] ?? null;
  connection.send('headers');
  result.asked = JSON.parse(await heard(connection));
  const long = crypto.randomBytes(1 << 20);
  for (const message of ['grüße', Buffer.from([...Array(256).keys()]), long.toString('hex', 0, 1 << 19), long]) {
    connection.send(message);
    const back = await heard(connection);
    result.echoed.push(typeof message === 'string' ? back === message : message.equals(back));
  }
  connection.ping('of the client');
  const [pong] = await once(connection, 'pong');
  result.pong = pong.toString() === 'of the client';
  connection.send('ping');
  result.ponged = await heard(connection);
  connection.close(4001, 'the client is done');
  await once(connection, 'close');
  [connection] = await opened();
  connection.send('close 4002 the server is done');
  const [code, reason] = await once(connection, 'close');
  result.closed = [code, reason.toString()];
  say(result);
}

async function hold() {
  const [connection] = await opened();
  connection.on('message', (message) => say({ echoed: message.toString() }));
  connection.on('close', (code) => { say({ closed: code }); process.exit(); });
  const input = readline.createInterface({ input: process.stdin });
  input.on('line', (line) => connection.send(line));
  input.on('close', () => connection.close(4001, 'the client is done'));
  say({ open: true });
}

({ server, trial, hold })[mode]();
