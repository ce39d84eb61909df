/** Draws what is visible of a flame graph on a 2D canvas; knows nothing of the page. */

import { colorIndex, PALETTES, type Theme } from "../model/colors.ts";
import { firstFrameBeyond, type FlameGraph, ROOT } from "../model/flamegraph.ts";
import type { Search } from "../model/search.ts";
import { formatPercent } from "../model/units.ts";

export const ROW_PX = 21;
const GAP_PX = 1;
const TEXT_PADDING_PX = 6;
/** Below this a frame carries no text. */
const MIN_TEXT_PX = 26;
/** Frames narrower than this are drawn together as one block. */
const MIN_FRAME_PX = 0.7;
const PERCENT_GAP_PX = 10;

/** The part of the profile that the canvas shows, in the profile's unit. */
export interface Extent {
  readonly left: number;
  readonly right: number;
}

export interface Picture {
  readonly graph: FlameGraph;
  readonly extent: Extent;
  /** Rows above this one are the callers of the zoomed frame. */
  readonly focusRow: number;
  readonly rows: number;
  /** Root at the bottom. */
  readonly upright: boolean;
  readonly search: Search | null;
  readonly theme: Theme;
  readonly hovered: number;
  readonly cursor: number;
  readonly width: number;
  readonly height: number;
  readonly scrollTop: number;
  readonly fontFamily: string;
}

interface Ink {
  readonly dim: string;
  readonly dimText: string;
  readonly outline: string;
  readonly cursor: string;
}

const INKS: Readonly<Record<Theme, Ink>> = {
  light: { dim: "#ececef", dimText: "#5d616b", outline: "#1c1d22", cursor: "#c2410c" },
  dark: { dim: "#2a2d35", dimText: "#a3a8b4", outline: "#ffffff", cursor: "#ff9a62" },
};

/** Distance from the top of the whole picture, scrolled or not. */
export function rowTop(picture: Pick<Picture, "rows" | "upright" | "height">, row: number): number {
  if (!picture.upright) return row * ROW_PX;
  return Math.max(0, picture.height - picture.rows * ROW_PX) + (picture.rows - 1 - row) * ROW_PX;
}

/** The row at this distance from the top of the whole picture; it may lie outside of the graph. */
export function rowAt(picture: Pick<Picture, "rows" | "upright" | "height">, y: number): number {
  if (!picture.upright) return Math.floor(y / ROW_PX);
  return picture.rows - 1 - Math.floor((y - rowTop(picture, picture.rows - 1)) / ROW_PX);
}

/** Paint the visible rows. The context is scaled so that units are CSS pixels. */
export function paint(context: CanvasRenderingContext2D, picture: Picture): void {
  context.clearRect(0, 0, picture.width, picture.height);
  if (picture.extent.right <= picture.extent.left) return;
  context.font = `12px ${picture.fontFamily}`;
  context.textBaseline = "middle";
  for (let row = 0; row < picture.rows; row++) {
    const top = rowTop(picture, row) - picture.scrollTop;
    if (top > -ROW_PX && top < picture.height) paintRow(context, picture, row, top);
  }
  outline(context, picture, picture.hovered, INKS[picture.theme].outline, 1.5);
  outline(context, picture, picture.cursor, INKS[picture.theme].cursor, 2);
}

function paintRow(context: CanvasRenderingContext2D, picture: Picture, row: number, top: number): void {
  const { graph, extent, width } = picture;
  const { start, total } = graph;
  const scale = width / (extent.right - extent.left);
  const end = graph.rowStart[row + 1] ?? 0;
  let tinyFrom = -1;
  let tinyTo = -1;
  const paintTiny = (): void => {
    if (tinyFrom < 0) return;
    context.fillStyle = INKS[picture.theme].dim;
    context.fillRect(tinyFrom, top, Math.max(0.7, tinyTo - tinyFrom), ROW_PX - GAP_PX);
    tinyFrom = -1;
  };
  for (let frame = firstFrameBeyond(graph, row, extent.left); frame < end; frame++) {
    const left = ((start[frame] ?? 0) - extent.left) * scale;
    if (left >= width) break;
    const right = left + (total[frame] ?? 0) * scale;
    if (right - left < MIN_FRAME_PX) {
      if (tinyFrom >= 0 && left - tinyTo > 1) paintTiny();
      if (tinyFrom < 0) tinyFrom = left;
      tinyTo = right;
      continue;
    }
    paintTiny();
    paintFrame(context, picture, frame, Math.max(0, left), Math.min(width, right), top);
  }
  paintTiny();
}

function paintFrame(
  context: CanvasRenderingContext2D,
  picture: Picture,
  frame: number,
  left: number,
  right: number,
  top: number,
): void {
  const { graph, search, theme, focusRow } = picture;
  const name = graph.name[frame] ?? 0;
  const matches = search === null || search.matches[name] === 1;
  const palette = PALETTES[theme];
  const color = frame === ROOT ? -1 : (colorsOf(graph)[name] ?? -1);
  const width = right - left;
  context.fillStyle = matches ? (palette.frames[color] ?? palette.neutral) : INKS[theme].dim;
  // Callers of the zoomed frame step back; their text does not.
  context.globalAlpha = (graph.row[frame] ?? 0) < focusRow ? 0.55 : 1;
  context.fillRect(left, top, width > 3 ? width - GAP_PX : width, ROW_PX - GAP_PX);
  context.globalAlpha = 1;
  if (width < MIN_TEXT_PX) return;
  context.fillStyle = matches ? palette.text : INKS[theme].dimText;
  paintText(context, picture, frame, left + TEXT_PADDING_PX, right - TEXT_PADDING_PX, top + ROW_PX / 2);
}

function paintText(
  context: CanvasRenderingContext2D,
  { graph, fontFamily }: Picture,
  frame: number,
  left: number,
  right: number,
  middle: number,
): void {
  const name = graph.name[frame] ?? 0;
  const text = graph.names[name] ?? "";
  const widths = widthsOf(graph, fontFamily);
  let width = widths[name] ?? Number.NaN;
  if (Number.isNaN(width)) {
    width = context.measureText(text).width;
    widths[name] = width;
  }
  const space = right - left;
  if (width > space) {
    const chars = Math.floor((text.length * space) / width) - 1;
    if (chars > 1) context.fillText(`${text.slice(0, chars)}…`, left, middle);
    return;
  }
  context.fillText(text, left, middle);
  const percent = formatPercent(graph.total[frame] ?? 0, graph.total[ROOT] ?? 0);
  const percentWidth = percent.length * 7;
  if (width + PERCENT_GAP_PX + percentWidth > space) return;
  context.textAlign = "right";
  context.fillText(percent, right, middle);
  context.textAlign = "left";
}

function outline(context: CanvasRenderingContext2D, picture: Picture, frame: number, color: string, line: number): void {
  const { graph, extent, width } = picture;
  if (frame < 0 || frame >= graph.frameCount) return;
  const scale = width / (extent.right - extent.left);
  const unclipped = ((graph.start[frame] ?? 0) - extent.left) * scale;
  const left = Math.max(0, unclipped);
  const right = Math.min(width, unclipped + (graph.total[frame] ?? 0) * scale);
  if (right < left || left >= width) return;
  const top = rowTop(picture, graph.row[frame] ?? 0) - picture.scrollTop;
  context.strokeStyle = color;
  context.lineWidth = line;
  context.strokeRect(left + line / 2, top + line / 2, Math.max(1, right - left - GAP_PX - line), ROW_PX - GAP_PX - line);
}

const colorsOfGraph = new WeakMap<FlameGraph, Int16Array>();

/** The palette index of every name. */
function colorsOf(graph: FlameGraph): Int16Array {
  let colors = colorsOfGraph.get(graph);
  if (colors === undefined) {
    colors = Int16Array.from(graph.names, colorIndex);
    colorsOfGraph.set(graph, colors);
  }
  return colors;
}

const widthsOfGraph = new WeakMap<FlameGraph, { fontFamily: string; widths: Float32Array }>();

/** Measured text widths of every name, NaN until measured: measuring is what costs most in a redraw. */
function widthsOf(graph: FlameGraph, fontFamily: string): Float32Array {
  let measured = widthsOfGraph.get(graph);
  if (measured?.fontFamily !== fontFamily) {
    measured = { fontFamily, widths: new Float32Array(graph.names.length).fill(Number.NaN) };
    widthsOfGraph.set(graph, measured);
  }
  return measured.widths;
}
