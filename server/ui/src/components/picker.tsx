/** A button that opens a list to choose one value from; long lists can be filtered. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { CheckIcon, ChevronIcon } from "./icons.tsx";
import { usePopover } from "./popover.ts";

export interface Option {
  readonly value: string;
  readonly text: string;
  readonly hint?: string;
}

interface Props {
  name: string;
  label: string;
  value: string;
  options: readonly Option[];
  /** Shown when the value is none of the options. */
  placeholder?: string;
  onPick: (value: string) => void;
}

const MAX_SHOWN = 200;

export function Picker({ name, label, value, options, placeholder, onPick }: Props): JSX.Element {
  const popover = usePopover();
  const chosen = options.find((option) => option.value === value);
  return (
    <div class="picker" ref={popover.root}>
      <button
        type="button"
        class="picker-button"
        ref={popover.trigger}
        data-testid={name}
        aria-haspopup="listbox"
        aria-expanded={popover.isOpen}
        onClick={popover.isOpen ? popover.close : popover.open}
      >
        <span class="picker-label">{label}</span>
        <span class="picker-value">{chosen?.text ?? (placeholder || value || "none")}</span>
        <ChevronIcon />
      </button>
      {popover.isOpen && (
        <PickerList
          name={name}
          label={label}
          value={value}
          options={options}
          onPick={(picked) => {
            popover.close();
            if (picked !== value) onPick(picked);
          }}
        />
      )}
    </div>
  );
}

function PickerList({ name, label, value, options, onPick }: Omit<Props, "placeholder">): JSX.Element {
  const [filter, setFilter] = useState("");
  const needle = filter.toLowerCase();
  const shown = options
    .filter(({ text, hint }) => text.toLowerCase().includes(needle) || hint?.toLowerCase().includes(needle))
    .slice(0, MAX_SHOWN);
  const [active, setActive] = useState(() => Math.max(0, options.findIndex((option) => option.value === value)));
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => input.current?.focus(), []);
  useEffect(() => list.current?.children[active]?.scrollIntoView({ block: "nearest" }), [active]);

  const onKeyDown = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      setActive(Math.min(shown.length - 1, Math.max(0, active + step)));
    } else if (event.key === "Enter") {
      event.preventDefault();
      const option = shown[active];
      if (option !== undefined) onPick(option.value);
    }
  };
  const id = (index: number): string => `${name}-option-${index}`;
  return (
    <div class="popover picker-popover">
      <input
        ref={input}
        type="text"
        class="picker-filter"
        role="combobox"
        aria-label={`Filter: ${label}`}
        aria-expanded="true"
        aria-controls={`${name}-list`}
        aria-activedescendant={shown.length > 0 ? id(active) : undefined}
        placeholder="Filter…"
        autocomplete="off"
        spellcheck={false}
        value={filter}
        onInput={(event) => {
          setFilter(event.currentTarget.value);
          setActive(0);
        }}
        onKeyDown={onKeyDown}
      />
      <ul ref={list} id={`${name}-list`} role="listbox" aria-label={label} class="picker-list">
        {shown.map((option, index) => (
          <li
            key={option.value}
            id={id(index)}
            role="option"
            aria-selected={option.value === value}
            class={index === active ? "is-active" : ""}
            onPointerMove={() => setActive(index)}
            onClick={() => onPick(option.value)}
          >
            <span class="option-text">{option.text}</span>
            {option.hint !== undefined && <span class="option-hint">{option.hint}</span>}
            {option.value === value && <CheckIcon />}
          </li>
        ))}
      </ul>
      {shown.length === 0 && <p class="picker-none">Nothing matches.</p>}
    </div>
  );
}
