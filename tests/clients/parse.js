// Answers each request with what Node.js made of it, as JSON in a field. Prints its port.
const crypto = require('node:crypto');
const http = require('node:http');

const ascii = (text) => text.replace(/[^\x20-\x7e]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    const raw = request.rawHeaders;
    const fields = [];
    const hosts = [];
    for (let at = 0; at < raw.length; at += 2) {
      const name = raw[at].toLowerCase();
      if (name.startsWith('x-') && !name.startsWith('x-forwarded')) fields.push([name, raw[at + 1]]);
      if (name === 'host') hosts.push(raw[at + 1]);
    }
    fields.sort((a, b) => (a[0] + '\0' + a[1] < b[0] + '\0' + b[1] ? -1 : 1));
    const digest = crypto.createHash('sha256').update(body).digest('hex').slice(0, 16);
    const seen = {
      method: request.method, target: request.url, host: hosts.join(' and '), body: `${body.length}:${digest}`, fields,
    };
    response.setHeader('x-sink', ascii(JSON.stringify(seen)));
    response.setHeader('content-length', 0);
    response.end();
  });
});
// As of an app that knows no other protocol.
server.shouldUpgradeCallback = () => false;
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on('end', () => process.exit());
process.stdin.resume();
