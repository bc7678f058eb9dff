// gRPC client of @grpc/grpc-js: README.md says what it calls and what it is told.
"use strict";
const { strict: assert } = require("node:assert");
const { randomUUID } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");
const health = require("grpc-health-check");

const SERVICE = "hotcert.test.Calls";
const SERVER = "payments.shop.svc";
const LOOPS = 2;
// Of a call that is not there to exceed its deadline.
const PATIENCE = 10_000;
const BETWEEN_CALLS = 2;
const LARGE = Buffer.alloc(1 << 20, Buffer.from([...Array(256).keys()]));
const FAILURE = "abgelaufen: 証明書 100 % ✓";
const DETAILS = Buffer.from([...Array(256).keys()]);
const TEXT = 'one, "two"; three=%20 four';

const bytes = (value) => value;
const full = (method) => `/${SERVICE}/${method}`;
const within = (milliseconds = PATIENCE) => ({ deadline: Date.now() + milliseconds });
const none = () => new grpc.Metadata();

const unaryCall = (client, method, request, metadata = none(), options = within()) =>
  new Promise((resolve, reject) => {
    const heard = {};
    const call = client.makeUnaryRequest(full(method), bytes, bytes, request, metadata, options, (error, answer) => {
      if (error) reject(error);
      else heard.answer = answer;
    });
    call.on("metadata", (initial) => { heard.initial = initial; });
    call.on("status", (status) => { if (status.code === grpc.status.OK) resolve({ ...heard, trailing: status.metadata }); });
  });

const converse = (client, method, metadata = none()) =>
  client.makeBidiStreamRequest(full(method), bytes, bytes, metadata, within());

// The status with which the promise fails, which it has to.
async function statusOf(promise) {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`answered ${JSON.stringify(answer)}`);
}

async function askSeen(client, identifier) {
  const { answer } = await unaryCall(client, "Seen", Buffer.from(identifier));
  assert.equal(answer.toString(), "seen");
}

async function listen(stream) {
  const answers = [];
  for await (const answer of stream) answers.push(answer);
  return answers;
}

// What came, and the error with which it ended if it did.
function toTheEnd(stream) {
  const heard = [];
  stream.on("data", (answer) => heard.push(answer));
  return new Promise((resolve) => {
    stream.on("error", (status) => resolve({ heard, status }));
    stream.on("end", () => setImmediate(resolve, { heard }));
  });
}

async function next(answers) {
  const { value, done } = await answers.next();
  assert(!done, "the stream has ended");
  return value;
}

const behaviours = {
  async unary(client) {
    const text = Buffer.from(randomUUID());
    assert.deepEqual((await unaryCall(client, "Unary", text)).answer, text);
  },

  async client_stream(client) {
    const parts = Array.from({ length: 10 }, (_, number) => Buffer.alloc(number * 100, number));
    const answer = await new Promise((resolve, reject) => {
      const call = client.makeClientStreamRequest(full("Collect"), bytes, bytes, none(), within(),
        (error, answer) => (error ? reject(error) : resolve(answer)));
      for (const part of parts) call.write(part);
      call.end();
    });
    assert.deepEqual(answer, Buffer.concat(parts));
  },

  async server_stream(client) {
    const text = Buffer.from(randomUUID());
    const stream = client.makeServerStreamRequest(full("Repeat"), bytes, bytes, text, none(), within());
    const expected = Array.from({ length: 10 }, (_, number) => Buffer.concat([Buffer.from([number]), text]));
    assert.deepEqual(await listen(stream), expected);
  },

  async bidirectional(client) {
    const call = converse(client, "Converse");
    const answers = call[Symbol.asyncIterator]();
    // Each is sent when the one before it was answered.
    for (let number = 0; number < 5; number++) {
      const message = Buffer.from(`turn ${number}`);
      call.write(message);
      assert.deepEqual(await next(answers), message);
    }
    // More than the windows hold, so that both directions have to move at once.
    const crowd = Array.from({ length: 10 }, (_, number) => Buffer.alloc(16384, number));
    for (const message of crowd) call.write(message);
    call.end();
    const found = [];
    for (;;) {
      const { value, done } = await answers.next();
      if (done) break;
      found.push(value);
    }
    assert.deepEqual(found, crowd);
  },

  async large_messages(client) {
    const { answer } = await unaryCall(client, "Unary", LARGE);
    assert(LARGE.equals(answer), `${answer.length} bytes that are not the same`);
  },

  async metadata(client) {
    const sent = [["text", [TEXT]], ["bin", [DETAILS]], ["two-bin", [Buffer.from("first"), Buffer.from("second")]]];
    const metadata = none();
    for (const [name, values] of sent) for (const value of values) metadata.add(`sent-${name}`, value);
    const heard = await unaryCall(client, "Metadata", Buffer.from("with metadata"), metadata);
    assert.equal(heard.answer.toString(), "with metadata");
    for (const [name, values] of sent) {
      assert.deepEqual(heard.initial.get(`initial-${name}`), values);
      assert.deepEqual(heard.trailing.get(`trailing-${name}`), values);
    }
  },

  async error_status(client) {
    for (const count of [0, 3]) {
      const request = Buffer.from(String(count));
      const answers = client.makeServerStreamRequest(full("Fail"), bytes, bytes, request, none(), within());
      const { heard, status } = await toTheEnd(answers);
      assert.equal(status?.code, grpc.status.FAILED_PRECONDITION, status?.message);
      assert.equal(status.details, FAILURE);
      assert.deepEqual(status.metadata.get("grpc-status-details-bin"), [DETAILS]);
      // When a call fails, the library drops the messages that it has not handed over yet.
      assert.deepEqual(heard, [0, 1, 2].slice(0, Math.min(count, heard.length)).map((number) => Buffer.from([number])));
    }
  },

  async deadline(client) {
    // On a busy machine the first may be over before the server has heard of the call.
    for (const milliseconds of [40, 400, 4000]) {
      const identifier = Buffer.from(randomUUID());
      const answers = client.makeServerStreamRequest(
        full("Wait"), bytes, bytes, identifier, none(), within(milliseconds));
      const { heard, status } = await toTheEnd(answers);
      assert.equal(status?.code, grpc.status.DEADLINE_EXCEEDED, status?.message);
      if (heard.length === 0) continue;
      assert.deepEqual(heard.map(String), ["waiting"]);
      return askSeen(client, identifier);
    }
    throw new Error("the server did not hear of the call within its deadline");
  },

  async cancellation(client) {
    const identifier = randomUUID();
    const metadata = none();
    metadata.set("call-id", identifier);
    const call = converse(client, "Hold", metadata);
    const answers = call[Symbol.asyncIterator]();
    for (const message of [Buffer.from("one"), Buffer.from("two")]) {
      call.write(message);
      assert.deepEqual(await next(answers), message);
    }
    call.cancel();
    assert.equal((await statusOf(next(answers))).code, grpc.status.CANCELLED);
    await askSeen(client, identifier);
  },

  async health_and_reflection(client) {
    const { Check, Watch } = health.service;
    const request = { service: "" };
    const answer = await new Promise((resolve, reject) =>
      client.makeUnaryRequest(Check.path, Check.requestSerialize, Check.responseDeserialize, request, none(), within(),
        (error, answer) => (error ? reject(error) : resolve(answer))));
    assert.equal(answer.status, "SERVING");
    const watch = client.makeServerStreamRequest(
      Watch.path, Watch.requestSerialize, Watch.responseDeserialize, request, none(), within());
    const watched = watch[Symbol.asyncIterator]();
    assert.equal((await next(watched)).status, "SERVING");
    watch.cancel();
    assert.equal((await statusOf(next(watched))).code, grpc.status.CANCELLED);
    const reflection = client.makeBidiStreamRequest(
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", bytes, bytes, none(), within());
    // ServerReflectionRequest { list_services: "*" }
    reflection.write(Buffer.from([0x3a, 1, 0x2a]));
    reflection.end();
    const answers = await listen(reflection);
    assert.equal(answers.length, 1);
    assert(answers[0].includes("grpc.health.v1.Health"), answers[0].toString());
  },
};

// One that stays open, on a channel of its own.
class Stream {
  constructor(client) {
    this.call = client.makeBidiStreamRequest(full("Converse"), bytes, bytes, none());
    this.answers = this.call[Symbol.asyncIterator]();
    this.sent = 0;
  }

  async exchange() {
    const message = Buffer.from(`message ${++this.sent}`);
    this.call.write(message);
    assert.deepEqual(await next(this.answers), message);
  }

  async ends() {
    return grpc.status[(await statusOf(next(this.answers))).code];
  }
}

const [target, name, directory] = process.argv.slice(2);
const behaviour = behaviours[name];

function connect() {
  // Each channel has connections of its own.
  const own = { "grpc.use_local_subchannel_pool": 1 };
  if (!directory) return new grpc.Client(target, grpc.credentials.createInsecure(), own);
  const [roots, key, chain] = ["ca.crt", "tls.key", "tls.crt"].map((name) => fs.readFileSync(path.join(directory, name)));
  const named = { ...own, "grpc.ssl_target_name_override": SERVER, "grpc.default_authority": SERVER };
  return new grpc.Client(target, grpc.credentials.createSsl(roots, key, chain), named);
}

let channel = connect();
const inUse = new Map();
let asked = 0, answered = 0, succeeded = 0, failed = 0, ended = false;
// By loop: how many times `call` had been said when it began the call that it ended last.
const done = Array(LOOPS).fill(0);

async function attempt(client) {
  try {
    await behaviour(client);
    succeeded++;
  } catch (error) {
    failed++;
    console.log(`failure: ${String(error.stack).replaceAll(/\s+/g, " ")}`);
  }
}

async function loop(number) {
  while (!ended) {
    const [began, used] = [asked, channel];
    inUse.set(used, (inUse.get(used) ?? 0) + 1);
    await attempt(used);
    if (number === 0 && began > done[0]) {
      const fresh = connect();
      await attempt(fresh);
      fresh.close();
    }
    inUse.set(used, inUse.get(used) - 1);
    if (used !== channel && inUse.get(used) === 0) used.close();
    done[number] = began;
    if (Math.min(...done) > answered) {
      answered = Math.min(...done);
      console.log("called");
    }
    // Servers of Node.js end a connection with more than 1,000 resets and 33 more a second.
    await sleep(name === "cancellation" ? 10 * BETWEEN_CALLS : BETWEEN_CALLS);
  }
}

const loops = Promise.all(done.map((_, number) => loop(number)));
let stream;
const answers = {
  reload() {
    const old = channel;
    channel = connect();
    if (!inUse.get(old)) old.close();
    return "reloaded";
  },
  async open() {
    stream = new Stream(connect());
    await stream.exchange();
    return "opened";
  },
  async exchange() {
    await stream.exchange();
    return "exchanged";
  },
  async wait() { return `ended ${await stream.ends()}`; },
};
const input = readline.createInterface({ input: process.stdin });
input.on("line", async (word) => {
  if (word === "call") {
    asked++;
    return;
  }
  try {
    console.log(await answers[word]());
  } catch (error) {
    console.log(`failure: ${String(error.stack).replaceAll(/\s+/g, " ")}`);
  }
});
input.on("close", async () => {
  ended = true;
  await loops;
  console.log(`succeeded ${succeeded} failed ${failed}`);
  process.exit();
});
