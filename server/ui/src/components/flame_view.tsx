/** The flame graph on the page: a canvas that is never taller than its window, in a scroller as tall as the graph. */

import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Theme } from "../model/colors.ts";
import { type FlameGraph, frameAt, ROOT, rowsWhenZoomed } from "../model/flamegraph.ts";
import type { Search } from "../model/search.ts";
import { useSize } from "../state/size.ts";
import { useMediaQuery } from "../state/theme.ts";
import { type Extent, paint, type Picture, ROW_PX, rowAt, rowTop } from "./flame_painter.ts";
import { FlameTree } from "./flame_tree.tsx";
import { FlameTooltip, type Hover } from "./flame_tooltip.tsx";
import { keyTarget } from "./flame_keys.ts";

const ZOOM_MS = 180;

interface Props {
  graph: FlameGraph;
  unit: string;
  focus: number;
  /** The frame that the keyboard stands on. */
  cursor: number;
  search: Search | null;
  upright: boolean;
  theme: Theme;
  stale: boolean;
  onFocus: (frame: number) => void;
  onCursor: (frame: number) => void;
}

export function FlameView(props: Props): JSX.Element {
  const { graph, unit, focus, cursor, search, upright, theme, stale, onFocus, onCursor } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(scroller);
  const [scrollTop, setScrollTop] = useState(0);
  const [hover, setHover] = useState<Hover | null>(null);
  const [keyboard, setKeyboard] = useState(false);
  const rows = useMemo(() => rowsWhenZoomed(graph, focus), [graph, focus]);
  const extent = useZoomedExtent(graph, focus);
  const fontFamily = scroller.current === null ? "sans-serif" : getComputedStyle(scroller.current).fontFamily;
  const shape = { rows, upright, height: size.height };
  const picture: Picture = {
    ...{ graph, extent, search, theme, scrollTop, fontFamily, ...shape },
    focusRow: graph.row[focus] ?? 0,
    hovered: hover?.frame ?? -1,
    cursor: keyboard ? cursor : -1,
    width: size.width,
  };

  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!canvas.current || !context || size.width === 0) return;
    const ratio = devicePixelRatio;
    const width = Math.round(size.width * ratio);
    const height = Math.round(size.height * ratio);
    // Assigning a size, even the same one, makes the browser allocate the bitmap anew.
    if (canvas.current.width !== width) canvas.current.width = width;
    if (canvas.current.height !== height) canvas.current.height = height;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint(context, picture);
  });

  const reveal = (frame: number): void => {
    const top = rowTop(shape, graph.row[frame] ?? 0);
    const element = scroller.current;
    if (element === null) return;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW_PX > element.scrollTop + size.height) element.scrollTop = top + ROW_PX - size.height;
  };
  useEffect(() => reveal(focus), [graph, focus, upright, size.height]);
  useEffect(() => reveal(cursor), [cursor]);

  const frameUnder = (event: { clientX: number; clientY: number }): number => {
    const box = canvas.current?.getBoundingClientRect();
    if (box === undefined || size.width === 0) return -1;
    const x = extent.left + ((event.clientX - box.left) / size.width) * (extent.right - extent.left);
    return frameAt(graph, rowAt(shape, event.clientY - box.top + scrollTop), x);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const target = keyTarget(graph, event.key, { cursor, focus, upright });
    if (target === null) return;
    event.preventDefault();
    setKeyboard(true);
    if (target.zoom) onFocus(target.frame);
    onCursor(target.frame);
  };

  return (
    <div
      class={`flame ${stale ? "is-stale" : ""}`}
      role="tree"
      tabIndex={0}
      aria-label="Flame graph. Arrow keys walk, Enter zooms, Escape resets."
      aria-activedescendant={`frame-${cursor}`}
      data-testid="flame"
      data-frames={graph.frameCount}
      data-focus={focus}
      onKeyDown={onKeyDown}
      onFocus={(event) => setKeyboard(event.currentTarget.matches(":focus-visible"))}
      onBlur={() => setKeyboard(false)}
    >
      <div ref={scroller} class="flame-scroller" onScroll={(event) => setScrollTop(event.currentTarget.scrollTop)}>
        <canvas
          ref={canvas}
          class={hover === null ? "" : "is-pointing"}
          style={{ width: `${size.width}px`, height: `${size.height}px` }}
          aria-hidden="true"
          onPointerMove={(event) => {
            const frame = frameUnder(event);
            setHover(frame < 0 ? null : { frame, x: event.clientX, y: event.clientY });
          }}
          onPointerLeave={() => setHover(null)}
          onClick={(event) => {
            const frame = frameUnder(event);
            if (frame < 0) return;
            setHover(null);
            setKeyboard(false);
            onFocus(frame === focus ? (graph.parent[frame] ?? ROOT) : frame);
          }}
        />
        <div class="flame-spacer" style={{ height: `${Math.max(0, rows * ROW_PX - size.height)}px` }} />
      </div>
      <FlameTree graph={graph} unit={unit} cursor={cursor} onPick={onFocus} />
      {hover !== null && hover.frame < graph.frameCount && <FlameTooltip graph={graph} unit={unit} hover={hover} focus={focus} />}
    </div>
  );
}

/** The focused frame's extent; changes are animated unless the reader asked for less motion. */
function useZoomedExtent(graph: FlameGraph, focus: number): Extent {
  const left = graph.start[focus] ?? 0;
  const right = left + (graph.total[focus] ?? 0);
  const [shown, setShown] = useState<{ graph: FlameGraph; extent: Extent }>({ graph, extent: { left, right } });
  const calm = useMediaQuery("(prefers-reduced-motion: reduce)");
  useEffect(() => {
    const target = { left, right };
    if (calm || shown.graph !== graph) {
      setShown({ graph, extent: target });
      return;
    }
    const from = shown.extent;
    const startedMs = performance.now();
    let request = 0;
    const step = (nowMs: number): void => {
      const progress = Math.min(1, Math.max(0, (nowMs - startedMs) / ZOOM_MS));
      const eased = 1 - (1 - progress) ** 3;
      const at = (a: number, b: number): number => (progress === 1 ? b : a + (b - a) * eased);
      setShown({ graph, extent: { left: at(from.left, left), right: at(from.right, right) } });
      if (progress < 1) request = requestAnimationFrame(step);
    };
    request = requestAnimationFrame(step);
    return () => cancelAnimationFrame(request);
  }, [graph, left, right, calm]);
  return shown.graph === graph ? shown.extent : { left, right };
}
