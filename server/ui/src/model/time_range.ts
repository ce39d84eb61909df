/** Time ranges as the URL holds them: `now-1h` or a moment, in the forms that Pyroscope's links use. */

const RELATIVE = /^now(?:-(\d+)(ms|s|m|h|d|w))?$/;
const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

export interface TimeRange {
  readonly startMs: number;
  readonly endMs: number;
}

export interface Preset {
  readonly from: string;
  readonly label: string;
}

export const PRESETS: readonly Preset[] = [
  { from: "now-5m", label: "Last 5 minutes" },
  { from: "now-15m", label: "Last 15 minutes" },
  { from: "now-30m", label: "Last 30 minutes" },
  { from: "now-1h", label: "Last hour" },
  { from: "now-3h", label: "Last 3 hours" },
  { from: "now-6h", label: "Last 6 hours" },
  { from: "now-12h", label: "Last 12 hours" },
  { from: "now-24h", label: "Last 24 hours" },
  { from: "now-2d", label: "Last 2 days" },
  { from: "now-7d", label: "Last 7 days" },
  { from: "now-14d", label: "Last 14 days" },
];

/** Unix milliseconds of `now`, `now-30m`, or a Unix time in s, ms, us or ns (told apart by its length); else null. */
export function resolveTime(text: string, nowMs: number): number | null {
  const relative = RELATIVE.exec(text);
  if (relative !== null) {
    const [, amount, unit] = relative;
    return amount === undefined ? nowMs : nowMs - Number(amount) * (UNIT_MS[unit ?? ""] ?? 0);
  }
  if (!/^\d{1,19}$/.test(text)) return null;
  if (text.length <= 10) return Number(text) * 1000;
  if (text.length <= 13) return Number(text);
  return Math.floor(Number(text) / (text.length <= 16 ? 1e3 : 1e6));
}

/** Resolve both ends; what cannot be read, or is not a range, becomes the last hour. */
export function resolveRange(from: string, until: string, nowMs: number): TimeRange {
  const startMs = resolveTime(from, nowMs);
  const endMs = resolveTime(until, nowMs);
  if (startMs === null || endMs === null || startMs >= endMs) return { startMs: nowMs - 3_600_000, endMs: nowMs };
  return { startMs, endMs };
}

/** The preset's name, or both moments in local time. */
export function describeRange(from: string, until: string, nowMs: number): string {
  if (until === "now") {
    const preset = PRESETS.find((candidate) => candidate.from === from);
    if (preset !== undefined) return preset.label;
  }
  const { startMs, endMs } = resolveRange(from, until, nowMs);
  const start = formatMoment(startMs);
  const end = formatMoment(endMs);
  return start.slice(0, 10) === end.slice(0, 10) ? `${start} – ${end.slice(11)}` : `${start} – ${end}`;
}

/** Local time as `2026-11-23 20:15:00`. */
export function formatMoment(ms: number): string {
  const date = new Date(ms);
  const two = (value: number): string => value.toString().padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** What an `<input type="datetime-local">` wants and gives: local time without a zone. */
export function toLocalInput(ms: number): string {
  return formatMoment(ms).replace(" ", "T");
}

export function fromLocalInput(text: string): number | null {
  const ms = new Date(text).getTime();
  return Number.isNaN(ms) ? null : ms;
}

/** Bucket widths of the timeline, in seconds: whole numbers of the SDK's upload interval, so that buckets are even. */
const STEPS_S = [10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];
const MAX_BUCKETS = 180;

export interface Buckets {
  readonly stepS: number;
  /** Right edge of the first bucket. */
  readonly startMs: number;
  /** Right edge of the last bucket. */
  readonly endMs: number;
}

/** At most 180 even buckets that cover the range; edges are whole steps, so that a refresh moves no bar. */
export function timelineBuckets(range: TimeRange): Buckets {
  const spanS = (range.endMs - range.startMs) / 1000;
  const stepS = STEPS_S.find((step) => spanS / step <= MAX_BUCKETS) ?? Math.ceil(spanS / MAX_BUCKETS / 86_400) * 86_400;
  const stepMs = stepS * 1000;
  const startMs = Math.floor(range.startMs / stepMs) * stepMs + stepMs;
  return { stepS, startMs, endMs: Math.max(startMs, Math.ceil(range.endMs / stepMs) * stepMs) };
}
