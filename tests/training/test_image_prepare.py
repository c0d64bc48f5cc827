"""Prepared images: whole studies in one split, pixels as in serving, nothing that leaks or is damaged."""

import re
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.image_decoding import decode_image
from model.image_preprocess import ImageConfig, standard_image
from tests.training.image_trees import image_tree
from training.config import CONFIG_FILE, load_config
from training.datasets.studies import DataSetError
from training.images.image_folder import Unusable
from training.images.image_names import NamePatterns
from training.images.prepare_images import PrepareImagesConfig, prepare_images
from training.images.prepared_images import IMAGES, INDEX_FILE, image_file, image_name, read_index
from training.preparation.prepared import Split


@pytest.fixture
def tree(tmp_path):
    return image_tree(tmp_path / "tree", studies=42)


def config(tree, output, **changes):
    settings = {"rows": 64, "columns": 64, "validation": 0.25, "test": 0.25}
    return PrepareImagesConfig(tree, output, **(settings | changes))


def test_prepared_images_come_back_as_serving_sees_them(tree, tmp_path):
    prepared = prepare_images(config(tree, tmp_path / "out")).prepared
    again = read_index(tmp_path / "out")
    assert again == prepared
    path = next(tree.rglob("*.jpg"))
    name = image_name("images", path.relative_to(tree).as_posix())
    image = next(one for one in again.images if one.name == name)
    served = standard_image(decode_image(path.read_bytes()).gray, ImageConfig(rows=64, columns=64))
    assert np.array_equal(again.pixels([image])[0], served.pixels)
    assert load_config(PrepareImagesConfig, tmp_path / "out" / CONFIG_FILE) == config(tree, tmp_path / "out")


def test_no_name_of_the_source_is_in_the_prepared_folder(tree, tmp_path):
    prepare_images(config(tree, tmp_path / "out"))
    names = " ".join(path.name for path in (tmp_path / "out" / IMAGES).iterdir())
    assert "study" not in names
    assert not re.search(r"study\d", (tmp_path / "out" / INDEX_FILE).read_text())


def test_a_study_is_in_one_split_and_every_split_has_both_classes(tree, tmp_path):
    prepared = prepare_images(config(tree, tmp_path / "out")).prepared
    splits = defaultdict(set)
    for image in prepared.images:
        splits[image.group].add(image.split)
    assert all(len(split) == 1 for split in splits.values())
    for split in Split:
        assert {image.fractured for image in prepared.of(split)} == {True, False}
        assert len(prepared.of(split)) == pytest.approx({"train": 42, "validation": 21, "test": 21}[split], abs=11)


def test_the_split_follows_its_seed(tree, tmp_path):
    def chosen(seed, name):
        return {one.name: one.split for one in prepare_images(config(tree, tmp_path / name, seed=seed)).prepared.images}

    assert chosen(1, "a") == chosen(1, "b")
    assert chosen(1, "a") != chosen(2, "c")


def test_studies_can_be_the_test_split_by_name(tree, tmp_path):
    prepared = prepare_images(config(tree, tmp_path / "out", test_studies=r"study(1|8|15|22)_")).prepared
    assert len(prepared.of(Split.TEST)) == 8
    assert len(prepared.of(Split.VALIDATION)) == pytest.approx(0.25 * 76, abs=9)
    assert len(prepared.images) == 84


def test_augmented_copies_stay_with_their_original_and_are_not_measured_on(tree, tmp_path):
    for path in list(tree.rglob("*_000.jpg")):
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path.with_name(f"{path.stem}_rot90.jpg"))
    prepared = prepare_images(config(tree, tmp_path / "out")).prepared
    copies = [image for image in prepared.images if image.copy]
    assert copies
    assert {image.split for image in copies} == {Split.TRAIN}
    files = {path.stem for path in (tmp_path / "out" / IMAGES).iterdir()}
    assert files == {image.name for image in prepared.images}
    assert "augmented before" in " ".join(prepared.remarks)


def test_the_same_picture_in_two_splits_ends_the_run_or_joins_the_studies(tree, tmp_path):
    source = next(tree.rglob("study0_001.png"))
    for number in range(100, 130):
        copy = Image.open(source).resize((80, 80))
        copy.save(source.parent / f"study{number}_001.png")
    with pytest.raises(DataSetError, match="nearly the same picture") as error:
        prepare_images(config(tree, tmp_path / "out"))
    assert "study0_001.png" in str(error.value)
    assert not (tmp_path / "out" / INDEX_FILE).exists()
    prepared = prepare_images(config(tree, tmp_path / "out", join_near_duplicates=True)).prepared
    assert "30 source studies were joined" in " ".join(prepared.remarks)


def test_damaged_and_empty_images_are_named_or_left_out(tree, tmp_path):
    damaged, empty = tree / "normal" / "C1" / "study90_000.png", tree / "normal" / "C1" / "study91_000.png"
    damaged.write_bytes(next(tree.rglob("*.png")).read_bytes()[:300])
    Image.new("L", (60, 60)).save(empty)
    with pytest.raises(DataSetError) as error:
        prepare_images(config(tree, tmp_path / "out"))
    assert f"{damaged}: the image is damaged" in str(error.value)
    assert f"{empty}: the image shows nothing" in str(error.value)
    outcome = prepare_images(config(tree, tmp_path / "out", unusable=Unusable.SKIP))
    assert len(outcome.prepared.images) == 84
    assert "2 files were left out" in outcome.prepared.remarks[-1]
    assert str(damaged) in " ".join(outcome.told)


def test_a_mask_is_resized_as_its_image_is(tmp_path):
    tree = image_tree(tmp_path / "tree", studies=42, masks=True)
    prepared = prepare_images(config(tree, tmp_path / "out")).prepared
    image = next(image for image in prepared.images if image.fractured)
    normal = next(image for image in prepared.images if not image.fractured)
    masks = prepared.masks([image, normal])
    assert image.masked
    rows, columns = np.nonzero(masks[0] > 0.5)
    assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=6)
    assert masks[1].max() == 0
    assert (prepared.masks([replace(image, masked=False)]) == -1).all()


def test_masks_that_do_not_fit_are_named(tree, tmp_path):
    Image.new("L", (10, 10)).save(next(tree.rglob("fracture/C1/*_000.jpg")).with_suffix(".mask.png"))
    with pytest.raises(DataSetError, match=r"mask\.png: the mask has"):
        prepare_images(config(tree, tmp_path / "out"))
    next(tree.rglob("*.mask.png")).unlink()
    Image.new("L", (72, 72)).save(next(tree.rglob("normal/C1/*_000.jpg")).with_suffix(".mask.png"))
    with pytest.raises(DataSetError, match="no name says fracture"):
        prepare_images(config(tree, tmp_path / "out"))


def test_too_few_studies_are_said(tmp_path):
    tree = image_tree(tmp_path / "tree", studies=14, slices=1)
    patterns = NamePatterns(group=r"(?P<group>fracture|normal)")
    with pytest.raises(DataSetError, match="2 source studies are too few"):
        prepare_images(config(tree, tmp_path / "out", patterns=patterns))


def test_an_output_inside_the_images_is_refused(tree):
    with pytest.raises(DataSetError, match="beside it"):
        prepare_images(config(tree, tree / "out"))


def test_a_folder_that_is_none_or_damaged_is_refused(tree, tmp_path):
    with pytest.raises(DataSetError, match="images prepare"):
        read_index(tmp_path)
    prepared = prepare_images(config(tree, tmp_path / "out")).prepared
    image_file(tmp_path / "out", prepared.images[0].name).write_bytes(b"")
    with pytest.raises(DataSetError, match="prepare the folder again"):
        prepared.pixels(prepared.images)
    index = tmp_path / "out" / INDEX_FILE
    index.write_text(index.read_text().replace('"name": "image-', '"name": "../image-'))
    with pytest.raises(DataSetError, match="damaged"):
        read_index(tmp_path / "out")


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path):
    with pytest.raises(ValueError, match="tenth"):
        config(tmp_path, tmp_path, validation=0.5, test=0.45)
