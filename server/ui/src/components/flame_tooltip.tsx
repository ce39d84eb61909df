/** What stands beside the pointer: the frame's name and values. */

import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { type FlameGraph, nameOf, ROOT } from "../model/flamegraph.ts";
import { formatPercent, formatValue } from "../model/units.ts";

export interface Hover {
  readonly frame: number;
  /** Window coordinates. */
  readonly x: number;
  readonly y: number;
}

const OFFSET_PX = 14;

interface Props {
  graph: FlameGraph;
  unit: string;
  hover: Hover;
  focus: number;
}

export function FlameTooltip({ graph, unit, hover, focus }: Props): JSX.Element {
  const element = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (element.current === null) return;
    const { width, height } = element.current.getBoundingClientRect();
    const x = hover.x + OFFSET_PX + width > innerWidth ? hover.x - OFFSET_PX - width : hover.x + OFFSET_PX;
    const y = hover.y + OFFSET_PX + height > innerHeight ? hover.y - OFFSET_PX - height : hover.y + OFFSET_PX;
    element.current.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
  });
  const total = graph.total[hover.frame] ?? 0;
  const self = graph.self[hover.frame] ?? 0;
  const whole = graph.total[ROOT] ?? 0;
  return (
    <div ref={element} class="tooltip" data-testid="tooltip" aria-hidden="true">
      <p class="tooltip-name">{nameOf(graph, hover.frame)}</p>
      <dl>
        <dt>Total</dt>
        <dd>{formatValue(total, unit)}</dd>
        <dd>{formatPercent(total, whole)}</dd>
        <dt>Self</dt>
        <dd>{formatValue(self, unit)}</dd>
        <dd>{formatPercent(self, whole)}</dd>
        {focus !== ROOT && (
          <>
            <dt>Of zoomed</dt>
            <dd />
            <dd>{formatPercent(total, Math.max(total, graph.total[focus] ?? 0))}</dd>
          </>
        )}
      </dl>
    </div>
  );
}
