/** The page's state lives in the address bar: this is the only module that touches the history. */

import { useCallback, useEffect, useState } from "preact/hooks";
import { type PageState, readState, writeState } from "../model/url_state.ts";

/** `push` makes a step that the back button undoes; `replace` is for typing and for defaults. */
export type Navigate = (change: Partial<PageState>, how?: "push" | "replace") => void;

export function usePageState(): [PageState, Navigate] {
  const [state, setState] = useState(() => readState(location.search));
  useEffect(() => {
    const onPopState = (): void => setState(readState(location.search));
    addEventListener("popstate", onPopState);
    return () => removeEventListener("popstate", onPopState);
  }, []);
  const navigate = useCallback<Navigate>((change, how = "push") => {
    const next = { ...readState(location.search), ...change };
    const url = writeState(next, location.search);
    if (url !== location.search) {
      if (how === "push") history.pushState(null, "", url);
      else history.replaceState(null, "", url);
    }
    setState(next);
  }, []);
  return [state, navigate];
}
