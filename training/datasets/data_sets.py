"""The data sets that training can read, by their kind: a source in a configuration file becomes a data set."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from training.datasets.dicom_labels import DicomDataSet
from training.datasets.nifti_pairs import NiftiDataSet, NiftiLayout
from training.datasets.review_labels import ReviewDataSet
from training.datasets.rsna import RsnaDataSet
from training.datasets.studies import DataSet


class DataSetKind(StrEnum):
    """The layouts that can be read."""

    RSNA = "rsna"
    NIFTI = "nifti"
    DICOM = "dicom"
    REVIEWS = "reviews"


@dataclass(frozen=True, slots=True)
class DataSourceConfig:
    """One source of studies: where it lies, which layout it has, and what is to be known of it beside its files."""

    kind: Annotated[DataSetKind, Field(description="Its layout: rsna, nifti, dicom or reviews")]
    folder: Annotated[Path, Field(description="Its folder")]
    layout: Annotated[NiftiLayout, Field(description="Names and numbers of nifti files")] = NiftiLayout.VERSE
    name: Annotated[str, Field(description="Its row in every table; empty: its kind", max_length=40)] = ""
    site: Annotated[str, Field(description="Where it comes from, for rows by site; empty: unknown")] = ""
    fractures: Annotated[Path | None, Field(description="CSV of fractures (study,C1..C7: 1, 0 or empty)")] = None
    patients: Annotated[Path | None, Field(description="CSV of patients (study,patient)")] = None
    leave_out: Annotated[tuple[str, ...], Field(description="Keys of studies to leave out, such as broken ones")] = ()
    test_only: Annotated[bool, Field(description="All of its studies go to the test split")] = False

    @property
    def row(self) -> str:
        """The name of the data set."""
        return self.name or self.kind.value


def open_data_set(config: DataSourceConfig) -> DataSet:
    """The data set of a source; nothing is read before its studies are asked for."""
    left_out = frozenset(config.leave_out)
    match config.kind:
        case DataSetKind.RSNA:
            return RsnaDataSet(config.folder, config.row, config.site, left_out)
        case DataSetKind.NIFTI:
            return NiftiDataSet(
                config.folder, config.layout, config.row, config.site, config.fractures, config.patients, left_out
            )
        case DataSetKind.DICOM:
            return DicomDataSet(config.folder, config.row, config.site, config.fractures, left_out)
        case DataSetKind.REVIEWS:
            return ReviewDataSet(config.folder, config.row, config.site, left_out)
