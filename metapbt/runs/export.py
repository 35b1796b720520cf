"""The policy of a run's best agent as a file for programs that know nothing of metapbt, checked once it is written."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metapbt import __version__
from metapbt.envs import make_env
from metapbt.errors import MetapbtError, named, one_line
from metapbt.files import atomic_file
from metapbt.plain import thawed
from metapbt.progress import progress
from metapbt.runs.agent import Agent, learners_code

if TYPE_CHECKING:
    from metapbt.learners.portable import Portable

#: Two outputs differ where they are further apart than this, relative to what is larger than 1.
TOLERANCE = 1e-5
OBSERVATIONS = 1000
_TOGETHER = 100  # observations of a batch: of pictures, more would take memory

#: One array for each part of an observation, by name.
Inputs = Mapping[str, NDArray[Any]]
Outputs = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Exported:
    """A policy that was written.

    Attributes:
        path: of the file.
        agent: whose policy.
        inputs: names of the file's inputs.
        outputs: names of its outputs.
        compared: observations of the environment that the file was compared on with metapbt's own policy.
        largest: of all differences of outputs, relative to what is larger than 1.
    """

    path: Path
    agent: Agent
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    compared: int
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {', '.join(self.inputs)} to {' and '.join(self.outputs)}, of\n{self.agent}\n"
            f"checked: 0 of {self.compared:,} observations differ by more than 1e-5 (at most {self.largest:.0e})"
        )


def write_policy(agent: Agent, file: Path) -> Exported:
    """Write an agent's policy, and compare it, as it is read again, with metapbt's own on observations of an episode.

    It takes a batch of observations as the environment gives them (``observation``, or one input for each key where
    they are dictionaries) and gives ``action``, the most likely ones as the environment takes them, and what they
    follow from: ``logits`` (batch, choices), the ``mean`` of a Gaussian (batch, numbers), or ``q_values``. The
    normalisation of observations is inside, and so are an action's bounds. The file is written whole or not at all.

    Args:
        agent: whose policy.
        file: ending in ``.onnx``; in ``.pt2``, a program of ``torch.export``; or in ``.pt``, TorchScript, for programs
            in C++ and PyTorch before 2.6. Metadata: ``env``, ``context``, ``run`` and more, in the model's properties
            (ONNX) or as JSON in the archive's extra file ``metapbt.json``.

    Raises:
        MetapbtError: the file's ending is unknown, what writes it is not installed, the learner's policy cannot be
            exported, what was written says something else, or the agent's checkpoint is gone.
        OSError: the file cannot be written.
    """
    ending = file.suffix.lower()
    if ending not in _WRITERS:
        raise MetapbtError(f"--to must end in .onnx, .pt2, .pt or .yaml (the schedule), got {file}")
    if ending == ".onnx":
        _onnx()
    policy: Any = agent.policy()
    if not hasattr(policy, "portable"):
        raise MetapbtError(f"learner={agent.learner.name} cannot be exported: its policy has no method portable")
    with progress(f"writing {file.name}", None):
        with learners_code(agent.learner.name):
            portable: Portable = policy.portable()
        largest = written(portable, _observations(agent, policy, portable), _metadata(agent), file)
    return Exported(file, agent, tuple(portable.inputs), ("action", portable.scores), OBSERVATIONS, largest)


def written(portable: Portable, seen: Inputs, metadata: Mapping[str, str], file: Path) -> float:
    """Write a policy, read it again, and compare it with metapbt's own.

    Args:
        portable: the policy.
        seen: ``OBSERVATIONS`` observations, of each input (observations, *part).
        metadata: to be written beside it.
        file: whose ending is one of ``write_policy``'s.

    Returns:
        The largest difference.

    Raises:
        MetapbtError: it cannot be written, or differs; nothing is left then.
        OSError: the file cannot be written.
    """
    ending = file.suffix.lower()
    with atomic_file(file) as temporary:
        with _quiet():
            try:
                again = _WRITERS[ending](portable, {name: each[:2] for name, each in seen.items()}, metadata, temporary)
            except OSError:
                raise
            except Exception as error:
                raise MetapbtError(f"the policy cannot be written as {ending}: {named(error)}") from error
        return _compared(file, portable, again, seen)


#: Writes a policy, with observations to trace it and metadata, and returns it as it is read from the file.
_Writer = Callable[["Portable", Inputs, Mapping[str, str], Path], Callable[[Inputs], Outputs]]


def _write_onnx(
    portable: Portable, example: Inputs, metadata: Mapping[str, str], file: Path
) -> Callable[[Inputs], Outputs]:
    import torch

    onnxruntime = _onnx()
    program = torch.onnx.export(
        _exported(portable, example),
        dynamo=True,
        input_names=list(portable.inputs),
        output_names=["action", portable.scores],
        verbose=False,
    )
    assert program is not None  # it is of dynamo
    program.model.metadata_props.update(metadata)
    program.save(str(file))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> Outputs:
        action, scores = session.run(None, dict(inputs))
        return action, scores

    return run


def _write_pt2(
    portable: Portable, example: Inputs, metadata: Mapping[str, str], file: Path
) -> Callable[[Inputs], Outputs]:
    import torch

    from metapbt.learners.portable import in_numpy

    torch.export.save(_exported(portable, example), file, extra_files={"metapbt.json": json.dumps(dict(metadata))})
    module = torch.export.load(file).module()
    return lambda inputs: in_numpy(module, inputs)


def _write_torchscript(
    portable: Portable, example: Inputs, metadata: Mapping[str, str], file: Path
) -> Callable[[Inputs], Outputs]:
    import torch

    from metapbt.learners.portable import in_numpy

    jit: Any = torch.jit  # untyped
    traced = jit.trace(portable.module, _tensors(example), check_trace=False)
    jit.save(traced, str(file), _extra_files={"metapbt.json": json.dumps(dict(metadata))})
    module = jit.load(str(file))
    return lambda inputs: in_numpy(module, inputs)


_WRITERS: dict[str, _Writer] = {".onnx": _write_onnx, ".pt2": _write_pt2, ".pt": _write_torchscript}


def _exported(portable: Portable, example: Inputs) -> Any:
    """The program of ``torch.export``, for batches of any size."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(portable.module, _tensors(example), dynamic_shapes=(tuple({0: batch} for _ in example),))


def _tensors(inputs: Inputs) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(each)) for each in inputs.values())


def _observations(agent: Agent, policy: Any, portable: Portable) -> Inputs:
    """What an environment shows while the agent plays, and while in every other episode it acts at random."""
    context: dict[str, Any] = dict(agent.learner.context)
    env = make_env(agent.learner.env, **context)
    env.action_space.seed(agent.seed)
    found: dict[str, list[Any]] = {name: [] for name in portable.inputs}
    seed, at_random, observation = agent.seed, False, None
    for _ in range(OBSERVATIONS):
        if observation is None:
            observation, _ = env.reset(seed=seed)
            seed, at_random = seed + 1, not at_random
        for name, seen in found.items():
            seen.append(observation[name] if isinstance(observation, Mapping) else observation)
        action = env.action_space.sample() if at_random else policy.act(observation)
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation = None
    env.close()
    return {name: np.array(seen, portable.inputs[name].dtype) for name, seen in found.items()}


def _compared(file: Path, portable: Portable, again: Callable[[Inputs], Outputs], seen: Inputs) -> float:
    """The largest difference between what was read again and metapbt's own policy.

    Raises:
        MetapbtError: some differ by more than ``TOLERANCE``.
    """
    ends = [1, *range(1 + _TOGETHER, OBSERVATIONS, _TOGETHER), OBSERVATIONS]  # one alone as well
    largest: list[NDArray[np.float64]] = []
    for first, end in pairwise([0, *ends]):
        batch = {name: array[first:end] for name, array in seen.items()}
        (action, scores), (our_action, our_scores) = again(batch), portable.ours(batch)
        actions = _difference(action, our_action)
        if our_action.ndim == 1 and our_scores.shape[1] > 1:  # of actions that are equally good, either
            second, first_one = np.sort(our_scores, axis=1)[:, -2:].T
            actions[_difference(second[:, None], first_one[:, None]) <= TOLERANCE] = 0
        largest.append(np.maximum(actions, _difference(scores, our_scores)))
    found = np.concatenate(largest)
    differ = int((~(found <= TOLERANCE)).sum())  # what is no number differs
    if differ:
        raise MetapbtError(
            f"{file} is not written: on {differ:,} of {OBSERVATIONS:,} observations it would differ from metapbt's "
            f"policy by more than 1e-5, at most by {found.max():.1e}"
        )
    return float(found.max())


def _difference(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Of each of two batches' rows the largest difference, relative to what is larger than 1."""
    a, b = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (one, other))
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b) / np.maximum(np.abs(b), 1))
    largest: NDArray[np.float64] = apart.max(axis=1)
    return largest


def _metadata(agent: Agent) -> dict[str, str]:
    record, learner = agent.record, agent.learner
    return {
        "env": learner.env,
        "context": json.dumps(dict(learner.context)),
        "run": agent.run_id,
        "learner": learner.name,
        "generation": str(record.generation),
        "member": str(record.member),
        "env_steps": str(record.env_steps),
        "hyperparameters": json.dumps(thawed(record.hyperparameters)),
        "metapbt": __version__,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of themselves: that tracing is old, and that Torchvision is not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _onnx() -> Any:
    """ONNX Runtime, once all that writing ONNX files needs is there.

    Raises:
        MetapbtError: something is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MetapbtError(f"exporting to ONNX needs: pip install 'metapbt[onnx]' ({one_line(error)})") from error
    return onnxruntime
