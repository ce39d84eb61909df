/** The functions as a sortable table; only the rows in sight are in the document. */

import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Search } from "../model/search.ts";
import { type Sort, type SortColumn, sortFunctions, type TopFunction } from "../model/top.ts";
import { formatPercent, formatValue } from "../model/units.ts";
import { useSize } from "../state/size.ts";

const ROW_PX = 28;
const OVERSCAN_ROWS = 8;

const COLUMNS: readonly { readonly column: SortColumn; readonly title: string; readonly hint: string }[] = [
  { column: "name", title: "Function", hint: "" },
  { column: "self", title: "Self", hint: "Spent in the function itself" },
  { column: "total", title: "Total", hint: "Spent in the function and in what it called" },
];

interface Props {
  functions: readonly TopFunction[];
  search: Search | null;
  sort: Sort;
  unit: string;
  whole: number;
  /** Index into the graph's names of the function that is zoomed to, or -1. */
  selected: number;
  stale: boolean;
  onSort: (sort: Sort) => void;
  onPick: (name: number) => void;
}

export function TopTable(props: Props): JSX.Element {
  const { functions, search, sort, unit, whole, selected, stale, onSort, onPick } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const { height } = useSize(scroller);
  const [scrollTop, setScrollTop] = useState(0);
  const [active, setActive] = useState(0);
  const rows = useMemo(() => {
    const shown = search === null ? functions : functions.filter(({ name }) => search.matches[name] === 1);
    return sortFunctions(shown, sort);
  }, [functions, search, sort.column, sort.descending]);
  useEffect(() => {
    if (scroller.current !== null) scroller.current.scrollTop = 0;
    setActive(0);
  }, [rows]);

  const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - OVERSCAN_ROWS);
  const last = Math.min(rows.length, Math.ceil((scrollTop + height) / ROW_PX) + OVERSCAN_ROWS);
  const walk = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    const next = active + step;
    if (step === 0 || next < 0 || next >= rows.length) return;
    event.preventDefault();
    setActive(next);
    const body = scroller.current;
    if (body !== null) {
      const top = next * ROW_PX;
      if (top < body.scrollTop) body.scrollTop = top;
      // The header is as tall as a row and covers the first one.
      else if (top + 2 * ROW_PX > body.scrollTop + height) body.scrollTop = top + 2 * ROW_PX - height;
    }
    requestAnimationFrame(() => body?.querySelector<HTMLButtonElement>('button[tabindex="0"].function-button')?.focus());
  };
  return (
    <div
      ref={scroller}
      class={`top-table ${stale ? "is-stale" : ""}`}
      onScroll={(event) => setScrollTop(event.currentTarget.scrollTop)}
    >
      <table aria-rowcount={rows.length + 1} data-testid="top">
        <caption class="visually-hidden">Functions by self and total value</caption>
        <thead>
          <tr aria-rowindex={1}>
            {COLUMNS.map(({ column, title, hint }) => (
              <SortHeader key={column} column={column} title={title} hint={hint} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody onKeyDown={walk}>
          {first > 0 && (
            <tr aria-hidden="true">
              <td class="filler" colSpan={3} style={{ height: `${first * ROW_PX}px` }} />
            </tr>
          )}
          {rows.slice(first, last).map((row, index) => (
            <FunctionRow
              key={row.name}
              row={row}
              index={first + index}
              unit={unit}
              whole={whole}
              isSelected={row.name === selected}
              isTabStop={first + index === active}
              onPick={() => {
                setActive(first + index);
                onPick(row.name);
              }}
            />
          ))}
          {last < rows.length && (
            <tr aria-hidden="true">
              <td class="filler" colSpan={3} style={{ height: `${(rows.length - last) * ROW_PX}px` }} />
            </tr>
          )}
        </tbody>
      </table>
      {rows.length === 0 && <p class="notice">No function matches.</p>}
    </div>
  );
}

interface HeaderProps {
  column: SortColumn;
  title: string;
  hint: string;
  sort: Sort;
  onSort: (sort: Sort) => void;
}

function SortHeader({ column, title, hint, sort, onSort }: HeaderProps): JSX.Element {
  const sorted = sort.column === column;
  // A column is first sorted the way one reads it: names from A, values from the largest.
  const next = { column, descending: sorted ? !sort.descending : column !== "name" };
  return (
    <th scope="col" class={column} aria-sort={sorted ? (sort.descending ? "descending" : "ascending") : "none"} title={hint}>
      <button type="button" onClick={() => onSort(next)}>
        {title}
        <span class="sort-arrow" aria-hidden="true">
          {sorted ? (sort.descending ? "↓" : "↑") : ""}
        </span>
      </button>
    </th>
  );
}

interface RowProps {
  row: TopFunction;
  index: number;
  unit: string;
  whole: number;
  isSelected: boolean;
  isTabStop: boolean;
  onPick: () => void;
}

function FunctionRow({ row, index, unit, whole, isSelected, isTabStop, onPick }: RowProps): JSX.Element {
  return (
    <tr aria-rowindex={index + 2} class={isSelected ? "is-selected" : ""} data-name={row.text}>
      <td class="name" title={row.text}>
        <button type="button" class="function-button" tabIndex={isTabStop ? 0 : -1} aria-pressed={isSelected} onClick={onPick}>
          {row.text}
        </button>
      </td>
      <ValueCell value={row.self} unit={unit} whole={whole} />
      <ValueCell value={row.total} unit={unit} whole={whole} />
    </tr>
  );
}

function ValueCell({ value, unit, whole }: { value: number; unit: string; whole: number }): JSX.Element {
  return (
    <td class="value" data-value={value}>
      <span class="value-bar" style={{ width: `${whole === 0 ? 0 : (100 * value) / whole}%` }} />
      <span class="value-text">
        {formatValue(value, unit)}
        <span class="value-percent">{formatPercent(value, whole)}</span>
      </span>
    </td>
  );
}
