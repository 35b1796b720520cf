"""A context: one type, one key, one name in paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

FeatureValue = float | str

#: Of environments that have more features than they had once, the newer ones with the values that they had all the
#: same: contexts that were written down before lack them.
NEWER: Mapping[str, Mapping[str, FeatureValue]] = {"lunar_lander": {"actions": "discrete"}}


def with_newer(env: object, features: Mapping[str, FeatureValue]) -> dict[str, FeatureValue]:
    """A context as it was written down, with the features that its environment had not then."""
    return {**features, **{name: value for name, value in NEWER.get(str(env), {}).items() if name not in features}}


class Context(Mapping[str, FeatureValue]):
    """One context of an environment: the value of every feature, in the order in which the environment declares them.

    Immutable. It is its own key: contexts with equal features are equal and have the same hash, whatever the order.

    Args:
        features: every feature, changed or not.
        changed: names of those that differ from the environment's defaults; None for all of them.

    Example:
        >>> context = Context({"pole_length": 0.8, "gravity": 9.8}, changed=["pole_length"])
        >>> context["gravity"], context.changed, context.label
        (9.8, {'pole_length': 0.8}, 'pole_length=0.8')
    """

    __slots__ = ("_changed", "_features", "_hash")

    def __init__(
        self, features: Mapping[str, FeatureValue], changed: Mapping[str, object] | list[str] | None = None
    ) -> None:
        self._features = dict(features)
        self._changed = tuple(name for name in self._features if changed is None or name in changed)
        self._hash = hash(frozenset(self._features.items()))

    def __getitem__(self, name: str) -> FeatureValue:
        return self._features[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Context({self.label})"

    @property
    def changed(self) -> dict[str, FeatureValue]:
        """The features that differ from the environment's defaults."""
        return {name: self._features[name] for name in self._changed}

    @property
    def label(self) -> str:
        """How paths and logs call it: ``leg_height=3.2``, or ``default`` where nothing was changed."""
        return ",".join(f"{name}={digits(value)}" for name, value in self.changed.items()) or "default"


def digits(value: FeatureValue) -> str:
    """A feature's value in paths and scripts: ten significant digits of a number."""
    return value if isinstance(value, str) else f"{value:.10g}"
