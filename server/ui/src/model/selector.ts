/** Label selectors, `{service_name="shop", route=~"/cart.*"}`: read, changed and completed without losing what was typed. */

export type Operator = "=" | "!=" | "=~" | "!~";

export interface Matcher {
  readonly name: string;
  readonly operator: Operator;
  readonly value: string;
  /** Where it stands in the text. */
  readonly from: number;
  readonly to: number;
}

export interface Selector {
  readonly matchers: readonly Matcher[];
  /** The text from the first thing that is no matcher; empty when all was understood. */
  readonly rest: string;
}

const SERVICE_LABEL = "service_name";
const MATCHER = /\s*(?:([a-zA-Z_][\w.]*)|("(?:[^"\\]|\\.)*"))\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)\s*(,|$)/y;

/** Read as many matchers as there are; the text is without braces. */
export function parseSelector(text: string): Selector {
  const matchers: Matcher[] = [];
  let at = 0;
  while (at < text.length) {
    MATCHER.lastIndex = at;
    const match = MATCHER.exec(text);
    if (match === null) break;
    const [whole, name, quotedName, operator, value, comma] = match;
    const to = at + whole.length - (comma?.length ?? 0);
    matchers.push({
      name: name ?? unquote(quotedName ?? '""'),
      operator: operator as Operator,
      value: unquote(value ?? '""'),
      from: at + (whole.length - whole.trimStart().length),
      to: to - (text.slice(at, to).length - text.slice(at, to).trimEnd().length),
    });
    at += whole.length;
  }
  return { matchers, rest: text.slice(at).trim() };
}

export function quote(value: string): string {
  return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

/** A label's name as a selector writes it: in quotes where it is more than letters, digits and underscores. */
export function quoteName(name: string): string {
  return /^[a-zA-Z_]\w*$/.test(name) ? name : quote(name);
}

function unquote(literal: string): string {
  const inner = literal.slice(1, -1);
  if (literal.startsWith("`")) return inner;
  return inner.replaceAll(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char === "t" ? "\t" : char));
}

/** What people paste: with braces or without. */
export function withoutBraces(text: string): string {
  const trimmed = text.trim();
  return trimmed.startsWith("{") && trimmed.endsWith("}") ? trimmed.slice(1, -1).trim() : trimmed;
}

/** Take the one `service_name="..."` matcher out; the remaining text is kept as it was typed. */
export function splitService(text: string): { service: string | null; rest: string } {
  const { matchers, rest } = parseSelector(text);
  const services = matchers.filter((matcher) => matcher.name === SERVICE_LABEL && matcher.operator === "=");
  const [service] = services;
  if (service === undefined || services.length > 1) return { service: null, rest: text.trim() };
  const others = matchers.filter((matcher) => matcher !== service).map(({ from, to }) => text.slice(from, to));
  if (rest !== "") others.push(rest);
  return { service: service.value, rest: others.join(", ") };
}

export function joinService(service: string | null, rest: string): string {
  const parts = service === null ? [] : [`${SERVICE_LABEL}=${quote(service)}`];
  if (rest.trim() !== "") parts.push(rest.trim());
  return parts.join(", ");
}

/** Pyroscope's `query`: the profile type, then the selector in braces. */
export function splitQuery(query: string): { profileType: string; selector: string } {
  const brace = query.indexOf("{");
  if (brace < 0) return { profileType: query.trim(), selector: "" };
  return { profileType: query.slice(0, brace).trim(), selector: withoutBraces(query.slice(brace)) };
}

export function joinQuery(profileType: string, selector: string): string {
  return `${profileType}{${selector}}`;
}

/** What may be completed at the caret: a label's name, or a value of the label `name`. */
export type Completion =
  | { readonly kind: "name"; readonly from: number; readonly to: number; readonly prefix: string }
  | { readonly kind: "value"; readonly from: number; readonly to: number; readonly prefix: string; readonly name: string };

const PART = /\s*("(?:[^"\\]|\\.)*"?|[\w.]*)\s*(?:(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"?)?)?[^,]*(?:,|$)/y;

/** Null where nothing can be offered: between a name and its operator, or after a value. */
export function completionAt(text: string, caret: number): Completion | null {
  let at = 0;
  for (;;) {
    PART.lastIndex = at;
    const match = PART.exec(text);
    if (match === null) return null;
    const end = at + match[0].length;
    // A comma ends the part only for a caret behind it.
    if (caret < end || end >= text.length) {
      const inside = caret >= end && text.endsWith(",") ? null : match;
      if (inside === null) return { kind: "name", from: end, to: end, prefix: "" };
      return completionInPart(text, at, inside, caret);
    }
    at = end;
  }
}

function completionInPart(text: string, at: number, match: RegExpExecArray, caret: number): Completion | null {
  const [, name = "", operator, literal] = match;
  const nameFrom = at + (/^\s*/.exec(text.slice(at))?.[0].length ?? 0);
  const nameTo = nameFrom + name.length;
  if (operator === undefined || caret <= nameTo) {
    if (caret > nameTo) return null;
    const prefix = text.slice(nameFrom, caret).replace(/^"/, "");
    return { kind: "name", from: Math.min(nameFrom, caret), to: nameTo, prefix };
  }
  const afterOperator = text.indexOf(operator, nameTo) + operator.length;
  if (caret < afterOperator) return null;
  const label = name.startsWith('"') ? unquote(name) : name;
  if (literal === undefined) return { kind: "value", from: caret, to: caret, prefix: "", name: label };
  const from = text.indexOf('"', afterOperator);
  const to = from + literal.length;
  const closed = literal.length > 1 && literal.endsWith('"');
  if (caret <= from || (closed && caret >= to)) return null;
  return { kind: "value", from, to, prefix: text.slice(from + 1, caret), name: label };
}
