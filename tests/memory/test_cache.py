import numpy as np
import pytest

from metapbt.history import Context
from metapbt.memory.cache import ModelCache
from metapbt.memory.encoder import Samples
from metapbt.memory.tasks import Tasks
from metapbt.memory.training import learned
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
