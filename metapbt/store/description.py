"""What a run is, apart from what became of it: said by its configuration, and again by its journal's first entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metapbt.errors import MetapbtError, named
from metapbt.history import Budget, Context, Eras, with_newer
from metapbt.store.reading import Unreadable

#: What the configuration of a run says whose members a loop of the user's own trained, told to a tuner.
TUNER = "tuner"


@dataclass(frozen=True)
class Description:
    """What a run is.

    Attributes:
        env: the environment's name.
        context: of the environment.
        method: the method's name.
        name: what the run is called in its path and in reports: the method, unless it was given another name.
        learner: the learner's name.
        seed: of the run.
        generations: planned generations, at most; None where only the user's own loop knows.
        metric: the return that selection looks at.
        size: members of the population.
    """

    env: str
    context: Context
    method: str
    name: str
    learner: str
    seed: int
    generations: int | None
    metric: str
    size: int

    @classmethod
    def of_config(cls, config: Mapping[str, Any], path: Path) -> Description:
        """What a configuration says.

        Args:
            config: the configuration.
            path: of its file, for messages.

        Raises:
            MetapbtError: it is no configuration of a run.
        """
        try:
            method, budget, population = config["method"]["name"], config["budget"], config["population"]
            eras = Eras.of_config(config)
            found = cls(
                env=config["env"],
                context=_context(config["env"], config["features"], config["context"]),
                method=method,
                name=config.get("name") or method,
                learner=config["learner"]["name"],
                seed=config["seed"],
                generations=None if budget is None else eras.most_generations(Budget.of(budget)),
                metric=population["metric"],
                size=population["size"],
            )
            return found._checked()
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else named(error)
            raise Unreadable(path, f"is no configuration of a run: {why}") from error

    def to_dict(self) -> dict[str, Any]:
        """This description as plain data."""
        plain = {name: getattr(self, name) for name in Description.__dataclass_fields__ if name != "context"}
        return {**plain, "features": dict(self.context), "changed": list(self.context.changed)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], path: Path) -> Description:
        """The description that ``to_dict`` wrote down.

        Raises:
            MetapbtError: it is none.
        """
        try:
            plain = {name: data[name] for name in cls.__dataclass_fields__ if name != "context"}
            return cls(context=_context(data["env"], data["features"], data["changed"]), **plain)._checked()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unreadable(path, f"does not say what run it is of: {error!r}") from error

    def _checked(self) -> Description:
        for name in ("env", "method", "name", "learner"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} is {getattr(self, name)!r:.50}")
        for name in ("seed", "generations", "size"):
            if type(getattr(self, name)) is not int and not (name == "generations" and self.generations is None):
                raise TypeError(f"{name} is {getattr(self, name)!r:.50}")
        if self.metric not in ("train_return", "eval_return"):
            raise ValueError(f"metric is {self.metric!r:.50}")
        return self


def check_trained_by_a_run(config: Mapping[str, Any], path: Path) -> None:
    """Refuse what needs the checkpoints of a run where these are the user's own.

    Args:
        config: of the run.
        path: its directory.

    Raises:
        MetapbtError: its members were trained by a loop of the user's own.
    """
    if config.get(TUNER):
        raise MetapbtError(
            f"{path} is of a metapbt.Tuner: its agents are where the loop that trained them has put them, not here"
        )


def _context(env: Any, features: Mapping[str, Any], changed: Any) -> Context:
    for name, value in features.items():
        if not isinstance(name, str) or not isinstance(value, str | float | int) or isinstance(value, bool):
            raise TypeError(f"the context has {name!r:.50}: {value!r:.50}")
    return Context(with_newer(env, features), changed)
