"""Compiled programs: a process never has more of them than the system lets it map."""

import numpy as np
import pytest
from learner_intervals import made, train

from metapbt import jax_backend
from metapbt.learners.ppo import PPOLearner
from metapbt.learners.ppo.update import update


def mappings():
    return jax_backend._MAPPINGS[0].read_bytes().count(b"\n")


@pytest.mark.slow
def test_a_search_of_networks_does_not_use_up_the_mappings_of_its_process(tmp_path, monkeypatch):
    heads = {head: {"layers": 1, "width": 16} for head in ("policy", "value")}
    fixed = {"n_steps": 25, "batch_size": 20, "n_epochs": 1}
    one = made(PPOLearner, "cart_pole", {"n_envs": 4, "network": heads, "hyperparameters": fixed}, budget=1000)
    jax_backend.jax.clear_caches()
    first = train(one, None, {"network.policy.width": 5}, 100)
    limit = tmp_path / "max_map_count"
    limit.write_text(str(2 * (mappings() + 500)))
    monkeypatch.setattr(jax_backend, "_MAPPINGS", (jax_backend._MAPPINGS[0], limit))
    most = 0
    for width in range(6, 14):
        train(one, None, {"network.policy.width": width}, 100)
        most = max(most, mappings())
    assert 0 < update._cache_size() < 6
    assert most < int(limit.read_text())
    again = train(one, None, {"network.policy.width": 5}, 100)
    assert all(np.array_equal(again.state[name], first.state[name]) for name in first.state)


def test_nothing_is_dropped_where_there_is_room_or_no_limit(tmp_path, monkeypatch):
    assert not jax_backend.drop_programs(share=1)
    monkeypatch.setattr(jax_backend, "_MAPPINGS", (jax_backend._MAPPINGS[0], tmp_path / "missing"))
    assert not jax_backend.drop_programs(share=0)
