"""Preprocessing inside the network gives what the checkpoint's own image processor gives, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from candidates import PROCESSOR, picture
from openvino import opset13 as ops
from PIL import Image
from run_folders import write_candidate

from qnas_ov.core.errors import InputError, QnasError
from qnas_ov.deploy import InputSettings, read_samples, write_layout
from qnas_ov.deploy._images import embed_images
from qnas_ov.pipeline import verify_package
from qnas_ov.tasks import Task, image_preprocessing

GREY_LEVELS = 2.0  # Pillow rounds after each axis, so that an exact half may go another way twice
SIZES = [(32, 32), (36, 36), (48, 64), (33, 70), (70, 33), (20, 17), (201, 333)]


def identity(size: int = 32, *, channels: int = 3) -> ov.Model:
    x = ops.parameter([-1, channels, size, size], np.float32, name="pixel_values")
    x.output(0).set_names({"pixel_values"})
    y = ops.multiply(x, ops.constant(np.float32(1)))
    y.output(0).set_names({"pixels"})
    return ov.Model([ops.result(y)], [x], "identity")


def compiled(model: ov.Model | Path) -> ov.CompiledModel:
    return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def write_processor(folder: Path, **entries: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(entries))
    return folder


PROCESSORS = {
    "ViT bilinear": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2},
    "ViT bicubic": PROCESSOR,
    "ConvNeXT cropped": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}},
    "BiT shorter edge": {
        "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 37}, "crop_size": 32, "resample": 2,
    },
    "DeiT cropped square": {
        "image_processor_type": "DeiTImageProcessor", "size": {"height": 40, "width": 41}, "crop_size": 32,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_the_image_processor(name: str, tmp_path: Path) -> None:
    steps = image_preprocessing(write_processor(tmp_path / "p", **PROCESSORS[name]))
    network = compiled(embed_images(identity(), steps, image_size=None, color="rgb"))
    level = steps.rescale_factor / np.array(steps.std)[:, None, None]
    differences = []
    for seed, (height, width) in enumerate(SIZES):
        image = picture(height, width, seed=seed)
        found = network(image[None])[0][0]
        differences.append(np.abs(found - steps.apply(Image.fromarray(image))) / level)
        assert found.shape == (3, 32, 32)
        assert differences[-1].max() <= GREY_LEVELS + 1e-3, f"{height}x{width}"
    assert np.mean([d.mean() for d in differences]) < 0.25


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("image_size", [None, (40, 50)])
def test_a_package_classifies_images_as_before(
    image_candidate: Path, tmp_path: Path, color: str, image_size: tuple[int, int] | None
) -> None:
    inputs = InputSettings(embed=True, image_size=image_size, color=color)
    manifest = write_layout(image_candidate, tmp_path / "p", format="ir", inputs=inputs, read_steps=image_preprocessing)
    layout = manifest["layout"]
    assert layout["inputs"] == [{"name": "pixel_values", "dtype": "u8", "shape": [-1, *(image_size or (-1, -1)), 3]}]
    assert layout["preprocessing"]["color"] == color
    assert layout["preprocessing"]["resample"] == "bicubic"
    steps = image_preprocessing(image_candidate)
    before, after = compiled(image_candidate / "openvino_model.xml"), compiled(tmp_path / "p" / "model.xml")
    classes = set()
    for seed in range(12):
        image = picture(40, 50, seed=100 + seed)
        wanted = before(steps.apply(Image.fromarray(image))[None])[0][0]
        found = after(image[None] if color == "rgb" else image[None, ..., ::-1])[0][0]
        assert found.argmax() == wanted.argmax()
        np.testing.assert_allclose(found, wanted, atol=0.02 * np.ptp(wanted))
        classes.add(int(found.argmax()))
    assert len(classes) > 2
    model = ov.Core().read_model(tmp_path / "p" / "model.xml")
    assert str(model.get_parameters()[0].get_layout()) == "[N,H,W,C]"


def test_digits_are_read_from_grey_bytes(digits_candidate: Path, digits: Task, tmp_path: Path) -> None:
    write_layout(digits_candidate, tmp_path / "p", format="ovms", name="net", read_steps=image_preprocessing)
    pixels = digits.test.inputs["pixel_values"]
    images = ((pixels.transpose(0, 2, 3, 1) + 1) * 8).round().astype(np.uint8)
    before = compiled(digits_candidate / "openvino_model.xml")(pixels)[0]
    after = compiled(tmp_path / "p" / "net" / "1" / "model.xml")(images)[0]
    np.testing.assert_array_equal(after.argmax(1), before.argmax(1))
    np.testing.assert_allclose(after, before, atol=1e-3)
    assert np.mean(after.argmax(1) == digits.test.labels) > 0.97
    assert read_samples(tmp_path / "p" / "samples.npz").inputs["pixel_values"].dtype == np.uint8


@pytest.mark.parametrize(
    ("format", "embedded"), [("ovms", True), ("triton", True), ("kserve", True), ("ir", False), ("optimum", False)]
)
def test_servers_get_images_and_others_tensors(
    image_candidate: Path, tmp_path: Path, format: str, embedded: bool
) -> None:
    for name, embed in (("default", None), ("without", False)):
        manifest = write_layout(
            image_candidate, tmp_path / name, format=format, inputs=InputSettings(embed=embed),
            read_steps=image_preprocessing,
        )  # fmt: skip
        expected = "u8" if embedded and embed is None else "f32"
        assert manifest["layout"]["inputs"][0]["dtype"] == expected
        assert (manifest["layout"]["preprocessing"] is not None) == (expected == "u8")
        repeated = verify_package(tmp_path / name).repeated
        assert repeated is not None
        assert (repeated.value, repeated.changed_top1) == (0.75, 0)


@pytest.mark.parametrize("batch", [1, 5])
def test_a_fixed_batch_is_verified_too(image_candidate: Path, tmp_path: Path, batch: int) -> None:
    manifest = write_layout(
        image_candidate, tmp_path / "p", format="triton", inputs=InputSettings(batch=batch),
        read_steps=image_preprocessing,
    )  # fmt: skip
    assert manifest["layout"]["batch"] == batch
    assert manifest["layout"]["outputs"][0]["shape"] == [batch, 10]
    repeated = verify_package(tmp_path / "p").repeated
    assert repeated is not None
    assert (repeated.num_samples, repeated.changed_top1) == (24, 0)


def test_samples_of_another_size_stay_behind(image_candidate: Path, tmp_path: Path) -> None:
    manifest = write_layout(
        image_candidate, tmp_path / "p", format="ovms", inputs=InputSettings(image_size=(64, 48)),
        read_steps=image_preprocessing,
    )  # fmt: skip
    assert "samples" not in manifest
    assert "it holds no recorded samples: they have 32x32 pixels" in manifest["layout"]["notes"]
    assert verify_package(tmp_path / "p").repeated is None


# --- what is refused, or said ----------------------------------------------------------------------------------------


def noisy_candidate(folder: Path, **entries: Any) -> Path:
    """A candidate whose samples are no images."""
    noise = np.random.default_rng(0).normal(size=(24, 3, 32, 32)).astype(np.float32)
    return write_candidate(folder, model=flat(), preprocessor={**PROCESSOR, **entries}, inputs={"pixel_values": noise})


def flat() -> ov.Model:
    """Pixels to four scores."""
    x = ops.parameter([-1, 3, 32, 32], np.float32, name="pixel_values")
    x.output(0).set_names({"pixel_values"})
    weights = np.random.default_rng(0).normal(size=(3 * 32 * 32, 4)).astype(np.float32)
    y = ops.matmul(ops.reshape(x, np.array([-1, 3 * 32 * 32]), False), ops.constant(weights), False, False)
    y.output(0).set_names({"scores"})
    return ov.Model([ops.result(y)], [x], "flat")


UNFIT = [
    ({}, "the recorded samples are not what its image processor makes of images"),
    ({"size": {"height": 48, "width": 48}}, r"the image processor makes 3 channels of \(48, 48\), and the network"),
    ({"resample": 1}, "the image processor resizes by 'lanczos': it must be bilinear or bicubic"),
    ({"image_processor_type": "SamImageProcessor"}, "is that of 'Sam', which qnas-ov does not know"),
    ({"do_center_crop": True, "crop_size": 64}, "crops"),
]


@pytest.mark.parametrize(("entries", "message"), UNFIT, ids=[m for _, m in UNFIT])
def test_what_cannot_be_embedded_is_said_or_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    source = noisy_candidate(tmp_path / "deploy" / "c1", **entries)
    manifest = write_layout(source, tmp_path / "deploy" / "p", format="ovms", read_steps=image_preprocessing)
    assert manifest["layout"]["inputs"][0]["dtype"] == "f32"
    (note,) = manifest["layout"]["notes"]
    assert note.startswith("its preprocessing is left to the client: ")
    with pytest.raises(InputError, match=f"--embed-preprocessing cannot be done: .*{message}"):
        write_layout(
            source, tmp_path / "q", format="ovms", inputs=InputSettings(embed=True), read_steps=image_preprocessing
        )
    assert [p.name for p in tmp_path.iterdir()] == ["deploy"]


def test_samples_that_are_no_images_may_stay_behind(tmp_path: Path) -> None:
    source = noisy_candidate(tmp_path / "c1")
    manifest = write_layout(
        source, tmp_path / "p", format="ovms", inputs=InputSettings(samples=False), read_steps=image_preprocessing
    )
    assert manifest["layout"]["inputs"][0]["dtype"] == "u8"


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("optimum", "image", {"embed": True}, "this format is for clients that preprocess themselves"),
    ("triton", "text", {"embed": True}, "cannot put text preprocessing in: this format takes image"),
    ("ovms", "text", {"image_size": (8, 8)}, "--image-size and --color are for images, and the network takes text"),
    ("ovms", "digits", {"image_size": (16, 16)}, "--image-size must be 8x8: the image processor does not resize"),
    ("ovms", "digits", {"color": "bgr"}, "--color is for images of three channels, and the network takes 1"),
    ("ovms", "plain", {"embed": True}, "needs an image processor or a tokenizer that came with the network"),
]


@pytest.mark.parametrize(("format", "kind", "settings", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_wishes_that_do_not_fit_are_refused(
    request: pytest.FixtureRequest, tmp_path: Path, format: str, kind: str, settings: dict[str, Any], message: str
) -> None:
    source = write_candidate(tmp_path / "plain") if kind == "plain" else request.getfixturevalue(f"{kind}_candidate")
    with pytest.raises(InputError, match=message):
        write_layout(
            source, tmp_path / "p", format=format, inputs=InputSettings(**settings), read_steps=image_preprocessing
        )
    assert not [p for p in tmp_path.iterdir() if p.name != "plain"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "--batch must be at least 1"),
        ({"color": "yuv"}, "--color must be one of rgb, bgr: 'yuv' was given"),
        ({"image_size": (0, 8)}, "--image-size must be at least 1x1"),
        ({"embed": False, "color": "bgr"}, "leave out the --no- option"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(QnasError, match=message):
        InputSettings(**settings)


def test_a_batch_that_the_network_does_not_take_is_refused(tmp_path: Path) -> None:
    from run_folders import classifier

    source = write_candidate(tmp_path / "c1", model=classifier(batch=1))
    with pytest.raises(InputError, match="--batch must be 1, the only one that this network takes: 4 was given"):
        write_layout(source, tmp_path / "p", format="ir", inputs=InputSettings(batch=4))
