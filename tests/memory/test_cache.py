import numpy as np
import pytest

from metapbt.history import Context, History, Record
from metapbt.memory.cache import FOLDER, ModelCache
from metapbt.memory.encoder import Samples
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.memory.tasks import Tasks
from metapbt.memory.training import learned
from metapbt.space import Space
from metapbt.store import find_runs


def tasks(rows=40):
    rng = np.random.default_rng(0)
    times, before, x = rng.integers(5, size=rows), rng.random(rows), rng.random((rows, 1))
    after = before + np.sin(5 * x[:, 0]) + 0.1 * rng.standard_normal(rows)
    samples = Samples(times, 10 * times, np.full(rows, 10), before, after, x, x, np.arange(rows) % 3)
    return Tasks(samples, [Context({"a": float(a)}) for a in range(3)], [{"a": float(a)} for a in range(3)])


@pytest.mark.usefixtures("briefly_trained")
def test_a_kept_model_has_the_bits_of_one_trained_anew(tmp_path):
    cache = ModelCache(tmp_path / "models")
    first = learned(tasks(), True, cache).weights()
    assert len(list(cache.folder.iterdir())) == 2  # the deep kernel's and the plain one's that it starts from
    for again in (learned(tasks(), True, cache), learned(tasks(), True)):
        weights = again.weights()
        assert weights.keys() == first.keys()
        assert all(np.array_equal(weights[name], first[name]) for name in first)


@pytest.mark.usefixtures("briefly_trained")
def test_other_rows_and_other_settings_have_models_of_their_own(tmp_path):
    cache = ModelCache(tmp_path)
    learned(tasks(), False, cache)
    learned(tasks(), True, cache)
    learned(tasks(30), False, cache)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.usefixtures("briefly_trained")
def test_a_kept_model_is_not_trained_again(tmp_path, monkeypatch):
    cache = ModelCache(tmp_path)
    learned(tasks(), False, cache)
    monkeypatch.setattr("metapbt.memory.model.MetaModel.train", lambda *_, **__: pytest.fail("trained again"))
    learned(tasks(), False, cache)


def test_a_damaged_file_and_a_pickle_are_as_if_they_were_not_there(tmp_path, caplog):
    cache = ModelCache(tmp_path)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "pickle.npz", weights=np.array([{"a": 1}], dtype=object))
    assert cache.get("broken") is None
    assert cache.get("pickle") is None
    assert cache.get("absent") is None
    assert caplog.text.count("is damaged") == 2


def test_a_place_that_cannot_be_written_costs_only_the_reuse(tmp_path, caplog):
    (tmp_path / "file").touch()
    ModelCache(tmp_path / "file" / "models").put("key", {"a": np.zeros(1)})
    assert "not kept" in caplog.text


def test_models_beside_results_are_no_runs(tmp_path):
    ModelCache(tmp_path / ".meta_models").put("key", {"a": np.zeros(1)})
    (tmp_path / ".meta_models" / "config.yaml").touch()
    assert find_runs(tmp_path) == []


def test_models_are_kept_beside_the_runs_that_they_were_trained_on(tmp_path, monkeypatch):
    shipped, one, other, own = (tmp_path / name for name in ("shipped", "one", "other", "own"))
    monkeypatch.setattr("metapbt.memory.cache.shipped_dir", lambda: shipped)
    for place in (shipped, one, other, own):
        place.mkdir()
    ships = {"a": np.arange(2.0)}
    ModelCache(shipped / FOLDER).put("ships", ships)
    for places, results, expected in (
        ([one, other], own, one),
        ([shipped], own, own),
        ([shipped, other], own, other),
        ([one], None, one),
        ([shipped], None, None),
    ):
        cache = ModelCache.beside(places, results)
        np.testing.assert_array_equal(cache.get("ships")["a"], ships["a"])
        cache.put("new", {"a": np.ones(1)})
        kept = [place for place in (shipped, one, other, own) if (place / FOLDER / "new.npz").exists()]
        assert kept == ([] if expected is None else [expected])
        for place in kept:
            (place / FOLDER / "new.npz").unlink()
    ModelCache(own / FOLDER).put("own", ships)
    assert ModelCache.beside([one, shipped], own).get("own") is not None  # as of a run that had no other place before


def test_thinned_rows_leave_lines_of_descent_whole():
    rng = np.random.default_rng(0)
    records = [
        Record(g, m, None, "random", {"x": float(rng.random())}, 10 * (g + 1), float(g))
        for g in range(8)
        for m in (0, 1)
    ]
    space = Space({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    sources = [SourceRun(Context({"a": float(a)}), History(tuple(records))) for a in range(3)]
    memory = Memory(Context({"a": 0.5}), sources)
    everything, fewer = (Tasks.of(memory, space, max_rows=most) for most in (48, 20))
    assert (len(everything), len(fewer)) == (48, 20)
    assert len(fewer.rows) == sum(map(len, fewer.held_out(1))) == 20
    for context in range(3):
        whole, lines = everything.lines(context), fewer.lines(context)
        np.testing.assert_array_equal(lines.origins, whole.origins)
        ends, _, real = lines.forecast(lambda x: np.zeros(len(x)), 8)
        assert len(ends) == 2  # both members' lines from their first interval to the last
        assert (real > 0).all()
    assert everything.digest() != fewer.digest()
