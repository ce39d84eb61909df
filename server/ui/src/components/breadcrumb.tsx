/** The way from the root to the zoomed frame; long ways are shortened in the middle. */

import type { JSX } from "preact";
import { ancestorsOf, type FlameGraph, nameOf, ROOT } from "../model/flamegraph.ts";
import { CloseIcon } from "./icons.tsx";

const SHOWN_AT_START = 1;
const SHOWN_AT_END = 3;

interface Props {
  graph: FlameGraph;
  focus: number;
  onPick: (frame: number) => void;
}

export function Breadcrumb({ graph, focus, onPick }: Props): JSX.Element | null {
  if (focus === ROOT) return null;
  const path = ancestorsOf(graph, focus);
  const hidden = path.length - SHOWN_AT_START - SHOWN_AT_END;
  const start = hidden > 1 ? path.slice(0, SHOWN_AT_START) : path;
  const end = hidden > 1 ? path.slice(-SHOWN_AT_END) : [];
  const crumb = (frame: number): JSX.Element => (
    <li key={frame}>
      <button
        type="button"
        title={nameOf(graph, frame)}
        aria-current={frame === focus ? "location" : undefined}
        onClick={() => onPick(frame)}
      >
        {frame === ROOT ? "total" : nameOf(graph, frame)}
      </button>
    </li>
  );
  return (
    <nav class="breadcrumb" aria-label="Zoomed to" data-testid="breadcrumb">
      <ol>
        {crumb(ROOT)}
        {start.map(crumb)}
        {end.length > 0 && <li class="crumb-gap">{hidden} more…</li>}
        {end.map(crumb)}
      </ol>
      <button type="button" class="plain-button small" data-testid="reset-zoom" title="Reset the zoom (Esc)" onClick={() => onPick(ROOT)}>
        <CloseIcon /> Reset
      </button>
    </nav>
  );
}
