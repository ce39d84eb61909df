// The conformance testee of @pyroscope/nodejs: contract v1, one JSON object a line.
//
// Work is measured by the CPU clock of the main thread, as the kernel keeps it.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const Pyroscope = require("@pyroscope/nodejs");

const SLICE_NS = 2_000_000;
const CLOCK = fs.openSync(`/proc/self/task/${process.pid}/schedstat`);
const buffer = Buffer.alloc(96);

function cpuNs() {
  const size = fs.readSync(CLOCK, buffer, 0, buffer.length, 0);
  return Number(buffer.toString("latin1", 0, size).split(" ")[0]);
}

function say(event, fields) {
  fs.writeSync(1, `${JSON.stringify({ event, ...fields })}\n`);
}

function spin(untilNs) {
  let number = 1;
  while (cpuNs() < untilNs) {
    for (let turn = 0; turn < 20_000; turn++) number = (number * 7) % 1_000_003;
  }
  return number;
}

// One function for each name, so that profiles can tell them apart.
const functions = {
  work_a: function work_a(untilNs) { return spin(untilNs) + 1; },
  work_b: function work_b(untilNs) { return spin(untilNs) + 2; },
  work_c: function work_c(untilNs) { return spin(untilNs) + 3; },
  work_d: function work_d(untilNs) { return spin(untilNs) + 4; },
  work_e: function work_e(untilNs) { return spin(untilNs) + 5; },
  work_f: function work_f(untilNs) { return spin(untilNs) + 6; },
  work_g: function work_g(untilNs) { return spin(untilNs) + 7; },
};

function work_deep(left, then) {
  return left ? work_deep(left - 1, then) + 1 : then() ?? 0;
}

const truth = new Map();
let config;

function told(name, tags, ns) {
  const key = JSON.stringify([name, tags]);
  truth.set(key, (truth.get(key) ?? 0) + ns);
}

function unsupported(feature) {
  say("unsupported", { feature });
  process.exit(0);
}

function start() {
  const options = { wall: { collectCpuTime: true } };
  const known = {
    service_name: (value) => (options.appName = value),
    server_url: (value) => (options.serverAddress = value),
    upload_interval_s: (value) => (options.flushIntervalMs = value * 1000),
    sample_rate_hz: (value) => (options.wall.samplingIntervalMicros = 1_000_000 / value),
    tags: (value) => (options.tags = value),
    auth_token: (value) => (options.authToken = value),
    basic_auth_user: (value) => (options.basicAuthUser = value),
    basic_auth_password: (value) => (options.basicAuthPassword = value),
    tenant_id: (value) => (options.tenantID = value),
    shutdown_timeout_s: () => {},
    transport: () => {},
    // It has no such option; the cases about these headers are not for it.
    http_headers: () => {},
  };
  for (const [key, value] of Object.entries(config)) {
    if (!(key in known)) unsupported(key);
    known[key](value);
  }
  Pyroscope.init(options);
  Pyroscope.start();
}

function busySlices(name, cpuMs, tags) {
  let leftNs = cpuMs * 1_000_000;
  return function slice() {
    const beforeNs = cpuNs();
    functions[name](beforeNs + Math.min(leftNs, SLICE_NS));
    const spentNs = cpuNs() - beforeNs;
    leftNs -= spentNs;
    told(name, tags, spentNs);
    return leftNs > 0;
  };
}

function labelled(tags, key, value, action) {
  return Pyroscope.wrapWithLabels({ [key]: value }, () => action({ ...tags, [key]: String(value) }));
}

// Without tasks, work is synchronous but for a turn of the event loop after each top-level step, in which profiles are sent.
function run(steps, tags) {
  for (const step of steps) {
    const [[verb, args]] = Object.entries(step);
    if (verb === "busy") {
      if (args.native) unsupported("native");
      const slice = busySlices(args.function, args.cpu_ms, tags);
      while (slice());
    } else if (verb === "recurse") {
      const beforeNs = cpuNs();
      work_deep(args.depth, () => run(args.steps, tags));
      told("work_deep", tags, cpuNs() - beforeNs);
    } else if (verb === "tag") {
      labelled(tags, args.key, args.value, (inner) => run(args.steps, inner));
    } else if (verb === "repeat") {
      for (let turn = 0; turn < args.times; turn++) run(args.steps, tags);
    } else {
      unsupported(verb);
    }
  }
}

async function runTask(steps, tags) {
  for (const step of steps) {
    const [[verb, args]] = Object.entries(step);
    if (verb === "busy") {
      const slice = busySlices(args.function, args.cpu_ms, tags);
      while (slice()) await new Promise(setImmediate);
    } else if (verb === "tag") {
      await labelled(tags, args.key, args.value, (inner) => runTask(args.steps, inner));
    } else {
      unsupported(verb);
    }
  }
}

async function runTop(steps) {
  for (const step of steps) {
    const [[verb, args]] = Object.entries(step);
    if (verb === "sleep") await new Promise((resolve) => setTimeout(resolve, args.ms));
    else if (verb === "tasks") await Promise.all(args.lists.map((list) => runTask(list, {})));
    else if (verb === "repeat") for (let turn = 0; turn < args.times; turn++) await runTop(args.steps);
    else if (verb === "session" && args.action === "start") start();
    else if (verb === "session" && args.action === "stop") await Pyroscope.stop();
    else run([step], {});
    await new Promise(setImmediate);
  }
}

async function main() {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const request = JSON.parse((await lines.next()).value);
  process.stdin.unref?.();
  config = request.config;
  const startedUnixNs = Date.now() * 1e6;
  const about = fs.readFileSync(`${__dirname}/node_modules/@pyroscope/nodejs/package.json`, "utf8");
  const version = JSON.parse(about).version;
  say("ready", {
    sdk: "@pyroscope/nodejs", sdk_version: version, runtime: `Node ${process.version}`, pid: process.pid,
    started_unix_ns: startedUnixNs,
  });
  let stage = "start";
  try {
    start();
    stage = "workload";
    const usage = process.cpuUsage();
    await runTop(request.workload);
    const used = process.cpuUsage(usage);
    const steps = [...truth].map(([key, ns]) => {
      const [name, tags] = JSON.parse(key);
      return { function: name, thread: "main", cpu_ns: ns, tags };
    });
    say("truth", {
      pid: process.pid, steps, process_cpu_ns: (used.user + used.system) * 1000, started_unix_ns: startedUnixNs,
      ended_unix_ns: Date.now() * 1e6,
    });
    if (request.finish === "sigterm") await new Promise((resolve) => setTimeout(resolve, request.deadline_ms));
    stage = "flush";
    if (request.finish === "stop") {
      await Pyroscope.stop();
      say("flushed", {});
    }
  } catch (error) {
    say("error", { stage, message: String(error) });
  }
  process.exit(0);
}

main();
