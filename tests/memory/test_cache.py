import numpy as np
import pytest

from metapbt.memory.cache import ModelCache
from metapbt.memory.scales import Rows
from metapbt.memory.training import learned
from metapbt.store import find_runs


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    inputs = rng.random((40, 4))
    return Rows(inputs, np.sin(5 * inputs[:, 2]) + 0.1 * rng.standard_normal(40), np.arange(40) % 2)


def test_a_kept_model_has_the_bits_of_one_trained_anew(tmp_path, rows):
    cache = ModelCache(tmp_path / "models")
    first = learned(rows, 1, 1, True, cache).weights()
    assert len(list(cache.folder.iterdir())) == 2  # the deep kernel's and the plain one's that it starts from
    for again in (learned(rows, 1, 1, True, cache), learned(rows, 1, 1, True)):
        weights = again.weights()
        assert weights.keys() == first.keys()
        assert all(np.array_equal(weights[name], first[name]) for name in first)


def test_other_rows_and_other_settings_have_models_of_their_own(tmp_path, rows):
    cache = ModelCache(tmp_path)
    learned(rows, 1, 1, False, cache)
    learned(rows, 1, 1, True, cache)
    learned(rows[:30], 1, 1, False, cache)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_kept_model_is_not_trained_again(tmp_path, rows, monkeypatch):
    cache = ModelCache(tmp_path)
    learned(rows, 1, 1, False, cache)
    monkeypatch.setattr("metapbt.memory.kernel.MetaModel.train", lambda *_, **__: pytest.fail("trained again"))
    learned(rows, 1, 1, False, cache)


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
