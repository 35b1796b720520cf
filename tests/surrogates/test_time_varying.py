import pytest
import torch

from metapbt.surrogates import time_varying
from metapbt.surrogates.time_varying import FIT_ROWS, fit_mixed_gp, fit_time_varying_gp, relevant_rows


@pytest.mark.parametrize("fit", [fit_time_varying_gp, lambda x, y: fit_mixed_gp(x, y, categories=1)])
def test_one_row_more_never_means_fewer_rows_fitted(fit, monkeypatch):
    fitted = []
    monkeypatch.setattr(time_varying, "fit", lambda model, _: fitted.append(len(model.train_targets)))
    counts = [1, 2, FIT_ROWS - 1, FIT_ROWS, FIT_ROWS + 1, 2 * FIT_ROWS, 2 * FIT_ROWS + 1, 200]
    for count in counts:
        x = torch.linspace(0, 1, 4 * count, dtype=torch.float64).reshape(count, 4)
        model = fit(x, torch.sin(9 * x[:, :1]))
        assert len(model.train_targets) == count  # all condition the posterior
    assert fitted == [min(count, FIT_ROWS) for count in counts]


def test_rows_that_were_not_fitted_are_believed_all_the_same():
    x = torch.rand(150, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, 0] = 5.0
    y = torch.sin(4 * x[:, 1:2])
    model = fit_time_varying_gp(x, y)
    assert (model.posterior(x).mean - y).abs().max() < 0.1


def test_rows_are_as_relevant_as_they_are_near_in_time_and_return_also_after_the_time_of_who_asks():
    generations, returns = [10, 60, 11, 4, 10], [0.5, 0.5, 0.5, 0.5, 0.9]
    ranked = relevant_rows(generations, returns, 11, 0.5).tolist()
    assert sorted(ranked) == list(range(5))
    assert ranked.index(2) < ranked.index(0) < ranked.index(3) < ranked.index(1)
    assert ranked.index(0) < ranked.index(4)
    mirrored = relevant_rows([22 - generation for generation in generations], returns, 11, 0.5).tolist()
    assert mirrored == ranked
