/** Values with their units, as people read them. */

const SECOND_NS = 1e9;
const DURATION_STEPS: readonly (readonly [limit: number, divisor: number, suffix: string])[] = [
  [1e3, 1, "ns"],
  [1e6, 1e3, "µs"],
  [SECOND_NS, 1e6, "ms"],
  [100 * SECOND_NS, SECOND_NS, "s"],
  [100 * 60 * SECOND_NS, 60 * SECOND_NS, "min"],
  [48 * 3600 * SECOND_NS, 3600 * SECOND_NS, "h"],
  [Number.POSITIVE_INFINITY, 24 * 3600 * SECOND_NS, "d"],
];
const COUNT_SUFFIXES = ["", "k", "M", "G", "T", "P"];
const BYTE_SUFFIXES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Three significant digits, never an exponent: 0.0123, 1.23, 12.3, 123, 1234. */
export function formatNumber(value: number): string {
  if (value === 0) return "0";
  const magnitude = Math.abs(value);
  if (magnitude >= 100) return Math.round(value).toString();
  const decimals = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(magnitude))));
  return value.toFixed(decimals);
}

/** A value of a sample unit: "39.5 s", "12.3 MiB", "4.21 k". Unknown units are counted and named. */
export function formatValue(value: number, unit: string): string {
  switch (unit) {
    case "nanoseconds":
      return formatDuration(value);
    case "microseconds":
      return formatDuration(value * 1e3);
    case "milliseconds":
      return formatDuration(value * 1e6);
    case "seconds":
      return formatDuration(value * SECOND_NS);
    case "bytes":
      return formatScaled(value, 1024, BYTE_SUFFIXES);
    case "count":
    case "objects":
    case "samples":
    case "":
      return formatScaled(value, 1000, COUNT_SUFFIXES);
    default:
      return `${formatScaled(value, 1000, COUNT_SUFFIXES)} ${unit}`;
  }
}

function formatDuration(valueNs: number): string {
  if (valueNs === 0) return "0 s";
  const step = DURATION_STEPS.find(([limit]) => Math.abs(valueNs) < limit) ?? DURATION_STEPS.at(-1);
  const [, divisor, suffix] = step ?? [0, 1, "ns"];
  return `${formatNumber(valueNs / divisor)} ${suffix}`;
}

function formatScaled(value: number, base: number, suffixes: readonly string[]): string {
  let scaled = value;
  let index = 0;
  while (Math.abs(scaled) >= base && index < suffixes.length - 1) {
    scaled /= base;
    index++;
  }
  const suffix = suffixes[index] ?? "";
  const digits = index === 0 && Number.isInteger(scaled) ? scaled.toString() : formatNumber(scaled);
  return suffix === "" ? digits : `${digits} ${suffix}`;
}

/** "12.3 %"; what is there but rounds to nothing is "<0.01 %". */
export function formatPercent(part: number, whole: number): string {
  if (whole === 0 || part === 0) return "0 %";
  const percent = (100 * part) / whole;
  if (percent < 0.01) return "<0.01 %";
  if (part >= whole) return "100 %";
  return `${percent >= 10 ? Math.min(99.9, percent).toFixed(1) : percent.toFixed(2)} %`;
}
