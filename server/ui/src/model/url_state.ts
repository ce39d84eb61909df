/** Everything that the page shows, as the query string holds it. Pyroscope's own names are kept: query, from, until. */

import { joinQuery, splitQuery } from "./selector.ts";
import type { Sort, SortColumn } from "./top.ts";

export type View = "both" | "flame" | "table";
export type Layout = "icicle" | "flame";

export interface PageState {
  /** Empty until one is chosen. */
  readonly profileType: string;
  /** The text between the braces. */
  readonly selector: string;
  readonly from: string;
  readonly until: string;
  readonly view: View;
  readonly layout: Layout;
  readonly search: string;
  readonly regex: boolean;
  /** A frame path, see frame_path.ts; empty when not zoomed. */
  readonly focus: string;
  readonly sort: Sort;
  /** How many frames the server may send before it folds small ones into "other". */
  readonly maxFrames: number;
}

export const DEFAULT_STATE: PageState = {
  profileType: "",
  selector: "",
  from: "now-1h",
  until: "now",
  view: "both",
  layout: "icicle",
  search: "",
  regex: false,
  focus: "",
  sort: { column: "self", descending: true },
  maxFrames: 16_384,
};

/** What servers give at most unless configured otherwise. */
export const MOST_FRAMES = 1 << 20;
const KEYS = ["query", "from", "until", "view", "layout", "search", "re", "focus", "sort", "max"] as const;

/** Read a query string; a value that means nothing is the default. */
export function readState(queryString: string): PageState {
  const keys = new URLSearchParams(queryString);
  const { profileType, selector } = splitQuery(keys.get("query") ?? "");
  return {
    profileType,
    selector,
    from: keys.get("from") || DEFAULT_STATE.from,
    until: keys.get("until") || DEFAULT_STATE.until,
    view: oneOf(keys.get("view"), ["both", "flame", "table"], DEFAULT_STATE.view),
    layout: oneOf(keys.get("layout"), ["icicle", "flame"], DEFAULT_STATE.layout),
    search: keys.get("search") ?? "",
    regex: keys.get("re") === "1",
    focus: keys.get("focus") ?? "",
    sort: readSort(keys.get("sort")),
    maxFrames: readMaxFrames(keys.get("max")),
  };
}

/** Write the state over a query string: defaults are left out, and keys that are not ours stay. */
export function writeState(state: PageState, queryString = ""): string {
  const keys = new URLSearchParams(queryString);
  for (const key of KEYS) keys.delete(key);
  if (state.profileType !== "" || state.selector !== "") keys.set("query", joinQuery(state.profileType, state.selector));
  keys.set("from", state.from);
  keys.set("until", state.until);
  if (state.view !== DEFAULT_STATE.view) keys.set("view", state.view);
  if (state.layout !== DEFAULT_STATE.layout) keys.set("layout", state.layout);
  if (state.search !== "") keys.set("search", state.search);
  if (state.regex) keys.set("re", "1");
  if (state.focus !== "") keys.set("focus", state.focus);
  const sort = writeSort(state.sort);
  if (sort !== writeSort(DEFAULT_STATE.sort)) keys.set("sort", sort);
  if (state.maxFrames !== DEFAULT_STATE.maxFrames) keys.set("max", state.maxFrames.toString());
  return `?${keys.toString()}`;
}

function oneOf<Value extends string>(text: string | null, values: readonly Value[], otherwise: Value): Value {
  return values.find((value) => value === text) ?? otherwise;
}

/** `self` ascends, `-self` descends. */
function readSort(text: string | null): Sort {
  if (text === null) return DEFAULT_STATE.sort;
  const descending = text.startsWith("-");
  const column = (["name", "self", "total"] as const).find((name) => name === (descending ? text.slice(1) : text));
  return column === undefined ? DEFAULT_STATE.sort : { column, descending };
}

function writeSort({ column, descending }: { column: SortColumn; descending: boolean }): string {
  return descending ? `-${column}` : column;
}

function readMaxFrames(text: string | null): number {
  const value = Number(text);
  return Number.isInteger(value) && value > 0 && value <= MOST_FRAMES ? value : DEFAULT_STATE.maxFrames;
}
