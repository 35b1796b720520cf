"""The tuner: a population's hyperparameters by ask and tell, for any training loop."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from metapbt.errors import MetapbtError
from metapbt.history import Budget, Eras, FeatureValue, History, Record, Ref, Restarts
from metapbt.plain import frozen, thawed, whole_number
from metapbt.population import told
from metapbt.population.deciding import Decider
from metapbt.population.decisions import Assignment, Assignments, Decision
from metapbt.population.explorers import make_explorer
from metapbt.population.selection import make_selection
from metapbt.population.starts import make_start, run_name, settings_with
from metapbt.population.state import read_state, restored, write_state
from metapbt.space import Hyperparameters, Space

if TYPE_CHECKING:
    from metapbt.memory.source_runs import Memory
    from metapbt.population.kept import Kept


class Tuner:
    """Population-based tuning by ask and tell. It knows no environment and no learner.

    With candidates, more configurations than members are asked for at first; those told best become the members. With
    eras, the population is replaced by students of new architectures now and then, which are screened in the same way.

    Example:
        >>> tuner = Tuner(Space({"lr": {"type": "float", "low": 0.0, "high": 1.0}}), method="pbt", seed=1)
        >>> configs = tuner.start()                      # one for each of 4 members
        >>> decisions = tuner.tell([1000] * 4, [3.0, 1.0, 2.0, 4.0])
        >>> decisions[0], decisions[1].parent            # the best goes on, the worst copies the best
        (Continue(until_steps=None), 3)

    With ``results_dir`` all that it is told is kept in a run directory, which ``metapbt.load``, ``metapbt report`` and
    memory read like any other; the same arguments go on from there:

        with Tuner(space, results_dir="results", env="classifier", context={"noise": 0.2}) as tuner:
            configs = tuner.start()                      # of a run that goes on, those of the coming intervals
            while tuner.history.generations < 20:
                ...

    What it gives away is the caller's to change; what it was given it has copied; its history cannot be changed.

    Attributes:
        space: the search space.
        population_size: members.
        seed: of every draw.
        mode: whether larger returns are better (``max``), or smaller ones (``min``).
        explorer: what chooses hyperparameters.
        history: everything that has happened. Its returns are larger the better: with ``mode="min"`` they are the
            negatives of what was told.
    """

    def __init__(
        self,
        space: Space | Mapping[str, Any],
        method: str = "pb2",
        population_size: int = 4,
        quantile: float = 0.25,
        seed: int = 0,
        metric: str = "train_return",
        initial: Sequence[Hyperparameters] = (),
        constraint: Callable[[Hyperparameters], Hyperparameters] | None = None,
        selection: str | Mapping[str, Any] = "truncation",
        candidates: int | None = None,
        mode: str = "max",
        eras: Mapping[str, Any] | None = None,
        restarts: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
        results_dir: str | Path | None = None,
        env: str = "own",
        context: Mapping[str, FeatureValue] | None = None,
        learner: str = "own",
        name: str | None = None,
        resume: bool = True,
        start: str | Mapping[str, Any] = "method",
        memory: Memory | None = None,
        **settings: Any,
    ) -> None:
        """Set up a population.

        Args:
            space: the search space, or its specification.
            method: a known method, or one's own explorer as ``package.module:Class``.
            population_size: members.
            quantile: the worst quantile copies from the best one, in [0, 0.5].
            seed: of every draw.
            metric: which return of the records selection looks at.
            initial: configurations for the first members; the method chooses those of the others.
            constraint: gets every new configuration and returns a legal one that may be used instead.
            selection: who copies whom: a known name, one's own as ``package.module:Class``, or a mapping with such a
                ``name`` and the selection's settings, as in ``conf/selection/<name>.yaml``.
            candidates: how many configurations begin; None for one for each member, or with ``restarts`` two.
            mode: ``max``, or ``min`` where what is told is a loss.
            eras: when and how architectures change, the keys of ``eras`` in ``conf/config.yaml``; steps are those told.
            restarts: when and how all begin anew, the keys of ``restarts`` there; ``eras.interval`` says for how long.
                None for never, which ``ipbt`` warns of: it is published with ``{"patience": 3}``.
            budget: of each member, for both: nothing begins whose students would not become members before its end.
            results_dir: where the run is kept, in ``<env>/<feature>=<value>[,...]/<name or method>/seed_<n>``; None for
                nowhere. Checkpoints are the caller's own. What follows says how it is kept:
            env: what is tuned, for paths, reports and memory.
            context: the features of what is tuned, by which memory tells tasks apart.
            learner: what trains the members, in a word; runs of different ones are never compared.
            name: a label instead of the method's name.
            resume: go on with what is there; False replaces it.
            start: where first members come from, but for ``initial``: ``method``, or ``transfer`` from ``memory``; or
                a mapping with such a ``name`` and settings, as in ``conf/start/<name>.yaml``.
            memory: runs on related contexts, for ``start="transfer"`` and for methods with memory.
            settings: the method's own, as in ``conf/method/<method>.yaml``.

        Raises:
            MetapbtError: a name is unknown or a number is out of its range; another process works on the run directory,
                which is named, or it holds a run of other arguments.
        """
        population_size = whole_number("population.size", population_size, 1, told.MOST)
        seed = whole_number("seed", seed, 0, told.LARGEST)
        share = told.share_replaced(quantile)
        told.check_better(metric, mode)
        told.check_parts(constraint, selection, budget)
        if candidates is not None:
            candidates = told.count_of_candidates(candidates, population_size)
        self.space = space if isinstance(space, Space) else Space(space)
        self.population_size = population_size
        self.seed = seed
        self.mode = mode
        self.history = History(metric=metric, size=population_size, seed=seed)
        self._assignments: dict[int, Assignment] = {}
        self.initial = told.checked_configurations("initial", self.space, initial)
        self._eras = Eras.of(eras, population_size, budget, Restarts.of(restarts), candidates)
        self._beginning = self._eras.beginning(population_size, candidates)
        if len(self.initial) > self._beginning:
            raise MetapbtError(f"initial has {len(self.initial)} configurations for {self._beginning} members")
        begun = make_start(start, memory, budget)
        settings = told.own_copy(settings_with(memory, budget, method, begun, settings))
        told.warn_of_no_restarts(method, restarts)
        self.explorer = make_explorer(method, self.space, TUNER_ARGUMENTS, **settings)
        named = {"name": selection} if isinstance(selection, str) else told.own_copy(selection)
        chosen = {"name": "truncation", **named}
        self._decider = Decider(
            space=self.space,
            size=population_size,
            seed=seed,
            method=f"method '{method}'",
            start=begun,
            explorer=self.explorer,
            exploiting=f"selection '{chosen['name']}'",
            selection=make_selection(chosen, population_size, share),
            constraint=constraint,
            eras=self._eras,
            budget=budget,
        )
        self._kept: Kept | None = None
        if results_dir is not None:
            from metapbt.population.kept import Kept, as_config

            population = {"size": population_size, "quantile": share, "metric": metric, "candidates": candidates}
            others = {"seed": seed, "selection": chosen, "constraint": constraint, "mode": mode, "eras": eras}
            begin = {"initial": self.initial, **begun.asked, **({} if restarts is None else {"restarts": restarts})}
            asked = as_config(self.space, method, settings, budget, population, **others, **begin)
            self._kept = Kept(results_dir, asked, env, context, learner, run_name(name, method, start), resume, memory)
            try:
                content = self._kept.restored()
                if content is not None:
                    self.replay(content.records, content.assignments)
            except BaseException:
                self._kept.close(History(), finished=False)
                raise

    @property
    def path(self) -> Path | None:
        """The run directory; None without ``results_dir``."""
        return None if self._kept is None else self._kept.path

    def close(self, finished: bool = True) -> None:
        """Let others open the run directory, if there is one; nothing more can be told.

        Args:
            finished: say in the directory that the run is done, as at the end of a ``with`` block that no error ended.
                Made again with the same arguments, the tuner goes on nevertheless.

        Raises:
            MetapbtError: the directory was deleted or replaced.
            OSError: it cannot be written.
        """
        if self._kept is not None:
            self._kept.close(self.history, finished)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close(finished=error is None)

    def start(self) -> list[Hyperparameters]:
        """Return the first generation's hyperparameters: a configuration for each member, or for each candidate.

        Of a run that goes on, those of the coming intervals, in the order of ``assignments``.
        """
        if not self._assignments:
            first = self._decider.first(self.initial, self._beginning)
            if self._kept is not None:
                self._kept.begin(first)
            self._assignments = first
        return [thawed(assignment.hyperparameters) for assignment in self._assignments.values()]

    @property
    def assignments(self) -> Mapping[int, Assignment]:
        """The coming interval of each who trains next, by member; copies."""
        return Assignments(self._assignments)

    @property
    def eras(self) -> Eras:
        """When architectures change."""
        return self._eras

    @property
    def screening(self) -> bool:
        """Whether candidates or students are training, of which the best will be the members."""
        return any(member >= self.population_size for member in self._assignments)

    def tell(self, env_steps: Sequence[float], returns: Sequence[float]) -> list[Decision]:
        """Report what a generation brought, and learn what each member does next.

        Args:
            env_steps: environment steps (or any measure of training, such as half epochs) so far of each who trained,
                in the order of ``assignments``; a copy goes on from its parent's, a student from its teacher's, and
                they must grow.
            returns: one for each; larger is better, or smaller with ``mode="min"``; NaN for a member that failed.

        Returns:
            A decision for each who trains next, in the order of ``assignments``: the members; or, where a new era
            begins, its students, who may be more.

        Raises:
            MetapbtError: the numbers do not fit the population.
        """
        if not self._assignments:
            raise MetapbtError("tell: call start first")
        asked = list(self._assignments)
        who = ("students" if len(self.history) else "candidates") if self.screening else "members"
        pairs = told.numbers_told(env_steps, returns, len(asked), who)
        self.observe([self._record(member, *pair) for member, pair in zip(asked, pairs, strict=True)])
        return [assignment.decision for assignment in self._assignments.values()]

    def tell_member(self, member: int, env_steps: float, value: float) -> Decision:
        """Report what one member's interval brought, and learn what it does next, without waiting for the others.

        This is asynchronous PBT: a member is judged as it reports, against the last report of every other one.

        Args:
            member: counted from 0.
            env_steps: environment steps so far; a copy goes on from its parent's, and they must grow.
            value: its return; larger is better, or smaller with ``mode="min"``; NaN for a member that failed.

        Raises:
            MetapbtError: there is no such member, its steps have not grown, or candidates are to be told together, as
                all members are that have eras.
        """
        member = told.member_told(member, self.population_size)
        if not self._assignments:
            raise MetapbtError("tell_member: call start first")
        if self._eras.count > 1:
            raise MetapbtError("tell_member: with eras all are told together, by tell")
        if self.screening:
            raise MetapbtError("tell_member: the candidates of the first generation are told together, by tell")
        self.observe([self._record(member, env_steps, value)])
        return self._assignments[member].decision

    def observe(self, records: Sequence[Record]) -> list[int]:
        """Take whole records (``tell`` makes them from bare numbers) and decide for their members.

        Args:
            records: one of every member, candidate or student (synchronous), or of one or some members (asynchronous).

        Returns:
            The members that were decided for: those of the records; all once candidates or students are screened; or
            the students of a new era.
        """
        longer, reported = self.history.extended(map(_kept, records)), [record.member for record in records]
        decided = self._decider.next(longer, self._assignments, reported)
        instead = decided.keys() != set(reported)
        # Nothing is taken over before all of it is decided and stands in the journal: a report that fails may be told
        # again. Then all of it is, at once: what stands there has been told.
        if self._kept is not None:
            self._kept.append(longer.records[len(self.history) :], decided)
        self.history, self._assignments = longer, decided if instead else {**self._assignments, **decided}
        if self._kept is not None:
            self._kept.tabulate(longer)
        return list(decided) if instead else reported

    def ahead(self, records: Sequence[Record]) -> Tuner:
        """Look ahead, before all members of a generation have reported; this tuner stays as it is.

        Args:
            records: one of each member that has reported.

        Returns:
            A tuner whose assignments are of those among them that go on as they are, whatever the others will report:
            the same that ``observe`` will make.
        """
        found = copy.copy(self)
        found.history = self.history.extended([_kept(record) for record in records])
        awaited = self._assignments.keys() - {record.member for record in records}
        found._assignments = self._decider.sure_to_go_on(found.history, awaited)
        return found

    def origin(self, member: int) -> Record | None:
        """The record that a member's coming interval goes on from; None of a new agent."""
        start = self._assignments[member].start
        return None if start is None else self.history.at(start)

    def counts_on(self, member: int) -> Record | None:
        """The record whose environment steps a member's coming interval counts on from; None where it begins at 0."""
        assignment = self._assignments[member]
        return self.history.counts_on(assignment.start, assignment.teacher)

    def record(self, member: int, **outcome: Any) -> Record:
        """The record of a member's interval under its assignment; ``outcome`` holds the other fields."""
        if self._kept is not None:  # reports show evaluations; where there are none the one return stands for both
            outcome.setdefault("eval_return", outcome["train_return"])
        assignment = self._assignments[member]
        copied, teacher = assignment.start if assignment.kind != "continue" else None, assignment.teacher
        return Record(
            generation=self.coming_generation(member),
            member=member,
            parent=copied.member if copied else None,
            parent_generation=copied.generation if copied else None,
            source=assignment.source,
            restart=assignment.restart,
            teacher_generation=teacher.generation if teacher else None,
            teacher_member=teacher.member if teacher else None,
            **{"hyperparameters": assignment.hyperparameters, **outcome},
        )

    def coming_generation(self, member: int) -> int:
        """The number of a member's coming interval."""
        return self.history.coming_generation(member)

    def keeps(self, best: bool = True) -> set[Ref]:
        """The checkpoints that somebody may still go on from and, with ``best``, that of the best agent ever."""
        found = {record.ref for record in self.history.latest if not record.failed}
        found |= {ref for a in self.assignments.values() for ref in (a.start, a.teacher) if ref is not None}
        found |= {self.history.best().ref} if best and len(self.history) else set()
        return found | self._decider.selection.keeps(self.history)

    def replay(self, records: Sequence[Record], decided: Mapping[int, Mapping[str, Any] | None]) -> None:
        """Go on from what was written down, in a tuner made with the same arguments.

        Args:
            records: everything that was observed, in that order.
            decided: the last decision for each member as `Assignment.to_dict` gave it; None for one that goes on
                as it is.

        Raises:
            MetapbtError: it is of a population of another size or another space, or does not hang together; then
                nothing is taken over.
        """
        begun = replace(self.history, records=())
        self.history, self._assignments = restored(
            self.space, begun, self.population_size, self._beginning, self._eras, records, decided
        )

    def state(self) -> dict[str, Any]:
        """Everything that has happened and is decided, as plain data (JSON can hold it)."""
        return write_state(self.history, self._assignments, self.mode)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned, in a tuner made with the same arguments.

        Raises:
            MetapbtError: the state is damaged, or of another population, space, mode or version; then nothing is taken
                over.
        """
        if self._kept is not None:
            raise MetapbtError(f"load_state: this tuner goes on from its run directory, {self._kept.path}")
        self.replay(*read_state(state, self.mode))

    def _record(self, member: int, env_steps: Any, value: Any) -> Record:
        before = self.counts_on(member)
        steps = told.steps_told(member, env_steps, before.env_steps if before else 0)
        found = told.return_told(member, value)
        value = found if self.mode == "max" else -found
        return self.record(member, env_steps=steps, train_return=value)


def _kept(record: Record) -> Record:
    """A record whose configuration nobody can change."""
    return replace(record, hyperparameters=frozen(record.hyperparameters))


#: What a setting of a method may be mistaken for.
TUNER_ARGUMENTS = tuple(name for name in inspect.signature(Tuner).parameters if name not in ("settings", "memory"))
