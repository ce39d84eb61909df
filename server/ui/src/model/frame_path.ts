/**
 * Names for frames that survive a reload: the frame's function and a hash of the function names from the root.
 *
 * An index would mean another frame after the next push, and the whole path is too long for a URL at depth 1,000.
 */

import { type FlameGraph, nameOf, ROOT } from "./flamegraph.ts";
import { hashText, mix } from "./hash.ts";

const NAME_CHARS = 48;
const SEPARATOR = "~";

const hashesOfGraph = new WeakMap<FlameGraph, Uint32Array>();

/** The path hash of every frame; computed once a graph. */
function pathHashes(graph: FlameGraph): Uint32Array {
  let hashes = hashesOfGraph.get(graph);
  if (hashes === undefined) {
    const nameHashes = Uint32Array.from(graph.names, hashText);
    hashes = new Uint32Array(graph.frameCount);
    for (let frame = 1; frame < graph.frameCount; frame++) {
      hashes[frame] = mix(hashes[graph.parent[frame] ?? ROOT] ?? 0, nameHashes[graph.name[frame] ?? 0] ?? 0);
    }
    hashesOfGraph.set(graph, hashes);
  }
  return hashes;
}

/** The text that stands for this frame in the URL; empty for the root. */
export function framePath(graph: FlameGraph, frame: number): string {
  if (frame <= ROOT) return "";
  const hash = (pathHashes(graph)[frame] ?? 0).toString(16).padStart(8, "0");
  return `${nameOf(graph, frame).slice(0, NAME_CHARS)}${SEPARATOR}${hash}`;
}

/** The frame that a path stands for, or the root where this graph has no such frame. O(frames). */
export function frameOfPath(graph: FlameGraph, path: string): number {
  const at = path.lastIndexOf(SEPARATOR);
  if (at < 0) return ROOT;
  const hash = Number.parseInt(path.slice(at + 1), 16);
  const start = path.slice(0, at);
  const hashes = pathHashes(graph);
  for (let frame = 1; frame < graph.frameCount; frame++) {
    if (hashes[frame] === hash && nameOf(graph, frame).startsWith(start)) return frame;
  }
  return ROOT;
}
