import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_STATE, type PageState, readState, writeState } from "../src/model/url_state.ts";

const FULL: PageState = {
  profileType: "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
  selector: 'service_name="shop", route=~"/a&b=c.*"',
  from: "1763929800000",
  until: "now-5m",
  view: "flame",
  layout: "flame",
  search: "json | π",
  regex: true,
  focus: "Cart.load~0123abcd",
  sort: { column: "name", descending: false },
  maxFrames: 100_000,
};

test("every key survives the address bar", () => {
  assert.deepEqual(readState(writeState(FULL)), FULL);
  assert.deepEqual(readState(writeState(DEFAULT_STATE)), DEFAULT_STATE);
});

test("each key alone survives too", () => {
  for (const key of Object.keys(FULL) as (keyof PageState)[]) {
    const state = { ...DEFAULT_STATE, [key]: FULL[key] };
    assert.deepEqual(readState(writeState(state)), state, key);
  }
});

test("an empty query string is the default", () => {
  assert.deepEqual(readState(""), DEFAULT_STATE);
});

test("Pyroscope's links are understood", () => {
  const state = readState("?query=memory%3Ainuse_space%3Abytes%3Aspace%3Abytes%7Bservice_name%3D%22a%22%7D&from=now-3h&until=now");
  assert.equal(state.profileType, "memory:inuse_space:bytes:space:bytes");
  assert.equal(state.selector, 'service_name="a"');
  assert.equal(state.from, "now-3h");
});

test("keys that are not ours are kept", () => {
  const written = new URLSearchParams(writeState(FULL, "?tenant=a&view=table&from=now-1m"));
  assert.equal(written.get("tenant"), "a");
  assert.equal(written.get("view"), "flame");
  assert.deepEqual(written.getAll("from"), ["1763929800000"]);
});

test("values that mean nothing are the defaults", () => {
  assert.deepEqual(readState("?view=pie&layout=x&sort=-color&max=-3&re=yes&from="), DEFAULT_STATE);
  assert.equal(readState("?max=99999999").maxFrames, DEFAULT_STATE.maxFrames);
});
