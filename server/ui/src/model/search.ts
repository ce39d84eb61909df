/** Which functions match the search, and how much of the profile they account for. */

import type { FlameGraph } from "./flamegraph.ts";
import { isUnder, ROOT } from "./flamegraph.ts";

export interface Search {
  /** One byte a name: 1 where it matches. */
  readonly matches: Uint8Array;
  readonly functionCount: number;
  /** Why the pattern cannot be used; then nothing matches. */
  readonly error: string | null;
}

/** Match names by substring, without regard to case, or by regular expression. Null when there is nothing to look for. */
export function searchNames(names: readonly string[], text: string, asRegex: boolean): Search | null {
  if (text === "") return null;
  const matches = new Uint8Array(names.length);
  let test: (name: string) => boolean;
  if (asRegex) {
    try {
      const pattern = new RegExp(text, "iu");
      test = (name) => pattern.test(name);
    } catch (error) {
      return { matches, functionCount: 0, error: error instanceof Error ? error.message : String(error) };
    }
  } else {
    const needle = text.toLowerCase();
    test = (name) => name.toLowerCase().includes(needle);
  }
  let functionCount = 0;
  for (const [index, name] of names.entries()) {
    if (test(name)) {
      matches[index] = 1;
      functionCount++;
    }
  }
  return { matches, functionCount, error: null };
}

/**
 * The value under `root` that has a matching frame on its stack: each stack counts once, however many of its frames
 * match. O(frames).
 */
export function matchedValue(graph: FlameGraph, search: Search, root: number = ROOT): number {
  const covered = new Uint8Array(graph.frameCount);
  let sum = 0;
  for (let frame = root; frame < graph.frameCount; frame++) {
    if (frame !== root && !isUnder(graph, frame, root)) continue;
    if (frame !== root && covered[graph.parent[frame] ?? 0] === 1) {
      covered[frame] = 1;
    } else if (isMatch(graph, search, frame)) {
      covered[frame] = 1;
      sum += graph.total[frame] ?? 0;
    }
  }
  return sum;
}

/** Matching frames, in the order of the rows. */
export function matchingFrames(graph: FlameGraph, search: Search, root: number = ROOT): number[] {
  const frames: number[] = [];
  for (let frame = root; frame < graph.frameCount; frame++) {
    if (isMatch(graph, search, frame) && isUnder(graph, frame, root)) frames.push(frame);
  }
  return frames;
}

/** The artificial root is no function, so it never matches. */
function isMatch(graph: FlameGraph, search: Search, frame: number): boolean {
  return frame !== ROOT && search.matches[graph.name[frame] ?? 0] === 1;
}
