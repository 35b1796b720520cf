"""A scheduler for people who tune with Ray Tune: metapbt's methods, with memory, in place of Ray's own.

Example:
    >>> from ray import tune                                                        # doctest: +SKIP
    >>> from metapbt.integrations.ray import Scheduler                              # doctest: +SKIP
    >>> scheduler = Scheduler({"lr": tune.loguniform(1e-5, 1e-2)}, perturbation_interval=5)  # doctest: +SKIP
    >>> config = tune.TuneConfig(scheduler=scheduler, metric="score", mode="max", num_samples=4)  # doctest: +SKIP
    >>> tune.Tuner(trainable, tune_config=config).fit()                             # doctest: +SKIP
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metapbt.errors import MetapbtError, one_line, shown
from metapbt.history import Record, Ref
from metapbt.integrations.living import AmongTheLiving
from metapbt.integrations.memory import remembered
from metapbt.integrations.ray_space import configured, from_ray, values_in
from metapbt.integrations.ray_trials import lacking, not_saved, trained_with
from metapbt.log import LOGGER
from metapbt.plain import number, same, whole_number
from metapbt.population.explorers import explorer_class
from metapbt.population.told import MODES
from metapbt.population.tuner import Tuner
from metapbt.space import Hyperparameters, Space

try:
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import SearchGenerator
except ImportError as error:
    raise MetapbtError(
        f"metapbt.integrations.ray needs Ray Tune: pip install 'metapbt[ray]' ({one_line(error)})"
    ) from error

_NOT_FOR_TRIALS = ("candidates", "eras", "restarts", "budget", "initial")  # arguments of a Tuner's


@dataclass(frozen=True)
class _Report:
    """What a trial brought in an interval."""

    time: float
    value: float
    hyperparameters: Hyperparameters


class Scheduler(TrialScheduler):
    """Population-based training of Ray Tune's trials, each a member of a population.

    After every ``perturbation_interval`` a trial is saved and paused. Once all have come so far (or with
    ``synch=False`` at once) the worst take over checkpoint and new hyperparameters from better ones. Trials may be
    functions that report checkpoints or classes that save and load them.

    - Whoever ends early, fails or is stopped keeps nobody waiting, and takes no place among the worst.
    - NaN is the worst that a trial can report, and nobody copies who reported it.
    - A trial that goes on must train with the hyperparameters it was given. Where its reports show others (in its
      ``config``, or under a hyperparameter's own name), as when restoring a checkpoint overwrites them, that is an
      error and not a silent change of the experiment.
    - A trial must report a checkpoint of where it paused, or it would train that interval twice. Of one that ends
      without, while others go on, the last interval counts as failed: nobody can copy it.

    What trials did stands in ``scheduler.tuner.history``; with ``results_dir`` also in a run directory, which
    ``metapbt report`` and the memory of later runs read.
    """

    _supports_buffered_results = False  # a decision follows each report

    def __init__(
        self,
        space: Space | Mapping[str, Any],
        method: str = "pb2",
        *,
        perturbation_interval: float,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        population_size: int | None = None,
        synch: bool = True,
        memory_of: str | Path | None = None,
        selection: str | Mapping[str, Any] = "truncation",
        **settings: Any,
    ) -> None:
        """Say what is tuned, and how.

        Args:
            space: what the scheduler tunes: a space as of ``metapbt.Tuner``, in which Ray's own ``tune.uniform``,
                ``loguniform``, ``randint``, ``lograndint`` and ``choice`` may stand; nested as in the trials' config.
                A trial begins with what ``param_space`` gives it, or else with what the method chooses.
            method: a known method, or one's own explorer as ``package.module:Class``.
            perturbation_interval: how much of ``time_attr`` trials train between two decisions.
            time_attr: what is reported that grows with training.
            metric: what is reported that is tuned for; may be said in ``TuneConfig`` instead.
            mode: ``max`` or ``min``; may be said in ``TuneConfig`` instead.
            population_size: how many trials; None for as many as Ray Tune is asked for (``num_samples``).
            synch: whether all trials wait for each other; False decides for each as it reports.
            memory_of: for methods with memory: a folder of runs that they learn from, of the same ``env`` and
                ``learner`` on other ``context``s, or ``shipped``; or give ``memory`` itself.
            selection: who copies whom, as of ``metapbt.Tuner``.
            settings: further arguments of ``metapbt.Tuner``: ``seed``, ``quantile``, ``constraint``, the method's own;
                ``results_dir``, ``env``, ``context``, ``learner`` and ``name`` for a run directory.

        Raises:
            MetapbtError: Ray is not installed, a name is unknown, or a number or range is not what it must be.
        """
        super().__init__()
        interval = number(perturbation_interval)
        if interval is None or not 0 < interval < math.inf:
            raise MetapbtError(f"perturbation_interval must be a number > 0, got {shown(perturbation_interval)}")
        if mode is not None and mode not in MODES:
            raise MetapbtError(f"mode must be max or min, got {shown(mode)}")
        for name in _NOT_FOR_TRIALS:
            if name in settings:
                raise MetapbtError(f"{name} is not for Ray Tune's trials; metapbt.Tuner has it")
        if explorer_class(method).begins_anew:
            raise MetapbtError(
                f"method '{method}' begins anew, which is not for Ray Tune's trials; metapbt.Tuner has it"
            )
        if population_size is not None:
            population_size = whole_number("population_size", population_size, 1)
        self.space = space if isinstance(space, Space) else Space(from_ray(space))
        self._interval, self._time_attr = interval, time_attr
        self._metric, self._mode = metric, mode
        self._size, self._synch = population_size, synch
        self._arguments = {
            "method": method,
            "selection": {"name": f"{AmongTheLiving.__module__}:{AmongTheLiving.__name__}", "among": selection},
            **settings,
            **remembered(method, memory_of, settings),
        }
        self._begin()
        # All that can be wrong with them shows here, and not once trials are under way.
        if population_size is not None:
            kept_nowhere = {name: value for name, value in self._arguments.items() if name != "results_dir"}
            Tuner(self.space, population_size=population_size, **kept_nowhere)

    def _begin(self) -> None:
        self.tuner: Tuner | None = None
        self._members: dict[str, int] = {}  # by the trial's id, in the order in which trials were added
        self._given: dict[int, Hyperparameters] = {}  # what members begin with that the method has not chosen so
        self._gone: set[int] = set()
        self._reports: dict[int, _Report] = {}  # of those that wait for a decision
        self._checkpoints: dict[Ref, Any] = {}
        self._copied: set[int] = set()  # who starts first, while the checkpoint that it starts from is there

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune keeps its schedulers as they were before the first trial."""
        state = dict(self.__dict__)
        for name in ("tuner", "_members", "_given", "_gone", "_reports", "_checkpoints", "_copied"):
            state.pop(name)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Begin as at first."""
        self.__dict__.update(state)
        self._begin()

    def set_search_properties(self, metric: str | None, mode: str | None, **_spec: Any) -> bool:
        """Take metric and mode from ``TuneConfig``; False where they were given before."""
        if (metric and self._metric) or (mode and self._mode):
            return False
        self._metric, self._mode = metric or self._metric, mode or self._mode
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Make a trial a member, with the hyperparameters that it begins with."""
        if isinstance(tune_controller.search_alg, SearchGenerator):
            raise MetapbtError("a search algorithm cannot choose hyperparameters beside this scheduler: leave it out")
        tuner = self.tuner if self.tuner is not None else self._first(tune_controller)
        member = len(self._members)
        if member >= tuner.population_size:
            raise MetapbtError(
                f"population_size={tuner.population_size}, but Ray Tune has more trials: say num_samples="
                f"{tuner.population_size}, or leave population_size out"
            )
        self._members[trial.trial_id] = member
        chosen = dict(tuner.assignments[member].hyperparameters)
        given = values_in(trial.config, self.space)
        if given:
            try:
                chosen = self.space.checked({**chosen, **given})
            except MetapbtError as error:
                raise MetapbtError(f"param_space: {error}") from error
            if not same(dict(chosen), dict(tuner.assignments[member].hyperparameters)):
                self._given[member] = chosen
        self._configure(trial, chosen)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Let a trial go on until its interval is over, and then pause it."""
        with self._closed_on_error():
            waits = self._members[trial.trial_id] in self._reports or self._report(trial, result, ended=False)
        return str(TrialScheduler.PAUSE if waits else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Take a trial's last report; nobody waits for it any more."""
        if self._members[trial.trial_id] not in self._reports:
            self._report(trial, result, ended=True)
        self._leave(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Nobody waits any more for a trial that failed."""
        self._reports.pop(self._members[trial.trial_id], None)
        self._leave(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Nobody waits any more for a trial that was stopped while it was paused."""
        self._leave(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Decide for those that are paused, where it is time, and return who goes on first."""
        trials = {self._members[trial.trial_id]: trial for trial in tune_controller.get_trials()}
        if self.tuner is not None:
            if tune_controller.search_alg.is_finished():  # no more trials will come
                self._gone |= set(range(self.tuner.population_size)) - trials.keys()
            with self._closed_on_error():
                self._decide(self.tuner, trials)
        free = [
            (member not in self._copied, self._time(member), member)
            for member, trial in trials.items()
            if trial.status in (Trial.PENDING, Trial.PAUSED) and member not in self._reports and not trial.is_saving
        ]
        return trials[min(free)[2]] if free else None

    def debug_string(self) -> str:
        """One line for Ray Tune's reports."""
        done = 0 if self.tuner is None else self.tuner.history.generations
        return f"metapbt {self._arguments['method']}: {done} generations"

    def _first(self, tune_controller: Any) -> Tuner:
        """The tuner, once it is known how many trials there are."""
        if not self._metric or not self._mode:
            raise MetapbtError("metric and mode must be given, to TuneConfig or to the scheduler")
        size = self._size or getattr(tune_controller.search_alg, "total_samples", 0)
        if not size:
            raise MetapbtError("how many trials there are to be cannot be told: say population_size")
        tuner = Tuner(self.space, population_size=size, mode=self._mode, **self._arguments)
        if len(tuner.history):
            path = tuner.path
            tuner.close(finished=True)
            raise MetapbtError(
                f"{path} holds a run already, whose trials are gone: choose another name or seed, or say resume=False, "
                "which begins it anew"
            )
        tuner.start()
        if len(tuner.assignments) != size:
            raise MetapbtError(
                f"method '{self._arguments['method']}' begins with {len(tuner.assignments)} configurations, and not "
                f"with one for each of {size} trials"
            )
        self.tuner = tuner
        return tuner

    def _report(self, trial: Trial, result: Mapping[str, Any], ended: bool) -> bool:
        """Take a report at the end of an interval; returns whether it was one."""
        member, hyperparameters = self._members[trial.trial_id], trained_with(trial, result, self.space)
        time = number(result.get(self._time_attr))
        if time is None:
            if ended:
                return False  # it ended before it reported anything
            raise MetapbtError(lacking(trial, self._time_attr, result))
        begun = self._time(member)
        if time <= begun or not (ended or time >= begun + self._interval):
            return False
        value = number(result.get(str(self._metric)))
        if value is None:
            raise MetapbtError(lacking(trial, str(self._metric), result))
        whole = int(time) if time == int(time) else time
        self._reports[member] = _Report(whole, value, hyperparameters)
        return True

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """Let others open the run directory where an error is about to end the experiment."""
        try:
            yield
        except BaseException:
            if self.tuner is not None:
                self.tuner.close(finished=False)
            raise

    def _leave(self, tune_controller: Any, trial: Trial) -> None:
        self._gone.add(self._members[trial.trial_id])
        tuner = self.tuner
        if tuner is None or len(self._gone) < tuner.population_size:
            return
        if self._reports:
            self._tell(tuner, {self._members[each.trial_id]: each for each in tune_controller.get_trials()})
        if tuner.path is not None:
            LOGGER.info("the trials' records are in %s", tuner.path)
        tuner.close(finished=True)

    def _decide(self, tuner: Tuner, trials: Mapping[int, Trial]) -> None:
        """Decide for all once everybody is saved and paused, or has gone; or for each alone."""
        ready = {member for member in self._reports if self._is_ready(member, trials[member])}
        living = set(range(tuner.population_size)) - self._gone
        if self._synch:
            if living and living <= ready:
                self._tell(tuner, trials)
            return
        # First of all those who have gone, whom others' reports may leave behind.
        for member in sorted(ready, key=lambda member: (member not in self._gone, member)):
            self._tell(tuner, trials, [member])

    def _is_ready(self, member: int, trial: Trial) -> bool:
        if member in self._gone:  # who was not saved at its end has an end for others only once all have gone
            return self._not_saved(trial) is None
        return bool(trial.status == Trial.PAUSED and not trial.is_saving)

    def _tell(self, tuner: Tuner, trials: Mapping[int, Trial], members: Collection[int] | None = None) -> None:
        """Tell what members brought (all, unless it says whose), and configure them for what they do next."""
        told = sorted(self._reports if members is None else members)
        unsaved = {member: why for member in told if (why := self._not_saved(trials[member])) is not None}
        for member in unsaved.keys() - self._gone:
            raise MetapbtError(unsaved[member])
        if len(self._gone) == tuner.population_size:
            unsaved = {}  # nobody goes on from there
        for why in unsaved.values():
            LOGGER.warning("%s; it has ended, and its last interval counts as failed", why)
        records = [self._failed(tuner, m) if m in unsaved else self._record(tuner, m, self._reports[m]) for m in told]
        for record in records:
            self._checkpoints[record.ref] = copy.copy(trials[record.member].latest_checkpoint_result)
        # Those who have gone are behind nobody: a generation is what all have trained.
        others = set(range(tuner.population_size)) - self._gone - set(told)
        newest = min([record.generation for record in records] + [tuner.coming_generation(m) - 1 for m in others])
        absent = [m for m in sorted(self._gone - set(told)) if tuner.coming_generation(m) <= newest]
        records += [self._failed(tuner, member) for member in absent]
        tuner.observe(sorted(records, key=lambda record: record.member))
        keeps = tuner.keeps()
        self._checkpoints = {ref: saved for ref, saved in self._checkpoints.items() if ref in keeps}
        for member in (*told, *absent):
            self._reports.pop(member, None)
            if member not in self._gone:
                self._go_on(tuner, member, trials[member])

    def _record(self, tuner: Tuner, member: int, report: _Report) -> Record:
        value = report.value if self._mode == "max" else -report.value
        return self._begun_so(
            tuner.record(
                member, env_steps=report.time, train_return=float(value), hyperparameters=report.hyperparameters
            )
        )

    def _failed(self, tuner: Tuner, member: int) -> Record:
        before = tuner.counts_on(member)
        steps = before.env_steps if before else 0
        return self._begun_so(tuner.record(member, env_steps=steps, train_return=math.nan, failed=True))

    def _begun_so(self, record: Record) -> Record:
        """A record that says it where the member did not begin with what the method had chosen."""
        given = self._given.get(record.member) if record.generation == 0 else None
        return record if given is None else replace(record, hyperparameters=given, source="given")

    def _go_on(self, tuner: Tuner, member: int, trial: Trial) -> None:
        assignment = tuner.assignments[member]
        self._copied.discard(member)
        if assignment.kind == "continue":
            return
        start = None if assignment.start is None else self._checkpoints[assignment.start]
        self._configure(trial, dict(assignment.hyperparameters))
        trial.run_metadata.checkpoint_manager._latest_checkpoint_result = copy.copy(start)
        self._copied.add(member)

    def _configure(self, trial: Trial, hyperparameters: Hyperparameters) -> None:
        trial.set_config(configured(trial.config, self.space, hyperparameters))
        shown_too = {name.replace(".", "/"): value for name, value in hyperparameters.items()}
        trial.evaluated_params = {**(trial.evaluated_params or {}), **shown_too}

    def _not_saved(self, trial: Trial) -> str | None:
        return not_saved(trial, self._time_attr, self._reports[self._members[trial.trial_id]].time)

    def _time(self, member: int) -> float:
        """At what time a member's coming interval begins."""
        before = None if self.tuner is None else self.tuner.counts_on(member)
        return before.env_steps if before else 0
