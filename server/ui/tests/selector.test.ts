import assert from "node:assert/strict";
import { test } from "node:test";
import {
  completionAt,
  joinQuery,
  joinService,
  parseSelector,
  quote,
  quoteName,
  splitQuery,
  splitService,
  withoutBraces,
} from "../src/model/selector.ts";

const plain = (text: string) => parseSelector(text).matchers.map(({ name, operator, value }) => [name, operator, value]);

test("matchers of all four operators are read", () => {
  assert.deepEqual(plain('a="1", b!="2",c=~"3.*" , d!~"4"'), [
    ["a", "=", "1"],
    ["b", "!=", "2"],
    ["c", "=~", "3.*"],
    ["d", "!~", "4"],
  ]);
});

test("values may be escaped, in any kind of quotes, and hold commas and braces", () => {
  assert.deepEqual(plain(String.raw`a="x, {\"y\"}\\", b='it\'s', c=${"`raw\\n`"}`), [
    ["a", "=", String.raw`x, {"y"}\ `.trim()],
    ["b", "=", "it's"],
    ["c", "=", String.raw`raw\n`],
  ]);
});

test("names with dots are read, bare or quoted", () => {
  assert.deepEqual(plain('otel.scope.name="x", "http.route"="/"'), [
    ["otel.scope.name", "=", "x"],
    ["http.route", "=", "/"],
  ]);
});

test("what is no matcher is kept as it stands", () => {
  assert.equal(parseSelector('a="1", b=').rest, "b=");
  assert.equal(parseSelector('a="1" b="2"').rest, 'a="1" b="2"');
  assert.equal(parseSelector("").rest, "");
});

test("the service is taken out and put back", () => {
  assert.deepEqual(splitService('route="/cart", service_name="shop", x=~"y"'), { service: "shop", rest: 'route="/cart", x=~"y"' });
  assert.equal(joinService("shop", 'route="/cart"'), 'service_name="shop", route="/cart"');
  assert.equal(joinService(null, ""), "");
  for (const selector of ["", 'service_name="shop"', 'service_name="a\\"b", x="1"', 'x=~"1"']) {
    const { service, rest } = splitService(selector);
    assert.equal(joinService(service, rest), selector);
  }
});

test("broken text survives the split, so that the server can judge it", () => {
  assert.deepEqual(splitService('service_name="shop", route=/cart'), { service: "shop", rest: "route=/cart" });
  assert.deepEqual(splitService("route==1"), { service: null, rest: "route==1" });
});

test("a service that is matched otherwise, or twice, stays in the text", () => {
  for (const selector of ['service_name=~"shop.*"', 'service_name="a", service_name="b"']) {
    assert.deepEqual(splitService(selector), { service: null, rest: selector });
  }
});

test("Pyroscope's query is the profile type and the selector", () => {
  const query = 'process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="shop"}';
  const parts = splitQuery(query);
  assert.deepEqual(parts, { profileType: "process_cpu:cpu:nanoseconds:cpu:nanoseconds", selector: 'service_name="shop"' });
  assert.equal(joinQuery(parts.profileType, parts.selector), query);
  assert.deepEqual(splitQuery("a:b:c:d:e"), { profileType: "a:b:c:d:e", selector: "" });
});

test("braces around a pasted selector are taken off", () => {
  assert.equal(withoutBraces(' {a="1"} '), 'a="1"');
  assert.equal(withoutBraces('a="{1}"'), 'a="{1}"');
});

test("quoting and reading give the same value", () => {
  for (const value of ["", 'a"b', "back\\slash", "two\nlines", "ünï"]) {
    assert.equal(parseSelector(`x=${quote(value)}`).matchers[0]?.value, value);
  }
});

/** `|` marks the caret. */
const at = (marked: string) => completionAt(marked.replace("|", ""), marked.indexOf("|"));

test("names are completed where a name can stand", () => {
  assert.deepEqual(at("|"), { kind: "name", from: 0, to: 0, prefix: "" });
  assert.deepEqual(at("ro|"), { kind: "name", from: 0, to: 2, prefix: "ro" });
  assert.deepEqual(at("r|oute"), { kind: "name", from: 0, to: 5, prefix: "r" });
  assert.deepEqual(at('a="1",|'), { kind: "name", from: 6, to: 6, prefix: "" });
  assert.deepEqual(at('a="1", ro|'), { kind: "name", from: 7, to: 9, prefix: "ro" });
  assert.deepEqual(at('r|="1"'), { kind: "name", from: 0, to: 1, prefix: "r" });
});

test("values are completed after an operator, with the label that they belong to", () => {
  assert.deepEqual(at("route=|"), { kind: "value", from: 6, to: 6, prefix: "", name: "route" });
  assert.deepEqual(at('route="|'), { kind: "value", from: 6, to: 7, prefix: "", name: "route" });
  assert.deepEqual(at('route="/c|'), { kind: "value", from: 6, to: 9, prefix: "/c", name: "route" });
  assert.deepEqual(at('a="1", route=~"/c|art", b="2"'), { kind: "value", from: 14, to: 21, prefix: "/c", name: "route" });
});

test("names in quotes are completed as well", () => {
  assert.deepEqual(at('"otel.sc|'), { kind: "name", from: 0, to: 8, prefix: "otel.sc" });
  assert.deepEqual(at('"otel.scope.name"="x|'), { kind: "value", from: 18, to: 20, prefix: "x", name: "otel.scope.name" });
  assert.equal(quoteName("otel.scope.name"), '"otel.scope.name"');
  assert.equal(quoteName("route"), "route");
});

test("a comma inside a value ends nothing", () => {
  assert.deepEqual(at('a="1,2", r|'), { kind: "name", from: 9, to: 10, prefix: "r" });
  assert.deepEqual(at('a="1,|"'), { kind: "value", from: 2, to: 6, prefix: "1,", name: "a" });
});

test("after a finished value nothing is offered", () => {
  assert.equal(at('route="/cart"|'), null);
});
