"""Tune learning rate and weight decay of a PyTorch classifier while it trains; stop and start it as you like."""

import argparse
import copy
import json
from pathlib import Path

import torch
from sklearn.datasets import load_digits

import metapbt

torch.set_num_threads(1)  # with networks as small as these, more threads are slower

SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
}

images, digits = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
images = images.float() / 16
train_x, train_y, test_x, test_y = images[:1200], digits[:1200], images[1200:], digits[1200:]

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimizer = torch.optim.AdamW(model.parameters())


def snapshot() -> dict:
    """All that a member has learned so far."""
    return copy.deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict()})


def train(member: dict, hyperparameters: dict, seed: int) -> tuple[dict, float]:
    """Train a member for one epoch; return what it is then, and its accuracy."""
    model.load_state_dict(member["model"])
    optimizer.load_state_dict(copy.deepcopy(member["optimizer"]))
    optimizer.param_groups[0].update(hyperparameters)
    shuffled = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(seed))
    for batch in shuffled.split(50):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(train_x[batch]), train_y[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(test_x).argmax(dim=1) == test_y).float().mean().item()
    return snapshot(), accuracy


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--generations", type=int, default=20)
parser.add_argument("--method", default="pb2")
parser.add_argument("--file", type=Path, default=Path("classifier.pt"), help="goes on from here if it exists")
arguments = parser.parse_args()

tuner = metapbt.Tuner(SPACE, method=arguments.method, population_size=4, quantile=0.25, seed=0)
if arguments.file.exists():
    saved = torch.load(arguments.file, weights_only=True)
    members = saved["members"]
    tuner.load_state(json.loads(saved["tuner"]))
    configs = [assignment.hyperparameters for assignment in tuner.assignments.values()]
else:
    members = [snapshot()] * 4
    configs = tuner.start()

for generation in range(tuner.history.generations, arguments.generations):
    results = [train(members[m], configs[m], seed=4 * generation + m) for m in range(4)]
    trained, accuracies = [member for member, _ in results], [accuracy for _, accuracy in results]
    print(f"generation {generation}: accuracies {' '.join(f'{a:.3f}' for a in accuracies)}")

    members = list(trained)
    for m, decision in enumerate(tuner.tell([generation + 1] * 4, accuracies)):  # here a step is an epoch
        if isinstance(decision, metapbt.Copy):
            members[m], configs[m] = trained[decision.parent], decision.hyperparameters
            print(f"  member {m} copies member {decision.parent} and trains on with {configs[m]}")

    # Members and tuner in one file, so that they always belong together, even after a kill.
    temporary = arguments.file.with_suffix(".tmp")
    torch.save({"members": members, "tuner": json.dumps(tuner.state())}, temporary)
    temporary.replace(arguments.file)

print(f"best accuracy: {tuner.history.best().train_return:.3f}")
