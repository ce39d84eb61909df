// A program under the unmodified @pyroscope/nodejs SDK: burns CPU and allocates, then stops.
//
// Usage: node pyroscope_node_program.js SERVER_URL SERVICE_NAME NODE_MODULES
"use strict";

const path = require("node:path");
const Pyroscope = require(path.join(process.argv[4], "@pyroscope", "nodejs"));

const kept = [];

function work(cpuUs) {
  let total = 0;
  const before = process.cpuUsage();
  while (process.cpuUsage(before).user < cpuUs) {
    for (let step = 0; step < 200_000; step++) total += step & 3;
    kept.push(new Array(500).fill(total));
  }
  return total;
}

async function main() {
  Pyroscope.init({
    serverAddress: process.argv[2],
    appName: process.argv[3],
    tags: { region: "eu" },
    flushIntervalMs: 2000,
    wall: { collectCpuTime: true },
  });
  Pyroscope.start();
  for (let round = 0; round < 5; round++) {
    work(800_000);
    await new Promise((resolve) => setTimeout(resolve, 100)); // so that flushes get their turn
  }
  await Pyroscope.stop();
}

main();
