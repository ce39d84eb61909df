/** The profile: its figures, search, breadcrumb, and the table and flame graph of the same frames. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Theme } from "../model/colors.ts";
import { type FlameGraph, ROOT, totalOf } from "../model/flamegraph.ts";
import { frameOfPath, framePath } from "../model/frame_path.ts";
import { parseProfileType } from "../model/profile_type.ts";
import { matchedValue, matchingFrames, type Search, searchNames } from "../model/search.ts";
import { placesOf, topFunctions } from "../model/top.ts";
import { formatPercent, formatValue } from "../model/units.ts";
import { MOST_FRAMES, type PageState, type View } from "../model/url_state.ts";
import type { Navigate } from "../state/location.ts";
import type { Loaded } from "../state/request.ts";
import { Breadcrumb } from "./breadcrumb.tsx";
import { Failure } from "./failure.tsx";
import { FlameView } from "./flame_view.tsx";
import { FlipIcon } from "./icons.tsx";
import { SearchBox } from "./search_box.tsx";
import { onGlobalKey } from "./shortcut_help.tsx";
import { TopTable } from "./top_table.tsx";

const VIEWS: readonly { readonly view: View; readonly title: string }[] = [
  { view: "both", title: "Both" },
  { view: "flame", title: "Flame graph" },
  { view: "table", title: "Table" },
];
/** What "More detail" multiplies the number of frames by. */
const MORE_FRAMES = 8;

interface Props {
  flame: Loaded<FlameGraph>;
  /** The selector was refused: there is nothing to show, and the reason stands at the selector. */
  selectorFailed: boolean;
  state: PageState;
  theme: Theme;
  navigate: Navigate;
  onRetry: () => void;
}

export function ProfilePanel({ flame, selectorFailed, state, theme, navigate, onRetry }: Props): JSX.Element {
  const graph = flame.value;
  return (
    <section class="card profile" id="profile" aria-label="Profile" aria-busy={flame.loading}>
      <div class={`progress ${flame.loading ? "is-active" : ""}`} role="presentation" />
      {flame.error !== null ? (
        <Failure error={flame.error} what="the profile" onRetry={onRetry} />
      ) : selectorFailed ? (
        <p class="notice">There is nothing to show until the selector above is corrected.</p>
      ) : graph === null ? (
        <Skeleton />
      ) : totalOf(graph) === 0 ? (
        <NoSamples state={state} navigate={navigate} />
      ) : (
        <LoadedProfile graph={graph} state={state} theme={theme} stale={flame.loading} navigate={navigate} />
      )}
    </section>
  );
}

interface LoadedProps {
  graph: FlameGraph;
  state: PageState;
  theme: Theme;
  stale: boolean;
  navigate: Navigate;
}

function LoadedProfile({ graph, state, theme, stale, navigate }: LoadedProps): JSX.Element {
  const { unit } = parseProfileType(state.profileType);
  const focus = useMemo(() => frameOfPath(graph, state.focus), [graph, state.focus]);
  const search = useMemo(() => searchNames(graph.names, state.search, state.regex), [graph, state.search, state.regex]);
  const functions = useMemo(() => topFunctions(graph), [graph]);
  const [cursor, setCursor] = useState(focus);
  useEffect(() => setCursor(focus), [focus, graph]);
  const zoomTo = (frame: number): void => navigate({ focus: framePath(graph, frame) });
  const whole = totalOf(graph);

  /** The heaviest place of a function; once there, the next one. */
  const pickFunction = (name: number): void => {
    const places = placesOf(graph, name);
    zoomTo(places[(places.indexOf(focus) + 1) % places.length] ?? ROOT);
  };
  const searchInput = useRef<HTMLInputElement>(null);
  useProfileKeys({ graph, search, focus, cursor, setCursor, navigate, searchInput, searchText: state.search });
  const folded = foldedValue(graph);
  return (
    <>
      <div class="toolbar">
        <p class="figures tabular" data-testid="figures">
          <Figure label="Total" value={`${graph.exact ? "" : "≈ "}${formatValue(whole, unit)}`} raw={whole} />
          <Figure label="Functions" value={functions.length.toLocaleString("en")} raw={functions.length} />
          {focus !== ROOT && (
            <Figure
              label="Zoomed"
              value={`${formatValue(graph.total[focus] ?? 0, unit)} · ${formatPercent(graph.total[focus] ?? 0, whole)}`}
              raw={graph.total[focus] ?? 0}
            />
          )}
        </p>
        <SearchBox
          input={searchInput}
          text={state.search}
          regex={state.regex}
          error={search?.error ?? null}
          result={search !== null && search.error === null ? searchResult(graph, search, focus) : null}
          navigate={navigate}
        />
        <Segments label="View">
          {VIEWS.map(({ view, title }) => (
            <button key={view} type="button" data-view={view} aria-pressed={state.view === view} onClick={() => navigate({ view })}>
              {title}
            </button>
          ))}
        </Segments>
        <button
          type="button"
          class="icon-button"
          data-testid="layout"
          aria-pressed={state.layout === "flame"}
          aria-label="Root at the bottom"
          title="Root at the bottom"
          onClick={() => navigate({ layout: state.layout === "flame" ? "icicle" : "flame" })}
        >
          <FlipIcon />
        </button>
      </div>
      <div class={`profile-body view-${state.view}`}>
        {state.view !== "flame" && (
          <TopTable
            functions={functions}
            search={search}
            sort={state.sort}
            unit={unit}
            whole={whole}
            selected={focus === ROOT ? -1 : (graph.name[focus] ?? -1)}
            stale={stale}
            onSort={(sort) => navigate({ sort }, "replace")}
            onPick={pickFunction}
          />
        )}
        {state.view !== "table" && (
          <div class="flame-column">
            <Breadcrumb graph={graph} focus={focus} onPick={zoomTo} />
            <FlameView
              graph={graph}
              unit={unit}
              focus={focus}
              cursor={cursor < graph.frameCount ? cursor : focus}
              search={search}
              upright={state.layout === "flame"}
              theme={theme}
              stale={stale}
              onFocus={zoomTo}
              onCursor={setCursor}
            />
            {folded > 0 && (
              <p class="folded-note">
                {formatPercent(folded, whole)} is folded into “other” ({graph.frameCount.toLocaleString("en")} frames shown).
                {state.maxFrames < MOST_FRAMES && (
                  <button
                    type="button"
                    class="link-button"
                    onClick={() => navigate({ maxFrames: Math.min(MOST_FRAMES, state.maxFrames * MORE_FRAMES) }, "replace")}
                  >
                    More detail
                  </button>
                )}
              </p>
            )}
          </div>
        )}
      </div>
    </>
  );
}

function Figure({ label, value, raw }: { label: string; value: string; raw: number }): JSX.Element {
  return (
    <span class="figure" data-figure={label.toLowerCase()} data-value={raw}>
      <span class="figure-label">{label}</span> {value}
    </span>
  );
}

function Segments({ label, children }: { label: string; children: ComponentChildren }): JSX.Element {
  return (
    <div class="segments" role="group" aria-label={label}>
      {children}
    </div>
  );
}

function searchResult(graph: FlameGraph, search: Search, focus: number): { text: string; value: number } {
  const value = matchedValue(graph, search, focus);
  const percent = formatPercent(value, graph.total[focus] ?? 0);
  return { value, text: search.functionCount === 0 ? "no match" : `${percent} in ${search.functionCount.toLocaleString("en")}` };
}

/** What the server folded to stay within the number of frames that was asked for. */
function foldedValue(graph: FlameGraph): number {
  const other = graph.names.indexOf("other");
  let sum = 0;
  for (let frame = 1; other >= 0 && frame < graph.frameCount; frame++) {
    if (graph.name[frame] === other && graph.childCount[frame] === 0) sum += graph.total[frame] ?? 0;
  }
  return sum;
}

interface KeyContext {
  graph: FlameGraph;
  search: Search | null;
  searchText: string;
  focus: number;
  cursor: number;
  setCursor: (frame: number) => void;
  navigate: Navigate;
  searchInput: { current: HTMLInputElement | null };
}

/** Keys that work wherever the focus is. */
function useProfileKeys(context: KeyContext): void {
  const latest = useRef(context);
  latest.current = context;
  useEffect(
    () =>
      onGlobalKey((key, event) => {
        const { graph, search, searchText, focus, cursor, setCursor, navigate, searchInput } = latest.current;
        const view = VIEWS[Number(key) - 1]?.view;
        if (key === "/") {
          event.preventDefault();
          searchInput.current?.select();
        } else if (key === "Escape") {
          if (focus !== ROOT) navigate({ focus: "" });
          else if (searchText !== "") navigate({ search: "" }, "replace");
        } else if ((key === "n" || key === "N") && search !== null) {
          const frames = matchingFrames(graph, search, focus);
          const next = key === "n" ? frames.find((frame) => frame > cursor) : frames.findLast((frame) => frame < cursor);
          const target = next ?? (key === "n" ? frames[0] : frames.at(-1));
          if (target === undefined) return;
          document.querySelector<HTMLElement>('[role="tree"]')?.focus();
          setCursor(target);
        } else if (view !== undefined) {
          navigate({ view });
        }
      }),
    [],
  );
}

function Skeleton(): JSX.Element {
  return (
    <div class="skeleton" role="status" aria-label="Loading the profile">
      {[100, 100, 86, 64, 58, 40, 22].map((width, index) => (
        <i key={index} style={{ width: `${width}%` }} />
      ))}
    </div>
  );
}

function NoSamples({ state, navigate }: { state: PageState; navigate: Navigate }): JSX.Element {
  return (
    <div class="no-samples" data-testid="no-samples">
      <p class="failure-title">No samples in this selection</p>
      <p>
        Nothing of <code>{state.profileType || "this type"}</code> matches <code>{`{${state.selector}}`}</code> in this range.
      </p>
      <button type="button" class="plain-button" onClick={() => navigate({ from: "now-24h", until: "now" })}>
        Last 24 hours
      </button>
    </div>
  );
}
