/** One request whose answer a component shows. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/connect.ts";

export interface Loaded<Value> {
  /** The last answer; while the next one is on its way, the one before it. */
  readonly value: Value | null;
  readonly error: ApiError | null;
  readonly loading: boolean;
}

/**
 * Load whenever `key` changes; null means nothing to load. A new key aborts the call of the old one, so answers cannot
 * overtake each other.
 */
export function useRequest<Value>(key: string | null, load: (signal: AbortSignal) => Promise<Value>): Loaded<Value> {
  const [loaded, setLoaded] = useState<Loaded<Value>>({ value: null, error: null, loading: key !== null });
  const latestLoad = useRef(load);
  latestLoad.current = load;
  useEffect(() => {
    if (key === null) {
      setLoaded({ value: null, error: null, loading: false });
      return;
    }
    const controller = new AbortController();
    setLoaded((before) => ({ ...before, loading: true }));
    latestLoad.current(controller.signal).then(
      (value) => {
        if (!controller.signal.aborted) setLoaded({ value, error: null, loading: false });
      },
      (error: unknown) => {
        if (!controller.signal.aborted) setLoaded({ value: null, error: asApiError(error), loading: false });
      },
    );
    return () => controller.abort();
  }, [key]);
  return loaded;
}

function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError("internal", error instanceof Error ? error.message : String(error), 0);
}
