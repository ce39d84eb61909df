import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProfileType, preferredProfileType, profileTypeName } from "../src/model/profile_type.ts";
import { formatNumber, formatPercent, formatValue } from "../src/model/units.ts";

test("durations take the unit that people would", () => {
  const cases: [number, string][] = [
    [0, "0 s"],
    [12, "12.0 ns"],
    [1500, "1.50 µs"],
    [2.5e6, "2.50 ms"],
    [39.46e9, "39.5 s"],
    [99.9e9, "99.9 s"],
    [400e9, "6.67 min"],
    [7200e9, "2.00 h"],
    [1e15, "11.6 d"],
  ];
  for (const [value, text] of cases) assert.equal(formatValue(value, "nanoseconds"), text);
  assert.equal(formatValue(1.5, "seconds"), "1.50 s");
});

test("bytes are binary, counts decimal, other units named", () => {
  assert.equal(formatValue(512, "bytes"), "512 B");
  assert.equal(formatValue(1536, "bytes"), "1.50 KiB");
  assert.equal(formatValue(42, "count"), "42");
  assert.equal(formatValue(1_234_567, "samples"), "1.23 M");
  assert.equal(formatValue(5, "parsecs"), "5 parsecs");
});

test("numbers keep three digits and never an exponent", () => {
  assert.equal(formatNumber(0.619), "0.619");
  assert.equal(formatNumber(0.0123), "0.0123");
  assert.equal(formatNumber(1234.5), "1235");
  assert.equal(formatNumber(1e-9), "0.000000");
});

test("a percentage never claims nothing or all where that is not so", () => {
  assert.equal(formatPercent(0, 10), "0 %");
  assert.equal(formatPercent(1, 0), "0 %");
  assert.equal(formatPercent(1, 1_000_000), "<0.01 %");
  assert.equal(formatPercent(1, 3), "33.3 %");
  assert.equal(formatPercent(9994, 10_000), "99.9 %");
  assert.equal(formatPercent(99_999, 100_000), "99.9 %");
  assert.equal(formatPercent(10, 10), "100 %");
});

test("profile types have names for people, and CPU time is preferred", () => {
  const cpu = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
  const memory = "memory:inuse_space:bytes:space:bytes";
  assert.equal(profileTypeName(cpu), "CPU time");
  assert.equal(profileTypeName(memory), "Memory live bytes");
  assert.equal(profileTypeName("custom:my_type:count::"), "custom my type");
  assert.equal(parseProfileType(memory).unit, "bytes");
  assert.equal(preferredProfileType([memory, cpu]), cpu);
  assert.equal(preferredProfileType([memory]), memory);
  assert.equal(preferredProfileType([]), undefined);
});
