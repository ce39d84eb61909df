"""Which sentences of the specification are proven, by a case that is known to fail on what is broken."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from flamewire_conformance.broken import read_faults
from flamewire_conformance.cases import Case, Suite

__all__ = ["Coverage", "coverage_of", "coverage_text", "proven_cases"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The numbers of the MUST sentences, by what is known of them; and of others, those without a case.

    Attributes:
        proven: a case names it that fails on a broken implementation.
        unproven: only cases name it that were never seen to fail.
        without: no case names it.
        others_without: SHOULD and MAY sentences that no case names.
    """

    proven: tuple[str, ...]
    unproven: tuple[str, ...]
    without: tuple[str, ...]
    others_without: tuple[str, ...]

    @property
    def proven_pct(self) -> float:
        """Share of the MUST sentences that are proven."""
        total = len(self.proven) + len(self.unproven) + len(self.without)
        return 100 * len(self.proven) / total if total else 100.0


def proven_cases(suite: Suite) -> set[str]:
    """Return the cases that tables of faults name; tests see to it that they fail there."""
    ids = [case.id for case in suite.cases]
    tables = [suite.root / "broken" / f"{name}.yaml" for name in ("testee", "server")]
    return {
        case
        for path in tables
        if path.exists()
        for fault in read_faults(path, ids).values()
        for case in fault.turns_red
    }


def coverage_of(sentences: Mapping[str, str], cases: Sequence[Case], proven: Collection[str]) -> Coverage:
    """Sort the sentences.

    Args:
        sentences: number -> MUST, SHOULD or MAY.
        proven: ids of cases that were seen to fail.
    """
    named = {number for case in cases for number in case.spec}
    shown = {number for case in cases if case.id in proven for number in case.spec}
    musts = [number for number, level in sentences.items() if level == "MUST"]
    return Coverage(
        proven=tuple(sorted(number for number in musts if number in shown)),
        unproven=tuple(sorted(number for number in musts if number in named - shown)),
        without=tuple(sorted(number for number in musts if number not in named)),
        others_without=tuple(sorted(sentences.keys() - set(musts) - named)),
    )


def coverage_text(found: Coverage) -> str:
    """Return the coverage as Markdown."""
    total = len(found.proven) + len(found.unproven) + len(found.without)
    lines = [
        f"Of {total} MUST sentences {len(found.proven)} ({found.proven_pct:.1f} %) have a case that fails"
        " on an implementation that is broken on purpose."
    ]
    if found.unproven:
        lines.append(f"\nWith cases that were never seen to fail: {', '.join(found.unproven)}.")
    if found.without:
        lines.append(f"\nMUST sentences without a case: {', '.join(found.without)}.")
    if found.others_without:
        lines.append(f"\nSHOULD and MAY sentences without a case: {', '.join(found.others_without)}.")
    return "\n".join(lines)
