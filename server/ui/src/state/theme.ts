/** Light or dark: the system's choice unless the user made one, which is remembered. */

import { useEffect, useState } from "preact/hooks";
import type { Theme } from "../model/colors.ts";

export type ThemeChoice = "system" | Theme;

const STORAGE_KEY = "flamewire.theme";
const CHOICES: readonly ThemeChoice[] = ["system", "light", "dark"];

export function readThemeChoice(): ThemeChoice {
  try {
    return CHOICES.find((choice) => choice === localStorage.getItem(STORAGE_KEY)) ?? "system";
  } catch {
    return "system"; // Browsers that keep no data for sites throw on the mere access.
  }
}

function saveThemeChoice(choice: ThemeChoice): void {
  try {
    if (choice === "system") localStorage.removeItem(STORAGE_KEY);
    else localStorage.setItem(STORAGE_KEY, choice);
  } catch {
    // As above: then the choice lasts as long as the page.
  }
}

/** Called before the first paint, so that a saved choice does not flash. */
export function applyThemeChoice(choice: ThemeChoice): void {
  if (choice === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = choice;
}

export interface ThemeState {
  readonly choice: ThemeChoice;
  readonly theme: Theme;
  readonly choose: (choice: ThemeChoice) => void;
}

export function useTheme(): ThemeState {
  const [choice, setChoice] = useState(readThemeChoice);
  const systemIsDark = useMediaQuery("(prefers-color-scheme: dark)");
  const choose = (next: ThemeChoice): void => {
    saveThemeChoice(next);
    applyThemeChoice(next);
    setChoice(next);
  };
  return { choice, theme: choice === "system" ? (systemIsDark ? "dark" : "light") : choice, choose };
}

export function useMediaQuery(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const onChange = (): void => setMatches(list.matches);
    onChange();
    list.addEventListener("change", onChange);
    return () => list.removeEventListener("change", onChange);
  }, [query]);
  return matches;
}

/** The computed value of a colour token (registered with @property, hence resolved for the theme in use). */
export function colorToken(element: Element, name: `--${string}`): string {
  return getComputedStyle(element).getPropertyValue(name).trim();
}
