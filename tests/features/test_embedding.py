"""Embedders: colour, and the real SigLIP and CLIP classes on tiny random checkpoints."""

import numpy as np
import pytest

from tools.errors import UserError
from tools.features.embedding import (
    ColorEmbedder,
    check_embedder,
    open_embedder,
    similarity_matrix,
)
from tools.shots.settings import GROUP_THRESHOLDS


def flat(colour, size=(27, 48)):
    """One colour everywhere, with faint noise."""
    noise = np.random.default_rng(0).integers(0, 6, (*size, 1))
    return (np.array(colour) + noise).clip(0, 255).astype(np.uint8)


def stripes(vertical, size=(27, 48)):
    """Gray stripes of 4 pixels."""
    rows, columns = np.indices(size)
    wave = ((columns if vertical else rows) // 4 % 2) * 120 + 60
    return np.repeat(wave[..., None], 3, axis=2).astype(np.uint8)


def cosine(first, second):
    a, b = ColorEmbedder().embed([first, second])
    return float(a @ b)


def test_color_rows_have_length_one():
    rows = ColorEmbedder().embed([flat((200, 30, 30)), stripes(True), flat((0, 0, 0))])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_color_tells_colours_apart():
    red, blue = flat((200, 30, 30)), flat((30, 30, 200))
    assert cosine(red, red) == pytest.approx(1, abs=1e-5)
    assert cosine(red, blue) < GROUP_THRESHOLDS["color"]


def test_color_tells_layouts_apart():
    above = np.concatenate([flat((230, 200, 40))[:14], flat((20, 40, 120))[14:]])
    assert cosine(above, above[::-1]) < 0.7
    # A camera that turns moves things sideways: that is still the same place.
    left = np.concatenate([flat((230, 200, 40))[:, :24], flat((20, 40, 120))[:, 24:]], axis=1)
    assert cosine(left, left[:, ::-1]) > GROUP_THRESHOLDS["color"]


def test_color_tells_textures_apart():
    assert cosine(stripes(True), stripes(False)) < cosine(stripes(True), stripes(True)) - 0.1


def test_color_does_not_mind_noise_and_a_small_object():
    place = np.concatenate([flat((230, 200, 40))[:14], flat((20, 90, 60))[14:]])
    other = place.copy()
    other[10:16, 20:28] = (220, 30, 30)
    assert cosine(place, other) > GROUP_THRESHOLDS["color"]


def test_color_takes_frames_of_any_size():
    rng = np.random.default_rng(1)
    small = rng.integers(0, 255, (9, 16, 3)).repeat(40, 0).repeat(40, 1).astype(np.uint8)
    assert cosine(small, small[::5, ::5]) > 0.9


def test_similarity_is_rounded_to_four_places():
    rows = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    assert similarity_matrix(rows) == [[1.0, 0.6, 0.0], [0.6, 1.0, 0.8], [0.0, 0.8, 1.0]]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders of tiny random SigLIP and CLIP models with their image processors."""
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
    )

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text = {**small, "num_attention_heads": 2, "vocab_size": 64}
    vision = {**small, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    siglip = SiglipConfig(text_config=text, vision_config=vision)
    clip = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    size = {"height": 28, "width": 28}
    SiglipModel(siglip).save_pretrained(folder / "siglip")
    SiglipImageProcessor(size=size).save_pretrained(folder / "siglip")
    CLIPModel(clip).save_pretrained(folder / "clip")
    CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=size).save_pretrained(folder / "clip")
    return folder


@pytest.fixture
def images():
    rng = np.random.default_rng(2)
    return [rng.integers(0, 255, (40, 60, 3), np.uint8) for _ in range(19)]


@pytest.mark.parametrize("name", ["siglip", "clip"])
def test_transformers_features_are_the_model_s_own(name, checkpoints, images):
    import torch
    from transformers import AutoImageProcessor, AutoModel

    where = str(checkpoints / name)
    rows = open_embedder(where, "cpu", 1).embed(images)
    model = AutoModel.from_pretrained(where).eval()
    pixels = AutoImageProcessor.from_pretrained(where, use_fast=False)(images, return_tensors="pt")[
        "pixel_values"
    ]
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=pixels).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert rows.shape == (19, 16 if name == "clip" else 32)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_checkpoint_that_is_here_passes_the_check(checkpoints):
    check_embedder("siglip", str(checkpoints / "siglip"))
    check_embedder("color", None)


def test_a_missing_checkpoint_is_one_line_that_offers_color(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for where in (str(tmp_path / "nowhere"), "nobody/nothing-of-that-name"):
        with pytest.raises(UserError, match="--embedder color") as caught:
            check_embedder("siglip", where)
        assert "\n" not in str(caught.value)


def test_a_text_model_has_no_image_tower(tmp_path):
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="image tower"):
        check_embedder("siglip", str(tmp_path))
