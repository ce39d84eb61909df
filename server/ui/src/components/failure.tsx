/** A request that failed: what, why, and a way to try again. */

import type { JSX } from "preact";
import type { ApiError } from "../api/connect.ts";
import { WarningIcon } from "./icons.tsx";

export function Failure({ error, what, onRetry }: { error: ApiError; what: string; onRetry: () => void }): JSX.Element {
  return (
    <div class="failure" role="alert">
      <WarningIcon />
      <div>
        <p class="failure-title">Could not load {what}</p>
        <p class="failure-message">
          {error.message} <code>{error.code}</code>
        </p>
      </div>
      <button type="button" class="plain-button" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}
