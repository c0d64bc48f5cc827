"""The folder of prepared studies."""

import numpy as np
import pytest

from model.crops import CropConfig
from model.findings import Vertebra
from model.preprocess import PreprocessConfig
from training.datasets.studies import DataSetError, LabeledStudy
from training.preparation import prepared
from training.preparation.prepared import PreparedStudy, Split, read_prepared, study_name


def study(key: str, split: Split = Split.TRAIN) -> PreparedStudy:
    name = study_name("RSNA 2022", key)
    truth = {Vertebra.C2: True, Vertebra.C5: False}
    return PreparedStudy(
        name,
        "RSNA 2022",
        "site",
        "abc",
        split,
        truth,
        {Vertebra.C2: "dens II"},
        labels=True,
        spacing_mm=(1.0, 0.5, 0.5),
    )


def test_what_was_written_is_read_again(tmp_path):
    prepared.begin(tmp_path, PreprocessConfig(), CropConfig())
    written = [study("1.2.3"), study("1.2.4", Split.TEST)]
    values, labels = (
        np.linspace(-1, 3, 24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    )
    for one in written:
        prepared.write_field(tmp_path, one.name, values, labels)
        prepared.write_study(tmp_path, one)
    folder = read_prepared(tmp_path)
    assert sorted(folder.studies, key=lambda one: one.split) == sorted(written, key=lambda one: one.split)
    assert folder.of(Split.TEST) == (written[1],)
    field, levels = prepared.read_field(folder.field_file(written[0]))
    np.testing.assert_array_equal(field, values)
    assert field.dtype == np.float32
    assert field[:, :, 1:2].transpose(2, 0, 1).flags.c_contiguous, "a sagittal slice is one piece of the file"
    np.testing.assert_array_equal(levels, labels)
    assert folder.crop_files(Split.TRAIN, Split.TEST) == []


def test_names_tell_no_key_and_patients_are_hashed():
    assert study_name("RSNA 2022", "SMITH^JOHN").startswith("rsna-2022-")
    assert "SMITH" not in study_name("RSNA 2022", "SMITH^JOHN").upper()
    patients = {prepared.patient_hash("a", LabeledStudy(key, "JOHN", ())) for key in ("1", "2")}
    assert len(patients) == 1
    assert "JOHN" not in patients.pop()


def test_a_folder_with_other_settings_is_not_gone_on_with(tmp_path):
    prepared.begin(tmp_path, PreprocessConfig(), CropConfig())
    prepared.begin(tmp_path, PreprocessConfig(), CropConfig())
    with pytest.raises(DataSetError, match="other settings"):
        prepared.begin(tmp_path, PreprocessConfig(spacing_mm=1.0), CropConfig())


def test_what_is_no_prepared_folder_says_what_to_do(tmp_path):
    with pytest.raises(DataSetError, match="training prepare"):
        read_prepared(tmp_path)
    (tmp_path / "prepared.json").write_text('{"format": "cspine prepared 0"}', encoding="utf-8")
    with pytest.raises(DataSetError, match="another version"):
        read_prepared(tmp_path)


def test_a_record_under_another_name_is_refused(tmp_path):
    prepared.begin(tmp_path, PreprocessConfig(), CropConfig())
    prepared.write_study(tmp_path, study("1.2.3"))
    [path] = (tmp_path / "studies").iterdir()
    path.rename(path.with_name("other.json"))
    with pytest.raises(DataSetError, match="another name"):
        read_prepared(tmp_path)
