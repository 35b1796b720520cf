import shutil

import numpy as np
import pyarrow as pa
import pytest
import yaml

from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history import Context, History, Record
from metapbt.memory.reading import ancestry_of, read_sources
from metapbt.memory.source_runs import Memory
from metapbt.memory.sources import MOST_NAMED, _spread, choose_sources, closest, describe_contexts, standardised
from metapbt.space import Space
from metapbt.store import find_runs, run_directory
from metapbt.store.memory_table import ANCESTRY, read_memory, write_memory
from metapbt.store.table import Identity, read_table, to_table, write_table


def add_run(results, method="pb2", seed=0, env="cart_pole", learner="sb3", generations=2, done=True, **features):
    context = make_context(env, features)
    path = run_directory(results, env, context, method, seed)
    path.mkdir(parents=True)
    config = {
        "env": env, "context": context.changed, "features": dict(context), "method": {"name": method},
        "learner": {"name": learner},
        "seed": seed, "budget": {"steps": 20, "interval": 10}, "population": {"metric": "train_return", "size": 2},
    }  # fmt: skip
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    records = [
        Record(g, m, None, "random", {"rate": 0.1 * m}, 10 * (g + 1), float(g))
        for g in range(generations)
        for m in (0, 1)
    ]
    identity = Identity("x", env, context, method, method, learner, seed)
    if records:
        write_table(path / "records.parquet", to_table(identity, History(tuple(records))))
    if done:
        (path / "DONE").write_text(f"{generations}\n")


@pytest.fixture
def results(tmp_path):
    for length in (0.1, 0.2, 0.3, 0.4, 0.7, 0.9, 1.0):
        add_run(tmp_path, pole_length=length)
    return tmp_path


def lengths(results, sources="all", num_contexts=3, target=0.35, **kwargs):
    context = make_context("cart_pole", {"pole_length": target})
    runs = choose_sources(results, "cart_pole", "sb3", context, sources, num_contexts, **kwargs)
    return [run.context["pole_length"] for run in runs]


def test_closest_takes_the_contexts_nearest_to_the_target(results):
    assert lengths(results, "closest") == [0.2, 0.3, 0.4]
    assert lengths(results, "closest", target=2.0) == [0.7, 0.9, 1.0]


def test_spread_takes_contexts_over_the_whole_range(results):
    assert lengths(results, "spread", 2) == [0.1, 1.0]
    chosen = lengths(results, "spread", 3)
    assert {0.1, 1.0} < set(chosen)
    assert set(chosen) - {0.1, 1.0} <= {0.4, 0.7}


def test_all_takes_every_context_but_the_targets_own(results):
    assert lengths(results, "all", target=0.3) == [0.1, 0.2, 0.4, 0.7, 0.9, 1.0]
    assert 0.3 in lengths(results, "all", target=0.3, include_target=True)


def test_sources_may_lie_in_several_places(results):
    add_run(results / "more", pole_length=1.5)
    add_run(results / "most", pole_length=1.6)
    assert lengths([results / "most", results / "more"]) == [1.6, 1.5]


def test_a_chosen_context_brings_all_its_runs(results):
    add_run(results, pole_length=0.3, seed=1)
    add_run(results, pole_length=0.3, method="pbt")
    assert lengths(results, "closest", 1, target=0.29) == [0.3, 0.3, 0.3]
    assert lengths(results, "closest", 1, target=0.29, methods=["pb2"]) == [0.3, 0.3]


def test_distances_are_taken_in_standardised_features(tmp_path):
    add_run(tmp_path, pole_length=0.5, gravity=19.8)
    add_run(tmp_path, pole_length=1.0, gravity=9.8)
    add_run(tmp_path, pole_length=0.1, gravity=9.9)
    # Gravity is 10 m/s2 away in the first, pole length 0.5 m in the second: each the whole range of its feature.
    context = make_context("cart_pole", {"pole_length": 0.55, "gravity": 18.0})
    (run,) = choose_sources(tmp_path, "cart_pole", "sb3", context, "closest", 1)
    assert run.context.changed == {"gravity": 19.8}


def test_runs_of_other_environments_and_learners_and_runs_without_records_are_passed_over(results):
    add_run(results, env="mountain_car", gravity=0.003)
    add_run(results, pole_length=0.31, learner="other")
    add_run(results, pole_length=0.32, generations=0, done=False)
    assert lengths(results, "all") == [0.1, 0.2, 0.3, 0.4, 0.7, 0.9, 1.0]


def test_a_run_still_being_written_is_used_as_far_as_it_is_whole(results):
    add_run(results, pole_length=0.31, generations=1, done=False)
    assert 0.31 in lengths(results, "all")


def test_a_run_never_learns_from_itself(results):
    own = run_directory(results, "cart_pole", make_context("cart_pole", {"pole_length": 0.3}), "pb2", 0)
    assert 0.3 not in lengths(results, "all", target=0.3, include_target=True, exclude=own)


def test_nothing_found_is_an_empty_list(tmp_path):
    assert lengths(tmp_path) == []
    assert lengths(tmp_path / "nowhere") == []


def test_a_few_contexts_are_named_and_of_many_the_ranges(results):
    add_run(results, pole_length=0.1, seed=1)
    found = describe_contexts(find_runs(results))
    assert found.startswith("pole_length=0.1 (2 runs), pole_length=0.2 (1 run), ")
    for extra in range(MOST_NAMED):
        add_run(results, pole_length=1.5 + 0.25 * extra, gravity=10.5)
    count = 7 + MOST_NAMED
    assert describe_contexts(find_runs(results)) == (
        f"{count} contexts ({count + 1} runs), pole_length from 0.1 to 3.25, gravity from 9.8 to 10.5"
    )


def test_a_category_is_counted():
    class Run:
        def __init__(self, game):
            self.context = Context({"game": game}, ["game"])

    games = ["bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot", "heist", "jumper"]
    assert describe_contexts([Run(game) for game in games]) == "9 contexts (9 runs), 9 values of game"


def test_mistakes_are_named(results):
    with pytest.raises(MetapbtError, match="unknown meta.sources 'closets'; did you mean 'closest'"):
        lengths(results, "closets")
    with pytest.raises(MetapbtError, match="meta.num_contexts must be an integer >= 1, got 0"):
        lengths(results, num_contexts=0)


def test_memory_keeps_runs_apart_that_share_everything_but_their_place(tmp_path):
    add_run(tmp_path / "first", pole_length=0.3)
    add_run(tmp_path / "second", pole_length=0.3)
    target = make_context("cart_pole", {})
    memory = Memory(target, read_sources(find_runs(tmp_path)))
    assert [context["pole_length"] for context in memory.contexts] == [0.3, 0.3]
    assert len(memory.table) == 8
    assert Memory(target, read_sources([])).contexts == ()


def remember(results, length, *sources, old=False, method="meta_pb2"):
    """A run with a memory: written by hand as ``metapbt run`` writes it, or as it did before it kept ancestries."""
    add_run(results, pole_length=length, method=method)
    runs = [run for run in find_runs(results) if run.context["pole_length"] in sources]
    table = read_sources(runs)
    context = make_context("cart_pole", {"pole_length": length})
    path = run_directory(results, "cart_pole", context, method, 0) / "memory.parquet"
    if old:
        write_table(path, table.replace_schema_metadata(None))
    else:
        write_memory(path, table, ancestry_of(runs))


@pytest.mark.parametrize("old", [False, True])
def test_memory_does_not_leak_over_any_number_of_hops(tmp_path, old):
    add_run(tmp_path, pole_length=0.1)
    for length in (0.2, 0.3, 0.4):  # each learned from the one before it
        remember(tmp_path, length, round(length - 0.1, 1), old=old)
    add_run(tmp_path, pole_length=0.9)
    assert lengths(tmp_path, target=0.1) == [0.9]
    assert lengths(tmp_path, target=0.2) == [0.1, 0.9]
    assert lengths(tmp_path, target=0.3) == [0.1, 0.2, 0.9]
    assert lengths(tmp_path, target=0.6) == [0.1, 0.2, 0.3, 0.4, 0.9]
    assert lengths(tmp_path, target=0.1, include_target=True) == [0.1, 0.2, 0.3, 0.4, 0.9]


def test_an_ancestry_needs_nothing_but_the_runs_own_file(tmp_path):
    add_run(tmp_path, pole_length=0.1)
    for length in (0.2, 0.3, 0.4):
        remember(tmp_path, length, round(length - 0.1, 1))
    for length in (0.1, 0.2, 0.3):
        shutil.rmtree(tmp_path / "cart_pole" / f"pole_length={length}")
    (run,) = find_runs(tmp_path)
    assert sorted(context["pole_length"] for context in run.ancestry) == [0.1, 0.2, 0.3]
    table, ancestry = read_memory(run.path / "memory.parquet")
    assert len(table) == 4
    assert ancestry == run.ancestry
    assert lengths(tmp_path, target=0.1) == []


def test_old_memories_count_their_sources_where_these_are_gone(tmp_path):
    add_run(tmp_path, pole_length=0.1)
    for length in (0.2, 0.3):
        remember(tmp_path, length, round(length - 0.1, 1), old=True)
    shutil.rmtree(tmp_path / "cart_pole" / "pole_length=0.2")
    assert lengths(tmp_path, target=0.2) == [0.1]
    assert lengths(tmp_path, target=0.1) == [0.3]  # nobody knows any more


@pytest.mark.parametrize("old", [False, True])
def test_runs_that_learned_from_each_other_have_an_ancestry(tmp_path, old):
    add_run(tmp_path, pole_length=0.1)
    remember(tmp_path, 0.2, 0.1, old=old)
    remember(tmp_path, 0.1, 0.2, old=old)
    remember(tmp_path, 0.3, 0.1, old=old)
    shutil.rmtree(tmp_path / "cart_pole" / "pole_length=0.2" / "meta_pb2")
    remember(tmp_path, 0.2, 0.3, old=old)  # now 0.2 -> 0.1 -> 0.3 -> 0.2
    assert lengths(tmp_path, target=0.1) == []
    assert lengths(tmp_path, target=0.4) == [0.1, 0.1, 0.2, 0.3]
    found = {run.context["pole_length"]: run.ancestry for run in find_runs(tmp_path) if run.method == "meta_pb2"}
    assert {context["pole_length"] for context in found[0.3]} >= {0.1, 0.2}


def test_a_damaged_ancestry_is_said_in_one_line(tmp_path):
    add_run(tmp_path, pole_length=0.1)
    for damaged in (b"[{", b"{}", b'["pole_length"]', b'[{"pole_length": [1]}]'):
        table = read_sources(find_runs(tmp_path)).replace_schema_metadata({ANCESTRY: damaged})
        write_table(tmp_path / "memory.parquet", table)
        with pytest.raises(MetapbtError, match="memory.parquet: the ancestry in its metadata is damaged"):
            read_memory(tmp_path / "memory.parquet")


def test_the_target_is_kept_out_whatever_way_leads_to_its_results(results, tmp_path_factory):
    add_run(results, pole_length=0.3, seed=7)
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(results)
    assert 0.3 not in lengths(link, target=0.3)
    assert 0.3 not in lengths(results, target=0.1 + 0.2)  # 0.30000000000000004
    own = results / "cart_pole" / "pole_length=0.3" / "pb2" / "seed_0"
    assert lengths(link, "closest", 1, target=0.3, include_target=True, exclude=own) == [0.3]


def test_contexts_with_too_little_data_are_passed_over(results):
    add_run(results, pole_length=0.34, generations=1)
    assert lengths(results, "closest", 1) == [0.34]
    assert lengths(results, "closest", 1, min_records=4) == [0.3]
    add_run(results, pole_length=0.34, generations=1, seed=1)
    assert lengths(results, "closest", 1, min_records=4) == [0.34, 0.34]
    with pytest.raises(MetapbtError, match="meta.min_records must be an integer >= 1, got 0"):
        lengths(results, min_records=0)


def test_records_that_cannot_be_read_are_passed_over_with_a_warning(results, caplog):
    (results / "cart_pole" / "pole_length=0.3" / "pb2" / "seed_0" / "records.parquet").write_bytes(b"half a file")
    assert lengths(results, "closest", 1, target=0.31) == [0.4]
    assert "is passed over" in caplog.text


def test_similar_takes_the_contexts_whose_records_are_alike(tmp_path):
    rng = np.random.default_rng(0)
    for length in (0.2, 0.4, 0.6):
        for gravity in (5.0, 10.0, 15.0):  # decides which rate is best; pole length changes nothing
            add_run(tmp_path, pole_length=length, gravity=gravity)
            reached, records = np.zeros(4), []
            for generation in range(6):
                for member in range(4):
                    rate = float(rng.random())
                    reached[member] += np.exp(-(((rate - gravity / 20) / 0.2) ** 2))
                    hp = {"rate": rate}
                    records.append(
                        Record(generation, member, None, "random", hp, 10 * (generation + 1), reached[member])
                    )
            context = make_context("cart_pole", {"pole_length": length, "gravity": gravity})
            path = run_directory(tmp_path, "cart_pole", context, "pb2", 0) / "records.parquet"
            identity = Identity("x", "cart_pole", context, "pb2", "pb2", "sb3", 0)
            write_table(path, to_table(identity, History(tuple(records))))
    target = make_context("cart_pole", {"pole_length": 0.4, "gravity": 11.5})
    space = Space({"rate": {"type": "float", "low": 0.0, "high": 1.0}})
    arguments = (tmp_path, "cart_pole", "sb3", target)
    similar = choose_sources(*arguments, "similar", 3, space=space)
    assert [run.context["gravity"] for run in similar] == [10.0] * 3
    assert {run.context["gravity"] for run in choose_sources(*arguments, "closest", 3)} != {10.0}
    with pytest.raises(MetapbtError, match="similar needs the search space"):
        choose_sources(*arguments, "similar", 3)


@pytest.mark.parametrize("what", ["absurd records", "another context in its records", "records of another space"])
def test_similar_passes_over_contexts_that_it_can_know_nothing_of(tmp_path, what, caplog):
    for length in (0.2, 0.3, 0.6, 0.9):
        add_run(tmp_path, pole_length=length)
    other = make_context("cart_pole", {"pole_length": 0.6})
    path = run_directory(tmp_path, "cart_pole", other, "pb2", 0) / "records.parquet"
    table = read_table(path)
    column = {"absurd records": "env_steps", "another context in its records": "context.pole_length"}.get(what)
    if column is None:
        table = table.rename_columns(["hp.other" if name == "hp.rate" else name for name in table.column_names])
    else:
        place = table.column_names.index(column)
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array([0] * len(table), field.type))
    write_table(path, table)
    space = Space({"rate": {"type": "float", "low": 0.0, "high": 1.0}})
    target = make_context("cart_pole", {"pole_length": 0.55})
    found = choose_sources(tmp_path, "cart_pole", "sb3", target, "similar", 2, space=space)
    assert len(found) == 2
    if what != "another context in its records":  # a run is where its configuration says
        assert 0.6 not in [run.context["pole_length"] for run in found]


def test_last_bits_of_a_feature_set_no_contexts_apart():
    contexts = [{"mass": 1.0, "drag": 0.3}, {"mass": 1.1, "drag": 0.1 + 0.2}, {"mass": 2.0, "drag": 0.3}]
    points, here = standardised([*contexts, {"mass": 1.2, "drag": 0.3}])
    assert points.shape == (3, 1)
    assert closest(points, here, 2) == [1, 0]


def test_spread_takes_no_context_twice_though_some_are_described_alike():
    twins = np.array([[0.0], [0.0], [1.0], [1.0]])
    assert sorted(_spread(twins, twins[0], 4)) == [0, 1, 2, 3]
    assert sorted(_spread(np.zeros((5, 0)), np.zeros(0), 5)) == [0, 1, 2, 3, 4]
