/** The querier.v1 methods that the page uses. Times are Unix milliseconds; 64-bit integers in replies are strings. */

import { decodeFlameGraph, type FlameGraph, type FlameGraphJson } from "../model/flamegraph.ts";
import { quote } from "../model/selector.ts";
import type { Buckets, TimeRange } from "../model/time_range.ts";
import { call } from "./connect.ts";

const QUERIER = "querier.v1.QuerierService";

export interface Service {
  readonly name: string;
  readonly profileTypes: readonly string[];
}

interface Label {
  name: string;
  value: string;
}

const span = (range: TimeRange): { start: number; end: number } => ({ start: range.startMs, end: range.endMs });

/** Services that pushed in the range, sorted, each with its profile types. */
export async function fetchServices(range: TimeRange, signal: AbortSignal): Promise<Service[]> {
  const request = { matchers: [], labelNames: ["service_name", "__profile_type__"], ...span(range) };
  const reply = await call<{ labelsSet?: { labels?: Label[] }[] }>(`${QUERIER}/Series`, request, signal);
  const services = new Map<string, Set<string>>();
  for (const { labels = [] } of reply.labelsSet ?? []) {
    const name = labels.find((label) => label.name === "service_name")?.value;
    const profileType = labels.find((label) => label.name === "__profile_type__")?.value;
    if (name === undefined || profileType === undefined) continue;
    services.set(name, (services.get(name) ?? new Set()).add(profileType));
  }
  return [...services]
    .map(([name, profileTypes]) => ({ name, profileTypes: [...profileTypes].sort() }))
    .sort((a, b) => a.name.localeCompare(b.name));
}

export interface Selection {
  readonly profileType: string;
  /** Without braces. */
  readonly selector: string;
  readonly range: TimeRange;
}

export async function fetchFlameGraph(selection: Selection, maxFrames: number, signal: AbortSignal): Promise<FlameGraph> {
  const request = {
    profileTypeID: selection.profileType,
    labelSelector: `{${selection.selector}}`,
    maxNodes: maxFrames,
    ...span(selection.range),
  };
  const reply = await call<{ flamegraph?: FlameGraphJson }>(`${QUERIER}/SelectMergeStacktraces`, request, signal);
  return decodeFlameGraph(reply.flamegraph ?? {});
}

export interface Timeline {
  readonly stepS: number;
  /** Right edges of all buckets, Unix seconds; a bucket holds (edge - step, edge]. */
  readonly edgesS: readonly number[];
  /** Sum of the bucket, in the profile type's unit. */
  readonly values: readonly number[];
}

/** The sums of each bucket; buckets that the server leaves out are zero. */
export async function fetchTimeline(selection: Selection, buckets: Buckets, signal: AbortSignal): Promise<Timeline> {
  const request = {
    profileTypeID: selection.profileType,
    labelSelector: `{${selection.selector}}`,
    start: buckets.startMs,
    end: buckets.endMs,
    step: buckets.stepS,
    groupBy: [],
  };
  type Reply = { series?: { points?: { value?: number; timestamp?: string }[] }[] };
  const reply = await call<Reply>(`${QUERIER}/SelectSeries`, request, signal);
  const count = Math.round((buckets.endMs - buckets.startMs) / 1000 / buckets.stepS) + 1;
  const values = new Array<number>(count).fill(0);
  for (const { points = [] } of reply.series ?? []) {
    for (const { value = 0, timestamp = "0" } of points) {
      const index = Math.round((Number(timestamp) - buckets.startMs) / 1000 / buckets.stepS);
      if (index >= 0 && index < count) values[index] = (values[index] ?? 0) + value;
    }
  }
  return { stepS: buckets.stepS, edgesS: values.map((_, index) => buckets.startMs / 1000 + index * buckets.stepS), values };
}

/** Label names that the selection has, private ones (`__x__`) left out. */
export async function fetchLabelNames(selection: Selection, signal: AbortSignal): Promise<string[]> {
  const request = { matchers: [matcherOf(selection)], ...span(selection.range) };
  const reply = await call<{ names?: string[] }>(`${QUERIER}/LabelNames`, request, signal);
  return (reply.names ?? []).filter((name) => !name.startsWith("__"));
}

export async function fetchLabelValues(selection: Selection, name: string, signal: AbortSignal): Promise<string[]> {
  const request = { name, matchers: [matcherOf(selection)], ...span(selection.range) };
  const reply = await call<{ names?: string[] }>(`${QUERIER}/LabelValues`, request, signal);
  return reply.names ?? [];
}

function matcherOf({ profileType, selector }: Selection): string {
  const parts = [`__profile_type__=${quote(profileType)}`];
  if (selector !== "") parts.push(selector);
  return `{${parts.join(", ")}}`;
}
