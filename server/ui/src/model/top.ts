/** The functions of a flame graph, each once, with what it spent itself and in all. */

import { type FlameGraph, ROOT } from "./flamegraph.ts";

export interface TopFunction {
  /** Index into the graph's names. */
  readonly name: number;
  readonly text: string;
  readonly self: number;
  /** A recursive function counts once a stack, so that no total exceeds the profile's. */
  readonly total: number;
}

export type SortColumn = "name" | "self" | "total";
export interface Sort {
  readonly column: SortColumn;
  readonly descending: boolean;
}

/** Sum self and total by function, in the order of first appearance (depth first). O(frames). */
export function topFunctions(graph: FlameGraph): TopFunction[] {
  if (graph.frameCount === 0) return [];
  const self = new Float64Array(graph.names.length);
  const total = new Float64Array(graph.names.length);
  const onStack = new Uint32Array(graph.names.length);
  const order: number[] = [];
  const seen = new Uint8Array(graph.names.length);

  const enter = (frame: number): void => {
    const name = graph.name[frame] ?? 0;
    if (onStack[name] === 0) total[name] = (total[name] ?? 0) + (graph.total[frame] ?? 0);
    onStack[name] = (onStack[name] ?? 0) + 1;
    self[name] = (self[name] ?? 0) + (graph.self[frame] ?? 0);
    if (seen[name] === 0) {
      seen[name] = 1;
      order.push(name);
    }
  };
  const leave = (frame: number): void => {
    const name = graph.name[frame] ?? 0;
    onStack[name] = (onStack[name] ?? 0) - 1;
  };
  walk(graph, enter, leave);
  return order.map((name) => ({ name, text: graph.names[name] ?? "", self: self[name] ?? 0, total: total[name] ?? 0 }));
}

/** Depth first over everything below the root; without recursion, as stacks may be 10,000 deep. */
function walk(graph: FlameGraph, enter: (frame: number) => void, leave: (frame: number) => void): void {
  let frame = graph.firstChild[ROOT] ?? -1;
  if (frame < 0) return;
  enter(frame);
  for (;;) {
    const child = graph.firstChild[frame] ?? -1;
    if (child >= 0) {
      frame = child;
      enter(frame);
      continue;
    }
    leave(frame);
    while (graph.parent[frame + 1] !== graph.parent[frame]) {
      frame = graph.parent[frame] ?? ROOT;
      if (frame === ROOT) return;
      leave(frame);
    }
    frame++;
    enter(frame);
  }
}

/** A sorted copy; equal values stand in the order of their names. */
export function sortFunctions(functions: readonly TopFunction[], sort: Sort): TopFunction[] {
  const sign = sort.descending ? -1 : 1;
  const byName = (a: TopFunction, b: TopFunction): number => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0);
  if (sort.column === "name") return functions.toSorted((a, b) => sign * byName(a, b));
  const { column } = sort;
  return functions.toSorted((a, b) => sign * (a[column] - b[column]) || byName(a, b));
}

/** The heaviest frames of a function that are not below another frame of the same function, heaviest first. */
export function placesOf(graph: FlameGraph, name: number): number[] {
  const below = new Uint8Array(graph.frameCount);
  const places: number[] = [];
  for (let frame = 1; frame < graph.frameCount; frame++) {
    const covered = below[graph.parent[frame] ?? ROOT] === 1;
    if (graph.name[frame] === name && !covered) places.push(frame);
    if (covered || graph.name[frame] === name) below[frame] = 1;
  }
  return places.sort((a, b) => (graph.total[b] ?? 0) - (graph.total[a] ?? 0));
}
