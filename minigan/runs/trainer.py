"""The training loop: rounds, and what is written down between them."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigan import __version__, cli
from minigan.backend import Device
from minigan.data.batches import Batches
from minigan.data.sources import checksum, fingerprint
from minigan.errors import CheckpointError, DataError, UsageError, UserError, machine_failure
from minigan.games import Metrics
from minigan.parallel.team import ALONE, Team
from minigan.randomness import Purpose, stream
from minigan.recipes import Recipe
from minigan.recipes.registry import file_checksum
from minigan.runs import pictures
from minigan.runs.blas import blas_facts
from minigan.runs.captured import rounds
from minigan.runs.checkpoint import Checkpoint, keep_for_good, write_checkpoint
from minigan.runs.config import changed_settings, constants_of, fixed_options
from minigan.runs.doctor import Diagnosis, diagnose
from minigan.runs.draws import SeededDraws
from minigan.runs.feed import feed
from minigan.runs.folder import RunFolder
from minigan.runs.gauge import Gauge, Watch
from minigan.runs.health import NotFiniteError, first_not_finite
from minigan.runs.metrics import COLUMNS, PENALISED, Row, read_metrics
from minigan.runs.options import RunOptions
from minigan.runs.progress import Progress
from minigan.runs.record import NoRecord, Record
from minigan.runs.saved import draw_samples
from minigan.runs.signals import StopRequest
from minigan.runs.state import State, read_newest_state
from minigan.runs.together import check_parts, check_same
from minigan.runs.vitals import Vitals, read_vitals
from minigan.typing import Images

if TYPE_CHECKING:
    from minigan.runs.scoring import Scoring

GRID = 100  # samples in a picture


@dataclass
class Trainer:
    """One run: the recipe, its data on a device, its state and its folder.

    Where processes share the batches, each has a Trainer; only the leading one writes into the folder.
    """

    recipe: Recipe
    options: RunOptions
    folder: RunFolder
    device: Device
    images: Images  # (N, H, W, C) uint8, the training part, on the host
    scoring: "Scoring | None" = None  # with --evaluate-every
    team: Team = ALONE
    labels: np.ndarray | None = None  # (N,), the class of each image; looked at if the recipe has a condition

    def __post_init__(self) -> None:
        self.dtype = np.dtype(self.options.precision)
        self.batches = Batches(
            len(self.images), self.recipe.batch_size, self.options.seed, self.options.last_batch,
            independent=self.recipe.independent_batches,
        )  # fmt: skip
        check_parts(self.recipe, self.batches, self.team)
        self.game = self.recipe.game()
        self.state = State.start(
            self.recipe, self.images, self.batches.per_epoch, self.options.seed, self.dtype, self.device, self.team
        )
        there = feed(self.images, self.batches, self.device, self.team, self.labels)
        self.rounds = rounds(self.recipe, self.game, self.state, there, self.options.seed, self.options.kernels)
        fixed = self.recipe.draw_latents(stream(self.options.seed, Purpose.FIXED_LATENT), GRID)
        self.fixed_latents = self.device.put(self.recipe.told(fixed).astype(self.dtype))
        self.gauge = Gauge(self.recipe, self.images, self.fixed_latents, self.device, self.options.data, self.labels)
        self.rows: list[Row] = []
        self.vitals: list[Vitals] = []
        self.saved_step: int | None = None
        self._pixels = fingerprint(self.images)
        self._recipe_file = file_checksum(self.recipe)  # now: who edits it while the run goes on changes nothing in it
        self._check_smallest_batch()

    @property
    def goal(self) -> int:
        """Rounds in all: --steps, or --epochs in rounds, or the recipe's own number."""
        if self.options.epochs is not None:
            return max(1, self.options.epochs * self.batches.per_epoch // self.game.d_steps)
        return self.options.steps or self.recipe.steps

    def check_same(self) -> None:
        """Where processes share the batches: make sure that all have the same numbers."""
        if self.team.size > 1:
            check_same(self.state, len(self.images), self.team)

    def resume(self) -> list[str]:
        """Take over the newest readable checkpoint; returns what the user should know about it."""
        checkpoint, notes = read_newest_state(self.folder.checkpoints)
        if "discriminator" in checkpoint.facts.get("lacks", ()):
            raise CheckpointError(
                f"{self.folder.path} was loaded without a discriminator and cannot be trained further: "
                "load it again with --discriminator FILE"
            )
        for name, mine in self._identity().items():
            then = checkpoint.facts.get(name, mine)  # loaded networks do not tell how many images there were
            if then != mine and name == "pixels":
                raise CheckpointError(
                    f"the images of {self.options.data} are others than those that the run was trained on, or another "
                    "version of Pillow decodes them: put those back, or begin a new run"
                )
            if then != mine and name == "labels":
                raise CheckpointError(
                    f"the images of {self.options.data} are in other classes than those that the run was trained on: "
                    "put those back, or begin a new run"
                )
            if then != mine and name == "images":
                raise CheckpointError(f"the run was trained on {then} images, {self.options.data} holds {mine}")
            if then != mine:
                raise CheckpointError(f"the checkpoint's {name} is {then}, this run's is {mine}")
        self.state.restore(checkpoint, self.device)
        notes += changed_settings(constants_of(self.recipe), checkpoint.facts.get("constants", {}))
        notes += changed_settings(fixed_options(self.options), checkpoint.facts.get("run", {}))
        self.saved_step = self.state.step
        log, snapshot = self.options.log_every, self.options.snapshot_every
        if self.folder.metrics.exists():
            self.rows = [row for row in read_metrics(self.folder.metrics) if self._would_be_there(row["step"], log)]
        if self.folder.vitals.exists():
            self.vitals = [v for v in read_vitals(self.folder.vitals) if self._would_be_there(v.step, snapshot)]
        if self.scoring:
            every = self.options.evaluate_every
            self.scoring.resume(self.state.step, lambda step: self._would_be_there(step, every), every)
        then, now = checkpoint.facts["blas"], self._arithmetic()
        if then != now and self.state.step:  # else nothing has been computed yet
            notes.append(f"the run was made with {then}, this is {now}: it goes on, but not bit for bit")
        then, now = checkpoint.facts.get("recipe_file", ""), self._recipe_file
        if then and now and then != now and self.state.step:
            notes.append(f"the file of recipe {self.recipe.name} has changed: the run goes on by what stands there now")
        return notes

    def run(self) -> int:
        """Play rounds until the goal or a signal; returns the exit code."""
        if self.team.leads:
            if self.saved_step is not None:  # resumed: events may tell of a past that was not saved
                self.folder.empty_events()
            if self._to_keep:  # as was said only now
                keep_for_good(self.folder.checkpoints, self.state.step)
            self.folder.keep_samples(lambda step: self._would_be_there(step, self.options.snapshot_every))
        record: Record = NoRecord(self.rows, self.vitals)
        if self.team.leads:
            columns = COLUMNS if self.game.penalty is None else PENALISED
            record = Record(self.folder, self.rows, self.vitals, columns)
        stop = StopRequest()
        progress = Progress(self.state.step, self.goal, stop, hidden=not self.team.leads, critic=self.recipe.critic)
        try:
            # Overflows are no secret: each row and each checkpoint is looked at.
            with stop, np.errstate(all="ignore"), self.rounds, self.scoring or nullcontext():
                if self.options.tensorboard:
                    record.show(self.folder, self.scoring.rows if self.scoring else [], not self.recipe.critic)
                if self.state.step == 0 and self.team.leads:
                    self._snapshot(record)
                while self.state.step < self.goal and not self.team.largest(stop.exit_code):
                    self._round(record, progress)
                self._save(record)
                self._tell_complaints(record, progress)
            self._final_pictures()
        except OSError as err:  # a full disk, for instance
            err.strerror = f"{err.strerror or err}; {self._kept()}"
            raise
        except DataError as err:  # an image file that is no longer what it was
            raise DataError(f"{err}; {self._kept()}") from err
        except Exception as err:
            if words := machine_failure(err):
                raise UserError(f"{words}; {self._kept()}") from err
            raise
        finally:
            progress.close()
            record.close()
        return self.team.largest(stop.exit_code)

    def expect_folder(self) -> None:
        """Raises UserError if the run's folder is not at its path any more, where another run may lie."""
        if not self.folder.is_here:
            raise UserError(f"{self.folder.path} was moved or replaced while this run wrote to it; {self._kept()}")

    def diagnoses(self) -> list[Diagnosis]:
        """What is wrong with the run, as far as its numbers tell."""
        return diagnose(self.rows, self.vitals, self.recipe.critic)

    def _round(self, record: Record, progress: Progress) -> None:
        looks = self.team.leads and self._due(self.options.snapshot_every, self.state.step + 1)
        with Watch(self.state) if looks else nullcontext() as watch:
            measured = self.rounds.play(watched=looks)
        progress.advance()
        if self._due(self.options.log_every, self.state.step):
            row = self._row(measured)
            if not np.isfinite(list(row.values())).all():
                self._stop_not_finite(self.rounds.draws(self.state.step - 1))
            record.add_row(row)
            progress.measured(self.rows, self.diagnoses())
            self._tell_complaints(record, progress)
        if watch is not None:
            samples = self._snapshot(record)
            if (vitals := self.gauge.measure(self.state, watch, samples)) is not None:
                record.add_vitals(vitals)
                progress.tell(self.state.step, self.diagnoses())
        if self.scoring and self._due(self.options.evaluate_every, self.state.step):
            progress.say(self.scoring.score(self.state))
            record.add_scores(self.scoring.rows[-1])
        if self._due(self.options.checkpoint_every, self.state.step) or self._to_keep:
            self._save(record)

    def _tell_complaints(self, record: Record, progress: Progress) -> None:
        for complaint in filter(None, (self.rounds.complaint(), record.complaint())):
            progress.say(f"note: {complaint}")

    def _row(self, measured: Metrics) -> Row:
        """Numbers on the host: means over the parts of all processes, which are equally large."""
        own = np.array([float(value) for value in measured.values()])
        means = self.team.gather(own).mean(axis=0).tolist()
        return {"step": float(self.state.step)} | dict(zip(measured, means, strict=True))

    def _due(self, every: int, step: int) -> bool:
        return step % every == 0 or step == self.goal

    @property
    def _to_keep(self) -> bool:
        """Whether the checkpoint of this step is kept for good."""
        return self.options.keep_every > 0 and self.state.step % self.options.keep_every == 0

    def _would_be_there(self, step: float, every: int) -> bool:
        """Whether a run to this goal, without a stop, had measured this step on the way to the present one."""
        at_end = step == max(self.goal, self.state.step)
        return step <= self.state.step and (step % every == 0 or at_end)

    def _stop_not_finite(self, draws: SeededDraws) -> None:
        place = first_not_finite(self.state, draws.latent_g(), draws.dropout(0))
        before = "".join(f"before that, {found.name}: {found.evidence}; " for found in self.diagnoses()[:1])
        raise NotFiniteError(
            f"step {self.state.step}: the loss is not finite (looked at every {self.options.log_every} steps); "
            f"first not finite: {place}; {self._kept()}; {before}try lower learning rates"
        )

    def _kept(self) -> str:
        if self.saved_step is None:
            return "no checkpoint was made yet"
        return f"the last good checkpoint is step {self.saved_step}"

    def _identity(self) -> dict[str, Any]:
        """What has to be equal for a checkpoint to be of this run, besides the networks."""
        told = {"labels": checksum(self.labels)} if self.recipe.condition and self.labels is not None else {}
        return {
            "recipe": self.recipe.name,
            "seed": self.options.seed,
            "images": len(self.images),
            "image_shape": list(self.images.shape[1:]),
            "pixels": self._pixels,
        } | told

    def _arithmetic(self) -> str:
        """What has to be equal for equal bits: also the number of terms in each sum."""
        return blas_facts(self.device) + (f", {self.team.size} processes" if self.team.size > 1 else "")

    def _check_smallest_batch(self) -> None:
        """Refuse batches of one image where a network has to normalise over them."""
        if min(len(self.batches.indices(step)) for step in (0, self.batches.per_epoch - 1)) > 1:
            return
        rng = stream(self.options.seed, Purpose.DROPOUT)
        blank = np.zeros((1, *self.recipe.judged_shape(self.images.shape[1:])), self.dtype)
        try:
            self.state.g.net.forward(self.state.g.theta, self.fixed_latents[:1], train=True, rng=rng)
            self.state.d.net.forward(self.state.d.theta, self.device.put(blank), train=True, rng=rng)
        except ValueError as err:
            size, last = self.recipe.batch_size, self.options.last_batch
            raise UsageError(
                f"--batch-size {size} with --last-batch {last} gives a batch of one image: {err}; take another size"
            ) from err

    def _save(self, record: Record) -> None:
        """Write a checkpoint, unless there is one of this step or the numbers have gone bad."""
        if self.state.step == self.saved_step:
            return
        tensors = self.state.tensors()
        bad = next((name for name, tensor in tensors.items() if not np.isfinite(tensor).all()), None)
        if bad is not None:
            place = first_not_finite(self.state, self.fixed_latents, stream(self.options.seed, Purpose.DROPOUT), bad)
            raise NotFiniteError(f"step {self.state.step}: {place} is not finite; {self._kept()}")
        self.check_same()
        made_by = {"version": __version__, "blas": self._arithmetic(), "recipe_file": self._recipe_file}
        settings = {"constants": constants_of(self.recipe), "run": fixed_options(self.options)}
        facts = self.state.facts() | self._identity() | made_by | settings
        if self.team.leads:
            self.expect_folder()
            record.sync()
            if self.scoring:
                self.scoring.sync()
            write_checkpoint(self.folder.checkpoints, Checkpoint(tensors, facts), for_good=self._to_keep)
        self.saved_step = self.state.step

    def _snapshot(self, record: Record) -> np.ndarray:
        """Draw the fixed latents once more, and keep the picture."""
        samples, path = self._samples(), self.folder.sample_path(self.state.step)
        self.expect_folder()
        pictures.save_png(path, pictures.grid(samples))
        record.add_picture(path)
        return samples

    def _samples(self) -> np.ndarray:
        return draw_samples(self.recipe, self.state, self.fixed_latents, self.images.shape[1:])

    def _final_pictures(self) -> None:
        if not self.team.leads:
            return
        samples, last = self._samples(), self.folder.sample_path(self.state.step)
        self.expect_folder()
        if self.state.step == self.goal and not last.exists():  # stopped here, and then told that this is the end
            pictures.save_png(last, pictures.grid(samples))
        scale = max(1, 56 // self.images.shape[1])
        with unless_open():
            pictures.save_png(self.folder.last_samples, pictures.grid(samples), scale)
        with unless_open():
            pictures.save_animation(self.folder.animation, self.folder.sample_files())
        with unless_open():
            pictures.save_curves(self.folder.curves, self.rows, opinions=not self.recipe.critic)


@contextmanager
def unless_open() -> Iterator[None]:
    """Leave a picture that cannot be replaced, as on Windows while a viewer shows it: the state is saved by now."""
    try:
        yield
    except PermissionError as err:
        print(f"note: {err.filename} could not be replaced ({err.strerror}): is it open in another program?")


def resume_command(folder: Path, goal: int, processes: int = 1) -> str:
    """What to type to go on, in as many processes."""
    start = f"mpiexec -n {processes} " if processes > 1 else ""
    return f"{start}{cli.program('train')} --resume --out {cli.path_word(folder)} --steps {goal}"
