/** The profile's values over time; dragging over it narrows the range. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { Timeline } from "../api/querier.ts";
import type { Theme } from "../model/colors.ts";
import { isCpuTime, type ProfileType, profileTypeName } from "../model/profile_type.ts";
import { formatMoment, type TimeRange } from "../model/time_range.ts";
import { formatNumber, formatValue } from "../model/units.ts";
import type { Navigate } from "../state/location.ts";
import type { Loaded } from "../state/request.ts";
import { useSize } from "../state/size.ts";
import { colorToken } from "../state/theme.ts";
import { ZoomOutIcon } from "./icons.tsx";

const PLOT_HEIGHT_PX = 104;
/** A shorter drag is a click that slipped. */
const MIN_BRUSH_PX = 4;

interface Props {
  timeline: Loaded<Timeline>;
  /** The selector was refused: the reason stands at the selector, and need not be repeated here. */
  selectorFailed: boolean;
  profileType: ProfileType;
  range: TimeRange;
  theme: Theme;
  navigate: Navigate;
}

export function TimelinePanel({ timeline, selectorFailed, profileType, range, theme, navigate }: Props): JSX.Element {
  const [hovered, setHovered] = useState<number | null>(null);
  const loaded = timeline.value;
  const setRange = (startMs: number, endMs: number): void =>
    navigate({ from: Math.round(startMs).toString(), until: Math.round(endMs).toString() });
  const zoomOut = (): void => {
    const half = (range.endMs - range.startMs) / 2;
    setRange(range.startMs - half, Math.min(Date.now(), range.endMs + half));
  };
  return (
    <section class="card timeline" aria-label="Timeline">
      <div class="timeline-header">
        <h2>{isCpuTime(profileType) ? "CPU cores in use" : `${profileTypeName(profileType.id)} over time`}</h2>
        <p class="timeline-readout tabular" data-testid="timeline-readout">
          {loaded !== null && readout(loaded, profileType, range, hovered)}
        </p>
        <button type="button" class="plain-button small" onClick={zoomOut} title="Twice the time range">
          <ZoomOutIcon /> Zoom out
        </button>
      </div>
      {timeline.error !== null && !selectorFailed ? (
        <p class="timeline-error">{timeline.error.message}</p>
      ) : (
        <Plot
          timeline={loaded}
          profileType={profileType}
          range={range}
          theme={theme}
          stale={timeline.loading}
          onHover={setHovered}
          onBrush={setRange}
        />
      )}
    </section>
  );
}

/** A bucket's value as it is plotted: cores for CPU time, else the bucket's sum. */
function plotted(value: number, stepS: number, profileType: ProfileType): number {
  return isCpuTime(profileType) ? value / 1e9 / stepS : value;
}

function formatPlotted(value: number, profileType: ProfileType): string {
  if (!isCpuTime(profileType)) return formatValue(value, profileType.unit);
  return `${formatNumber(value)} ${value === 1 ? "core" : "cores"}`;
}

function readout(timeline: Timeline, profileType: ProfileType, range: TimeRange, hovered: number | null): string {
  const value = hovered === null ? undefined : timeline.values[hovered];
  const edgeS = hovered === null ? undefined : timeline.edgesS[hovered];
  if (value !== undefined && edgeS !== undefined) {
    const from = formatMoment((edgeS - timeline.stepS) * 1000).slice(11);
    const until = formatMoment(edgeS * 1000).slice(11);
    return `${from} – ${until}: ${formatPlotted(plotted(value, timeline.stepS, profileType), profileType)}`;
  }
  const sum = timeline.values.reduce((total, each) => total + each, 0);
  if (!isCpuTime(profileType)) return `${formatValue(sum, profileType.unit)} in all`;
  return `${formatNumber(sum / 1e6 / (range.endMs - range.startMs))} on average`;
}

interface PlotProps {
  timeline: Timeline | null;
  profileType: ProfileType;
  range: TimeRange;
  theme: Theme;
  stale: boolean;
  onHover: (bucket: number | null) => void;
  onBrush: (startMs: number, endMs: number) => void;
}

function Plot({ timeline, profileType, range, theme, stale, onHover, onBrush }: PlotProps): JSX.Element {
  const container = useRef<HTMLDivElement>(null);
  const { width } = useSize(container);
  const callbacks = useRef({ onHover, onBrush });
  callbacks.current = { onHover, onBrush };
  useEffect(() => {
    if (container.current === null || width === 0 || timeline === null) return;
    const options = plotOptions(container.current, width, timeline, profileType, range, {
      onHover: (bucket) => callbacks.current.onHover(bucket),
      onBrush: (startMs, endMs) => callbacks.current.onBrush(startMs, endMs),
    });
    const values = timeline.values.map((value) => plotted(value, timeline.stepS, profileType));
    const plot = new uPlot(options, [[...timeline.edgesS], values], container.current);
    return () => plot.destroy();
    // The theme is read from the page's tokens while drawing.
  }, [timeline, width, theme, profileType.id, range.startMs, range.endMs]);
  const bars = timeline?.values.filter((value) => value > 0).length ?? 0;
  return (
    <div
      ref={container}
      class={`timeline-plot ${stale ? "is-stale" : ""}`}
      data-testid="timeline"
      data-bars={bars}
      role="img"
      aria-label={`Timeline, ${formatMoment(range.startMs)} to ${formatMoment(range.endMs)}`}
    />
  );
}

function plotOptions(
  element: Element,
  width: number,
  { stepS }: Timeline,
  profileType: ProfileType,
  range: TimeRange,
  { onHover, onBrush }: Pick<PlotProps, "onHover" | "onBrush">,
): uPlot.Options {
  const text = colorToken(element, "--muted");
  const grid = { stroke: colorToken(element, "--line"), width: 1 };
  const bars = uPlot.paths.bars?.({ align: -1, size: [0.86, 48], radius: 0.12 });
  const axis = { stroke: text, font: `11px ${getComputedStyle(element).fontFamily}`, ticks: { show: false } };
  return {
    width,
    height: PLOT_HEIGHT_PX,
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      points: { show: false },
      // Which bucket is under the pointer: it ends at its edge, it is not centred on it.
      dataIdx: (plot, _series, _closest, x) => {
        const edges = plot.data[0];
        const index = edges.findIndex((edge) => edge >= x);
        return index < 0 ? edges.length - 1 : index;
      },
      drag: { x: true, y: false, setScale: false },
    },
    scales: { x: { range: [range.startMs / 1000, range.endMs / 1000] }, y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.08 : 1] } },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 90, values: timeLabels },
      {
        ...axis,
        grid,
        size: 64,
        space: 22,
        values: (_plot, splits) => splits.map((value) => (isCpuTime(profileType) ? formatNumber(value) : formatValue(value, profileType.unit))),
      },
    ],
    series: [
      {},
      {
        fill: colorToken(element, "--bar"),
        ...(bars === undefined ? {} : { paths: bars }),
        points: { show: false },
      },
    ],
    hooks: {
      setCursor: [(plot) => onHover(plot.cursor.left === undefined || plot.cursor.left < 0 ? null : (plot.cursor.idxs?.[1] ?? null))],
      setSelect: [
        (plot) => {
          const { left, width: dragged } = plot.select;
          if (dragged < MIN_BRUSH_PX) return;
          const startMs = plot.posToVal(left, "x") * 1000;
          const endMs = plot.posToVal(left + dragged, "x") * 1000;
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          // A range below one bucket would show a timeline of nothing.
          onBrush(startMs, Math.max(endMs, startMs + stepS * 100));
        },
      ],
    },
  };
}

/** `20:15`, with the day where it changes and seconds where the steps are that small. */
function timeLabels(_plot: uPlot, splits: number[], _axis: number, _space: number, incrementS: number): string[] {
  let lastDay = "";
  return splits.map((seconds, index) => {
    const moment = formatMoment(seconds * 1000);
    const day = moment.slice(5, 10);
    const dayChanged = day !== lastDay && (index > 0 || incrementS >= 86_400);
    lastDay = day;
    if (dayChanged || incrementS >= 86_400) return incrementS >= 86_400 ? day : `${day} ${moment.slice(11, 16)}`;
    return incrementS < 60 ? moment.slice(11) : moment.slice(11, 16);
  });
}
