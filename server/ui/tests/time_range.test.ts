import assert from "node:assert/strict";
import { test } from "node:test";
import { describeRange, fromLocalInput, resolveRange, resolveTime, timelineBuckets, toLocalInput } from "../src/model/time_range.ts";

const NOW_MS = 1_763_929_800_000;

test("relative times count back from now", () => {
  assert.equal(resolveTime("now", NOW_MS), NOW_MS);
  assert.equal(resolveTime("now-90s", NOW_MS), NOW_MS - 90_000);
  assert.equal(resolveTime("now-2d", NOW_MS), NOW_MS - 172_800_000);
});

test("Unix times are told apart by their length: s, ms, us, ns", () => {
  for (const text of ["1763929800", "1763929800000", "1763929800000000", "1763929800000000000"]) {
    assert.equal(resolveTime(text, 0), NOW_MS, text);
  }
});

test("what is no time is null", () => {
  for (const text of ["", "yesterday", "now+1h", "now-1y", "-5", "1.5"]) assert.equal(resolveTime(text, NOW_MS), null, text);
});

test("a range that cannot be read, or runs backwards, is the last hour", () => {
  const hour = { startMs: NOW_MS - 3_600_000, endMs: NOW_MS };
  assert.deepEqual(resolveRange("x", "now", NOW_MS), hour);
  assert.deepEqual(resolveRange("now", "now-1h", NOW_MS), hour);
  assert.deepEqual(resolveRange("now-1m", "now", NOW_MS), { startMs: NOW_MS - 60_000, endMs: NOW_MS });
});

test("presets are called by their name, the rest by its moments", () => {
  assert.equal(describeRange("now-1h", "now", NOW_MS), "Last hour");
  assert.match(describeRange("now-1h", "now-30m", NOW_MS), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d – (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d$/);
});

test("date fields give the same moment back", () => {
  assert.equal(fromLocalInput(toLocalInput(NOW_MS)), NOW_MS);
  assert.equal(fromLocalInput(""), null);
});

test("buckets cover the range with whole steps, at most 180 of them", () => {
  for (const spanMs of [60_000, 300_000, 3_600_000, 86_400_000, 14 * 86_400_000, 3650 * 86_400_000]) {
    const range = { startMs: NOW_MS - spanMs + 1234, endMs: NOW_MS };
    const { stepS, startMs, endMs } = timelineBuckets(range);
    const stepMs = stepS * 1000;
    assert.ok(startMs - stepMs <= range.startMs && endMs >= range.endMs, `covers ${spanMs}`);
    assert.equal(startMs % stepMs, 0);
    assert.equal((endMs - startMs) % stepMs, 0);
    assert.ok((endMs - startMs) / stepMs <= 181);
  }
});

test("a refresh a second later moves no bucket", () => {
  const first = timelineBuckets({ startMs: NOW_MS + 1000 - 3_600_000, endMs: NOW_MS + 1000 });
  const second = timelineBuckets({ startMs: NOW_MS + 2000 - 3_600_000, endMs: NOW_MS + 2000 });
  assert.deepEqual(first, second);
});
