"""Trains a supernet with the sandwich rule, after InstaTune.

Per step the largest, the smallest and random subnetworks learn: the largest from the labels and from a teacher, the
network as it was before; the others from the labels and from the largest. With `alpha` 0.3 the loss is that of
InstaTune (S. N. Sridhar et al., arXiv 2308.15609), alpha (CE_super + sum CE_sub) + (1 - alpha) (KL to the teacher +
sum KL to the largest); the sandwich is that of J. Yu et al. (Universally Slimmable Networks, arXiv 1903.05134; BigNAS,
arXiv 2003.11142). A network that starts from random weights has no teacher: the others still learn from the largest,
more and more over the first third, since a largest that knows nothing only holds them back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qnas_ov.core.errors import QnasError
from qnas_ov.families import Architecture, Supernet, extract_subnetwork, order_by_importance
from qnas_ov.space import Space
from qnas_ov.tasks import TrainData
from qnas_ov.train._augment import augment_images
from qnas_ov.train._judge import Judge, score_subnetwork
from qnas_ov.train._losses import ClassLoss, EmbeddingLoss
from qnas_ov.train._masking import ElasticControl
from qnas_ov.train._norms import settle_norms
from qnas_ov.train._optimizer import make_optimizer, set_rate
from qnas_ov.train._settings import TrainSettings
from qnas_ov.train._state import load_state, optimizer_tensors, restore_optimizer, save_state

CHECKPOINT = "checkpoint.safetensors"
TEACHER = "teacher.safetensors"


@dataclass(frozen=True)
class Runtime:
    """Where and how a training runs; two runtimes on one device give the same weights.

    Attributes:
        device: What it runs on.
        autocast: Whether matrices are multiplied in bf16.
        folder: Where checkpoints are kept, None for none.
        checkpoint_seconds: Least time between two.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    autocast: bool = False
    folder: Path | None = None
    checkpoint_seconds: float = 30.0


@dataclass(frozen=True)
class TrainProgress:
    """What is told after each step.

    Attributes:
        step: Steps done, from 1.
        loss: Of the largest network.
        scores: Of "largest", "smallest" and a "random" subnetwork, after each epoch.
    """

    step: int
    loss: float
    scores: Mapping[str, float] | None = None


@dataclass(frozen=True)
class _Phase:
    epochs: int
    seed: int
    sandwich: bool
    ramp: bool


class Trainer:
    """One training of one supernet."""

    def __init__(
        self,
        supernet: Supernet,
        data: TrainData,
        settings: TrainSettings,
        *,
        judge: Judge,
        norm_samples: Mapping[str, np.ndarray],
        trained: bool = True,
        runtime: Runtime | None = None,
    ) -> None:
        """Nothing is trained yet.

        Args:
            supernet: Its weights are trained in place.
            data: What it is trained on.
            settings: How.
            judge: Scores what is trained, for the progress.
            norm_samples: Samples that order channels and give batch normalisations their statistics, by input name.
            trained: Whether its weights are good already, so that others may learn from the largest at once.
            runtime: Where it runs.
        """
        self.supernet = supernet
        self._data, self._settings, self._judge = data, settings, judge
        self._norm_samples = norm_samples
        self._runtime = runtime or Runtime()
        self._control, self._space = ElasticControl(supernet), Space(supernet.elastic.knobs())
        self._loss = EmbeddingLoss() if supernet.num_classes is None else ClassLoss(settings.label_smoothing)
        s = settings
        taught = [_Phase(s.teacher_epochs, s.seed + s.cycles, sandwich=False, ramp=False)] if s.teacher_epochs else []
        ramped = not (trained or s.teacher)
        self._phases = [
            *taught,
            *(_Phase(s.epochs, s.seed + i, sandwich=True, ramp=ramped and i == 0) for i in range(s.cycles)),
        ]
        self._random: Architecture = self._draw(np.random.default_rng(settings.seed))
        self._teacher: torch.nn.Module | None = None
        self._phase = self._epoch = self._position = self._done = 0
        self._saved_at, self._saved_step = time.monotonic(), 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the data."""
        return math.ceil(len(self._data) / (self._settings.batch_size * self._settings.accumulate))

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return sum(map(self._steps_of, self._phases))

    def _steps_of(self, phase: _Phase) -> int:
        return self.steps_per_epoch * phase.epochs

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self._done

    def run(self, on_step: Callable[[TrainProgress], None] | None = None, *, resume: bool = False) -> None:
        """Trains; the supernet is the largest network, in evaluation mode and on the CPU, when this returns.

        Args:
            on_step: Called after every step.
            resume: Whether to go on from the checkpoint in the runtime's folder, if there is one.

        Raises:
            QnasError: If a loss or a weight is not finite; the message says at which step.
        """
        device, model = self._runtime.device, self.supernet.model
        devices = [device] if device.type != "cpu" else []
        with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
            model.train()
            if not (resume and self._restore()):
                self._begin()
                self._save()
            while self._phase < len(self._phases):
                self._run_phase(on_step)
            self._check_weights()
            model.to("cpu").eval()
            self._control.reset()
        settle_norms(model, {name: torch.from_numpy(array) for name, array in self._norm_samples.items()})

    def _begin(self) -> None:
        """Begins a phase: its random numbers, its teacher, its optimizer."""
        phase = self._phases[self._phase]
        torch.manual_seed(phase.seed)
        self._rng, self._generator = np.random.default_rng(phase.seed), torch.Generator().manual_seed(phase.seed)
        self._epoch = self._position = 0
        self._order: torch.Tensor | None = None
        first = phase.sandwich and not any(p.sandwich for p in self._phases[: self._phase])
        if first:
            self._prepare_sandwich()
        self._make_optimizer()

    def _make_optimizer(self) -> None:
        self.supernet.model.to(self._runtime.device)
        self._optimizer = make_optimizer(self.supernet.model, self._settings)

    def _prepare_sandwich(self) -> None:
        """Orders the channels and keeps the network as it is now for a teacher."""
        model = self.supernet.model.to("cpu").eval()
        if self._settings.order and not self.supernet.ordered:
            samples = {name: torch.from_numpy(array) for name, array in self._norm_samples.items()}
            order_by_importance(self.supernet, samples)
        if self._settings.teacher:
            self._teacher = extract_subnetwork(self.supernet, {})
            if self._runtime.folder is not None:
                state = {name: tensor.contiguous() for name, tensor in self._teacher.state_dict().items()}
                save_file(state, self._runtime.folder / TEACHER)
            self._teacher.to(self._runtime.device).eval()
        model.train()

    def _run_phase(self, on_step: Callable[[TrainProgress], None] | None) -> None:
        phase = self._phases[self._phase]
        size = self._settings.batch_size * self._settings.accumulate
        while self._epoch < phase.epochs:
            if self._order is None:
                self._order, self._position = torch.randperm(len(self._data), generator=self._generator), 0
            while self._position < len(self._order):
                positions = self._order[self._position : self._position + size]
                loss = self._step(phase, positions)
                self._position += len(positions)
                self._done += 1
                ended = self._position >= len(self._order)
                if on_step is not None:
                    on_step(TrainProgress(self._done, loss, self._scores() if ended else None))
                if not ended:
                    self._save_now_and_then()
            self._order = None
            self._epoch += 1
            if self._epoch < phase.epochs:
                self._save_now_and_then()
        self._phase += 1
        if self._phase < len(self._phases):
            self._begin()
            self._save()

    def _step(self, phase: _Phase, positions: torch.Tensor) -> float:
        """One step of the optimizer; returns the mean loss of the largest network."""
        per_step = self._settings.batch_size * self._settings.accumulate
        step, steps = self._epoch * self.steps_per_epoch + self._position // per_step, self._steps_of(phase)
        soft_weight = (1 - self._settings.alpha) * (min(1.0, 3 * step / steps) if phase.ramp else 1.0)
        set_rate(self._optimizer, self._settings, step=step, steps=steps)
        self._optimizer.zero_grad(set_to_none=True)
        students: list[Architecture] | None = None
        total = 0.0
        for batch in positions.split(self._settings.batch_size):
            share = len(batch) / len(positions)
            inputs, labels = self._load(batch)
            self._control.reset()
            output = self._forward(self.supernet, inputs)
            reference = None
            if phase.sandwich and self._teacher is not None:
                with torch.no_grad():
                    reference = self._forward_teacher(inputs)
            loss = self._compare(output, labels, reference, 1 - self._settings.alpha)
            self._backward(loss, share)
            total += share * loss.item()
            if not phase.sandwich:
                continue
            if students is None:
                students = [
                    self.supernet.elastic.smallest(),
                    *(self._decode(g) for g in self._space.sample(self._rng, self._settings.num_random)),
                ]
            for architecture in students:
                self._control.set(architecture)
                student = self._forward(self.supernet, inputs)
                self._backward(self._compare(student, labels, output.detach(), soft_weight), share)
        torch.nn.utils.clip_grad_norm_(self.supernet.model.parameters(), 1.0)
        self._optimizer.step()
        self._control.reset()
        return total

    def _load(self, batch: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        found, labels = self._data.batch(batch.numpy())
        inputs = {spec.name: torch.from_numpy(found[spec.name]) for spec in self.supernet.inputs}
        if self._settings.augment:
            inputs = {k: augment_images(v, self._generator) if v.ndim == 4 else v for k, v in inputs.items()}
        device = self._runtime.device
        classes = None if labels is None else torch.from_numpy(labels).to(device)
        return {name: tensor.to(device) for name, tensor in inputs.items()}, classes

    def _forward(self, network: Callable[[Mapping[str, torch.Tensor]], torch.Tensor], inputs: Any) -> torch.Tensor:
        with torch.autocast(self._runtime.device.type, torch.bfloat16, enabled=self._runtime.autocast):
            return network(inputs).float()

    def _forward_teacher(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        assert self._teacher is not None
        teacher, output = self._teacher, self.supernet.output

        def run(given: Mapping[str, torch.Tensor]) -> torch.Tensor:
            found = teacher(**given)
            return found if isinstance(found, torch.Tensor) else found[output]

        return self._forward(run, inputs)

    def _compare(
        self, output: torch.Tensor, labels: torch.Tensor | None, reference: torch.Tensor | None, soft_weight: float
    ) -> torch.Tensor:
        hard = self._loss.hard(output, labels)
        if reference is None:
            return hard
        return soft_weight * self._loss.soft(output, reference) + (1 - soft_weight) * hard

    def _backward(self, loss: torch.Tensor, share: float) -> None:
        if not math.isfinite(loss.item()):
            raise self._diverged(f"the loss must stay finite: it is {loss.item()} at step {self._done + 1}")
        (loss if share == 1.0 else share * loss).backward()

    def _check_weights(self) -> None:
        """A step may spoil the weights although its loss was finite: they must not be kept."""
        for name, parameter in self.supernet.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise self._diverged(f"the weights must stay finite: '{name}' is not after step {self._done}")

    def _diverged(self, told: str) -> QnasError:
        kept = ""
        if self._runtime.folder is not None:
            kept = f"the checkpoint of step {self._saved_step} is kept in '{self._runtime.folder / CHECKPOINT}'; "
        return QnasError(f"{told} of {self.total_steps}; {kept}train again with a lower --learning-rate")

    def _scores(self) -> dict[str, float]:
        model = self.supernet.model.eval()
        elastic = self.supernet.elastic
        named = {"largest": elastic.largest(), "smallest": elastic.smallest(), "random": self._random}
        try:
            return {
                name: score_subnetwork(self.supernet, self._control, architecture, self._judge, self._norm_samples)
                for name, architecture in named.items()
            }
        finally:
            model.train()

    def _draw(self, rng: np.random.Generator) -> Architecture:
        return self._decode(self._space.sample(rng, 1)[0])

    def _decode(self, genotype: Any) -> Architecture:
        return {name: int(value) for name, value in self._space.decode(genotype).items()}

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at >= self._runtime.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        if self._runtime.folder is None:
            return
        self._check_weights()
        tensors = {f"model.{name}": value for name, value in self.supernet.model.state_dict().items()}
        tensors |= optimizer_tensors(self._optimizer)
        tensors |= {f"random.{name}": state for name, state in self._random_states()}
        if self._order is not None:
            tensors["order"] = self._order
        facts = {
            "phase": self._phase, "epoch": self._epoch, "position": self._position, "done": self._done,
            "ordered": self.supernet.ordered, "rng": self._rng.bit_generator.state,
        }  # fmt: skip
        save_state(self._runtime.folder / CHECKPOINT, tensors, facts)
        self._saved_at, self._saved_step = time.monotonic(), self._done

    def _random_states(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield "generator", self._generator.get_state()
        yield "cpu", torch.get_rng_state()
        device = self._runtime.device
        if device.type != "cpu":
            yield "device", getattr(torch, device.type).get_rng_state(device)

    def _restore(self) -> bool:
        """Goes back to the checkpoint; says whether there is one."""
        folder, device = self._runtime.folder, self._runtime.device
        if folder is None or not (folder / CHECKPOINT).is_file():
            return False
        tensors, facts = load_state(folder / CHECKPOINT)
        model = self.supernet.model
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        self.supernet.ordered = facts["ordered"]
        self._phase, self._epoch, self._position = facts["phase"], facts["epoch"], facts["position"]
        self._done = self._saved_step = facts["done"]
        self._order = tensors.get("order")
        self._rng = np.random.default_rng()
        self._rng.bit_generator.state = facts["rng"]
        self._generator = torch.Generator()
        self._generator.set_state(tensors["random.generator"])
        if self._settings.teacher and self._phases[self._phase].sandwich:
            self._teacher = extract_subnetwork(self.supernet, {})
            self._teacher.load_state_dict(load_file(folder / TEACHER))
            self._teacher.to(device).eval()
        self._make_optimizer()
        restore_optimizer(self._optimizer, tensors)
        torch.set_rng_state(tensors["random.cpu"])
        if "random.device" in tensors:
            getattr(torch, device.type).set_rng_state(tensors["random.device"], device)
        return True
