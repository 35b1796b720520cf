import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.errors import NotPSDError

from metapbt.surrogates import fitting, mixed
from metapbt.surrogates.mixed import MixedColumns, fit_mixed
from metapbt.surrogates.time_varying import fit_mixed_gp, fit_time_varying_gp

ROWS = np.loadtxt(Path(__file__).with_name("rows_at_the_highest_return.csv"), delimiter=",")
X, Y = torch.as_tensor(ROWS[:, :-1]), torch.as_tensor(ROWS[:, -1])
COLUMNS = MixedColumns(time=0, numbers=(1, 2, 3, 4, 5))


def likelihood(model):
    mll = ExactMarginalLogLikelihood(model.likelihood, model)
    model.train()
    found = mll(model(*model.train_inputs), model.train_targets).item()
    model.eval()
    return found


def test_a_line_search_that_ends_at_the_bound_of_no_noise_ends_no_run(monkeypatch, caplog):
    """Rows of a run of IPBT on the cart-pole, whose members had all reached its highest return."""
    with caplog.at_level(logging.WARNING, "metapbt"), warnings.catch_warnings():
        warnings.simplefilter("error")
        reached = fit_mixed(X, Y, COLUMNS)
    assert not caplog.records
    assert reached.posterior(X).mean.isfinite().all()
    assert not reached.training
    monkeypatch.setattr(mixed, "fit", lambda model, _: model.eval())
    unfitted = fit_mixed(X, Y, COLUMNS)
    assert likelihood(reached) > likelihood(unfitted) + 1  # per row
    with pytest.raises(ModelFittingError), pytest.warns(match="ABNORMAL"):  # else this tests nothing any more
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(unfitted.likelihood, unfitted),
            optimizer_kwargs={"options": {"maxiter": mixed.MAX_ITERATIONS}},
        )


FITS = {
    "bg_pbt": lambda: fit_mixed(X, Y, COLUMNS),
    "pb2": lambda: fit_time_varying_gp(X, Y[:, None]),
    "pb2_mix": lambda: fit_mixed_gp(X, Y[:, None], categories=1),
}


def raising(mll, **_):
    raise NotPSDError("no jitter was enough")


def spoiling(mll, **_):
    for value in mll.parameters():
        value.data.fill_(torch.nan)


@pytest.mark.parametrize("optimizer", [raising, spoiling])
@pytest.mark.parametrize("method", FITS)
def test_rows_that_nothing_fits_leave_a_surrogate_as_it_starts(method, optimizer, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(
            fitting,
            "fit_gpytorch_mll",
            lambda *args, **options: fit_gpytorch_mll(*args, **options, optimizer=optimizer),
        )
        with caplog.at_level(logging.WARNING, "metapbt"):
            model = FITS[method]()
    assert [record.message for record in caplog.records] == [
        "a surrogate could not be fitted to its rows; it is used with the values that fits start from"
    ]
    assert model.posterior(X).mean.isfinite().all()
    assert not model.training
    fitted = FITS[method]()
    assert likelihood(model) < likelihood(fitted)


def test_an_error_of_another_kind_is_not_hidden(monkeypatch):
    def broken(mll, **_):
        raise ZeroDivisionError

    model = SingleTaskGP(X[:, 1:], Y[:, None])
    monkeypatch.setattr(
        fitting, "fit_gpytorch_mll", lambda *args, **options: fit_gpytorch_mll(*args, **options, optimizer=broken)
    )
    with pytest.raises(ZeroDivisionError):
        fitting.fit(model, 10)
