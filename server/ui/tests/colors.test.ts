import assert from "node:assert/strict";
import { test } from "node:test";
import { colorIndex, contrast, PALETTES, packageOf, type Theme } from "../src/model/colors.ts";

test("contrast is that of WCAG", () => {
  assert.equal(contrast("#000000", "#ffffff"), 21);
  assert.equal(contrast("#777777", "#777777"), 1);
  assert.ok(Math.abs(contrast("#767676", "#ffffff") - 4.54) < 0.01);
});

test("a frame's text is readable (AA) on every colour of both themes", () => {
  for (const theme of ["light", "dark"] satisfies Theme[]) {
    const { frames, text, neutral } = PALETTES[theme];
    for (const color of [...frames, neutral]) {
      assert.ok(contrast(color, text) >= 4.5, `${theme} ${color}: ${contrast(color, text)}`);
    }
  }
});

test("the palettes have as many colours as they promise, all different", () => {
  for (const { frames } of Object.values(PALETTES)) {
    assert.equal(new Set(frames).size, 36);
    assert.ok(frames.every((color) => /^#[0-9a-f]{6}$/.test(color)));
  }
});

test("functions of a package share its hue", () => {
  const hue = (name: string) => Math.floor(colorIndex(name) / 3);
  assert.equal(hue("JSONEncoder.encode"), hue("JSONEncoder.iterencode"));
  assert.notEqual(hue("JSONEncoder.encode"), hue("EpollSelector.select"));
  assert.ok(colorIndex("main") >= 0 && colorIndex("main") < 36);
});

test("frames that are no function are neutral", () => {
  for (const name of ["other", "total", "(unattributed)", "(native thread: tokio)"]) assert.equal(colorIndex(name), -1);
});

test("packages are found in the names of several languages", () => {
  const cases: [string, string][] = [
    ["Cart.total", "Cart"],
    ["outer.<locals>.inner", "outer"],
    ["<module>", "<module>"],
    ["main", "main"],
    ["net/http.(*conn).serve", "net/http"],
    ["github.com/x/y.Do", "github.com/x/y"],
    ["tokio::runtime::park::run", "tokio::runtime"],
    ["std::iter", "std"],
  ];
  for (const [name, expected] of cases) assert.equal(packageOf(name), expected, name);
});
