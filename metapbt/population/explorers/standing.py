"""Where a trust region stands after a history: replayed from it, so that nothing has to be kept."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from metapbt.history import History
from metapbt.surrogates.trust_region import Rule, TrustRegion


@dataclass(frozen=True)
class Standing:
    """A trust region, and since when its surrogate counts.

    Attributes:
        region: as large as it has become; None where there is none.
        since: the generation from which on rows count: that of the last new beginning.
    """

    region: TrustRegion | None
    since: int = 0

    @classmethod
    def after(cls, history: History, rule: Rule | None, patience: int, sources: Collection[str]) -> Standing:
        """Replay the generations that every member has finished.

        A generation is a success where one of its best members has copied with hyperparameters that the region
        suggested, a failure where such members were not among the best; one without them changes nothing. The region
        begins anew, and the surrogate with it, when it has become too small, after ``patience`` generations without a
        new best since it began, and with a new era.

        Source: Wan et al. (2022), section 3.1 and appendix; the published code does so without eras, and with them
        never.

        Args:
            history: everything that has happened.
            rule: of the region; None for none: then only a new era is a new beginning.
            patience: generations.
            sources: of the records that the region suggested.
        """
        begin = None if rule is None else rule.begin()
        standing, era, best, stale = cls(begin), 0, -math.inf, 0
        for generation in range(history.generations):
            trained = [record for record in history.generation(generation) if not record.failed]
            members = [r for r in trained if history.size is None or r.member < history.size]
            values = {record.ref: history.value(record) for record in members}
            highest = max((value for value in values.values() if math.isfinite(value)), default=math.nan)
            if math.isnan(highest):
                continue
            if history.era(members[0]) > era:
                standing, era, best, stale = cls(begin, generation), history.era(members[0]), -math.inf, 0
            if rule is None or standing.region is None:
                continue
            suggested = [values[r.ref] for r in members if r.parent is not None and r.source in sources]
            region = rule.after(standing.region, highest in suggested) if suggested else standing.region
            standing = cls(region, standing.since)
            best, stale = (highest, 0) if highest > best else (best, stale + 1)
            if rule.exhausted(region) or stale >= patience:
                standing, best, stale = cls(begin, generation + 1), -math.inf, 0
        return standing
