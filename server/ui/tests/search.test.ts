import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeFlameGraph, nameOf } from "../src/model/flamegraph.ts";
import { matchedValue, matchingFrames, searchNames } from "../src/model/search.ts";
import { encode } from "./builders.ts";

const GRAPH = decodeFlameGraph(
  encode({ main: { "Cart.load": { "Cart.merge": 2, loads: 3 }, rank: { "Cart.load": 1 } }, total_of: 4 }),
);
const find = (text: string, asRegex = false) => {
  const search = searchNames(GRAPH.names, text, asRegex);
  assert.ok(search !== null);
  return search;
};

test("an empty search is none", () => {
  assert.equal(searchNames(GRAPH.names, "", false), null);
});

test("text matches anywhere in a name, whatever the case", () => {
  const search = find("cart");
  assert.equal(search.functionCount, 2);
  assert.equal(find("LOAD").functionCount, 2);
  assert.equal(find("nowhere").functionCount, 0);
});

test("a stack counts once, however many of its frames match", () => {
  assert.equal(matchedValue(GRAPH, find("cart")), 6);
  assert.equal(matchedValue(GRAPH, find("a")), 10);
});

test("the matched value is that below the zoomed frame", () => {
  const rank = [...GRAPH.name.keys()].find((frame) => nameOf(GRAPH, frame) === "rank") ?? 0;
  assert.equal(matchedValue(GRAPH, find("cart"), rank), 1);
  assert.equal(matchedValue(GRAPH, find("loads"), rank), 0);
});

test("the artificial root never matches", () => {
  assert.equal(matchedValue(GRAPH, find("total")), 4);
  assert.deepEqual(matchingFrames(GRAPH, find("total")).map((frame) => nameOf(GRAPH, frame)), ["total_of"]);
});

test("regular expressions work, and a broken one says why instead of throwing", () => {
  assert.equal(find("^Cart\\.", true).functionCount, 2);
  const broken = find("(", true);
  assert.equal(broken.functionCount, 0);
  assert.match(broken.error ?? "", /group/i);
});
