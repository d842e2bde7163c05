from __future__ import annotations

import numpy as np
import pytest

from qnas_ov.space import Activation, Knob, KnobKind, Space

SPACE = Space(
    [
        Knob("depth", KnobKind.DEPTH, (1, 2, 4)),
        Knob("a", KnobKind.WIDTH, (8, 16), Activation("depth", 1)),
        Knob("b", KnobKind.WIDTH, (8, 16), Activation("depth", 2)),
        Knob("c", KnobKind.PRECISION, ("int8", "float"), Activation("depth", 3)),
    ]
)


def test_inactive_genes_do_not_make_two_networks_of_one() -> None:
    assert SPACE.canonical((0, 1, 0, 0)) == SPACE.canonical((0, 1, 1, 1)) == (0, 1, 1, 1)
    assert SPACE.canonical((1, 1, 0, 0)) != SPACE.canonical((1, 1, 1, 0))
    assert SPACE.decode((1, 0, 0, 0)) == {"depth": 2, "a": 8, "b": 8}


def test_canonical_is_idempotent_and_keeps_what_is_active(rng: np.random.Generator) -> None:
    raw = rng.integers(0, SPACE.num_choices, size=(200, len(SPACE)))
    once = SPACE.canonical_array(raw)
    assert (SPACE.canonical_array(once) == once).all()
    active = SPACE.active(raw)
    assert (once[active] == raw[active]).all()


def test_one_hot_is_zero_where_inactive() -> None:
    x = SPACE.one_hot(np.array([[0, 1, 1, 1], [2, 0, 1, 0]]))
    assert x.shape == (2, 9)
    assert x[0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0]
    assert x[1].sum() == 4


def test_encode_is_the_inverse_of_decode(rng: np.random.Generator) -> None:
    for genotype in SPACE.sample(rng, 50):
        assert SPACE.encode(SPACE.decode(genotype)) == tuple(genotype)


@pytest.mark.parametrize(
    ("genotype", "message"), [((0, 0, 0), "has 4 genes"), ((3, 0, 0, 0), "gene depth must be 0 to 2: got 3")]
)
def test_wrong_genotypes_are_refused(genotype: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SPACE.canonical(genotype)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no knob 'z'"):
        SPACE.encode({"z": 1})
    with pytest.raises(ValueError, match=r"must be one of \[1, 2, 4\]: got 3"):
        SPACE.encode({"depth": 3})


def test_sampling_is_seeded_and_varied() -> None:
    first, second = (SPACE.sample(np.random.default_rng(7), 30) for _ in range(2))
    assert (first == second).all()
    assert len(np.unique(first, axis=0)) > 8


def test_even_samples_treat_all_layers_alike(rng: np.random.Generator) -> None:
    knobs = [Knob("depth", KnobKind.DEPTH, (1, 2, 3))]
    for i in range(3):
        inside = Activation("depth", i + 1)
        knobs.append(Knob(f"layer.{i}.heads", KnobKind.WIDTH, (1, 2, 3, 4), inside))
        knobs.append(Knob(f"layer.{i}.ffn", KnobKind.WIDTH, (64, 128, 256), inside))
        knobs.append(Knob(f"precision.layer.{i}.ffn", KnobKind.PRECISION, ("int8", "float"), inside))
    space = Space(knobs)
    genotypes = space.sample_even(rng, 1500)
    assert np.array_equal(genotypes, space.canonical_array(genotypes))
    for genotype in genotypes:
        values = space.decode(genotype)
        for like in (".heads", ".ffn"):
            for precision in (True, False):
                alike = {v for n, v in values.items() if n.endswith(like) and n.startswith("precision") == precision}
                assert len(alike) <= 1
    assert len({tuple(g) for g in genotypes}) == 3 * 4 * 3 * 2


def test_everything_is_every_network_once(rng: np.random.Generator) -> None:
    everything = SPACE.everything()
    assert len(np.unique(everything, axis=0)) == len(everything)
    assert {tuple(g) for g in SPACE.sample(rng, 500)} == {tuple(g) for g in everything}
