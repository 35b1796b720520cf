"""What cannot be kept is refused before anything is trained."""

import pytest

from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.runs import door
from metapbt.space import Space
from metapbt.store.table import Identity

IDENTITY = Identity("x/default/pbt/seed_0", "x", Context({}), "pbt", "pbt", "stand_in", 0)
FLOAT = {"type": "float", "low": 1e-200, "high": 1e200}


def categorical(*choices):
    return {"type": "categorical", "choices": list(choices)}


def test_what_can_be_kept_gets_in():
    door.check_kept(
        IDENTITY,
        Space(
            {
                "lr": FLOAT,
                "n": {"type": "int", "low": -(2**53), "high": 2**53},
                "act": categorical("tanh", "a,b", "Ü\n", None, 0.1, 1, True, "\ud800", [64, [1]], {"to": 0}),
                "flag": categorical(True, False),
                "under": {**FLOAT, "when": {"act": "tanh"}},
            }
        ),
    )


def test_a_value_that_no_table_holds_is_refused_by_name(monkeypatch):
    def refusing(identity, history):
        if any("act" in record.hyperparameters for record in history):
            raise ValueError("no column\nholds this")
        return to_table(identity, history)

    to_table = door.to_table
    monkeypatch.setattr(door, "to_table", refusing)
    with pytest.raises(MetapbtError, match="^space.act: its values cannot be kept: no column holds this$"):
        door.check_kept(IDENTITY, Space({"lr": FLOAT, "act": categorical("tanh", "relu")}))


def test_a_value_that_comes_back_as_another_one_is_refused_by_name(monkeypatch):
    def rounding(table):
        found = to_records(table)
        for _, record in found:
            record.hyperparameters.update({name: float(f"{v:.3g}") for name, v in record.hyperparameters.items()})
        return found

    to_records = door.to_records
    monkeypatch.setattr(door, "to_records", rounding)
    with pytest.raises(MetapbtError, match=r"^space.b: its values cannot be kept: the table makes {'b': 0.562} of"):
        door.check_kept(
            IDENTITY, Space({"a": {**FLOAT, "low": 1}, "b": {"type": "float", "low": 0.123456, "high": 1.0}})
        )
