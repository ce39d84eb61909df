import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeFlameGraph, nameOf } from "../src/model/flamegraph.ts";
import { placesOf, sortFunctions, topFunctions } from "../src/model/top.ts";
import { encode, encodeDeep } from "./builders.ts";

const GRAPH = decodeFlameGraph(encode({ main: { self: 1, fib: { self: 2, fib: { self: 3, leaf: 4 } }, leaf: 5 }, idle: 6 }));

test("self and total are summed by function, recursion once", () => {
  const rows = topFunctions(GRAPH).map(({ text, self, total }) => [text, self, total]);
  assert.deepEqual(rows.sort(), [
    ["fib", 5, 9],
    ["idle", 6, 6],
    ["leaf", 9, 9],
    ["main", 1, 15],
  ]);
});

test("the selfs of all functions add up to the profile", () => {
  const sum = topFunctions(GRAPH).reduce((total, { self }) => total + self, 0);
  assert.equal(sum, GRAPH.total[0]);
});

test("recursion 10,000 deep counts once", () => {
  const [row] = topFunctions(decodeFlameGraph(encodeDeep(10_000)));
  assert.equal(row?.total, 10_000);
  assert.equal(row?.self, 10_000);
});

test("nothing has no functions", () => {
  assert.deepEqual(topFunctions(decodeFlameGraph({})), []);
});

test("sorting is by column and direction, then by name", () => {
  const names = (column: "name" | "self" | "total", descending: boolean) =>
    sortFunctions(topFunctions(GRAPH), { column, descending }).map(({ text }) => text);
  assert.deepEqual(names("self", true), ["leaf", "idle", "fib", "main"]);
  assert.deepEqual(names("total", true), ["main", "fib", "leaf", "idle"]);
  assert.deepEqual(names("total", false), ["idle", "fib", "leaf", "main"]);
  assert.deepEqual(names("name", false), ["fib", "idle", "leaf", "main"]);
  assert.deepEqual(names("name", true), ["main", "leaf", "idle", "fib"]);
});

test("a function's places are its outermost frames, heaviest first", () => {
  const places = (name: string) =>
    placesOf(GRAPH, GRAPH.names.indexOf(name)).map((frame) => [nameOf(GRAPH, GRAPH.parent[frame] ?? 0), GRAPH.total[frame]]);
  assert.deepEqual(places("fib"), [["main", 9]]);
  assert.deepEqual(places("leaf"), [
    ["main", 5],
    ["fib", 4],
  ]);
});
