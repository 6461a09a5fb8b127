"""What the reproduction does, as jobs: render, make pairs, train each arm, score each model."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from reproduction.jobs import Job
from reproduction.temple import commands
from reproduction.temple.arms import SFT_DATASETS, steps_of
from reproduction.temple.trainings import TRAINED, Base, Place, Training, is_scored

START = 25  # optimizer steps of the tiny model that a stage's start and merge take as long as


class Plan:
    """The jobs that some trainings and their scores take."""

    def __init__(
        self,
        place: Place,
        wanted: Iterable[Training],
        dataset: str,
        scored: Container[str] | None = None,
    ) -> None:
        """Args:
        dataset: which stories the models are scored on.
        scored: keys of those whose models are scored (default: all, and the bases).
        """
        self.place = place
        self.dataset = dataset
        self.scored = scored
        # Phases that arms have in common are trained once. In a seed, that comes first which most
        # waits for: with two workers a long chain begun last would leave one of them idle.
        unique = {training.key: training for training in wanted}
        first = sorted(unique, key=lambda key: (unique[key].seed, -chain(unique[key], unique)))
        self.unique = {key: unique[key] for key in first}
        used = {base for one in self.unique.values() for base in (one.base, one.pairs_base)}
        self.bases = [base for base in place.bases if base in used]

    def jobs(self) -> list[Job]:
        """All jobs, each behind those that it needs; the longest that others wait for first."""
        return [*self._preparing(), *self._training()]

    def _preparing(self) -> Iterator[Job]:
        for base in self.bases:
            if not base.shipped:
                command = commands.train_base(self.place, base)
                yield job(needed_for(base)[0], [command], done=(base.folder / TRAINED).is_file)
        files = {path.stem for one in self.unique.values() for path in one.rows}
        paired = list(dict.fromkeys(one.arm.pairs_dataset for one in self.unique.values()))
        rendered = [*paired, self.dataset, *(one for one in SFT_DATASETS if one in files)]
        begins_with = {name: commands.STORIES[name].begins_with for name in rendered}
        # No job comes before one that it needs.
        for name in sorted(rendered, key=lambda name: begins_with[name] in rendered):
            first = begins_with[name] if begins_with[name] in rendered else None
            command = commands.render(self.place, name, first)
            needs = [f"render-{first}"] if first else []
            done = partial(commands.is_rendered, self.place, name)
            yield job(f"render-{name}", [command], needs, done=done)
        for name in paired:
            shots = [commands.find_shots(self.place, name)]
            yield job(f"shots-{name}", shots, [f"render-{name}"])
        for base in self.bases:
            for name in paired:
                pairs = commands.make_pairs(self.place, base, name)
                needs = [f"shots-{name}", *needed_for(base)]
                yield job(f"pairs-{name}-{base.name}", pairs, needs)
            if self.scored is not None:
                continue
            out = self.place.base_scores(base, self.dataset)
            yield job(
                f"score-{self.dataset}-{base.name}",
                [commands.score(self.place, base.folder, base.name, self.dataset, out)],
                [f"render-{self.dataset}", *needed_for(base)],
                done=partial(is_scored, out, base.folder, self.place.data / self.dataset),
            )

    def _training(self) -> Iterator[Job]:
        written: set[Path] = set()
        for key, one in self.unique.items():
            needs = needed_for(one.base)
            for stage, (path, count) in zip(one.stages, one.rows.items(), strict=True):
                name = f"rows-{one.group}-{path.stem}"
                needs.append(name)
                if path not in written:
                    written.add(path)
                    of_stories = stage.dataset in SFT_DATASETS
                    pairs = f"pairs-{one.arm.pairs_dataset}-{one.pairs_base.name}"
                    before = f"render-{path.stem}" if of_stories else pairs
                    command = commands.draw_rows(one, stage, path, count)
                    yield job(name, [command], [before], done=path.is_file)
            if "=" in (before := one.phase.rpartition("=")[0]):
                needs.append(f"train-{replace(one, phase=before).key}")
            how = commands.settings(one)
            yield job(f"train-{key}", [commands.train(one)], needs, how, one.trained)
            if self.scored is None or key in self.scored:
                # Where swift puts the model is known only once it is there.
                yield Job(
                    f"score-{self.dataset}-{key}",
                    partial(self._score, one),
                    [f"train-{key}", f"render-{self.dataset}"],
                    commands.ONE_THREAD,
                    partial(one.scored, self.dataset),
                )

    def _score(self, one: Training) -> list[list[str]]:
        out = one.scores(self.dataset)
        return [commands.score(self.place, one.model(), one.name, self.dataset, out)]


def chain(one: Training, unique: Mapping[str, Training]) -> int:
    """How long a training and what waits for it take, in optimizer steps."""
    own = sum(steps_of(one.phase)) + START * len(one.stages)
    waiting = (
        chain(other, unique)
        for other in unique.values()
        if other.group == one.group and other.phase.rpartition("=")[0] == one.phase
    )
    return own + max(waiting, default=0)


def needed_for(base: Base) -> list[str]:
    """The job that makes a base, if one does."""
    return [] if base.shipped else [f"base-{base.name}"]


def job(
    name: str,
    what: list[list[str]],
    needs: Iterable[str] = (),
    environment: Mapping[str, str] = commands.ONE_THREAD,
    done: Callable[[], bool] = lambda: False,
) -> Job:
    """A job of which all is known before."""
    return Job(name, lambda: what, list(needs), environment, done)
