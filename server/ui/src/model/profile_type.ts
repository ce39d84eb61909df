/** Profile types, `family:sample_type:unit:period_type:period_unit`. */

export interface ProfileType {
  readonly id: string;
  readonly family: string;
  readonly sampleType: string;
  readonly unit: string;
  readonly periodType: string;
  readonly periodUnit: string;
}

/** Parts that are missing are empty: the server says what it thinks of such an id. */
export function parseProfileType(id: string): ProfileType {
  const [family = "", sampleType = "", unit = "", periodType = "", periodUnit = ""] = id.split(":");
  return { id, family, sampleType, unit, periodType, periodUnit };
}

const FAMILY_NAMES: Readonly<Record<string, string>> = {
  process_cpu: "CPU",
  memory: "Memory",
  mutex: "Mutex",
  block: "Block",
  goroutine: "Goroutines",
  goroutines: "Goroutines",
  wall: "Wall",
  off_cpu: "Off CPU",
  exception: "Exceptions",
};
const SAMPLE_TYPE_NAMES: Readonly<Record<string, string>> = {
  cpu: "time",
  wall: "time",
  samples: "samples",
  alloc_objects: "allocated objects",
  alloc_space: "allocated bytes",
  inuse_objects: "live objects",
  inuse_space: "live bytes",
  contentions: "contentions",
  delay: "delay",
};

/** A short name for people: "CPU time", "Memory live bytes". */
export function profileTypeName(id: string): string {
  const type = parseProfileType(id);
  const family = FAMILY_NAMES[type.family] ?? type.family;
  const sample = SAMPLE_TYPE_NAMES[type.sampleType] ?? type.sampleType.replaceAll("_", " ");
  return family.toLowerCase() === sample.toLowerCase() ? family : `${family} ${sample}`.trim();
}

/** True where a value a second means how many cores (or threads) were busy. */
export function isCpuTime(type: ProfileType): boolean {
  return type.unit === "nanoseconds" && type.sampleType === "cpu";
}

/** The type to show first: CPU time where there is one. */
export function preferredProfileType(ids: readonly string[]): string | undefined {
  return ids.find((id) => isCpuTime(parseProfileType(id))) ?? ids[0];
}
