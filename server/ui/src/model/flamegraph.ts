/**
 * A flame graph as columns, decoded from querier.v1 "flamebearer" levels.
 *
 * Frames are numbered row by row from the root, and within a row from left to right, so the children of a frame
 * are neighbours and "which frames of this row are visible" is a binary search.
 */

/** The JSON form of querier.v1.FlameGraph: 64-bit integers are strings. */
export interface FlameGraphJson {
  names?: string[];
  levels?: { values?: (string | number)[] }[];
  total?: string | number;
  maxSelf?: string | number;
}

export interface FlameGraph {
  readonly names: readonly string[];
  readonly frameCount: number;
  /** First frame of each row, and the frame count at the end: rows + 1 entries. */
  readonly rowStart: Uint32Array;
  readonly row: Uint32Array;
  /** Left edge, in the profile's unit. */
  readonly start: Float64Array;
  readonly total: Float64Array;
  readonly self: Float64Array;
  /** Index into `names`. */
  readonly name: Uint32Array;
  /** Frame above, -1 for the root. */
  readonly parent: Int32Array;
  /** -1 where there is none. */
  readonly firstChild: Int32Array;
  readonly childCount: Uint32Array;
  /** False when the total is beyond 2^53 and values had to be rounded. */
  readonly exact: boolean;
}

/** Four numbers a frame: x offset from the end of the previous frame of the row, total, self, name. */
const VALUES_PER_FRAME = 4;

export const ROOT = 0;

export function totalOf(graph: FlameGraph): number {
  return graph.frameCount === 0 ? 0 : (graph.total[ROOT] ?? 0);
}

export function rowCount(graph: FlameGraph): number {
  return graph.rowStart.length - 1;
}

/** The name of a frame; the artificial root is called "total". */
export function nameOf(graph: FlameGraph, frame: number): string {
  return graph.names[graph.name[frame] ?? 0] ?? "";
}

/**
 * Decode flamebearer levels. O(frames).
 *
 * @throws Error when a row is not made of whole frames, or a frame lies outside every frame of the row above.
 */
export function decodeFlameGraph(json: FlameGraphJson): FlameGraph {
  const names = json.names ?? [];
  const levels = (json.levels ?? []).map((level) => level.values ?? []);
  while (levels.length > 0 && levels[levels.length - 1]?.length === 0) levels.pop();
  const frameCount = levels.reduce((sum, values) => sum + values.length / VALUES_PER_FRAME, 0);
  if (!Number.isInteger(frameCount)) throw new Error("flame graph: a row is not made of groups of four values");

  const exact = Number(levels[0]?.[1] ?? 0) <= Number.MAX_SAFE_INTEGER;
  const graph = {
    names,
    frameCount,
    rowStart: new Uint32Array(levels.length + 1),
    row: new Uint32Array(frameCount),
    start: new Float64Array(frameCount),
    total: new Float64Array(frameCount),
    self: new Float64Array(frameCount),
    name: new Uint32Array(frameCount),
    parent: new Int32Array(frameCount).fill(-1),
    firstChild: new Int32Array(frameCount).fill(-1),
    childCount: new Uint32Array(frameCount),
    exact,
  } satisfies FlameGraph;

  const starts = exact ? startsOf(levels) : exactStartsOf(levels);
  let frame = 0;
  for (const [row, values] of levels.entries()) {
    graph.rowStart[row] = frame;
    for (let at = 0; at < values.length; at += VALUES_PER_FRAME) {
      graph.row[frame] = row;
      graph.start[frame] = starts[frame] ?? 0;
      graph.total[frame] = Number(values[at + 1]);
      graph.self[frame] = Number(values[at + 2]);
      graph.name[frame] = Number(values[at + 3]);
      frame++;
    }
  }
  graph.rowStart[levels.length] = frame;
  for (let row = 1; row < levels.length; row++) linkRow(graph, row);
  return graph;
}

/** Absolute left edges from the delta-encoded offsets, below 2^53. */
function startsOf(levels: (string | number)[][]): Float64Array {
  const starts: number[] = [];
  for (const values of levels) {
    let x = 0;
    for (let at = 0; at < values.length; at += VALUES_PER_FRAME) {
      x += Number(values[at]);
      starts.push(x);
      x += Number(values[at + 1]);
    }
  }
  return Float64Array.from(starts);
}

/** The same beyond 2^53: summed exactly and rounded once, so that the order of the edges is kept. */
function exactStartsOf(levels: (string | number)[][]): Float64Array {
  const starts: number[] = [];
  for (const values of levels) {
    let x = 0n;
    for (let at = 0; at < values.length; at += VALUES_PER_FRAME) {
      x += BigInt(values[at] ?? 0);
      starts.push(Number(x));
      x += BigInt(values[at + 1] ?? 0);
    }
  }
  return Float64Array.from(starts);
}

/** Find the parents of one row by walking it beside the row above. */
function linkRow(graph: FlameGraph, row: number): void {
  const { rowStart, start, total, parent, firstChild, childCount } = graph;
  const aboveEnd = rowStart[row] ?? 0;
  let above = rowStart[row - 1] ?? 0;
  for (let frame = aboveEnd; frame < (rowStart[row + 1] ?? 0); frame++) {
    const x = start[frame] ?? 0;
    while (above < aboveEnd && x >= (start[above] ?? 0) + (total[above] ?? 0)) above++;
    if (above === aboveEnd || x < (start[above] ?? 0)) {
      throw new Error(`flame graph: a frame of row ${row} lies outside every frame of the row above`);
    }
    parent[frame] = above;
    if (childCount[above] === 0) firstChild[above] = frame;
    childCount[above] = (childCount[above] ?? 0) + 1;
  }
}

/** Frames from just below the root to this one: root first, the root itself left out. */
export function ancestorsOf(graph: FlameGraph, frame: number): number[] {
  const path: number[] = [];
  for (let at = frame; at > ROOT; at = graph.parent[at] ?? ROOT) path.push(at);
  return path.reverse();
}

/** True when `frame` is `ancestor` or below it. */
export function isUnder(graph: FlameGraph, frame: number, ancestor: number): boolean {
  const x = graph.start[frame] ?? 0;
  const left = graph.start[ancestor] ?? 0;
  return (graph.row[frame] ?? 0) >= (graph.row[ancestor] ?? 0) && x >= left && x < left + (graph.total[ancestor] ?? 0);
}

/** First frame of the row whose right edge lies beyond x, or the row's end. O(log frames). */
export function firstFrameBeyond(graph: FlameGraph, row: number, x: number): number {
  let low = graph.rowStart[row] ?? graph.frameCount;
  let high = graph.rowStart[row + 1] ?? graph.frameCount;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((graph.start[middle] ?? 0) + (graph.total[middle] ?? 0) > x) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The frame of this row that covers x, or -1. */
export function frameAt(graph: FlameGraph, row: number, x: number): number {
  if (row < 0 || row >= rowCount(graph)) return -1;
  const frame = firstFrameBeyond(graph, row, x);
  return frame < (graph.rowStart[row + 1] ?? 0) && (graph.start[frame] ?? 0) <= x ? frame : -1;
}

/** How many rows the picture needs when zoomed to this frame: its ancestors, itself and its deepest descendant. */
export function rowsWhenZoomed(graph: FlameGraph, frame: number): number {
  if (graph.frameCount === 0) return 0;
  const left = graph.start[frame] ?? 0;
  const right = left + (graph.total[frame] ?? 0);
  let row = (graph.row[frame] ?? 0) + 1;
  for (; row < rowCount(graph); row++) {
    const first = firstFrameBeyond(graph, row, left);
    if (first >= (graph.rowStart[row + 1] ?? 0) || (graph.start[first] ?? 0) >= right) break;
  }
  return row;
}
