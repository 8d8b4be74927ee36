"""Options of a training: recipe, schedule, seed, device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from indexer.core.errors import BadRequestError
from indexer.model.backbones import DEFAULT_BACKBONE
from indexer.model.spec import LOOKS
from indexer.training.contrastive_loss import ContrastiveLosses


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and in what portions a recipe trains."""

    epochs: int
    lr: float
    batch_size: int

    def __post_init__(self) -> None:
        for name in ("epochs", "lr", "batch_size"):
            value = getattr(self, name)
            if not value > 0:
                raise BadRequestError(f"{name} must be above 0, not {value}")


# The look is chosen by validation (``look.choose_look``), and so is which attribute names a colour
# (``colour_column.mark_colour``).
AUTO = "auto"
# No attribute does.
NO_COLOUR = "none"
# share of the photos that are framed so where the look is of all of the photo
_FRAMED = 0.5
# By what validation ranks epochs, and where the history has it: the mean of the photos, or of the
# kinds, where few photos of most kinds would not count.
ACCURACY = "accuracy"
MACRO_F1 = "macro-f1"
MEASURES = {ACCURACY: "validation_heads", MACRO_F1: "validation_macro_f1"}
# Which weights ``finetune`` leaves: of the best judged epoch, of the last one, the mean of those of
# the last ones, or of those that validation adds one by one.
BEST, LAST, UNIFORM, GREEDY = "best", "last", "uniform", "greedy"
KEPT = (BEST, LAST, UNIFORM, GREEDY)
RECIPES = {"linear": Schedule(20, 4e-3, 384), "finetune": Schedule(12, 1e-3, 32)}


@dataclass(frozen=True)
class TeacherOptions:
    """Probes on frozen features whose out-of-fold probabilities soften the labels."""

    # whose features teach beside those of the model's own backbone
    backbones: tuple[str, ...] = ()
    # share of the probabilities in what is to be learned, of photos whose label they contradict
    doubted: float = 0.0
    # the same of all others
    agreed: float = 0.0
    # the probabilities are raised to 1 / temperature
    temperature: float = 1.0

    @property
    def any(self) -> bool:
        """Whether anything is taught."""
        return any((self.doubted, self.agreed))


@dataclass(frozen=True)
class LinearOptions:
    """Parts of the recipe ``linear``; an ablation can leave each of them out."""

    # share of the steps that mix features (mixup, Zhang et al. 2018; alpha 1)
    mixed: float = 0.5
    # losses of the other steps beside the heads' cross-entropy
    contrastive: ContrastiveLosses = field(default_factory=ContrastiveLosses)
    # weight of the colour that recaptures of training photos are to have, in the same steps
    recaptured: float = 0.0
    # share of the log frequency of values that is added to their logits while training (Menon)
    adjustment: float = 0.0
    # share of the loss of tags and lists that block a learns from, not their heads alone
    shaping: float = 1.0


NO_CONTRASTIVE = ContrastiveLosses(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class FinetuneOptions:
    """Parts of the recipe ``finetune``; an ablation can leave each of them out."""

    # weight of the loss that holds g to the frozen network; 0: g follows the labels' trunk
    general: float = 0.3
    # weight of the loss that holds t to the frozen network, which the text tower was trained with
    joint: float = 1.0
    # softmax temperature of recognising a photo among all others by g
    sharpness: float = 0.07
    # share of plain backgrounds that are replaced
    backgrounds: float = 0.5
    # (until this share of the epochs, this share of the crop)
    sizes: tuple[tuple[float, float], ...] = ((0.6, 5 / 7), (1.0, 6 / 7))
    # share of the epochs that train the upper half of the unfrozen stages only
    top_first: float = 0.2
    dropout: float = 0.2
    # share of the steps that mix photos (mixup, Zhang et al. 2018)
    mixed: float = 0.5
    # losses of the other steps beside the heads' cross-entropy
    contrastive: ContrastiveLosses = NO_CONTRASTIVE
    # photos before, with which those of a batch are contrasted too
    memory: int = 0
    # photos of one kind that stand in a batch together
    alike: int = 1
    # Share of the photos that are framed by more than their middle square, up to all of the photo;
    # with it the look is chosen after fine-tuning. Looks of all of the photo have their own.
    framed: float = 0.0
    # share of the log frequency of values that is added to their logits while training (Menon)
    adjustment: float = 0.0
    # one of KEPT; all but BEST hold the weights of each judged epoch in memory
    kept: str = BEST
    # share of the loss of tags and lists that block a learns from, not their heads alone
    shaping: float = 1.0


@dataclass(frozen=True)
class TrainingOptions:
    """What ``train`` takes beside DATA and the model folder to write.

    ``epochs``, ``lr`` and ``batch_size`` are those of the recipe (``RECIPES``) unless given.
    ``unfreeze`` (stages from the top) and ``resume`` (after the last epoch of a killed run to the
    same folder) are for ``finetune``. Raises ``BadRequestError`` for an unknown recipe or look, for
    a look that the recipe has not, and for numbers that are not above 0.
    """

    backbone: str = DEFAULT_BACKBONE
    weights: Path | None = None
    recipe: str = "linear"
    epochs: int | None = None
    lr: float | None = None
    batch_size: int | None = None
    unfreeze: int | None = None
    resume: bool = False
    seed: int = 0
    device: str = "auto"
    cache: Path | None = None
    # what of a photo the network is shown: one of LOOKS, or AUTO
    look: str = AUTO
    # whether the text tower of an image and text pair is kept, with block t
    text_tower: bool = True
    # the attribute that names a colour, AUTO, or NO_COLOUR
    colour_attribute: str = AUTO
    finetuning: FinetuneOptions = field(default_factory=FinetuneOptions)
    # of the fits of neck and heads, in both recipes
    linear: LinearOptions = field(default_factory=LinearOptions)
    teacher: TeacherOptions = field(default_factory=TeacherOptions)
    # one of MEASURES
    measure: str = ACCURACY
    # Whether the checkpoint of ``finetune`` stays, with the weights of each judged epoch, so that
    # another training with ``resume`` makes another choice of them (KEPT, MEASURES).
    keep_checkpoint: bool = False

    def __post_init__(self) -> None:
        for name, value, offered in (
            ("measure", self.measure, MEASURES),
            ("kept", self.finetuning.kept, KEPT),
        ):
            if value not in offered:
                raise BadRequestError(f"unknown {name} {value!r}; offered: {', '.join(offered)}")
        if self.recipe not in RECIPES:
            raise BadRequestError(f"unknown recipe {self.recipe!r}; offered: {', '.join(RECIPES)}")
        if self.look not in (AUTO, *LOOKS):
            raise BadRequestError(
                f"unknown look {self.look!r}; offered: {AUTO}, {', '.join(LOOKS)}"
            )
        _ = self.schedule

    @property
    def framed(self) -> float:
        """Share of the photos that fine-tuning frames by more than their middle square."""
        if not self.finetuning.framed and self.look in ("rect", "both"):
            return _FRAMED
        return self.finetuning.framed

    @property
    def schedule(self) -> Schedule:
        """The recipe's schedule with the numbers that were given."""
        numbers = {"epochs": self.epochs, "lr": self.lr, "batch_size": self.batch_size}
        given: dict[str, Any] = {
            name: value for name, value in numbers.items() if value is not None
        }
        return replace(RECIPES[self.recipe], **given)
