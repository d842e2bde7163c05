"""What the labels of a data set are called by the network that is to give them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qnas_ov.core.errors import InputError
from qnas_ov.tasks.sources import DataSource

_PLACEHOLDER = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class MatchedLabels:
    """Labels as the network numbers its classes.

    Attributes:
        indices: By part of the data set: int64 array (n,).
        names: Names of the network's classes, in its order.
        notes: What was assumed, each in a sentence.
    """

    indices: dict[str, np.ndarray]
    names: tuple[str, ...]
    notes: tuple[str, ...]


def match_labels(source: DataSource, names: Sequence[str], num_classes: int) -> MatchedLabels:
    """Finds the class of the network that every label of a data set means.

    By name where the network names its classes: as it is spelt, else without regard to case, underscores and hyphens,
    else by one of several names between commas ("tench, Tinca tinca"). By number where labels are numbers and no names.
    A network that names no classes takes over those of the data set if there are as many: in the order in which the
    data set numbers them, else in alphabetical order, which is noted.

    Args:
        source: The data set, with labels.
        names: Names of the network's classes in order; () or LABEL_0, LABEL_1, ... if it names none.
        num_classes: How many classes it scores.

    Raises:
        InputError: If a label means no class of the network or more than one, or there is one class only.
    """
    distinct = sorted(set(source.labels()))
    _check_several(source, distinct)
    known = () if all(_PLACEHOLDER.fullmatch(n) for n in names) else tuple(names)
    index: dict[str, int] | None = None
    notes: tuple[str, ...] = ()
    if known:
        index = _by_name(source, distinct, known)
    if index is None:
        index = _by_number(source, distinct, known, num_classes)
    if index is None:
        if known:
            raise _unknown(source, distinct, known)
        own = source.class_names or tuple(distinct)
        if len(own) != num_classes:
            raise InputError(
                f"'{source.name}' has {len(own)} classes ({_some(own)}) and the network scores {num_classes} without "
                f"naming them: use their numbers, 0 to {num_classes - 1}, as labels, or add id2label to its config.json"
            )
        if not source.class_names:
            notes = (
                f"The network does not name its {num_classes} classes: those of the data are taken in alphabetical "
                f"order, '{own[0]}' for its class 0.",
            )
        index, known = {name: i for i, name in enumerate(own)}, own
    indices = {
        part: np.array([index[label] for label in records.labels or ()], dtype=np.int64)
        for part, records in source.parts.items()
    }
    return MatchedLabels(indices, known or tuple(str(i) for i in range(num_classes)), notes)


def _check_several(source: DataSource, distinct: Sequence[str]) -> None:
    if len(distinct) < 2:
        raise InputError(
            f"a labelled data set needs at least two classes: '{source.name}' has '{distinct[0]}' only; add samples of "
            "another class, or give the samples without labels to compare networks with the float network"
        )


def _by_name(source: DataSource, distinct: Sequence[str], known: Sequence[str]) -> dict[str, int] | None:
    """The class of every label if all are names of classes, else None."""
    for spell in (str, _plain):
        found = _positions({i: (spell(name),) for i, name in enumerate(known)})
        if all(spell(label) in found for label in distinct):
            return {label: _only(source, label, found[spell(label)], known) for label in distinct}
    found = _positions({i: {_plain(name), *map(_plain, name.split(","))} for i, name in enumerate(known)})
    if all(_plain(label) in found for label in distinct):
        return {label: _only(source, label, found[_plain(label)], known) for label in distinct}
    return None


def _positions(spellings: dict[int, set[str] | tuple[str, ...]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, names in spellings.items():
        for name in names:
            found.setdefault(name, []).append(i)
    return found


def _only(source: DataSource, label: str, positions: Sequence[int], known: Sequence[str]) -> int:
    if len(positions) > 1:
        raise InputError(
            f"the label '{label}' of {source.where(label)} must mean one class of the network, and means "
            f"{' and '.join(f'{i} ({known[i]})' for i in positions[:3])}: use the number of the class instead"
        )
    return positions[0]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _by_number(
    source: DataSource, distinct: Sequence[str], known: Sequence[str], num_classes: int
) -> dict[str, int] | None:
    """The class of every label if all are whole numbers, else None."""
    if not all(re.fullmatch(r"-?\d+(\.0+)?", label) for label in distinct):
        return None
    index = {label: int(float(label)) for label in distinct}
    outside = [label for label, i in index.items() if not 0 <= i < num_classes]
    if outside:
        raise InputError(
            f"labels must be classes of the network, 0 to {num_classes - 1}{f' ({_some(known)})' if known else ''}: "
            f"{source.where(outside[0])} has {outside[0]}; number the classes as the network does"
        )
    return index


def _unknown(source: DataSource, distinct: Sequence[str], known: Sequence[str]) -> InputError:
    plain = {_plain(part) for name in known for part in (name, *name.split(","))}
    wrong = [label for label in distinct if _plain(label) not in plain]
    near = difflib.get_close_matches(_plain(wrong[0]), sorted(plain), n=1)
    hint = f"; did you mean '{next(n for n in known if near[0] in map(_plain, (n, *n.split(','))))}'?" if near else ""
    return InputError(
        f"labels must be classes of the network: {source.where(wrong[0])} has '{wrong[0]}'"
        f"{f', and {len(wrong) - 1} more are unknown ({_some(wrong[1:])})' if len(wrong) > 1 else ''}; the network "
        f"knows {_some(known, 10)}: rename the labels, or use the numbers of the classes{hint}"
    )


def _some(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(f"'{n}'" for n in names[:count]) + (", ..." if len(names) > count else "")
