/**
 * The flame graph for screen readers: the frame that the keyboard stands on, its caller, its siblings and its callees.
 * Only these are in the document; aria-setsize and aria-posinset tell the rest.
 */

import type { JSX } from "preact";
import { type FlameGraph, nameOf, ROOT } from "../model/flamegraph.ts";
import { formatPercent, formatValue } from "../model/units.ts";

const MAX_SIBLINGS = 20;
const MAX_CALLEES = 20;

interface Props {
  graph: FlameGraph;
  unit: string;
  cursor: number;
  onPick: (frame: number) => void;
}

export function FlameTree({ graph, unit, cursor, onPick }: Props): JSX.Element {
  return (
    <div class="visually-hidden">
      {neighbourhood(graph, cursor).map((frame) => {
        const caller = graph.parent[frame] ?? -1;
        const callees = graph.childCount[frame] ?? 0;
        return (
          <div
            key={frame}
            id={`frame-${frame}`}
            role="treeitem"
            aria-level={(graph.row[frame] ?? 0) + 1}
            aria-setsize={caller < 0 ? 1 : (graph.childCount[caller] ?? 1)}
            aria-posinset={caller < 0 ? 1 : frame - (graph.firstChild[caller] ?? frame) + 1}
            aria-selected={frame === cursor}
            aria-expanded={callees > 0 ? frame === cursor || frame === (graph.parent[cursor] ?? -1) : undefined}
            onClick={() => onPick(frame)}
          >
            {describe(graph, unit, frame)}
          </div>
        );
      })}
    </div>
  );
}

/** Caller, siblings and callees, in the order of a tree. */
function neighbourhood(graph: FlameGraph, cursor: number): number[] {
  if (cursor < 0 || cursor >= graph.frameCount) return [];
  const callees = childrenOf(graph, cursor).slice(0, MAX_CALLEES);
  const caller = graph.parent[cursor] ?? -1;
  if (caller < 0) return [cursor, ...callees];
  const siblings = childrenOf(graph, caller);
  const at = siblings.indexOf(cursor);
  const shown = siblings.slice(Math.max(0, at - MAX_SIBLINGS), at + MAX_SIBLINGS + 1);
  return [caller, ...shown.flatMap((frame) => (frame === cursor ? [frame, ...callees] : [frame]))];
}

function childrenOf(graph: FlameGraph, frame: number): number[] {
  const first = graph.firstChild[frame] ?? -1;
  return first < 0 ? [] : Array.from({ length: graph.childCount[frame] ?? 0 }, (_, index) => first + index);
}

function describe(graph: FlameGraph, unit: string, frame: number): string {
  const total = graph.total[frame] ?? 0;
  const percent = formatPercent(total, graph.total[ROOT] ?? 0);
  return `${nameOf(graph, frame)}: total ${formatValue(total, unit)}, ${percent}; self ${formatValue(graph.self[frame] ?? 0, unit)}`;
}
