"""Box2D environments: Gymnasium's own code, run from a private copy in which some constants are others.

Gymnasium keeps these numbers in module globals that its functions read at every step. Setting them would
change every other environment of the process, so each set of constants gets its own copy of the module.
The numbers are replaced before the copy runs, so whatever the module derives from them follows.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterable, Mapping
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Feature
from metapbt.errors import MetapbtError

if TYPE_CHECKING:
    import gymnasium

#: The constants that a copy replaces, sorted by name.
Constants = tuple[tuple[str, float], ...]


def build_box2d(
    module: str,
    class_name: str,
    constants: Constants,
    gravity: tuple[float, float],
    render_mode: str | None,
    **options: Any,
) -> gymnasium.Env[Any, Any]:
    """Build ``class_name`` of a private copy of Gymnasium's ``module``.

    Args:
        module: dotted name of the module, which itself stays as it is.
        class_name: the environment's class in it.
        constants: from ``changed_constants``.
        gravity: horizontal and vertical, in m/s².
        render_mode: as in Gymnasium.
        options: more arguments of the class.

    Raises:
        MetapbtError: the installed Gymnasium has no such constant.
    """
    contextual = _contextual_class(module, class_name, constants)
    environment: gymnasium.Env[Any, Any] = contextual(gravity, render_mode, **options)
    return environment


def changed_constants(features: Iterable[Feature], context: Mapping[str, float]) -> Constants:
    """Return Gymnasium's name and the new value of each constant that ``context`` changes, sorted by name."""
    return tuple(
        sorted(
            (feature.constant, int(value) if feature.whole else value)
            for feature in features
            if feature.constant is not None and (value := context[feature.name]) != feature.default
        )
    )


@functools.cache
def _contextual_class(module: str, class_name: str, constants: Constants) -> type[Any]:
    base: Any = getattr(_private_copy(module, constants), class_name)

    class Contextual(base):
        #: What Gymnasium's module calls its numbers, with those of the context.
        constants: dict[str, Any] = base.reset.__globals__

        def __init__(self, gravity: tuple[float, float], render_mode: str | None, **options: Any) -> None:
            self._gravity, self._options = gravity, options
            super().__init__(render_mode=render_mode, **options)
            # The lander keeps its vertical gravity here; its constructor would refuse any below -12.
            self.gravity = gravity[1]

        @property
        def world(self) -> Any:
            return self._world

        @world.setter
        def world(self, world: Any) -> None:
            # The lander makes a new world, and takes a first step in it, within every reset.
            world.gravity = self._gravity
            self._world = world

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            # Gymnasium's walker keeps its world, in which bodies that were there before change later contacts.
            self._destroy()
            self.world = type(self._world)()
            result: tuple[Any, dict[str, Any]] = super().reset(seed=seed, options=options)
            return result

        def __reduce__(self) -> tuple[Any, ...]:
            # As Gymnasium's own, pickles into a fresh environment; by arguments, as the class has no home.
            arguments = module, class_name, constants, self._gravity, self.render_mode
            return functools.partial(build_box2d, **self._options), arguments

    Contextual.__name__ = Contextual.__qualname__ = class_name
    return Contextual


def _private_copy(module: str, constants: Constants) -> ModuleType:
    spec = importlib.util.find_spec(module)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise MetapbtError(f"the source of {module} is needed, but not installed")
    tree = ast.parse(spec.loader.get_source(module) or "")
    missing = dict(constants).keys() - _replace_constants(tree, dict(constants))
    if missing:
        raise MetapbtError(f"this version of Gymnasium has no {', '.join(sorted(missing))} in {module}")
    changes = ", ".join(f"{name}={value:g}" for name, value in constants)
    copy = ModuleType(f"{module}({changes})")
    exec(compile(tree, spec.loader.path, "exec"), copy.__dict__)
    return copy


def _replace_constants(tree: ast.Module, constants: Mapping[str, float]) -> set[str]:
    """Replace the values of module-level assignments in ``tree``; return the names that were there."""
    replaced: set[str] = set()
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) if name in constants:
                statement.value = ast.copy_location(ast.Constant(constants[name]), statement.value)
                replaced.add(name)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                for i, target in enumerate(targets):
                    if isinstance(target, ast.Name) and target.id in constants:
                        values[i] = ast.copy_location(ast.Constant(constants[target.id]), values[i])
                        replaced.add(target.id)
    return replaced
