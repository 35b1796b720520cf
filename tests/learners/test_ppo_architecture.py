"""Networks of learner=ppo as hyperparameters: at the door, in states, and in whole runs."""

import re

import numpy as np
import pytest
from learner_intervals import made, train
from omegaconf import OmegaConf

import metapbt
from metapbt.errors import MetapbtError
from metapbt.learners.ppo import PPOLearner
from metapbt.runs.replay import replay
from metapbt.space import Space

SMALL = {"n_steps": 25, "batch_size": 20, "n_epochs": 2}
ARCHITECTURE = {"role": "architecture"}


def learner(env="cart_pole", **settings):
    return made(PPOLearner, env, {"n_envs": 4, "hyperparameters": SMALL, **settings})


def integer(low, high, **others):
    return {"type": "int", "low": low, "high": high, **others}


def one_of(*choices, **others):
    return {"type": "categorical", "choices": choices, **others}


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        (
            "network.policy.layers",
            integer(1, 3),
            "space.network.policy.layers changes the network.*`role: architecture`",
        ),
        ("network.value.activation", one_of("tanh"), "network.value.activation changes .* needs `role: architecture`"),
        ("network.policy.width", integer(0, 8, **ARCHITECTURE), r"policy.width must be a whole number in \[1, .*got 0"),
        ("network.value.layers", integer(1, 99, **ARCHITECTURE), r"value.layers must be .*\[1, 32\], got 99"),
        ("network.value.width", one_of(8, "wide", **ARCHITECTURE), "space.network.value.width must be .*got 'wide'"),
        (
            "network.policy.width",
            {"type": "float", "low": 8, "high": 16, **ARCHITECTURE},
            "space.network.policy.width must be .*: write type: int",
        ),
        (
            "network.policy.activation",
            one_of("tanh", "rleu", **ARCHITECTURE),
            "unknown space.network.policy.activation 'rleu'; did you mean 'relu'",
        ),
        ("network.policy.activation", integer(0, 1, **ARCHITECTURE), "unknown space.network.policy.activation '0'"),
        ("network.widths", integer(1, 3, **ARCHITECTURE), "unknown hyperparameter of learner ppo 'network.widths'"),
    ],
)
def test_a_space_that_does_not_fit_is_named(name, entry, message):
    with pytest.raises(MetapbtError, match=message) as refused:
        learner().check(Space({name: entry}))
    assert "\n" not in str(refused.value)


def test_values_of_a_trunk_that_is_shared_have_no_network_of_their_own():
    one = learner(network={"shared": True, "policy": {"layers": 1}})
    one.check(Space({"network.policy.width": integer(8, 16, **ARCHITECTURE)}))
    with pytest.raises(
        MetapbtError, match="space.network.value.width changes nothing where learner.network.shared=true"
    ):
        one.check(Space({"network.value.width": integer(8, 16, **ARCHITECTURE)}))
    state = train(one, None, {"network.policy.width": 12}).state
    assert state["trunk/0/kernel"].shape == (4, 12)
    assert (state["policy/0/kernel"].shape, state["value/0/kernel"].shape) == ((12, 2), (12, 1))


def test_the_shipped_space_is_legal_at_its_corners():
    space = Space(OmegaConf.to_container(OmegaConf.load("conf/space/ppo_architecture.yaml")))
    learner().check(space)
    assert len(space.architecture) == 6
    usual = made(PPOLearner, "cart_pole", {}).fixed
    assert space.default() == {name: usual[name] for name in space.names}


def test_a_state_has_the_shapes_of_its_own_architecture_and_is_refused_by_another():
    one = learner("bipedal_walker")
    deep = {"network.policy.layers": 3, "network.policy.width": 8, "network.value.layers": 1, "network.value.width": 5}
    training = train(one, None, deep)
    shapes = {name: array.shape for name, array in training.state.items() if name.startswith(("policy", "value"))}
    assert [shapes[f"policy/{i}/kernel"] for i in range(4)] == [(24, 8), (8, 8), (8, 8), (8, 4)]
    assert [shapes[f"value/{i}/kernel"] for i in range(2)] == [(24, 5), (5, 1)]
    again = train(one, training, deep)
    assert again.env_steps == 200
    assert one.evaluate(again.state, deep, 1, 2) == pytest.approx(again.eval_return)
    assert one.policy(again.state, deep).act(np.zeros(24)).shape == (4,)
    wider = {**deep, "network.policy.width": 9}
    message = r"the checkpoint does not fit the network of its hyperparameters: policy/0/kernel has the shape \(24, 8\)"
    for act in (
        lambda: train(one, training, wider),
        lambda: one.evaluate(training.state, wider, 1, 1),
        lambda: one.policy(training.state, wider),
    ):
        with pytest.raises(MetapbtError, match=message):
            act()
    with pytest.raises(MetapbtError, match="policy/3/kernel has the shape .* instead of"):
        train(one, training, {**deep, "network.policy.layers": 4})


def test_activations_are_the_hyperparameters_own():
    one, acts = learner(), {}
    state = train(one, None, {"network.policy.width": 8}).state
    for name in ("tanh", "relu"):
        chosen = {"network.policy.width": 8, "network.policy.activation": name}
        acts[name] = [one.policy(state, chosen).act(x) for x in np.random.default_rng(0).standard_normal((300, 4))]
    assert acts["tanh"] != acts["relu"]


SPACE = """
learning_rate: {type: float, low: 1.0e-4, high: 1.0e-2, log: true}
network:
  policy:
    layers: {type: int, low: 1, high: 2, role: architecture}
    width: {type: int, low: 4, high: 8, factor: 2, role: architecture}
  value:
    activation: {type: categorical, choices: [tanh, relu], role: architecture}
"""
COMMAND = [
    "env=cart_pole", "space=small_networks", "method=pbt", "population.size=3", "executor=inline", "seed=4",
    "budget.steps=600", "budget.interval=200", "evaluation.episodes=2", "evaluation.test_episodes=2",
    "learner.n_envs=2", "learner.hyperparameters.n_steps=50", "learner.hyperparameters.n_epochs=2",
]  # fmt: skip


def test_a_run_over_networks_goes_on_after_it_was_killed_and_can_be_replayed(tmp_path, monkeypatch, writes):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/space").mkdir(parents=True)
    (tmp_path / "conf/space/small_networks.yaml").write_text(SPACE)
    whole = metapbt.run([*COMMAND, "results_dir=whole"], tmp_path / "conf")
    records = whole.records
    networks = records[[name for name in records if re.match(r"hp\.network", name)]]
    assert len(networks.columns) == 3
    assert len(networks.drop_duplicates()) > 1
    of = {(r["generation"], r["member"]): list(r[networks.columns]) for _, r in records.iterrows()}
    copies = records[records["parent"].notna()]
    assert len(copies) == 2
    for _, copy in copies.iterrows():  # they keep the network of what they copy
        assert of[copy["generation"], copy["member"]] == of[copy["parent_generation"], copy["parent"]]

    again = [*COMMAND, "results_dir=killed"]
    writes.kill_before(8, lambda: metapbt.run(again, tmp_path / "conf"))
    resumed = metapbt.run(again, tmp_path / "conf").records
    same = [name for name in records if name not in ("wall_seconds", "run_id")]
    assert resumed[same].equals(records[same])

    assert 1 <= whole.test_return <= 500  # that of the best agent, on its own network
    replayed = replay(whole.path)
    assert 1 <= replayed.test_return <= 500
    assert [r.hyperparameters["network.policy.width"] for r in replayed.history.records] == [
        whole.best.hyperparameters["network.policy.width"]
    ] * 3
