"""A folder in the source paper's form: everything that names can say is checked before a pixel is read."""

import re

import numpy as np
import pytest
from PIL import Image

from model.findings import Vertebra
from tests.dicom_node.tiny_ct import make_ct, write_ct
from tests.training.image_trees import image_tree
from training.config import ConfigError, load_config
from training.datasets.studies import DataSetError
from training.images.image_files import read_pictures
from training.images.image_folder import ImageFolderConfig, Unusable, find_images
from training.images.image_names import NamePatterns
from training.images.prepare_images import PrepareImagesConfig


@pytest.fixture
def tree(tmp_path):
    return image_tree(tmp_path / "tree", studies=14)


def copied(tree, old, new):
    source = next(tree.rglob(old))
    (source.parent / new).write_bytes(source.read_bytes())


def test_images_are_found_with_labels_and_groups(tree):
    found = find_images(ImageFolderConfig(tree))
    assert len(found.images) == 28
    assert {image.level for image in found.images} == set(Vertebra)
    assert {image.fractured for image in found.images} == {True, False}
    assert len({image.group for image in found.images}) == 14
    assert "28 images of 14 source studies" in found.remarks[0]
    assert not found.augmented


def test_copies_that_were_augmented_before_are_said(tree):
    copied(tree, "study3_000.*", "study3_000_rot90.jpg")
    copied(tree, "study4_000.*", "study4_000_jpg.rf.0123456789abcdef0123456789abcdef.jpg")
    copied(tree, "study5_000.*", "study5_000 (1).jpg")
    found = find_images(ImageFolderConfig(tree))
    assert found.augmented
    said = " ".join(found.remarks)
    assert "augmented before" in said
    assert "by Roboflow" in said
    assert "number in brackets" in said
    assert len({image.group for image in found.images}) == 14


def test_numbers_in_brackets_alone_are_slices(tmp_path):
    for folder in ("fracture", "normal"):
        (tmp_path / folder).mkdir()
        for number in (1, 2):
            Image.new("L", (40, 40)).save(tmp_path / folder / f"{folder[0]}1 ({number}).png")
    assert not find_images(ImageFolderConfig(tmp_path)).augmented


def test_files_without_a_label_are_named_or_left_out_by_name(tree):
    (tree / "other").mkdir()
    Image.new("L", (40, 40)).save(tree / "other" / "mystery.png")
    with pytest.raises(DataSetError, match=r"mystery\.png: no name says") as error:
        find_images(ImageFolderConfig(tree))
    assert "unusable" in str(error.value)
    found = find_images(ImageFolderConfig(tree, unusable=Unusable.SKIP))
    assert len(found.images) == 28
    assert "mystery.png" in found.left_out[0]


def test_labels_that_contradict_each_other_are_named(tree):
    copied(tree, "study0_000.*", "study0_normal.jpg")
    with pytest.raises(DataSetError, match=r"study0_normal\.jpg.*contradict"):
        find_images(ImageFolderConfig(tree))


def test_a_class_without_an_example_is_named(tree, tmp_path):
    for path in tree.rglob("C3/*"):
        path.unlink()
    with pytest.raises(DataSetError, match="no image of C3"):
        find_images(ImageFolderConfig(tree))
    levels = ("C1", "C2", "C4", "C5", "C6", "C7")
    assert find_images(ImageFolderConfig(tree, levels=levels)).images
    for path in tree.rglob("normal/*/*"):
        path.unlink()
    with pytest.raises(DataSetError, match="labeled normal"):
        find_images(ImageFolderConfig(tree, levels=levels))
    with pytest.raises(DataSetError, match="no labeled image"):
        find_images(ImageFolderConfig(tmp_path / "tree" / "normal" / "C3"))
    with pytest.raises(DataSetError, match="no folder"):
        find_images(ImageFolderConfig(tmp_path / "absent"))


def test_a_folder_that_names_no_level_is_for_fractures_alone(tmp_path):
    for folder in ("fracture", "normal"):
        (tmp_path / folder).mkdir()
        Image.new("L", (40, 40)).save(tmp_path / folder / f"{folder[0]}1.png")
    assert "No name says a level" in " ".join(find_images(ImageFolderConfig(tmp_path)).remarks)


def test_other_files_are_counted_and_hidden_ones_ignored(tree):
    (tree / "labels.csv").write_text("a,b")
    (tree / ".DS_Store").write_bytes(b"\0")
    (tree / "LICENSE").write_text("words")
    found = find_images(ImageFolderConfig(tree))
    assert "1 .csv" in found.remarks[-1]
    assert "1 without suffix" in found.remarks[-1]
    write_ct(make_ct(), tree / "normal" / "C1" / "IM0001")
    assert len(find_images(ImageFolderConfig(tree)).images) == len(found.images) + 1


def test_the_settings_are_read_from_a_file(tmp_path):
    path = tmp_path / "images.toml"
    start = 'folder = "images"\noutput = "out"\n'
    path.write_text(start + '[patterns]\nnormal = "gesund"\n')
    config = load_config(PrepareImagesConfig, path)
    assert config.folder == tmp_path / "images"
    assert config.images.patterns == NamePatterns(normal="gesund")
    for wrong, message in (
        ('levels = ["T1"]', "no such level"),
        ('[patterns]\nlevel = "("', "no regular expression"),
        ('test_studies = "("', "no regular expression"),
        ("validation = 0.9", "tenth"),
        ("rows = 100", "multiple of 32"),
    ):
        path.write_text(f"{start}{wrong}\n")
        with pytest.raises(ConfigError, match=message):
            load_config(PrepareImagesConfig, path)


def test_pictures_and_slices_are_read_in_order_and_damage_is_told(tree, tmp_path):
    dataset = make_ct()
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    slice_file = write_ct(dataset, tmp_path / "slice.dcm")
    picture = next(tree.rglob("*.png"))
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:200])
    answers = dict(read_pictures([cut, slice_file, picture, tmp_path / "absent.png"]))
    assert list(answers) == [cut, slice_file, picture, tmp_path / "absent.png"]
    assert re.search("damaged", str(answers[cut]))
    stored = np.frombuffer(dataset.PixelData, dtype="<i2").reshape(16, 16).astype(int)
    assert np.allclose(answers[slice_file].gray, np.clip((stored + 500) / 1800, 0, 1), atol=1e-6)
    assert answers[picture].gray.shape == (72, 72)
    assert "cannot be read" in str(answers[tmp_path / "absent.png"])
