"""How far a measured share may be from the truth."""

from __future__ import annotations

import math

__all__ = ["share_margin"]


def share_margin(share: float, samples: float) -> float:
    """Return the margin of a share that was estimated from samples: three standard deviations and a point.

    The one or two samples that fall on the edge of a step are allowed for.

    Args:
        share: the true one, 0 to 1.
        samples: how many samples the estimate is made of.
    """
    if samples <= 0:
        return 1.0
    return 3 * math.sqrt(share * (1 - share) / samples) + 0.01 + 2 / samples
