/** The time range: a preset up to now, or two moments. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { describeRange, fromLocalInput, PRESETS, resolveRange, toLocalInput } from "../model/time_range.ts";
import type { PageState } from "../model/url_state.ts";
import type { Navigate } from "../state/location.ts";
import { CheckIcon, ChevronIcon, ClockIcon } from "./icons.tsx";
import { usePopover } from "./popover.ts";

interface Props {
  state: PageState;
  nowMs: number;
  navigate: Navigate;
}

export function TimePicker({ state, nowMs, navigate }: Props): JSX.Element {
  const popover = usePopover();
  const pick = (from: string, until: string): void => {
    popover.close();
    navigate({ from, until });
  };
  return (
    <div class="picker align-right" ref={popover.root}>
      <button
        type="button"
        class="picker-button"
        ref={popover.trigger}
        data-testid="time-range"
        aria-haspopup="dialog"
        aria-expanded={popover.isOpen}
        onClick={popover.isOpen ? popover.close : popover.open}
      >
        <ClockIcon />
        <span class="picker-value tabular">{describeRange(state.from, state.until, nowMs)}</span>
        <ChevronIcon />
      </button>
      {popover.isOpen && (
        <div class="popover time-popover" role="dialog" aria-label="Time range">
          <AbsoluteRange state={state} nowMs={nowMs} onPick={pick} />
          <ul class="preset-list">
            {PRESETS.map(({ from, label }) => {
              const chosen = state.from === from && state.until === "now";
              return (
                <li key={from}>
                  <button type="button" aria-pressed={chosen} onClick={() => pick(from, "now")}>
                    {label}
                    {chosen && <CheckIcon />}
                  </button>
                </li>
              );
            })}
          </ul>
        </div>
      )}
    </div>
  );
}

interface AbsoluteProps {
  state: PageState;
  nowMs: number;
  onPick: (from: string, until: string) => void;
}

function AbsoluteRange({ state, nowMs, onPick }: AbsoluteProps): JSX.Element {
  const range = resolveRange(state.from, state.until, nowMs);
  const [from, setFrom] = useState(toLocalInput(range.startMs));
  const [until, setUntil] = useState(toLocalInput(range.endMs));
  const fromMs = fromLocalInput(from);
  const untilMs = fromLocalInput(until);
  const valid = fromMs !== null && untilMs !== null && fromMs < untilMs;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return (
    <form
      class="absolute-range"
      onSubmit={(event) => {
        event.preventDefault();
        if (valid) onPick(fromMs.toString(), untilMs.toString());
      }}
    >
      <label>
        From
        <input type="datetime-local" step="1" value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
      </label>
      <label>
        Until
        <input type="datetime-local" step="1" value={until} onInput={(event) => setUntil(event.currentTarget.value)} />
      </label>
      {!valid && <p class="field-error">“From” must be before “until”.</p>}
      <button type="submit" class="primary-button" disabled={!valid}>
        Apply
      </button>
      <p class="field-note">Times in {zone}. Drag over the timeline to narrow the range.</p>
    </form>
  );
}
