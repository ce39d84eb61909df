/**
 * Frame colours: a hue for each package, a shade for each function in it.
 *
 * The palette is spaced evenly in OKLCH, where equal steps look equal, at a lightness that keeps the frame's text
 * readable (WCAG AA, tested) in both themes.
 */

import { hashText } from "./hash.ts";

export type Theme = "light" | "dark";

export interface FramePalette {
  /** `hues * SHADES` colours, hue by hue. */
  readonly frames: readonly string[];
  readonly text: string;
  /** Frames that are no function: the root, folded frames, unattributed time. */
  readonly neutral: string;
}

const HUES = [22, 42, 62, 84, 112, 142, 172, 204, 238, 268, 300, 340];
const SHADES = 3;

export const PALETTES: Readonly<Record<Theme, FramePalette>> = {
  light: { frames: shadesOf([0.85, 0.82, 0.79], 0.105), text: "#1c1d22", neutral: "#d9dbe0" },
  dark: { frames: shadesOf([0.52, 0.49, 0.46], 0.095), text: "#ffffff", neutral: "#474b56" },
};

function shadesOf(lightnesses: readonly number[], chroma: number): string[] {
  return HUES.flatMap((hue) => lightnesses.map((lightness) => oklchToHex(lightness, chroma, hue)));
}

/** Names that a profiler makes up: in brackets, or the server's folded frames. */
export function isArtificial(name: string): boolean {
  return name === "other" || name === "total" || (name.startsWith("(") && name.endsWith(")"));
}

/** The index of a function's colour in a palette's `frames`, or -1 for the neutral colour. */
export function colorIndex(name: string): number {
  if (isArtificial(name)) return -1;
  const hue = hashText(packageOf(name)) % HUES.length;
  return hue * SHADES + (hashText(name) % SHADES);
}

/**
 * What a function belongs to, from its name alone: `net/http` of `net/http.(*conn).serve`, `JSONEncoder` of
 * `JSONEncoder.iterencode`, `tokio::runtime` of `tokio::runtime::park::run`, else the name itself.
 */
export function packageOf(name: string): string {
  const rust = name.split("::");
  if (rust.length > 1) return rust.slice(0, Math.min(2, rust.length - 1)).join("::");
  const dot = name.indexOf(".", name.lastIndexOf("/", name.search(/[(<]/) >>> 0) + 1);
  return dot > 0 ? name.slice(0, dot) : name;
}

/** OKLCH to sRGB (Ottosson 2020); chroma is reduced until the colour is inside sRGB. */
function oklchToHex(lightness: number, chroma: number, hueDegrees: number): string {
  const hue = (hueDegrees * Math.PI) / 180;
  for (let reduced = chroma; ; reduced -= 0.005) {
    const channels = oklabToLinear(lightness, reduced * Math.cos(hue), reduced * Math.sin(hue));
    if (reduced <= 0 || channels.every((channel) => channel >= 0 && channel <= 1)) {
      return `#${channels.map((channel) => toByte(channel).toString(16).padStart(2, "0")).join("")}`;
    }
  }
}

function oklabToLinear(lightness: number, a: number, b: number): number[] {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
}

function toByte(linear: number): number {
  const channel = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (channel <= 0.0031308 ? 12.92 * channel : 1.055 * channel ** (1 / 2.4) - 0.055));
}

/** WCAG 2 contrast of two `#rrggbb` colours, 1 to 21. */
export function contrast(left: string, right: string): number {
  const [darker = 0, lighter = 0] = [luminance(left), luminance(right)].sort((a, b) => a - b);
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(hex: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const channel = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
