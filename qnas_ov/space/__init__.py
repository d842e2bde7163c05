"""The search space: knobs, canonical genotypes, vectors for predictors."""

from qnas_ov.space._knobs import Activation, Knob, KnobKind
from qnas_ov.space._space import Genotype, Space

__all__ = ["Activation", "Genotype", "Knob", "KnobKind", "Space"]
