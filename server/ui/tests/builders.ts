/** Flame graphs for tests, written as nested objects instead of delta-encoded levels. */

import type { FlameGraphJson } from "../src/model/flamegraph.ts";

/** A frame's callees by name, and what it spent itself. */
export interface Callees {
  readonly [name: string]: Callees | number;
}

/** Encode a tree as the server does: children sorted by name, offsets from the end of the previous frame of the row. */
export function encode(callees: Callees): FlameGraphJson {
  const names = ["total"];
  const levels: { values: string[] }[] = [];
  const ends: number[] = [];
  const put = (row: number, x: number, name: string, tree: Callees | number): number => {
    const own = typeof tree === "number" ? tree : Number(tree["self"] ?? 0);
    levels[row] ??= { values: [] };
    const values = levels[row].values;
    const at = values.length;
    if (!names.includes(name)) names.push(name);
    values.push(String(x - (ends[row] ?? 0)), "", String(own), String(names.indexOf(name)));
    let end = x;
    if (typeof tree !== "number") {
      for (const callee of Object.keys(tree).filter((key) => key !== "self").sort()) {
        end = put(row + 1, end, callee, tree[callee] ?? 0);
      }
    }
    end += own;
    values[at + 1] = String(end - x);
    ends[row] = end;
    return end;
  };
  put(0, 0, "total", callees);
  return { names, levels };
}

/** A stack of `depth` frames of one recursive function, 1 unit of self each. */
export function encodeDeep(depth: number): FlameGraphJson {
  const levels = [{ values: ["0", String(depth), "0", "0"] }];
  for (let row = 0; row < depth; row++) levels.push({ values: ["0", String(depth - row), "1", "1"] });
  return { names: ["total", "recurse"], levels };
}
