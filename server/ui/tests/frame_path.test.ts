import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeFlameGraph, nameOf } from "../src/model/flamegraph.ts";
import { frameOfPath, framePath } from "../src/model/frame_path.ts";
import { encode } from "./builders.ts";

const MORNING = decodeFlameGraph(encode({ main: { cart: { dumps: 3 }, search: { dumps: 4 } } }));
const EVENING = decodeFlameGraph(encode({ boot: 1, main: { audit: 9, cart: { dumps: 7 }, search: { dumps: 1 } } }));

test("every frame is found again by its path", () => {
  for (let frame = 0; frame < MORNING.frameCount; frame++) {
    assert.equal(frameOfPath(MORNING, framePath(MORNING, frame)), frame);
  }
});

test("the same function below two callers has two paths", () => {
  const [first = 0, second = 0] = [...MORNING.name.keys()].filter((frame) => nameOf(MORNING, frame) === "dumps");
  assert.notEqual(framePath(MORNING, first), framePath(MORNING, second));
});

test("a path means the same stack in another profile", () => {
  const frame = [...MORNING.name.keys()].findLast((each) => nameOf(MORNING, each) === "dumps") ?? 0;
  const found = frameOfPath(EVENING, framePath(MORNING, frame));
  assert.equal(nameOf(EVENING, found), "dumps");
  assert.equal(nameOf(EVENING, EVENING.parent[found] ?? 0), "search");
});

test("the root's path is empty, and unknown paths are the root", () => {
  assert.equal(framePath(MORNING, 0), "");
  for (const path of ["", "dumps", "dumps~00000000", "gone~12345678", "~", "~zz"]) {
    assert.equal(frameOfPath(MORNING, path), 0, path);
  }
});

test("a path stays short however long the name is", () => {
  const graph = decodeFlameGraph(encode({ ["x".repeat(5000)]: { leaf: 1 } }));
  assert.ok(framePath(graph, 1).length < 64);
  assert.equal(frameOfPath(graph, framePath(graph, 1)), 1);
});
