import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ancestorsOf,
  decodeFlameGraph,
  frameAt,
  isUnder,
  nameOf,
  rowCount,
  rowsWhenZoomed,
  totalOf,
} from "../src/model/flamegraph.ts";
import { encode, encodeDeep } from "./builders.ts";

const SHOP = encode({ main: { self: 1, cart: { load: 3, total: 2 }, search: { rank: 4 } }, idle: 5 });

test("frames get their absolute place, their values and their caller", () => {
  const graph = decodeFlameGraph(SHOP);
  const frames = Array.from({ length: graph.frameCount }, (_, frame) => [
    nameOf(graph, frame),
    graph.start[frame],
    graph.total[frame],
    graph.self[frame],
    graph.parent[frame] === -1 ? null : nameOf(graph, graph.parent[frame] ?? 0),
  ]);
  assert.deepEqual(frames, [
    ["total", 0, 15, 0, null],
    ["idle", 0, 5, 5, "total"],
    ["main", 5, 10, 1, "total"],
    ["cart", 5, 5, 0, "main"],
    ["search", 10, 4, 0, "main"],
    ["load", 5, 3, 3, "cart"],
    ["total", 8, 2, 2, "cart"],
    ["rank", 10, 4, 4, "search"],
  ]);
  assert.deepEqual([...graph.firstChild], [1, -1, 3, 5, 7, -1, -1, -1]);
  assert.deepEqual([...graph.childCount], [2, 0, 2, 2, 1, 0, 0, 0]);
});

test("offsets leave gaps where a caller spent time itself", () => {
  const graph = decodeFlameGraph({
    names: ["total", "a", "b"],
    levels: [{ values: ["0", "10", "4", "0"] }, { values: ["1", "3", "3", "1", "3", "3", "3", "2"] }],
  });
  assert.deepEqual([...graph.start], [0, 1, 7]);
  assert.deepEqual([...graph.parent], [-1, 0, 0]);
});

test("a reply without frames is an empty graph", () => {
  for (const json of [{}, { names: [], levels: [] }, { names: ["total"], levels: [{}] }]) {
    const graph = decodeFlameGraph(json);
    assert.equal(graph.frameCount, 0);
    assert.equal(totalOf(graph), 0);
    assert.equal(rowsWhenZoomed(graph, 0), 0);
  }
});

test("totals beyond 2^53 keep frames below their callers and are marked as rounded", () => {
  const half = 2n ** 60n + 1n;
  const graph = decodeFlameGraph({
    names: ["total", "a", "b", "c"],
    levels: [
      { values: ["0", String(2n * half), "0", "0"] },
      { values: ["0", String(half), "0", "1", "0", String(half), "0", "2"] },
      { values: ["0", String(half), String(half), "3", "0", String(half), String(half), "3"] },
    ],
  });
  assert.equal(graph.exact, false);
  assert.deepEqual([...graph.parent], [-1, 0, 0, 1, 2]);
  assert.equal(decodeFlameGraph(SHOP).exact, true);
});

test("rows that are no flame graph are refused", () => {
  assert.throws(() => decodeFlameGraph({ names: ["total"], levels: [{ values: ["0", "1", "1"] }] }), /groups of four/);
  const outside = { names: ["total"], levels: [{ values: ["0", "5", "5", "0"] }, { values: ["9", "1", "1", "0"] }] };
  assert.throws(() => decodeFlameGraph(outside), /row 1 lies outside/);
});

test("the frame under a point is found, and none where there is a gap or no row", () => {
  const graph = decodeFlameGraph(SHOP);
  assert.equal(frameAt(graph, 0, 14.9), 0);
  assert.equal(frameAt(graph, 2, 10), 4);
  assert.equal(frameAt(graph, 2, 2), -1, "idle calls nothing");
  assert.equal(frameAt(graph, 2, 14.5), -1, "main's own time");
  assert.equal(frameAt(graph, 9, 1), -1);
  assert.equal(frameAt(graph, -1, 1), -1);
});

test("a zoomed picture is as tall as the deepest stack through the frame", () => {
  const graph = decodeFlameGraph(encode({ main: { a: { b: { c: 1 } }, z: 1 }, idle: 1 }));
  const frame = (name: string): number => [...graph.name].findIndex((index) => graph.names[index] === name);
  assert.equal(rowsWhenZoomed(graph, 0), 5);
  assert.equal(rowsWhenZoomed(graph, frame("a")), 5);
  assert.equal(rowsWhenZoomed(graph, frame("z")), 3);
  assert.equal(rowsWhenZoomed(graph, frame("idle")), 2);
});

test("ancestry follows the x axis", () => {
  const graph = decodeFlameGraph(SHOP);
  assert.deepEqual(ancestorsOf(graph, 6).map((frame) => nameOf(graph, frame)), ["main", "cart", "total"]);
  assert.deepEqual(ancestorsOf(graph, 0), []);
  assert.equal(isUnder(graph, 6, 2), true);
  assert.equal(isUnder(graph, 6, 1), false);
  assert.equal(isUnder(graph, 2, 6), false);
});

test("10,000 frames deep is no trouble", () => {
  const graph = decodeFlameGraph(encodeDeep(10_000));
  assert.equal(rowCount(graph), 10_001);
  assert.equal(rowsWhenZoomed(graph, 5000), 10_001);
  assert.equal(ancestorsOf(graph, 10_000).length, 10_000);
});
