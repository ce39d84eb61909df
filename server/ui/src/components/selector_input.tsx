/** The label selector: typed freely, completed from the labels that exist, judged by the server. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { fetchLabelNames, fetchLabelValues, type Selection } from "../api/querier.ts";
import {
  type Completion,
  completionAt,
  joinService,
  parseSelector,
  quote,
  quoteName,
  splitService,
  withoutBraces,
} from "../model/selector.ts";
import type { Navigate } from "../state/location.ts";
import { CloseIcon, WarningIcon } from "./icons.tsx";

interface Props {
  selection: Selection;
  /** What the server said of the selector in use. */
  error: string | null;
  navigate: Navigate;
}

const MAX_SHOWN = 12;

export function SelectorInput({ selection, error, navigate }: Props): JSX.Element {
  const { service, rest } = splitService(selection.selector);
  const [text, setText] = useState(rest);
  useEffect(() => setText(rest), [rest]);
  const input = useRef<HTMLInputElement>(null);
  const completion = useCompletion(selection, text);

  const apply = (wanted: string): void => {
    completion.dismiss();
    const typed = splitService(withoutBraces(wanted));
    const selector = joinService(typed.service ?? service, typed.rest);
    setText(typed.rest);
    if (selector !== selection.selector) navigate({ selector, focus: "" });
  };
  const accept = (choice: string): void => {
    const { completed, caret } = complete(text, completion.at, choice);
    setText(completed);
    // At once: the next key must not meet choices for what the text was before.
    completion.moveCaret(completed, caret);
    requestAnimationFrame(() => {
      input.current?.focus();
      input.current?.setSelectionRange(caret, caret);
    });
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const choice = completion.choices[completion.active];
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      completion.move(event.key === "ArrowDown" ? 1 : -1);
    } else if ((event.key === "Tab" || event.key === "Enter") && choice !== undefined) {
      event.preventDefault();
      accept(choice);
    } else if (event.key === "Enter") {
      apply(text);
    } else if (event.key === "Escape") {
      if (completion.choices.length > 0) completion.dismiss();
      else setText(rest);
    }
  };
  const dirty = text.trim() !== rest;
  return (
    <section class="selector" aria-label="Label selector">
      <div class={`selector-field ${error === null ? "" : "is-invalid"}`}>
        <span class="selector-brace" aria-hidden="true">
          {"{"}
        </span>
        <input
          ref={input}
          type="text"
          role="combobox"
          data-testid="selector"
          aria-label="Label matchers"
          aria-autocomplete="list"
          aria-expanded={completion.choices.length > 0}
          aria-controls="selector-choices"
          aria-activedescendant={completion.active >= 0 ? `selector-choice-${completion.active}` : undefined}
          aria-invalid={error !== null}
          aria-describedby={error === null ? undefined : "selector-error"}
          placeholder={'Filter by labels, for example route="/cart", region=~"eu-.*"'}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            completion.moveCaret(event.currentTarget.value, event.currentTarget.selectionStart ?? 0);
          }}
          onClick={(event) => completion.moveCaret(text, event.currentTarget.selectionStart ?? 0)}
          onBlur={completion.dismiss}
          onKeyDown={onKeyDown}
        />
        <span class="selector-brace" aria-hidden="true">
          {"}"}
        </span>
        {text !== "" && (
          <button type="button" class="icon-button small" aria-label="Clear the selector" onClick={() => apply("")}>
            <CloseIcon />
          </button>
        )}
        {dirty && (
          <button type="button" class="primary-button small" onClick={() => apply(text)}>
            Apply
          </button>
        )}
        {completion.choices.length > 0 && (
          <ul class="popover selector-choices" id="selector-choices" role="listbox" aria-label="Completions">
            {completion.choices.map((choice, index) => (
              <li
                key={choice}
                id={`selector-choice-${index}`}
                role="option"
                aria-selected={index === completion.active}
                class={index === completion.active ? "is-active" : ""}
                onPointerDown={(event) => {
                  event.preventDefault();
                  accept(choice);
                }}
              >
                {choice}
              </li>
            ))}
          </ul>
        )}
      </div>
      {error !== null && (
        <p class="selector-error" id="selector-error" role="alert">
          <WarningIcon /> {error}
        </p>
      )}
    </section>
  );
}

function complete(text: string, at: Completion | null, choice: string): { completed: string; caret: number } {
  if (at === null) return { completed: text, caret: text.length };
  const after = text.slice(at.to);
  const insert = at.kind === "value" ? quote(choice) : `${quoteName(choice)}${/^\s*[=!]/.test(after) ? "" : "="}`;
  return { completed: text.slice(0, at.from) + insert + after, caret: at.from + insert.length };
}

interface CompletionState {
  readonly at: Completion | null;
  readonly choices: readonly string[];
  /** -1: none, so that Enter applies what was typed. */
  readonly active: number;
  readonly moveCaret: (text: string, caret: number) => void;
  readonly move: (step: number) => void;
  readonly dismiss: () => void;
}

function useCompletion(selection: Selection, text: string): CompletionState {
  const [at, setAt] = useState<Completion | null>(null);
  const [candidates, setCandidates] = useState<readonly string[]>([]);
  const [active, setActive] = useState(-1);
  const wanted = at === null ? null : at.kind === "name" ? "" : at.name;
  const others = otherMatchers(selection.selector, text, at);
  useEffect(() => {
    if (wanted === null) return;
    const controller = new AbortController();
    const known = { ...selection, selector: others };
    setCandidates([]);
    (wanted === "" ? fetchLabelNames(known, controller.signal) : fetchLabelValues(known, wanted, controller.signal)).then(
      setCandidates,
      // Completion is a convenience: without it one types on, and the server's word on the selector is shown anyway.
      () => undefined,
    );
    return () => controller.abort();
  }, [wanted, others, selection.profileType, selection.range.startMs, selection.range.endMs]);

  const prefix = at?.prefix.toLowerCase() ?? "";
  const matching = at === null ? [] : candidates.filter((name) => name.toLowerCase().includes(prefix) && name !== at.prefix);
  const choices = matching.slice(0, MAX_SHOWN);
  const moveCaret = (newText: string, caret: number): void => {
    setAt(completionAt(newText, caret));
    setActive(-1);
  };
  const move = (step: number): void => {
    if (choices.length > 0) setActive((active + step + choices.length + (active < 0 && step < 0 ? 1 : 0)) % choices.length);
  };
  return { at, choices, active: Math.min(active, choices.length - 1), moveCaret, move, dismiss: () => setAt(null) };
}

/** The selection's matchers without the one being typed: they say which labels can be offered. */
function otherMatchers(selector: string, text: string, at: Completion | null): string {
  const { service } = splitService(selector);
  const { matchers } = parseSelector(text);
  const others = matchers.filter(({ from, to }) => at === null || at.from < from || at.from > to);
  return joinService(service, others.map(({ from, to }) => text.slice(from, to)).join(", "));
}
