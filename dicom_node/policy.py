"""Whom the SCP lets in, and what it answers: configuration, rejections (PS3.8 9.3.4) and statuses (PS3.4 B.2.3)."""

from dataclasses import dataclass, field
from enum import IntEnum

from dicom_node.hardening import WireLimits
from dicom_node.node import AETitle


class StoreStatus(IntEnum):
    """The C-STORE response statuses of this SCP (PS3.4 B.2.3)."""

    SUCCESS = 0x0000
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class Rejection(IntEnum):
    """Why associations are rejected; the value is result, source and reason as in PS3.8 9.3.4."""

    CALLING_AE_TITLE = 0x010103
    CALLED_AE_TITLE = 0x010107
    TEMPORARY_CONGESTION = 0x020301
    LOCAL_LIMIT = 0x020302


@dataclass(frozen=True, slots=True)
class ScpConfig:
    """How the SCP listens and whom it lets in.

    ``port`` 0 takes a free one. ``calling_ae_titles`` empty lets everybody in. Below ``min_free_bytes`` of free space
    new associations are rejected for the time being; the spool has its own, lower watermark for single instances.
    Without ``reviews`` the SOP classes in which our results and reviews of them come back are not offered. Timeouts
    are in seconds.
    """

    ae_title: AETitle
    host: str = "127.0.0.1"
    port: int = 11112
    calling_ae_titles: frozenset[AETitle] = frozenset()
    max_associations: int = 32
    min_free_bytes: int = 1 << 30
    reviews: bool = True
    acse_seconds: float = 10.0
    idle_seconds: float = 60.0
    limits: WireLimits = field(default_factory=WireLimits)
