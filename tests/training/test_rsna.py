"""The RSNA 2022 data set as downloaded: nothing is flipped, boxes lie on their bone, and every fault is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.findings import Vertebra
from tests.training.trees import (
    TreeBox,
    TreeStudy,
    level_cells,
    rsna_uid,
    small_anatomy,
    write_nifti,
    write_rsna,
    write_table,
)
from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set
from training.datasets.rsna import RsnaDataSet
from training.datasets.studies import DataSetError
from training.synthesis.phantom_series import TransferSyntax

KEY = rsna_uid(101)
C3_BOX = TreeBox(8, (8, 16), (20, 30))
"""Around the left part of C3 in its lower slice, with soft tissue at its edges."""


def broken_study(**options: object) -> TreeStudy:
    return TreeStudy(KEY, small_anatomy(1), frozenset({Vertebra.C3}), boxes=(C3_BOX,), **options)


def read_only(folder: Path, scratch: Path):
    data = RsnaDataSet(folder)
    (study,) = data.studies()
    return study, data.read(study, scratch)


def inside(box: TreeBox, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[box.index, slice(*box.rows), slice(*box.columns)] = True
    return mask


@pytest.mark.parametrize(
    ("orientation", "codes"), [("FPL", "PIR"), ("HPL", "PIR"), ("FPL", "RAS"), ("HPR", "SLP"), ("FAL", "LPS")]
)
def test_volume_mask_and_boxes_of_any_storage_order_come_to_the_standard_frame(tmp_path, orientation, codes):
    study = broken_study(orientation=orientation, mask_codes=tuple(codes))
    folder = write_rsna(tmp_path / "rsna", [study])
    _, volume = read_only(folder, tmp_path / "scratch")
    assert np.array_equal(volume.hu, study.anatomy.hu)
    assert volume.spacing_mm == pytest.approx(study.anatomy.spacing_mm)
    assert np.array_equal(volume.labels, study.anatomy.cervical)
    assert np.array_equal(volume.lesion, inside(C3_BOX, volume.hu.shape) & (study.anatomy.labels == 3))
    assert 0 < volume.lesion.sum() < inside(C3_BOX, volume.hu.shape).sum()


def test_the_anatomy_of_these_tests_is_another_one_when_any_axis_is_flipped():
    labels = small_anatomy().labels
    for axis in range(3):
        flipped = np.flip(labels, axis)
        moved = [np.roll(flipped, shift, axis) for shift in range(labels.shape[axis])]
        assert not any(np.array_equal(labels > 0, other > 0) for other in moved)


@pytest.mark.parametrize("syntax", [TransferSyntax.JPEG_LOSSLESS_SV1, TransferSyntax.JPEG_2000_LOSSLESS])
def test_compressed_slices_are_decoded(tmp_path, syntax):
    study = broken_study(orientation="HPL", transfer_syntax=syntax)
    _, volume = read_only(write_rsna(tmp_path / "rsna", [study]), tmp_path / "scratch")
    assert np.array_equal(volume.hu, study.anatomy.hu)


def test_labels_and_slices_become_studies_that_are_patients_of_their_own(tmp_path):
    studies = [broken_study(), TreeStudy(rsna_uid(7), small_anatomy(2), mask=False)]
    config = DataSourceConfig(DataSetKind.RSNA, write_rsna(tmp_path / "rsna", studies), site="many")
    data = open_data_set(config)
    first, second = data.studies()
    assert data.name == "rsna"
    assert (first.key, first.patient, first.site) == (KEY, KEY, "many")
    assert [level for level, fractured in first.fractures.items() if fractured] == [Vertebra.C3]
    assert len(first.fractures) == 7
    assert len(first.images) == len(studies[0].anatomy.hu)
    assert first.mask == tmp_path / "rsna" / "segmentations" / f"{KEY}.nii"
    assert second.mask is None
    assert not any(second.fractures.values())


def test_without_a_mask_the_whole_box_is_the_lesion_and_without_a_box_nothing_is_said(tmp_path):
    folder = write_rsna(tmp_path / "rsna", [broken_study(mask=False)])
    _, volume = read_only(folder, tmp_path / "scratch")
    assert volume.labels is None
    assert np.array_equal(volume.lesion, inside(C3_BOX, volume.hu.shape))
    (folder / "train_bounding_boxes.csv").unlink()
    assert read_only(folder, tmp_path / "again")[1].lesion is None


def test_a_box_that_meets_no_fractured_bone_says_nothing(tmp_path):
    study = TreeStudy(KEY, small_anatomy(1), frozenset({Vertebra.C6}), boxes=(C3_BOX,))
    assert read_only(write_rsna(tmp_path / "rsna", [study]), tmp_path / "scratch")[1].lesion is None


def test_only_one_study_is_in_memory_and_none_is_read_before_it_is_asked_for(tmp_path):
    keys = [rsna_uid(number) for number in (1, 2, 3)]
    folder = write_rsna(tmp_path / "rsna", [TreeStudy(key, small_anatomy(1)) for key in keys])
    data = RsnaDataSet(folder)
    studies = data.studies()
    shutil.rmtree(folder / "train_images" / keys[1])
    volume = data.read(studies[0], tmp_path / "scratch")
    assert volume.hu.shape == small_anatomy().hu.shape
    with pytest.raises(DataSetError, match=keys[1]):
        data.read(studies[1], tmp_path / "scratch two")


def problems_of(folder: Path, **options: object) -> str:
    with pytest.raises(DataSetError) as caught:
        RsnaDataSet(folder, **options).studies()
    return "\n".join(caught.value.problems)


def test_a_study_without_a_label_and_a_label_without_a_study_are_named_together(tmp_path):
    folder = write_rsna(tmp_path / "rsna", [broken_study()])
    (folder / "train_images" / KEY).rename(folder / "train_images" / rsna_uid(5))
    told = problems_of(folder)
    assert f"train.csv: study '{KEY}' is not in the folder" in told
    assert f"{rsna_uid(5)} has no label in train.csv: add its row" in told
    assert "train_bounding_boxes.csv: study" in told
    assert f"{KEY}.nii belongs to no study" in told


def test_studies_that_are_left_out_need_neither_files_nor_labels(tmp_path):
    folder = write_rsna(tmp_path / "rsna", [broken_study(), TreeStudy(rsna_uid(5))])
    shutil.rmtree(folder / "train_images" / KEY)
    (left,) = RsnaDataSet(folder, leave_out=frozenset({KEY})).studies()
    assert left.key == rsna_uid(5)


def test_labels_that_contradict_themselves_or_are_missing_are_named_by_line(tmp_path):
    folder = write_rsna(tmp_path / "rsna", [broken_study(), TreeStudy(rsna_uid(5))])
    rows = [
        {"StudyInstanceUID": KEY, "patient_overall": 0} | level_cells({Vertebra.C3}),
        {"StudyInstanceUID": rsna_uid(5), "patient_overall": 1} | level_cells(()),
    ]
    write_table(folder / "train.csv", rows)
    told = problems_of(folder)
    assert "train.csv, line 2: patient_overall is '0', but a level is fractured" in told
    assert "train.csv, line 3: patient_overall is '1', but no level is fractured" in told
    rows[0]["C4"], rows[1]["C5"] = "", "yes"
    write_table(folder / "train.csv", rows)
    told = problems_of(folder)
    assert "line 2: C4 must be 1 or 0" in told
    assert "line 3: C5 must be 1 or 0" in told
    (folder / "train.csv").write_text("StudyInstanceUID,C1,C2\n")
    assert "has no column C3, C4, C5, C6, C7" in problems_of(folder)
    (folder / "train.csv").unlink()
    assert "train.csv cannot be read as a CSV table" in problems_of(folder)


def test_a_path_in_the_table_is_no_study(tmp_path):
    folder = write_rsna(tmp_path / "rsna", [broken_study()])
    with (folder / "train.csv").open("a") as file:
        file.write("../../etc,0,0,0,0,0,0,0,0\n")
    assert "'../../etc' is no Study Instance UID" in problems_of(folder)


def test_boxes_of_unknown_slices_and_boxes_that_are_none_are_named(tmp_path):
    folder = write_rsna(tmp_path / "rsna", [broken_study()])
    box = {"StudyInstanceUID": KEY, "x": 1, "y": 1, "width": 5, "height": 5, "slice_number": 999}
    write_table(folder / "train_bounding_boxes.csv", [box])
    assert f"a box is on slice '999' of study {KEY}, which has no such file" in problems_of(folder)
    write_table(folder / "train_bounding_boxes.csv", [box | {"width": -2}])
    assert "train_bounding_boxes.csv, line 2: x, y, width and height are no box" in problems_of(folder)


def test_a_mask_of_another_geometry_is_named_by_its_size_or_by_its_place(tmp_path):
    study = broken_study()
    folder = write_rsna(tmp_path / "rsna", [study])
    path = folder / "segmentations" / f"{KEY}.nii"
    write_nifti(path, study.anatomy.labels[1:], study.anatomy)
    assert f"{path} is a mask of another geometry ((25, 36, 40) voxels" in problems_of(folder)
    write_nifti(path, study.anatomy.labels, study.anatomy, moved_mm=6.0)
    with pytest.raises(DataSetError, match=r"is a mask of another geometry \(corners up to 6.0 mm apart\): remove it"):
        read_only(folder, tmp_path / "scratch")
    path.write_bytes(b"no mask")
    assert "cannot be read as NIfTI" in problems_of(folder)


def test_a_slice_that_is_no_dicom_or_is_cut_off_is_named(tmp_path):
    folder = write_rsna(tmp_path / "rsna", [broken_study()])
    path = folder / "train_images" / KEY / "12.dcm"
    whole = path.read_bytes()
    path.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(DataSetError, match=r"12\.dcm cannot be read as DICOM .*: get the file again or name the study"):
        read_only(folder, tmp_path / "one")
    path.write_bytes(whole[:-200])
    with pytest.raises(DataSetError, match=r"12\.dcm cannot be (read as DICOM|decoded)"):
        read_only(folder, tmp_path / "two")


def test_a_compressed_slice_that_cannot_be_decoded_is_named(tmp_path):
    study = broken_study(transfer_syntax=TransferSyntax.JPEG_LOSSLESS_SV1)
    folder = write_rsna(tmp_path / "rsna", [study])
    path = folder / "train_images" / KEY / "5.dcm"
    stored = bytearray(path.read_bytes())
    start = stored.index(b"\xff\xd8\xff")
    stored[start : start + 40] = bytes(40)
    path.write_bytes(stored)
    with pytest.raises(DataSetError, match=r"5\.dcm cannot be decoded"):
        read_only(folder, tmp_path / "scratch")


def test_a_folder_that_is_not_the_data_set_says_what_is_missing(tmp_path):
    write_table(tmp_path / "train.csv", [{"StudyInstanceUID": KEY, "patient_overall": 0} | level_cells(())])
    assert "train_images is missing: unpack the data set" in problems_of(tmp_path)
    (tmp_path / "train_images" / KEY).mkdir(parents=True)
    assert f"{KEY} has no .dcm file" in problems_of(tmp_path)
