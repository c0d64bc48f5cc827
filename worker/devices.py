"""The device that every result names: this installation and the version of the product."""

import dataclasses
import importlib.metadata

from pydicom.uid import UID

from dicom_node.node import Device
from worker.settings import Settings


def product_version() -> str:
    """The version of the installed distribution."""
    return importlib.metadata.version("cspine")


def device_of(settings: Settings) -> Device:
    """The device of these settings; its UID follows from the serial number unless the site sets one."""
    device = Device.create(product_version(), settings.device_serial or settings.ae_title)
    return dataclasses.replace(device, device_uid=UID(settings.device_uid)) if settings.device_uid else device
