from __future__ import annotations

import numpy as np

from qnas_ov.tasks import TASKS
from qnas_ov.tasks.docstrings import TOKENS, TOPICS, VOCABULARY, encode, read_texts


def test_texts_are_real_and_split_apart() -> None:
    texts = read_texts()
    assert len(texts) > 1500
    assert len({text for text, _ in texts}) == len(texts)
    task = TASKS.get("docstrings")()
    assert task.train is not None
    splits = [task.calibration, task.validation, task.test]
    assert sum(map(len, splits)) + len(task.train) == len(texts)
    for split in splits:
        assert set(split.labels) == set(range(len(TOPICS)))
        assert split.inputs["input_ids"].shape == (len(split), TOKENS)
        assert split.inputs["input_ids"].max() < VOCABULARY
        assert np.array_equal(split.inputs["attention_mask"], split.inputs["input_ids"] > 0)


def test_words_are_tokens_whatever_their_case() -> None:
    first, second = encode("Return the loop."), encode("return  THE loop")
    assert np.array_equal(first, second)
    assert list(np.flatnonzero(first)) == [0, 1, 2, 3]
    assert np.array_equal(encode("return"), [1, first[1], *[0] * (TOKENS - 2)])
