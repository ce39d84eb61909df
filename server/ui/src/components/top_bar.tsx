/** The bar on top: what is looked at, and when. */

import type { JSX } from "preact";
import type { Service } from "../api/querier.ts";
import { preferredProfileType, profileTypeName } from "../model/profile_type.ts";
import { joinService, splitService } from "../model/selector.ts";
import type { PageState } from "../model/url_state.ts";
import type { Navigate } from "../state/location.ts";
import type { ThemeChoice, ThemeState } from "../state/theme.ts";
import { KeyboardIcon, Mark, MoonIcon, RefreshIcon, SunIcon, SystemIcon } from "./icons.tsx";
import { Picker } from "./picker.tsx";
import { TimePicker } from "./time_picker.tsx";

const ALL_SERVICES = "";
const NEXT_THEME: Readonly<Record<ThemeChoice, ThemeChoice>> = { system: "light", light: "dark", dark: "system" };

interface Props {
  state: PageState;
  services: readonly Service[];
  nowMs: number;
  busy: boolean;
  themeState: ThemeState;
  navigate: Navigate;
  onRefresh: () => void;
  onHelp: () => void;
}

export function TopBar({ state, services, nowMs, busy, themeState, navigate, onRefresh, onHelp }: Props): JSX.Element {
  const { service, rest } = splitService(state.selector);
  const types = profileTypesOf(services, service);
  const pickService = (name: string): void => {
    const offered = profileTypesOf(services, name === ALL_SERVICES ? null : name);
    const profileType = offered.includes(state.profileType) ? state.profileType : preferredProfileType(offered);
    const selector = joinService(name === ALL_SERVICES ? null : name, rest);
    navigate({ selector, profileType: profileType ?? state.profileType, focus: "" });
  };
  const themeLabel = `Theme: ${themeState.choice}. Change to ${NEXT_THEME[themeState.choice]}`;
  return (
    <header class="top-bar">
      <a class="brand" href="./" aria-label="flamewire, start page">
        <Mark />
        <span class="brand-name">flamewire</span>
      </a>
      <Picker
        name="service"
        label="Service"
        value={service ?? ALL_SERVICES}
        options={[
          { value: ALL_SERVICES, text: "All services" },
          ...services.map(({ name, profileTypes }) => ({
            value: name,
            text: name,
            hint: profileTypes.length === 1 ? "1 profile type" : `${profileTypes.length} profile types`,
          })),
        ]}
        onPick={pickService}
      />
      <Picker
        name="profile-type"
        label="Profile"
        value={state.profileType}
        options={types.map((id) => ({ value: id, text: profileTypeName(id), hint: id }))}
        placeholder={state.profileType === "" ? "none" : profileTypeName(state.profileType)}
        onPick={(profileType) => navigate({ profileType, focus: "" })}
      />
      <span class="spacer" />
      <TimePicker state={state} nowMs={nowMs} navigate={navigate} />
      <button type="button" class={`icon-button ${busy ? "is-busy" : ""}`} onClick={onRefresh} aria-label="Refresh" title="Refresh">
        <RefreshIcon />
      </button>
      <button type="button" class="icon-button" onClick={onHelp} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)">
        <KeyboardIcon />
      </button>
      <button
        type="button"
        class="icon-button"
        data-testid="theme"
        onClick={() => themeState.choose(NEXT_THEME[themeState.choice])}
        aria-label={themeLabel}
        title={themeLabel}
      >
        {themeState.choice === "system" ? <SystemIcon /> : themeState.choice === "light" ? <SunIcon /> : <MoonIcon />}
      </button>
    </header>
  );
}

function profileTypesOf(services: readonly Service[], service: string | null): string[] {
  const chosen = service === null ? services : services.filter(({ name }) => name === service);
  return [...new Set(chosen.flatMap(({ profileTypes }) => profileTypes))].sort();
}
