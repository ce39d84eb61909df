"""Full-text search: an inverted index and BM25 ranking, in plain Python."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

WORD = re.compile(r"[a-z]{2,}")
STEM = re.compile(r"(?:ing|ed|s)$")


def words_of(text: str) -> list[str]:
    """Return the text's words, lower case and without their endings."""
    return [STEM.sub("", word) for word in WORD.findall(text.lower())]


class SearchIndex:
    """Ranks documents by the words that they share with a query."""

    def __init__(self, documents: Iterable[tuple[int, str]]) -> None:
        self._lengths: dict[int, int] = {}
        self._postings: dict[str, dict[int, int]] = defaultdict(dict)
        for number, text in documents:
            words = words_of(text)
            self._lengths[number] = len(words)
            for word, count in Counter(words).items():
                self._postings[word][number] = count
        self._mean_length = sum(self._lengths.values()) / max(1, len(self._lengths))

    def rank(self, query: str, limit: int) -> list[tuple[int, float]]:
        """Return the best (number, score), best first."""
        scores: dict[int, float] = defaultdict(float)
        for word in words_of(query):
            postings = self._postings.get(word, {})
            rarity = math.log(1 + (len(self._lengths) - len(postings) + 0.5) / (len(postings) + 0.5))
            for number, count in postings.items():
                scores[number] += rarity * self._saturation(number, count)
        return heapq.nlargest(limit, scores.items(), key=lambda pair: pair[1])

    def _saturation(self, number: int, count: int) -> float:
        norm = 0.25 + 0.75 * self._lengths[number] / self._mean_length
        return count * 2.2 / (count + 1.2 * norm)


def highlight(text: str, query: str) -> str:
    """Return the text with the query's words marked, as a page would show it."""
    stems = sorted(set(words_of(query)), key=len, reverse=True)
    if not stems:
        return text
    return re.sub(rf"\b({'|'.join(stems)})(ing|ed|s)?\b", mark, text, flags=re.IGNORECASE)


def mark(match: re.Match[str]) -> str:
    """Return one marked word."""
    return f"<mark>{match[0]}</mark>"
