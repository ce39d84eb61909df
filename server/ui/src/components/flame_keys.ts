/** Where a key leads in the flame graph. */

import { type FlameGraph, isUnder, ROOT } from "../model/flamegraph.ts";

export interface KeyTarget {
  readonly frame: number;
  readonly zoom: boolean;
}

interface Standing {
  readonly cursor: number;
  readonly focus: number;
  readonly upright: boolean;
}

/** Null for keys that mean nothing here, or lead nowhere. */
export function keyTarget(graph: FlameGraph, key: string, { cursor, focus, upright }: Standing): KeyTarget | null {
  const walk = (frame: number): KeyTarget | null => (frame < 0 ? null : { frame, zoom: false });
  switch (key) {
    case "ArrowDown":
      return walk(upright ? callerOf(graph, cursor) : heaviestCallee(graph, cursor));
    case "ArrowUp":
      return walk(upright ? heaviestCallee(graph, cursor) : callerOf(graph, cursor));
    case "ArrowLeft":
      return walk(siblingOf(graph, cursor, focus, -1));
    case "ArrowRight":
      return walk(siblingOf(graph, cursor, focus, 1));
    case "Home":
      return walk(ROOT);
    case "Enter":
    case " ":
      return { frame: cursor, zoom: true };
    case "Backspace":
      return focus === ROOT ? null : { frame: callerOf(graph, focus), zoom: true };
    default:
      return null;
  }
}

function callerOf(graph: FlameGraph, frame: number): number {
  return graph.parent[frame] ?? -1;
}

function heaviestCallee(graph: FlameGraph, frame: number): number {
  const first = graph.firstChild[frame] ?? -1;
  let heaviest = first;
  for (let child = first; child >= 0 && child < first + (graph.childCount[frame] ?? 0); child++) {
    if ((graph.total[child] ?? 0) > (graph.total[heaviest] ?? 0)) heaviest = child;
  }
  return heaviest;
}

/** The next frame of the same caller; never one that the zoom hides. */
function siblingOf(graph: FlameGraph, frame: number, focus: number, step: 1 | -1): number {
  const sibling = frame + step;
  if (frame === ROOT || graph.parent[sibling] !== graph.parent[frame]) return -1;
  return isUnder(graph, sibling, focus) ? sibling : -1;
}
