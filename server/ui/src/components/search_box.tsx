/** Search for functions: highlights frames, filters the table, and says how much of the profile matches. */

import type { JSX, RefObject } from "preact";
import type { Navigate } from "../state/location.ts";
import { SearchIcon } from "./icons.tsx";

interface Props {
  input: RefObject<HTMLInputElement | null>;
  text: string;
  regex: boolean;
  /** Why the regular expression cannot be used. */
  error: string | null;
  result: { readonly text: string; readonly value: number } | null;
  navigate: Navigate;
}

export function SearchBox({ input, text, regex, error, result, navigate }: Props): JSX.Element {
  return (
    <div class={`search-box ${error === null ? "" : "is-invalid"}`} role="search">
      <SearchIcon />
      <input
        ref={input}
        type="search"
        data-testid="search"
        aria-label="Search for functions"
        aria-invalid={error !== null}
        placeholder="Search functions"
        autocomplete="off"
        spellcheck={false}
        value={text}
        onInput={(event) => navigate({ search: event.currentTarget.value }, "replace")}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          if (text !== "") navigate({ search: "" }, "replace");
          event.currentTarget.blur();
        }}
      />
      <span class="search-result tabular" data-testid="search-result" data-value={result?.value} role="status" title={error ?? ""}>
        {error !== null ? "invalid pattern" : (result?.text ?? "")}
      </span>
      {text === "" && <kbd aria-hidden="true">/</kbd>}
      <button
        type="button"
        class="toggle"
        aria-pressed={regex}
        aria-label="Regular expression"
        title="Regular expression"
        onClick={() => navigate({ regex: !regex }, "replace")}
      >
        .*
      </button>
    </div>
  );
}
