"""The choice ``env=NAME`` where ``conf/env`` and the user's own folders have no file for it.

An id of Gymnasium's or an environment of one's own needs no YAML then: its name is the key ``env``, and all other keys
keep what ``conf/config.yaml`` gives them. Whether there is such an environment is for ``metapbt.envs`` to say.
What is short for a choice in a context (``procgen/bigfish``) is that choice, with the context.
"""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from metapbt.overrides import in_full

_GROUP = "env/"


class AnyEnv(ConfigSource):
    """Answers for every name of the group ``env``; as the last of ``hydra.searchpath``, for those that no file has."""

    @staticmethod
    def scheme() -> str:
        """What it is called in ``hydra.searchpath``."""
        return "any-env"

    def available(self) -> bool:
        """It is always there."""
        return True

    def is_group(self, config_path: str) -> bool:
        """It adds no group."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Whether the choice is one of an environment."""
        return config_path.startswith(_GROUP)

    def load_config(self, config_path: str) -> ConfigResult:
        """The whole configuration of an environment without a file: its name, or what it is short for."""
        written = config_path.removeprefix(_GROUP)
        env, context = in_full(written, {})
        short = {"defaults": [f"/{_GROUP}{env}", "_self_"], "context": context} if env != written else {}
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=OmegaConf.create({"env": env, **short}),
            header={"package": "_global_"},
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """It names none of them in the help."""
        return []


def register() -> None:
    """Tell Hydra of it; again and again is harmless."""
    Plugins.instance().register(AnyEnv)
