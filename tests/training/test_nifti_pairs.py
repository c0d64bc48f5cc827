"""NIfTI pairs as VerSe, CTSpine1K and TotalSegmentator come: names, numbers, orientations, and what is refused."""

import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from model.findings import Limitation, Vertebra
from tests.training.trees import (
    SmallAnatomy,
    TreeStudy,
    level_cells,
    small_anatomy,
    write_ctspine1k,
    write_nifti,
    write_table,
    write_totalsegmentator,
    write_verse,
)
from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set
from training.datasets.nifti import open_nifti
from training.datasets.nifti_pairs import NiftiDataSet, NiftiLayout
from training.datasets.studies import DataSetError
from training.synthesis.phantom_series import all_orientations

KEY = "sub-verse004"
STUDY = TreeStudy(KEY, small_anatomy(3))


def verse(folder: Path, **options: object) -> NiftiDataSet:
    return NiftiDataSet(folder, NiftiLayout.VERSE, "VerSe", **options)


def problems_of(data: NiftiDataSet) -> str:
    with pytest.raises(DataSetError) as caught:
        data.studies()
    return "\n".join(caught.value.problems)


def assert_as_made(data: NiftiDataSet, anatomy: SmallAnatomy, scratch: Path) -> None:
    (study,) = data.studies()
    volume = data.read(study, scratch)
    assert np.array_equal(volume.hu, anatomy.hu)
    assert volume.hu.flags.c_contiguous
    assert np.array_equal(volume.labels, anatomy.cervical)
    assert volume.spacing_mm == pytest.approx(anatomy.spacing_mm)
    assert volume.limitations == (Limitation.THICK_SLICES,)


def test_verse_is_read_by_its_names_with_masks_stored_in_another_order(tmp_path):
    assert_as_made(verse(write_verse(tmp_path / "verse", [STUDY])), STUDY.anatomy, tmp_path)


def test_ctspine1k_is_read_by_its_names(tmp_path):
    folder = write_ctspine1k(tmp_path, [TreeStudy("liver_0", STUDY.anatomy)])
    assert_as_made(NiftiDataSet(folder, NiftiLayout.CTSPINE1K, "c"), STUDY.anatomy, tmp_path)


@pytest.mark.parametrize("one_file", [False, True])
def test_totalsegmentator_is_read_by_its_classes_or_by_its_numbers(tmp_path, one_file):
    folder = write_totalsegmentator(tmp_path, [TreeStudy("s0004", STUDY.anatomy)], one_file=one_file)
    assert_as_made(NiftiDataSet(folder, NiftiLayout.TOTALSEGMENTATOR, "t"), STUDY.anatomy, tmp_path)


def test_each_of_the_48_orientations_comes_to_the_standard_frame(tmp_path):
    ours = {"F": "I", "H": "S"}
    for orientation in all_orientations():
        codes = tuple(ours.get(letter, letter) for letter in orientation)
        path = write_nifti(tmp_path / f"{orientation}.nii", STUDY.anatomy.hu, STUDY.anatomy, codes)
        volume = open_nifti(path)
        assert np.array_equal(volume.read_hu(), STUDY.anatomy.hu)
        assert volume.grid.spacing_mm == pytest.approx(STUDY.anatomy.spacing_mm)
        assert volume.grid.affine[:3, 3] == pytest.approx(STUDY.anatomy.position_mm)


def test_subjects_of_verse_are_patients_and_tables_name_fractures_and_other_patients(tmp_path):
    keys = ("sub-gl003_dir-ax", "sub-gl003_dir-sag", "sub-gl004_dir-ax")
    folder = write_verse(tmp_path / "verse", [TreeStudy(key, STUDY.anatomy) for key in keys])
    assert [study.patient for study in verse(folder).studies()] == ["sub-gl003", "sub-gl003", "sub-gl004"]
    fractures = write_table(tmp_path / "f.csv", [{"study": keys[1]} | level_cells({Vertebra.C2}) | {"C7": ""}])
    patients = write_table(tmp_path / "p.csv", [{"study": key, "patient": "one"} for key in keys])
    config = DataSourceConfig(DataSetKind.NIFTI, folder, fractures=fractures, patients=patients)
    studies = open_data_set(config).studies()
    assert {study.patient for study in studies} == {"one"}
    assert not studies[0].fractures
    assert studies[1].fractures[Vertebra.C2] is True
    assert studies[1].fractures[Vertebra.C1] is False
    assert studies[1].fractures[Vertebra.C7] is None


def test_a_ct_without_a_mask_is_of_use_only_with_a_line_about_its_fractures(tmp_path):
    folder = write_verse(tmp_path / "verse", [TreeStudy(KEY, mask=False)])
    assert f"{KEY}_ct.nii.gz has no mask beside it and no line in a table of fractures" in problems_of(verse(folder))
    table = write_table(tmp_path / "f.csv", [{"study": KEY} | level_cells(())])
    data = verse(folder, fractures=table)
    assert data.read(data.studies()[0], tmp_path).labels is None


def test_files_and_lines_that_belong_to_nothing_are_named(tmp_path):
    folder = write_verse(tmp_path / "verse", [STUDY])
    ct = next(folder.rglob("*_ct.nii.gz"))
    ct.rename(ct.with_name("sub-verse005_ct.nii.gz"))
    table = write_table(tmp_path / "f.csv", [{"study": "sub-verse009"} | level_cells(())])
    patients = write_table(tmp_path / "p.csv", [{"study": "sub-verse005", "patient": "one"}])
    told = problems_of(verse(folder, fractures=table, patients=patients))
    assert f"{KEY}_seg-vert_msk.nii.gz has no CT beside it: add the CT, or name '{KEY}' in leave_out" in told
    assert "sub-verse005_ct.nii.gz has no mask beside it" in told
    assert "f.csv: study 'sub-verse009' is not in the folder" in told
    write_table(patients, [{"study": "sub-verse009", "patient": "one"}])
    assert "p.csv has no patient of study 'sub-verse005'" in problems_of(verse(folder, patients=patients))
    left_out = verse(folder, fractures=table, leave_out=frozenset({KEY, "sub-verse005", "sub-verse009"}))
    assert "has no CT named as in verse: check folder and layout" in problems_of(left_out)


def test_two_files_of_one_name_are_named(tmp_path):
    folder = write_ctspine1k(tmp_path, [TreeStudy("liver_0")])
    write_ctspine1k(tmp_path, [TreeStudy("liver_0")], "colon")
    told = problems_of(NiftiDataSet(folder, NiftiLayout.CTSPINE1K, "c"))
    assert told.count("two studies cannot be told apart") == 2


def test_a_mask_of_another_geometry_is_named_before_anything_is_read(tmp_path):
    folder = write_verse(tmp_path / "verse", [STUDY])
    mask = next(folder.rglob("*_msk.nii.gz"))
    write_nifti(mask, STUDY.anatomy.labels, STUDY.anatomy, moved_mm=-4)
    assert f"{mask} is a mask of another geometry (corners up to 4.0 mm apart)" in problems_of(verse(folder))
    write_nifti(mask, STUDY.anatomy.labels[:, :-1], STUDY.anatomy)
    assert "is a mask of another geometry (26 x 35 x 40 voxels instead of 26 x 36 x 40)" in problems_of(verse(folder))
    case = write_totalsegmentator(tmp_path / "t", [TreeStudy("s0004")]) / "s0004" / "segmentations"
    (case / "vertebrae_C5.nii.gz").unlink()
    told = problems_of(NiftiDataSet(tmp_path / "t", NiftiLayout.TOTALSEGMENTATOR, "t"))
    assert "vertebrae_C5.nii.gz is missing: unpack the whole case" in told


def header_problem(path: Path) -> str:
    with pytest.raises(DataSetError) as caught:
        open_nifti(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_header_that_promises_more_than_the_file_can_hold_is_refused_before_it_is_unpacked(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", STUDY.anatomy.hu, STUDY.anatomy)
    image = nibabel.load(path)
    header = image.header.copy()
    for shape, told in (((1000, 1000, 1000), "is shorter than"), ((30000, 30000, 30000), "too many to be read")):
        header.set_data_shape(shape)
        path.write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
        assert told in header_problem(path)


def test_of_a_bomb_no_more_is_unpacked_than_its_header_says(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", STUDY.anatomy.hu, STUDY.anatomy)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(64 << 20)))
    tracemalloc.start()
    try:
        assert np.array_equal(open_nifti(path).read_hu(), STUDY.anatomy.hu)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_files_that_are_corrupt_or_cut_off_are_named(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", STUDY.anatomy.hu, STUDY.anatomy)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataSetError, match=r"a\.nii\.gz is corrupt or cut off"):
        open_nifti(path).read_hu()
    path.write_bytes(b"no gzip")
    assert "cannot be read as NIfTI" in header_problem(path)
    path.write_bytes(gzip.compress(b"x" * 600))
    assert "no header of NIfTI" in header_problem(path)


def changed(path: Path, **fields: object) -> Path:
    image = nibabel.load(write_nifti(path, STUDY.anatomy.hu, STUDY.anatomy))
    raw = bytearray(path.read_bytes())
    header = image.header.copy()
    for name, value in ({"vox_offset": 352} | fields).items():
        header[name] = value
    raw[:348] = header.binaryblock
    path.write_bytes(raw)
    return path


def test_a_volume_that_does_not_say_how_it_lies_or_lies_askew_is_refused(tmp_path):
    path = tmp_path / "a.nii"
    assert "left and right are unknown" in header_problem(changed(path, sform_code=0, qform_code=0))
    assert "not at right angles" in header_problem(changed(path, srow_x=(1.25, 0.5, 0, 0)))
    assert "its affine must be in mm" in header_problem(changed(path, srow_x=(0.00125, 0, 0, 0)))
    assert "must hold one volume" in header_problem(changed(path, dim=(4, 40, 36, 13, 2, 1, 1, 1)))
    assert "must be numbers" in header_problem(changed(path, datatype=128, bitpix=24))
    assert "impossible place" in header_problem(changed(path, vox_offset=1e9))


def test_stored_values_are_scaled_to_hu_and_what_is_no_number_is_air(tmp_path):
    path = tmp_path / "a.nii"
    anatomy = STUDY.anatomy
    volume = anatomy.hu.astype(np.float64)
    volume[0, 0, 0] = np.nan
    write_nifti(path, volume, anatomy)
    values = open_nifti(path).read_hu()
    assert values[0, 0, 0] == -1024
    assert np.array_equal(values[1:], anatomy.hu[1:])
    changed(path, scl_slope=2.0, scl_inter=-100.0)
    assert np.array_equal(open_nifti(path).read_hu(), 2 * anatomy.hu - 100)


def test_values_that_are_no_hu_are_refused(tmp_path):
    anatomy = STUDY.anatomy
    gray = SmallAnatomy(np.clip(anatomy.hu + 1000, 0, 255).astype(np.int16), anatomy.labels)
    data = verse(write_verse(tmp_path, [TreeStudy(KEY, gray)]))
    with pytest.raises(DataSetError, match=r"_ct\.nii\.gz holds no HU"):
        data.read(data.studies()[0], tmp_path)
