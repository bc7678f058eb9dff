// gRPC server of @grpc/grpc-js: README.md says what it serves and what it is told.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const health = require("grpc-health-check");
const { ReflectionService } = require("@grpc/reflection");

const SERVICE = "hotcert.test.Calls";
const PATIENCE = 10_000;
const FAILURE = "abgelaufen: 証明書 100 % ✓";
const DETAILS = Buffer.from([...Array(256).keys()]);

// The calls that ended before they were answered.
const cancelled = new Map();

function event(identifier) {
  if (!cancelled.has(identifier)) {
    const made = {};
    made.happens = new Promise((resolve) => { made.set = resolve; });
    cancelled.set(identifier, made);
  }
  return cancelled.get(identifier);
}

const service = {
  Unary: (call, answer) => answer(null, call.request),

  Collect(call, answer) {
    const parts = [];
    call.on("data", (part) => parts.push(part));
    call.on("end", () => answer(null, Buffer.concat(parts)));
  },

  Repeat(call) {
    for (let number = 0; number < 10; number++) call.write(Buffer.concat([Buffer.from([number]), call.request]));
    call.end();
  },

  Converse(call) {
    call.on("error", () => {});
    call.pipe(call);
  },

  Hold(call) {
    const [identifier] = call.metadata.get("call-id");
    call.on("cancelled", () => event(identifier).set());
    call.on("error", () => {});
    call.on("data", (message) => call.write(message));
  },

  Metadata(call, answer) {
    const initial = new grpc.Metadata();
    const trailing = new grpc.Metadata();
    for (const name of new Set(Object.keys(call.metadata.getMap()))) {
      if (!name.startsWith("sent-")) continue;
      for (const value of call.metadata.get(name)) {
        initial.add(name.replace("sent-", "initial-"), value);
        trailing.add(name.replace("sent-", "trailing-"), value);
      }
    }
    call.sendMetadata(initial);
    answer(null, call.request, trailing);
  },

  Fail(call) {
    for (let number = 0; number < Number(call.request.toString()); number++) call.write(Buffer.from([number]));
    const metadata = new grpc.Metadata();
    metadata.set("grpc-status-details-bin", DETAILS);
    call.emit("error", { code: grpc.status.FAILED_PRECONDITION, details: FAILURE, metadata });
  },

  Wait(call) {
    call.on("cancelled", () => event(call.request.toString()).set());
    call.on("error", () => {});
    call.write(Buffer.from("waiting"));
  },

  Seen(call, answer) {
    const late = setTimeout(
      () => answer({ code: grpc.status.NOT_FOUND, details: "no such call was cancelled" }), PATIENCE);
    event(call.request.toString()).happens.then(() => {
      clearTimeout(late);
      answer(null, Buffer.from("seen"));
    });
  },
};

const bytes = (value) => value;
const method = (name, requestStream, responseStream) => ({
  path: `/${SERVICE}/${name}`, requestStream, responseStream,
  requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes,
});
const definition = {
  Unary: method("Unary", false, false), Collect: method("Collect", true, false),
  Repeat: method("Repeat", false, true), Converse: method("Converse", true, true),
  Hold: method("Hold", true, true), Metadata: method("Metadata", false, false),
  Fail: method("Fail", false, true), Wait: method("Wait", false, true), Seen: method("Seen", false, false),
};

// Gives the library what the directory has now, whenever it is told that this has changed. The first time later than it
// asks: what it is given at once is lost.
class Files {
  constructor(directory) {
    this.directory = directory;
    this.roots = new Set();
    this.identities = new Set();
  }
  read(name) { return fs.readFileSync(path.join(this.directory, name)); }
  ca() { return { caCertificate: this.read("ca.crt") }; }
  identity() { return { certificate: this.read("tls.crt"), privateKey: this.read("tls.key") }; }
  addCaCertificateListener(listener) { this.roots.add(listener); process.nextTick(listener, this.ca()); }
  removeCaCertificateListener(listener) { this.roots.delete(listener); }
  addIdentityCertificateListener(listener) {
    this.identities.add(listener);
    process.nextTick(listener, this.identity());
  }
  removeIdentityCertificateListener(listener) { this.identities.delete(listener); }
  reload() {
    for (const listener of this.roots) listener(this.ca());
    for (const listener of this.identities) listener(this.identity());
  }
}

const server = new grpc.Server();
server.addService(definition, service);
new health.HealthImplementation({ "": "SERVING" }).addToServer(server);
new ReflectionService(loader.loadSync(health.protoPath)).addToServer(server);
const files = process.argv.length > 2 ? new Files(process.argv[2]) : null;
const credentials = files
  ? grpc.experimental.createCertificateProviderServerCredentials(files, files, true)
  : grpc.ServerCredentials.createInsecure();
server.bindAsync("127.0.0.1:0", credentials, (error, port) => {
  if (error) throw error;
  console.log(`listening on 127.0.0.1:${port}`);
  const input = readline.createInterface({ input: process.stdin });
  input.on("line", (line) => {
    if (line !== "reload") return;
    files.reload();
    console.log("reloaded");
  });
  input.on("close", () => process.exit());
});
