/** The list of keys, opened with `?`. */

import type { JSX, RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";

const SHORTCUTS: readonly (readonly [keys: readonly string[], meaning: string])[] = [
  [["/"], "Search for functions"],
  [["n", "N"], "Next and previous match"],
  [["↑", "↓", "←", "→"], "Walk to the caller, the heaviest callee, the siblings"],
  [["Enter"], "Zoom to the frame"],
  [["Backspace"], "Zoom out to the caller"],
  [["Esc"], "Reset the zoom, then the search"],
  [["1", "2", "3"], "Both, flame graph, table"],
  [["?"], "This list"],
];

export interface ShortcutHelpState {
  readonly dialog: RefObject<HTMLDialogElement | null>;
  readonly open: () => void;
}

export function useShortcutHelp(): ShortcutHelpState {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = (): void => dialog.current?.showModal();
  useEffect(() => onGlobalKey((key) => key === "?" && open()), []);
  return { dialog, open };
}

/** Call back for keys that are pressed outside of text fields and dialogs; returns what removes it again. */
export function onGlobalKey(callback: (key: string, event: KeyboardEvent) => void): () => void {
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target instanceof Element && event.target.closest("input, textarea, select, dialog, .popover") !== null) return;
    callback(event.key, event);
  };
  document.addEventListener("keydown", onKeyDown);
  return () => document.removeEventListener("keydown", onKeyDown);
}

export function ShortcutHelp({ dialog }: { dialog: RefObject<HTMLDialogElement | null> }): JSX.Element {
  return (
    <dialog ref={dialog} class="shortcut-help" aria-labelledby="shortcut-title">
      <h2 id="shortcut-title">Keyboard shortcuts</h2>
      <dl>
        {SHORTCUTS.map(([keys, meaning]) => (
          <div key={meaning}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button type="submit" class="plain-button">
          Close
        </button>
      </form>
    </dialog>
  );
}
