/** The page: what is selected, what was loaded for it, and where each part stands. */

import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { ApiError } from "../api/connect.ts";
import { fetchFlameGraph, fetchServices, fetchTimeline, type Selection, type Service } from "../api/querier.ts";
import { parseProfileType, preferredProfileType } from "../model/profile_type.ts";
import { joinService, splitService } from "../model/selector.ts";
import { resolveRange, timelineBuckets } from "../model/time_range.ts";
import type { PageState } from "../model/url_state.ts";
import { type Navigate, usePageState } from "../state/location.ts";
import { type Loaded, useRequest } from "../state/request.ts";
import { useTheme } from "../state/theme.ts";
import { EmptyState, NothingSelected } from "./empty_state.tsx";
import { Failure } from "./failure.tsx";
import { ProfilePanel } from "./profile_panel.tsx";
import { SelectorInput } from "./selector_input.tsx";
import { ShortcutHelp, useShortcutHelp } from "./shortcut_help.tsx";
import { TimelinePanel } from "./timeline_panel.tsx";
import { TopBar } from "./top_bar.tsx";

/** How often a page without any profiles looks for the first one. */
const FIRST_PROFILE_POLL_MS = 5000;

export function App(): JSX.Element {
  const [state, navigate] = usePageState();
  const [nowMs, setNowMs] = useState(() => Date.now());
  const refresh = (): void => setNowMs(Date.now());
  const themeState = useTheme();
  const help = useShortcutHelp();

  const range = useMemo(() => resolveRange(state.from, state.until, nowMs), [state.from, state.until, nowMs]);
  const services = useRequest(`${range.startMs} ${range.endMs}`, (signal) => fetchServices(range, signal));
  useDefaultSelection(state, services.value, navigate);
  const { service } = splitService(state.selector);
  useTitle(service);

  const selection: Selection | null =
    state.profileType === "" ? null : { profileType: state.profileType, selector: state.selector, range };
  const key = selection && JSON.stringify(selection);
  const flame = useRequest(key && `${key} ${state.maxFrames}`, (signal) =>
    fetchFlameGraph(selection as Selection, state.maxFrames, signal),
  );
  const timeline = useRequest(key, (signal) => fetchTimeline(selection as Selection, timelineBuckets(range), signal));

  const empty = services.value?.length === 0;
  useEffect(() => {
    if (!empty || state.until !== "now") return;
    const timer = setInterval(refresh, FIRST_PROFILE_POLL_MS);
    return () => clearInterval(timer);
  }, [empty, state.until]);

  const selectorError = flame.error !== null && isAboutSelector(flame.error) ? flame.error.message : null;
  return (
    <>
      {selection !== null && (
        <a class="skip-link" href="#profile">
          Skip to the profile
        </a>
      )}
      <TopBar
        state={state}
        services={services.value ?? []}
        nowMs={nowMs}
        busy={services.loading || flame.loading || timeline.loading}
        themeState={themeState}
        navigate={navigate}
        onRefresh={refresh}
        onHelp={help.open}
      />
      <main>
        {services.error !== null ? (
          <Failure error={services.error} what="the services" onRetry={refresh} />
        ) : empty && selection === null ? (
          <EmptyState from={state.from} until={state.until} nowMs={nowMs} navigate={navigate} />
        ) : selection === null ? (
          services.value !== null && <NothingSelected />
        ) : (
          <>
            <h1 class="visually-hidden">Profile of {service ?? "all services"}</h1>
            <SelectorInput selection={selection} error={selectorError} navigate={navigate} />
            <TimelinePanel
              timeline={timeline}
              selectorFailed={selectorError !== null}
              profileType={parseProfileType(state.profileType)}
              range={range}
              theme={themeState.theme}
              navigate={navigate}
            />
            <ProfilePanel
              flame={selectorError === null ? flame : ({ ...flame, error: null } satisfies Loaded<unknown>)}
              selectorFailed={selectorError !== null}
              state={state}
              theme={themeState.theme}
              navigate={navigate}
              onRetry={refresh}
            />
          </>
        )}
      </main>
      <ShortcutHelp dialog={help.dialog} />
    </>
  );
}

/** The other thing that the server can refuse is a range longer than it allows. */
function isAboutSelector(error: ApiError): boolean {
  return error.code === "invalid_argument" && !/time range|max_nodes/i.test(error.message);
}

/** Where the link names no profile type, choose the first service and its CPU profile. */
function useDefaultSelection(state: PageState, services: readonly Service[] | null, navigate: Navigate): void {
  useEffect(() => {
    if (state.profileType !== "" || services === null) return;
    const { service, rest } = splitService(state.selector);
    const chosen = services.find(({ name }) => name === service) ?? services[0];
    const profileType = preferredProfileType(chosen?.profileTypes ?? []);
    if (chosen === undefined || profileType === undefined) return;
    navigate({ profileType, selector: joinService(service ?? chosen.name, rest) }, "replace");
  }, [state.profileType, state.selector, services, navigate]);
}

function useTitle(service: string | null): void {
  useEffect(() => {
    document.title = service === null ? "flamewire" : `${service} · flamewire`;
  }, [service]);
}
