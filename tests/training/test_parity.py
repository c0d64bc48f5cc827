"""Training and serving prepare a study to identical bytes: what both networks are fed with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from dicom_node.reading import read_study
from model.bundle import load_bundle
from model.findings import Vertebra
from model.predictor import Prediction, Predictor
from model.preprocess import sagittal_stack
from training.datasets.dicom_volume import read_ct
from training.datasets.studies import LabeledStudy, LabeledVolume
from training.fitting.crop_sampler import crop_images, read_shard
from training.preparation.prepare import prepare
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepared import Prepared, Split, read_field, read_prepared
from training.synthesis.augment import Contrast
from training.synthesis.phantom import PhantomConfig, make_phantom
from training.synthesis.phantom_options import Geometry, SeriesOptions
from training.synthesis.phantom_series import write_series


@dataclass(frozen=True)
class OneStudy:
    """A data set of one DICOM study, whose levels have no mask and are all known to be intact."""

    files: tuple[Path, ...]
    name: str = "one"

    def studies(self) -> Sequence[LabeledStudy]:
        return [LabeledStudy("1.2.3", "P1", self.files, dict.fromkeys(Vertebra, False))]

    def read(self, study: LabeledStudy, scratch: Path) -> LabeledVolume:
        series = read_ct(study.images, scratch)
        hu, spacing_mm = series.to_standard()
        return LabeledVolume(hu, spacing_mm, limitations=series.warnings)


@dataclass
class Recorder:
    """An engine that keeps what it is fed with."""

    engine: object
    fed: list[np.ndarray] = field(default_factory=list)

    @property
    def runtime(self):
        return self.engine.runtime

    def __call__(self, batch):
        self.fed.append(batch.copy())
        return self.engine(batch)

    def images(self, count: int) -> bytes:
        """The first images of all batches, without what fills up the last one."""
        return np.concatenate(self.fed)[:count].tobytes()


@dataclass(frozen=True)
class Both:
    """One study as training prepared it and as serving answered."""

    prepared: Prepared
    levels: Recorder
    slices: Recorder
    answer: Prediction


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Both:
    folder = tmp_path_factory.mktemp("parity")
    phantom = make_phantom(5, PhantomConfig(spacing_mm=(1.5, 1.1, 1.1), matrix=(200, 190), contrast=Contrast()))
    options = SeriesOptions(geometry=Geometry(orientation="HAR"))
    files = write_series(phantom.hu, phantom.spacing_mm, folder / "dicom", options)
    config = PrepareConfig(folder / "prepared", validation_share=0, test_share=0, allow_missing_class=True)
    prepare(config, [OneStudy(files)])
    predictor = Predictor(load_bundle())
    predictor._levels, predictor._slices = levels, slices = Recorder(predictor._levels), Recorder(predictor._slices)
    hu, spacing_mm = read_study(files, folder / "scratch").series.to_standard()
    return Both(read_prepared(config.output), levels, slices, predictor.predict(hu, spacing_mm))


def test_the_levels_network_is_trained_on_the_bytes_that_it_is_served(both):
    [study] = both.prepared.of(Split.TRAIN)
    values, _ = read_field(both.prepared.field_file(study))
    count = values.shape[2]
    trained = sagittal_stack(values, np.arange(count), both.prepared.preprocess)
    assert trained.dtype == np.float32
    assert trained.tobytes() == both.levels.images(count)


def test_the_fracture_network_is_trained_on_the_bytes_that_it_is_served(both):
    cases = [case for path in both.prepared.crop_files(Split.TRAIN) for case in read_shard(path)]
    assert [case.level for case in cases] == [int(one.vertebra) for one in both.answer.findings.vertebrae]
    assert len(cases) >= 5
    trained = np.concatenate([crop_images(case) for case in cases])
    assert trained.tobytes() == both.slices.images(len(trained))


def test_what_limits_a_study_is_the_same_in_training_and_serving(both):
    [study] = both.prepared.studies
    assert set(study.limitations) == {limitation.name for limitation in both.answer.findings.limitations}
