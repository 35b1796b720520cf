"""Ray Tune with our scheduler: what it decides is trained, and nothing of what goes wrong under Ray's own."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

import metapbt
from metapbt.errors import MetapbtError
from metapbt.store.check import problem_in
from metapbt.store.journal import read_journal
from metapbt.store.run_directory import RunDirectory

ray = pytest.importorskip("ray", reason="needs pip install 'metapbt[ray]' (make test-ray)")
tune = pytest.importorskip("ray.tune")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]

SPACE = {
    "optimizer": {"lr": {"type": "float", "low": 0.0, "high": 1.0}},
    "layers": {"type": "int", "low": 1, "high": 8},
}


@pytest.fixture(scope="module")
def local_ray():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    yield
    ray.shutdown()


def a_function():
    """A trainable that adds up ``lr`` and writes down what it trained with; its checkpoint is that sum."""

    def train(config):
        import tempfile
        from pathlib import Path

        total, iteration = 0.0, 0
        saved = tune.get_checkpoint()
        if saved:
            with saved.as_directory() as folder:
                total, iteration = json.loads(Path(folder, "total.json").read_text())
        while True:
            total, iteration = total + config["optimizer"]["lr"], iteration + 1
            with Path(config["log"]).open("a") as log:
                print(json.dumps([config["index"], iteration, config["optimizer"]["lr"], config["layers"]]), file=log)
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "total.json").write_text(json.dumps([total, iteration]))
                tune.report({"score": total, "lr": 1}, checkpoint=tune.Checkpoint.from_directory(folder))

    return train


def a_class():
    """A trainable whose trials may fail, end, report NaN, or let a checkpoint overwrite hyperparameters."""

    class Trainable(tune.Trainable):
        def setup(self, config):
            self.total = 0.0

        def step(self):
            how = self.config.get("how", ["well"])[self.config["index"] % len(self.config.get("how", ["well"]))]
            if how == "fails" and self.training_iteration == 2:
                raise ValueError("meant to fail")
            self.total += self.config["optimizer"]["lr"]
            ends = how == "ends" and self.training_iteration == 2
            return {"score": math.nan if how == "nan" else self.total, "done": ends}

        def save_checkpoint(self, folder):
            Path(folder, "state.json").write_text(json.dumps([self.total, self.config]))

        def load_checkpoint(self, folder):
            self.total, config = json.loads(Path(folder, "state.json").read_text())
            if self.config.get("overwrite"):
                self.config = config

        def reset_config(self, config):
            self.total = 0.0
            return True

    return Trainable


def fit(tmp_path, trainable, scheduler, trials=4, iterations=6, **config):
    tuner = tune.Tuner(
        trainable,
        param_space={"index": tune.grid_search(list(range(trials))), **config},
        tune_config=tune.TuneConfig(scheduler=scheduler, metric="score", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path / "tune"), stop={"training_iteration": iterations}, verbose=0
        ),
    )
    return tuner.fit()


def a_scheduler(space=SPACE, **settings):
    from metapbt.integrations.ray import Scheduler

    return Scheduler(space, **{"method": "pbt", "perturbation_interval": 2, "seed": 0, **settings})


def run_under(folder):
    (journal,) = folder.rglob("journal")
    return metapbt.load(journal.parent)


def test_trials_train_with_what_was_decided_and_leave_a_run_directory(local_ray, tmp_path):
    log, results = tmp_path / "log", tmp_path / "results"
    kept = {"results_dir": results, "env": "sums", "context": {"slope": 1.0}, "learner": "adding"}
    assert not fit(tmp_path, a_function(), a_scheduler(method="pb2", **kept), trials=3, log=str(log)).errors
    run = run_under(results)
    assert run.info.state == "done"
    records = run.history.records
    assert len(records) == 9
    copies = [record for record in records if record.parent is not None]
    assert copies
    # What each trial logged that it trained with is what the records say, nested names and integers included.
    logged = {(index, iteration): (lr, layers) for index, iteration, lr, layers in map(json.loads, log.open())}
    assert len(logged) == 18
    for record in records:
        for iteration in (record.env_steps - 1, record.env_steps):
            lr, layers = logged[record.member, iteration]
            assert record.hyperparameters == {"optimizer.lr": lr, "layers": layers}
            assert isinstance(layers, int)
    # A copy went on from its parent's checkpoint: what it reached is that sum and its own.
    for record in copies:
        own = 2 * record.hyperparameters["optimizer.lr"]
        assert record.train_return == pytest.approx(run.history.before(record).train_return + own)
    # Another run learns from it, and chooses its first members itself; but for what is given.
    scheduler = a_scheduler(
        method="meta_pb2", kernel="plain", population_size=3, **{**kept, "context": {"slope": 2.0}, "name": "second"}
    )
    assert not fit(tmp_path, a_class(), scheduler, trials=3, iterations=2, layers=5).errors
    second = [record for record in scheduler.tuner.history if record.generation == 0]
    assert "memory" in {each["source"] for each in read_journal(scheduler.tuner.path / "journal").decisions[:3]}
    assert {record.hyperparameters["layers"] for record in second} == {5}
    assert "given" in {record.source for record in second}
    assert problem_in(RunDirectory(scheduler.tuner.path)) is None
    with pytest.raises(MetapbtError, match="holds a run already, whose trials are gone"):
        fit(tmp_path, a_function(), a_scheduler(method="pb2", **kept), trials=3, log=str(log))


@pytest.mark.parametrize("synch", [True, False])
def test_nobody_waits_for_trials_that_fail_or_end_and_nan_is_never_copied(local_ray, tmp_path, synch):
    scheduler = a_scheduler(synch=synch, quantile=0.5)
    results = fit(tmp_path, a_class(), scheduler, trials=5, how=["fails", "ends", "nan", "well", "well"])
    assert len(results.errors) == 1
    ends = [result.metrics["training_iteration"] for result in results][1:]
    # Who waits for nobody may copy one that is at its end, and is beyond it with the next step.
    assert ends == [3, 6, 6, 6] or (not synch and ends == [3, 7, 6, 6])
    history = scheduler.tuner.history
    assert not any(record.parent == 2 for record in history)
    assert [record.env_steps for record in history if record.member == 1 and not record.failed][:2] == [2, 3]
    later = [record for record in history if record.generation == 2]
    assert {record.member for record in later if record.failed} <= {0, 1}
    # Those who have gone take no place among the worst: of the three that are left, NaN's copies.
    (last,) = [record for record in history if record.member == 2 and record.env_steps >= 6]
    assert last.parent in ((3, 4) if synch else (0, 1, 3, 4))


def test_hyperparameters_that_a_restored_checkpoint_overwrites_are_an_error(local_ray, tmp_path):
    """Ray's issue 62173: the perturbed values of a copy gave way to those of the trial that it copied."""
    with pytest.raises(
        tune.TuneError, match="was to train with optimizer.lr=.* but reports .*: set hyperparameters from"
    ):
        fit(tmp_path, a_class(), a_scheduler(quantile=0.5), trials=2, iterations=4, overwrite=True)


def test_trials_that_are_fewer_than_the_population_train_on(local_ray, tmp_path):
    results = fit(tmp_path, a_class(), a_scheduler(population_size=4), trials=2, iterations=4)
    assert not results.errors
    assert [result.metrics["training_iteration"] for result in results] == [4, 4]
    with pytest.raises(MetapbtError, match="population_size=2, but Ray Tune has more trials: say num_samples=2"):
        fit(tmp_path, a_class(), a_scheduler(population_size=2), trials=3)


def test_a_trial_that_saves_no_checkpoint_is_an_error_and_not_trained_twice(local_ray, tmp_path):
    def train(config):
        for _ in range(4):
            tune.report({"score": 1.0})

    with pytest.raises(MetapbtError, match="has saved no checkpoint at training_iteration=2"):
        fit(tmp_path, train, a_scheduler(), trials=2)


class TrialOfNobody:
    """What the scheduler looks at of a trial; it trains nothing."""

    def __init__(self, number, config):
        self.trial_id, self.config, self.evaluated_params = f"trial{number}", config, {}
        self.status, self.is_saving = "RUNNING", False
        self.run_metadata = SimpleNamespace(checkpoint_manager=SimpleNamespace(_latest_checkpoint_result=None))
        self.save(None)

    def set_config(self, config):
        self.config = config

    def save(self, time):
        saved = SimpleNamespace(checkpoint=None if time is None else "saved", metrics={"training_iteration": time})
        self.latest_checkpoint_result = saved


class Experiment:
    """A scheduler with four trials that do what they are told, and neither train nor wait."""

    def __init__(self, *, given=(), **settings):
        self.scheduler = a_scheduler(metric="score", mode="max", **settings)
        self.trials = [TrialOfNobody(n, dict(given[n]) if given else {}) for n in range(4)]
        self.search_alg = SimpleNamespace(total_samples=4, is_finished=lambda: True)
        for trial in self.trials:
            self.scheduler.on_trial_add(self, trial)

    def get_trials(self):
        return self.trials

    @property
    def history(self):
        return self.scheduler.tuner.history

    def train(self, time, scores):
        """Let trials, by number, train until a time and save that, unless they are that far already."""
        going = {n: score for n, score in scores.items() if self.scheduler._time(n) < time}
        for n, score in going.items():
            said = {"training_iteration": time, "score": score}
            assert self.scheduler.on_trial_result(self, self.trials[n], said) == "PAUSE"
            self.trials[n].status = "PAUSED"
            self.trials[n].save(time)
        self.scheduler.choose_trial_to_run(self)
        for n in going:
            self.trials[n].status = "RUNNING"

    def end(self, time, number, score):
        self.trials[number].status = "TERMINATED"
        self.scheduler.on_trial_complete(self, self.trials[number], {"training_iteration": time, "score": score})


@pytest.mark.parametrize("synch", [True, False])
@pytest.mark.parametrize("saved", [None, 2, 3])
def test_what_a_trial_did_not_save_at_its_end_is_copied_by_nobody(synch, saved):
    experiment = Experiment(quantile=0.5, synch=synch)
    experiment.train(2, {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0})
    experiment.trials[3].save(saved)
    experiment.end(3, 3, 9.0)
    for time in (4, 6):
        experiment.train(time, {0: 1.0, 1: 2.0, 2: 3.0})
    (at_its_end,) = [record for record in experiment.history if (record.generation, record.member) == (1, 3)]
    assert at_its_end.failed == (saved != 3)
    decided = {assignment.start for assignment in experiment.scheduler.tuner.assignments.values()}
    assert saved == 3 or not any((record.parent, record.parent_generation) == (3, 1) for record in experiment.history)
    assert saved == 3 or (1, 3) not in decided


@pytest.mark.parametrize("synch", [True, False])
def test_what_was_reported_last_of_all_is_known_saved_or_not(synch):
    experiment = Experiment(synch=synch)
    experiment.train(2, {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0})
    for number in range(4):
        experiment.end(3, number, 9.0)
        experiment.scheduler.choose_trial_to_run(experiment)
    last = [record for record in experiment.history if record.generation == 1]
    assert [(record.train_return, record.failed) for record in last] == [(9.0, False)] * 4


def test_who_goes_back_to_the_best_ever_finds_it_whoever_has_failed_since():
    experiment = Experiment(selection={"name": "truncation", "backtrack": True})
    experiment.train(2, {0: 10.0, 1: 5.0, 2: 4.0, 3: 3.0})
    experiment.train(4, {0: 1.0, 1: 100.0, 2: 1.5, 3: 1.2})
    experiment.trials[1].status = "ERROR"
    experiment.scheduler.on_trial_error(experiment, experiment.trials[1])
    experiment.train(6, {0: 2.0, 2: 2.5, 3: 1.0})
    assert experiment.scheduler.tuner.assignments[3].start == (1, 1)


def test_what_param_space_gives_is_said_to_be_given_and_no_damage(tmp_path):
    given = [{"optimizer": {"lr": 0.1 * number}} for number in range(4)]
    experiment = Experiment(given=given, results_dir=tmp_path)
    experiment.scheduler.on_trial_error(experiment, experiment.trials[3])
    experiment.train(2, {0: 1.0, 1: 2.0, 2: 3.0})
    experiment.train(4, {0: 1.0, 1: 2.0, 2: 3.0})
    begun = [record for record in experiment.history if record.generation == 0]
    assert [record.hyperparameters["optimizer.lr"] for record in begun] == [0.1 * number for number in range(4)]
    assert [(record.source, record.failed) for record in begun] == [("given", number == 3) for number in range(4)]
    assert "given" not in {record.source for record in experiment.history if record.generation > 0}
    experiment.scheduler.tuner.close(finished=True)
    assert problem_in(RunDirectory(experiment.scheduler.tuner.path)) is None


def test_rays_own_domains_stand_for_spaces_and_bad_ones_are_one_line():
    space = a_scheduler(
        {
            "lr": tune.loguniform(1e-5, 1e-2), "net": {"layers": tune.randint(1, 5), "act": tune.choice(["a", "b"])},
            "clip": tune.uniform(0.1, 0.3),
        }
    ).space  # fmt: skip
    assert dict(space.specification) == {
        "lr": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
        "net.layers": {"type": "int", "low": 1, "high": 4},
        "net.act": {"type": "categorical", "choices": ["a", "b"]},
        "clip": {"type": "float", "low": 0.1, "high": 0.3},
    }  # fmt: skip
    for wrong, says in (
        (tune.uniform(1.0, 0.0), "low"),
        ({"type": "float", "low": 1.0, "high": 0.0}, "low"),
        ([1e-5, 1e-2], "must not be a bare list, which is choices in Ray's PBT and bounds in its PB2"),
        (lambda: 1.0, "is a function, of which no range is known"),
        (tune.randn(), "is drawn without bounds"),
        (tune.quniform(0.0, 1.0, 0.1), "has no counterpart"),
    ):
        with pytest.raises(MetapbtError, match=says):
            a_scheduler({"lr": wrong})
    with pytest.raises(MetapbtError, match="perturbation_interval must be a number > 0"):
        a_scheduler(perturbation_interval=0)
    with pytest.raises(MetapbtError, match="unknown method 'pb3'; did you mean 'pb"):
        a_scheduler(method="pb3")
    with pytest.raises(MetapbtError, match="method 'ipbt' begins anew, which is not for Ray Tune's trials"):
        a_scheduler(method="ipbt")


def test_the_example_for_people_who_come_from_ray_tune_runs_as_it_stands(local_ray, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "ray.md").read_text()
    (code,) = [part for part in page.split("```python\n") if part.startswith("# moved_from_ray_tune.py")]
    code = code.partition("```")[0].replace("stop=", f"storage_path={str(tmp_path / 'tune')!r}, stop=")
    monkeypatch.chdir(tmp_path)
    # A module of its own, as a script is: what it defines travels to the workers by value.
    exec(compile(code, "moved_from_ray_tune.py", "exec"), {"__name__": "__main__"})
    run = run_under(tmp_path / "results")
    assert run.info.state == "done"
    assert run.records["env_steps"].max() == 15
