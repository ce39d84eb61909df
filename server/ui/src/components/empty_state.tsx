/** What the page says while there is nothing to show. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { describeRange } from "../model/time_range.ts";
import type { Navigate } from "../state/location.ts";
import { CheckIcon, CopyIcon } from "./icons.tsx";

const DEFAULT_SERVER_URL = "http://localhost:4040";

interface Props {
  from: string;
  until: string;
  nowMs: number;
  navigate: Navigate;
}

export function EmptyState({ from, until, nowMs, navigate }: Props): JSX.Element {
  const { origin } = location;
  const address = origin === DEFAULT_SERVER_URL ? "" : `, server_url="${origin}"`;
  return (
    <section class="empty-state" data-testid="empty-state">
      <div class="empty-picture" aria-hidden="true">
        <i /> <i /> <i /> <i /> <i />
      </div>
      <h1>No profiles yet</h1>
      <p>
        Nothing was pushed in this range (<span class="tabular">{describeRange(from, until, nowMs)}</span>). Add two lines to a
        Python program, and its flame graph appears here within seconds.
      </p>
      <Snippet title="Shell" text="pip install flamewire" />
      <Snippet title="Python" text={`import flamewire\n\nflamewire.start(service_name="shop"${address})`} />
      <p class="waiting" role="status">
        <span class="pulse" /> Waiting for the first profile…
      </p>
      <button type="button" class="plain-button" onClick={() => navigate({ from: "now-14d", until: "now" })}>
        Look back 14 days
      </button>
    </section>
  );
}

function Snippet({ title, text }: { title: string; text: string }): JSX.Element {
  const [copied, setCopied] = useState(false);
  const copy = (): void => {
    void navigator.clipboard.writeText(text).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), 2000);
    });
  };
  return (
    <figure class="snippet">
      <figcaption>{title}</figcaption>
      <pre>
        <code>{text}</code>
      </pre>
      {/* Browsers have no clipboard on pages that came over plain HTTP from another host. */}
      {navigator.clipboard !== undefined && (
        <button type="button" class="icon-button small" aria-label={copied ? "Copied" : `Copy: ${title}`} onClick={copy}>
          {copied ? <CheckIcon /> : <CopyIcon />}
        </button>
      )}
    </figure>
  );
}

export function NothingSelected(): JSX.Element {
  return <p class="notice">Choose a service and a profile type.</p>;
}
